"""Rate cards: how a provider's cost becomes the customer's price, in immutable versions.

Rule 1: markup is a share of the cost (30 % → × 1.30), margin a share of the price (30 % → ÷ 0.70);
they are different settings and every screen shows both.
Rule 2: the most specific adjustment wins: model, then provider, then default.
Rule 3: a version never changes; a card's `live_version` is what new subscriptions get.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache
from typing import ClassVar, Literal

from costplus.core.errors import InvalidRequest
from costplus.core.records import Record

PriceTracking = Literal["disabled", "migrate_all", "new_customers_only"]


class InvalidMarkup(InvalidRequest):
    """A markup or margin outside what can be charged."""

    code = "markup_invalid"
    remedy = "Give a markup of 0 or more percent, or a margin from 0 to below 100 percent."


class ModelNotOnCard(InvalidRequest):
    """The rate card lists its models and this is not one of them."""

    code = "model_not_on_rate_card"
    remedy = "Use a model listed by GET /v1/models, or add it to the rate card."


@dataclass(frozen=True, slots=True)
class Adjustment:
    """A markup over cost or a margin of the price, in percent."""

    kind: Literal["markup", "margin"]
    percent: Decimal

    @property
    def factor(self) -> Fraction:
        """What a cost is multiplied by to give the price, exact."""
        return _factor(self.kind, self.percent)

    @property
    def markup_percent(self) -> Fraction:
        """The adjustment read as a markup: 23.08 % margin is 30 % markup."""
        return (self.factor - 1) * 100

    @property
    def margin_percent(self) -> Fraction:
        """The adjustment read as a margin: 30 % markup is 23.08 % margin."""
        return (1 - 1 / self.factor) * 100


@lru_cache(maxsize=4096)  # Every unit rate is made with it, and a card has few of them.
def _factor(kind: Literal["markup", "margin"], percent: Decimal) -> Fraction:
    share = Fraction(percent) / 100
    return 1 + share if kind == "markup" else 1 / (1 - share)


def adjustment(kind: Literal["markup", "margin"], percent: Decimal) -> Adjustment:
    """Return a valid adjustment, or raise `InvalidMarkup`."""
    if percent < 0 or percent > 10_000 or (kind == "margin" and percent >= 100):
        raise InvalidMarkup(f"A {kind} of {percent} percent cannot be charged.", param=f"{kind}_percent")
    if -percent.as_tuple().exponent > 6:  # type: ignore[operator]  # Finite: the exponent is an int.
        raise InvalidMarkup(
            f"A {kind} of {percent} percent has more than 6 decimals.", param=f"{kind}_percent"
        )
    return Adjustment(kind, percent)


@dataclass(frozen=True, slots=True, kw_only=True)
class RateCard(Record):
    """The card itself: a name and which version is live."""

    KIND: ClassVar[str] = "rate_card"

    display_name: str
    currency: str
    live_version: str
    latest_version: str
    price_tracking: PriceTracking = "disabled"
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class RateCardVersion(Record):
    """One immutable state of a card.

    `models` holds the `provider/model` names that the card sells; empty sells every priced model.
    """

    KIND: ClassVar[str] = "rate_card_version"
    IMMUTABLE: ClassVar[bool] = True

    rate_card: str
    default: Adjustment
    providers: Mapping[str, Adjustment] = field(default_factory=dict)
    model_overrides: Mapping[str, Adjustment] = field(default_factory=dict)
    models: tuple[str, ...] = ()

    @property
    def parent(self) -> str:
        return self.rate_card

    def adjustment_for(self, *, provider: str, model: str) -> Adjustment:
        """Return the adjustment that applies to a model at a provider."""
        named = self.model_overrides.get(f"{provider}/{model}")
        return named or self.providers.get(provider) or self.default

    def check_sells(self, *, provider: str, model: str) -> None:
        """Raise `ModelNotOnCard` where the card lists its models and lacks this one."""
        if self.models and f"{provider}/{model}" not in self.models:
            raise ModelNotOnCard(f"Model '{provider}/{model}' is not sold on this customer's rate card.")
