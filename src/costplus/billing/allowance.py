"""What a plan includes every period (credit, tokens, units of the seller's own meters) and commits to.

Rule 1: an allowance is units per period, for all models or named ones. A token type may weigh more or less
than one unit; weights have three decimals, so counting in thousandths is exact.
Rule 2: what a period includes is fixed when it begins (`PeriodTerms`). Another plan in mid-period counts at
once, and of an allowance that both have, the larger.
Rule 3: what is left over rolls into the next periods up to a cap, or lapses. The units of one period are
never used twice: what later periods used of them is not there for late usage of their own.
Rule 4: units that are given back serve usage that comes after; what was charged meanwhile stays charged.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from typing import ClassVar, Literal

from costplus.core.errors import InvalidRequest
from costplus.core.ids import milliseconds
from costplus.core.period import Period
from costplus.core.records import Record
from costplus.core.usage import LEAVES
from costplus.metering.event import TOKEN_METER
from costplus.rating.sheet import UnitRate

MILLI = 1000  # Allowances are counted in thousandths of a unit.
UNITS_MAX = 10**15
ROLLOVER_PERIODS_MAX = 12
MINIMUM_PERIODS_MAX = 36
ALLOWANCES_MAX = 20
WEIGHT_MAX = Decimal(1000)


class InvalidAllowance(InvalidRequest):
    """What the plan is to include cannot be counted."""

    code = "allowance_invalid"
    remedy = (
        f"Give 1 to {UNITS_MAX:,} units, weights above 0 and up to {WEIGHT_MAX} with at most 3 decimals, "
        "token types of the token meter only, and a rollover of at most "
        f"{ROLLOVER_PERIODS_MAX} periods (1 for other meters)."
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollover:
    """How much of what a period leaves unused goes on, for how many periods; by default nothing.

    `most` caps it in the units of what rolls over (minor units of credit, tokens), `most_percent` as a share
    of what the period included. `least` is for credit only: what goes on is filled up to it, and
    `pays_overage` lets it pay first what the ended period owes beyond its credit.
    """

    periods: int = 0
    most: int | None = None
    most_percent: Decimal | None = None
    least: int = 0
    pays_overage: bool = True

    def cap(self, included: int, *, scale: int = 1) -> int:
        """Return the most that goes on of `included` units, of which `scale` are one unit of `most`."""
        if not self.periods:
            return 0
        caps = [included]
        if self.most is not None:
            caps.append(self.most * scale)
        if self.most_percent is not None:
            caps.append(int(included * Fraction(self.most_percent) / 100))
        return min(caps)

    def check(self, *, periods_max: int = ROLLOVER_PERIODS_MAX) -> None:
        """Raise `InvalidAllowance` where it cannot be counted."""
        if not 0 <= self.periods <= periods_max:
            raise InvalidAllowance(f"Nothing rolls over for {self.periods} periods.", param="periods")
        if self.most_percent is not None and not 0 <= self.most_percent <= 100:
            raise InvalidAllowance(f"{self.most_percent} percent cannot roll over.", param="most_percent")


@dataclass(frozen=True, slots=True, kw_only=True)
class CreditTerms:
    """Of what kind a plan's included credit is, and what becomes of the rest of it."""

    category: Literal["paid", "promotional"] = "promotional"
    priority: int = 50
    rollover: Rollover = field(default_factory=Rollover)


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowance:
    """`units` a period that are not asked for.

    `models` holds providers and `provider/model` names, `token_types` leaves; empty means all. For another
    meter than that of tokens the units are those of the item that its events are sold as.
    """

    id: str
    units: int
    name: str = ""
    meter: str = TOKEN_METER
    models: tuple[str, ...] = ()
    token_types: tuple[str, ...] = ()
    weights: Mapping[str, Decimal] = field(default_factory=dict)
    rollover: Rollover = field(default_factory=Rollover)

    @property
    def is_of_tokens(self) -> bool:
        return self.meter == TOKEN_METER

    def covers(self, rate: UnitRate) -> bool:
        """Return whether units sold at the rate may be taken from it."""
        if self.models and not {rate.provider, f"{rate.provider}/{rate.model}"}.intersection(self.models):
            return False
        if self.token_types:
            return rate.leaf in self.token_types
        return rate.leaf in LEAVES and LEAVES[rate.leaf].unit == "token"

    def weight_milli(self, leaf: str) -> int:
        """Return how many thousandths of a unit one of the leaf takes."""
        weight = self.weights.get(leaf)
        return MILLI if weight is None else int(weight * MILLI)

    def check(self) -> None:
        """Raise `InvalidAllowance` where it cannot be counted."""
        if not 1 <= self.units <= UNITS_MAX:
            raise InvalidAllowance(f"{self.units} units cannot be included.", param="units")
        for leaf, weight in self.weights.items():
            if leaf not in LEAVES or not 0 < weight <= WEIGHT_MAX or (weight * MILLI) % 1:
                raise InvalidAllowance(f"The weight {weight} of '{leaf}' cannot be counted.", param="weights")
        for leaf in self.token_types:
            if leaf not in LEAVES:
                raise InvalidAllowance(f"There is no token type '{leaf}'.", param="token_types")
        if not self.is_of_tokens and (self.models or self.token_types or self.weights):
            raise InvalidAllowance("Only tokens are told apart by model and type.", param="event_name")
        self.rollover.check(periods_max=ROLLOVER_PERIODS_MAX if self.is_of_tokens else 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class MinimumSpend:
    """The least that the usage of `periods` periods is billed; the last one is asked for what is lacking."""

    amount_minor: int
    periods: int = 1

    def check(self) -> None:
        """Raise `InvalidAllowance` where it cannot be billed."""
        if self.amount_minor < 0 or not 1 <= self.periods <= MINIMUM_PERIODS_MAX:
            raise InvalidAllowance(
                f"A minimum over {self.periods} periods cannot be billed.",
                param="periods",
                remedy=f"Give 1 to {MINIMUM_PERIODS_MAX} periods.",
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Granted:
    """An allowance as one period has it: its units may be billed with until `expires_at`.

    `rolled_in` came from the period before; only meters without tokens count it apart.
    """

    allowance: Allowance
    units: int
    expires_at: datetime
    rolled_in: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class PeriodTerms(Record):
    """What one period of a subscription includes and commits to, as it was when the period began."""

    KIND: ClassVar[str] = "period_terms"

    subscription: str
    plan: str
    period: Period
    granted: tuple[Granted, ...] = ()
    minimum: MinimumSpend | None = None

    @property
    def parent(self) -> str:
        return self.subscription

    def of(self, allowance: str) -> Granted | None:
        """Return what the period has of an allowance, by its id."""
        return next((granted for granted in self.granted if granted.allowance.id == allowance), None)


def terms_id(subscription: str, start: datetime) -> str:
    """Return the id of the terms of the period that begins then."""
    return f"{subscription}/{milliseconds(start)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class CreditRollover(Record):
    """What becomes of a period's included credit when it ends; its id is the grant's. It goes when done."""

    KIND: ClassVar[str] = "credit_rollover"

    subscription: str
    terms: CreditTerms
    name: str
    minor_amount: int
    due_at: datetime
    expires_at: datetime  # Of the credit that goes on.

    @property
    def parent(self) -> str:
        return self.subscription
