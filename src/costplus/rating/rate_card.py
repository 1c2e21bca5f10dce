"""Rate cards: how a provider's cost becomes the customer's price, in immutable versions.

Rule 1: markup is a share of the cost (30 % → × 1.30), margin a share of the price (30 % → ÷ 0.70);
they are different settings and every screen shows both.
Rule 2: the most specific adjustment wins: customer, then token type (of one model, of all), then model, then
provider, then default. A fixed price beats them all, but the customer's.
Rule 3: a version never changes; a card's `live_version` is what new subscriptions get.
Rule 4: a version sells at the provider prices known at its `priced_as_of`, whatever was learned since: what
follows from a change of prices is a new version, made by the card's own rule. A model whose change the card
did not follow keeps selling by what was known before it (`kept_as_of`), until a later version takes it along.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache
from typing import ClassVar, Literal

from costplus.core.errors import InvalidRequest
from costplus.core.records import Record
from costplus.rating.item import CardItem

# Stripe's words for what a card does about a change: tell, price new customers by it, or everybody.
PriceTracking = Literal["disabled", "migrate_all", "new_customers_only"]
UnpricedPolicy = Literal["block", "hold", "fallback"]
AttemptPolicy = Literal["free", "charged"]
ExhaustionPolicy = Literal["finish", "cut"]


class InvalidMarkup(InvalidRequest):
    """A markup or margin outside what can be charged."""

    code = "markup_invalid"
    remedy = "Give a markup of 0 or more percent, or a margin from 0 to below 100 percent."


class ModelNotOnCard(InvalidRequest):
    """The rate card lists its models and this is not one of them."""

    code = "model_not_on_rate_card"
    remedy = "Use a model listed by GET /v1/models, or add it to the rate card."


class PriceBelowFloor(InvalidRequest):
    """The model would be sold below the margin that its rate card does not go under."""

    code = "price_below_floor_margin"
    remedy = "Raise the card's price for the model, or lower its floor_margin_percent."


@dataclass(frozen=True, slots=True)
class Adjustment:
    """A markup over cost or a margin of the price, in percent; `fixed`: the price stands by itself.

    `own_key` is a share of what the provider charges the customer for calls with the customer's own key.
    """

    kind: Literal["markup", "margin", "fixed", "own_key"]
    percent: Decimal

    @property
    def follows_cost(self) -> bool:
        """Whether the price is the seller's cost times `factor`."""
        return self.kind in ("markup", "margin")

    @property
    def factor(self) -> Fraction:
        """What a cost is multiplied by to give the price, exact."""
        assert self.kind == "markup" or self.kind == "margin"
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


FIXED = Adjustment("fixed", Decimal(0))


@dataclass(frozen=True, slots=True)
class FixedPrice:
    """What one leaf sells for whatever it costs: `amount` per `per` units, in the card's currency."""

    amount: Decimal
    per: int

    @property
    def unit_price(self) -> Fraction:
        """The exact price of one unit."""
        return Fraction(self.amount) / self.per


@dataclass(frozen=True, slots=True, kw_only=True)
class Tracking:
    """What a card does by itself when provider prices change or models appear.

    `moves` says when subscriptions are moved by `migrate_all`: at once or with their next period;
    `notice_days` delays either. Increases above `max_increase_percent` are only told.
    """

    new_models: PriceTracking = "disabled"
    apply_decreases: bool = True
    apply_increases: bool = True
    max_increase_percent: Decimal | None = None
    notice_days: int = 0
    moves: Literal["immediately", "next_period"] = "immediately"


@dataclass(frozen=True, slots=True, kw_only=True)
class RateCard(Record):
    """The card itself: a name and which version is live."""

    KIND: ClassVar[str] = "rate_card"

    display_name: str
    currency: str
    live_version: str
    latest_version: str
    price_tracking: PriceTracking = "disabled"
    tracking: Tracking = field(default_factory=Tracking)
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class RateCardVersion(Record):
    """One immutable state of a card.

    `models` holds the `provider/model` names that the card sells; empty sells every priced model that was
    known at `models_as_of`, and those `admitted` since. Keys of `token_types` and `fixed` are a leaf or
    `provider/model:leaf`.
    """

    KIND: ClassVar[str] = "rate_card_version"
    IMMUTABLE: ClassVar[bool] = True

    rate_card: str
    default: Adjustment
    providers: Mapping[str, Adjustment] = field(default_factory=dict)
    model_overrides: Mapping[str, Adjustment] = field(default_factory=dict)
    models: tuple[str, ...] = ()
    token_types: Mapping[str, Adjustment] = field(default_factory=dict)
    fixed: Mapping[str, FixedPrice] = field(default_factory=dict)
    priced_as_of: datetime | None = None  # None: by whatever price is in force.
    kept_as_of: Mapping[str, datetime] = field(default_factory=dict)  # Models that sell by an older state.
    models_as_of: datetime | None = None  # None: every model, whenever it came.
    admitted: tuple[str, ...] = ()  # Models that it sells although they came after `models_as_of`.
    floor_margin_percent: Decimal | None = None
    unpriced: UnpricedPolicy = "block"
    fallback: Mapping[str, FixedPrice] = field(default_factory=dict)  # Per leaf, for models without a price.
    items: Mapping[str, CardItem] = field(
        default_factory=dict
    )  # What it sells besides tokens, by event name.
    # What a call with the customer's own key is charged, of its list price; nothing at 0.
    own_key_fee_percent: Decimal = Decimal(0)
    failed_attempts: AttemptPolicy = "free"  # Whether attempts that gave no answer are asked for.
    on_exhaustion: ExhaustionPolicy = "finish"  # What becomes of a stream whose customer runs out of credit.
    customer: str = ""  # Whose own reading of the card this is; it is not kept.
    currency: str = "usd"  # What it sells in; what providers charge in another one is converted.

    @property
    def parent(self) -> str:
        return self.rate_card

    def known_at(self, *, provider: str, model: str) -> datetime | None:
        """Return by what was known when the model sells; None by whatever price is in force."""
        if self.priced_as_of is None:
            return None
        return self.kept_as_of.get(f"{provider}/{model}", self.priced_as_of)

    def same_terms(self, other: RateCardVersion) -> bool:
        """Return whether two versions say the same, whenever and as what they were made."""
        return replace(self, id=other.id, created=other.created) == other

    def adjustment_for(self, *, provider: str, model: str, leaf: str = "") -> Adjustment:
        """Return the adjustment that applies to a leaf of a model at a provider."""
        name = f"{provider}/{model}"
        own = self.token_types.get(f"{name}:{leaf}") or self.token_types.get(leaf)
        return own or self.model_overrides.get(name) or self.providers.get(provider) or self.default

    def fixed_for(self, *, provider: str, model: str, leaf: str) -> FixedPrice | None:
        """Return the leaf's fixed price, or None where it sells by its cost."""
        return self.fixed.get(f"{provider}/{model}:{leaf}") or self.fixed.get(leaf)

    def for_customer(self, customer: str, own: Adjustment) -> RateCardVersion:
        """Return the card as it applies to a customer with an adjustment of its own."""
        return replace(
            self,
            id=f"{self.id}~{own.kind}{own.percent.normalize():f}",
            default=own,
            providers={},
            model_overrides={},
            token_types={},
            fixed={},
            customer=customer,
        )

    def check_sells(self, *, provider: str, model: str) -> None:
        """Raise `ModelNotOnCard` where the card lists its models and lacks this one."""
        if self.models and f"{provider}/{model}" not in self.models:
            raise ModelNotOnCard(f"Model '{provider}/{model}' is not sold on this customer's rate card.")
