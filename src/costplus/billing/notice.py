"""Notices: a price change as it is announced, with what each rate card does and what it means."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from costplus.billing.card_change import CardFollowed
from costplus.catalog.book import PriceChange
from costplus.core.records import Record
from costplus.rating.impact import Impact

CUSTOMERS_MAX = 20  # So many are listed; how many there are is always said.


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceNotice(Record):
    """What an event about a price change shows; it is kept in events only, under the change's id."""

    KIND: ClassVar[str] = "price_notice"

    change: PriceChange
    cards: tuple[CardFollowed, ...] = ()
    impact: Impact | None = None


def notice_of(
    change: PriceChange, *, cards: Sequence[CardFollowed] = (), impact: Impact | None = None
) -> PriceNotice:
    """Return the notice of a change with its part of what the cards did or would do."""
    return PriceNotice(
        id=change.id,
        created=change.created,
        change=change,
        cards=tuple(card for card in cards if _is_about(card, change)),
        impact=impact.cut(CUSTOMERS_MAX) if impact else None,
    )


def _is_about(card: CardFollowed, change: PriceChange) -> bool:
    return change.id in card.followed or any(left.change == change.id for left in card.left)
