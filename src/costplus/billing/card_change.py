"""Card changes: which action made which version of a rate card, and whom it moved.

Rule 1: every version that an action makes is told by one record, so that the action can be undone.
Rule 2: `moved` names, per version that subscriptions were moved to, those that they came from.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from costplus.core.errors import InvalidRequest, NotFound
from costplus.core.records import Record
from costplus.rating.following import Left
from costplus.rating.rate_card import PriceTracking


class NoSuchRateCard(NotFound):
    """The rate card does not exist."""

    code = "resource_missing"


class NothingToAdopt(InvalidRequest):
    """The rate card sells by these prices already."""

    code = "price_change_followed_already"
    remedy = "Name a change that the card has left so far."


class ChangeNotApplied(InvalidRequest):
    """The price change has not been applied, so there is no new price to sell by."""

    code = "price_change_not_applied"
    remedy = "Approve the change first."


class NothingToUndo(InvalidRequest):
    """No action on the rate card is left to undo."""

    code = "rate_card_nothing_to_undo"
    remedy = "Only versions made since the card was set up can be undone, the newest first."


class CardChangedSince(InvalidRequest):
    """The rate card's live version is not the one that its last action made."""

    code = "rate_card_changed_since"
    remedy = "The card was set up anew since; change its prices with POST /v1/token_billing/rate_cards/{id}."


@dataclass(frozen=True, slots=True, kw_only=True)
class CardChange(Record):
    """One action on a rate card; `before` and `after` are its live versions."""

    KIND: ClassVar[str] = "rate_card_change"

    rate_card: str
    action: Literal["follow", "adopt", "revise", "undo"]
    before: str
    after: str
    changes: tuple[str, ...] = ()  # The price changes that it follows.
    moved: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    subscriptions: int = 0  # How many were moved.
    undone: bool = False

    @property
    def parent(self) -> str:
        return self.rate_card


@dataclass(frozen=True, slots=True, kw_only=True)
class CardFollowed:
    """What a rate card did about price changes; no `version`: it stays as it is."""

    rate_card: str
    mode: PriceTracking
    version: str = ""
    followed: tuple[str, ...] = ()  # Ids of the changes.
    left: tuple[Left, ...] = ()
    subscriptions: int = 0  # How many were moved, be it that their move lies ahead.
