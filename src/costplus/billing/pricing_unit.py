"""Custom pricing units: "credits" of the seller's own, worth so much money at a time.

Rule 1: a rate holds from its instant until the next one of its currency; what was given keeps its worth.
Rule 2: rates are exact. What units are worth is rounded down to whole nanos, once, when they are given.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from typing import ClassVar

from costplus.core.errors import InvalidRequest, NotFound
from costplus.core.money import NANO, checked_nano, decimal_text
from costplus.core.records import Record

DISPLAY_NAME_MAX = 10


class NoSuchPricingUnit(NotFound):
    """The custom pricing unit does not exist."""

    code = "resource_missing"


class PricingUnitWithoutRate(InvalidRequest):
    """The custom pricing unit is worth nothing in the currency at that time."""

    code = "custom_pricing_unit_rate_missing"
    remedy = "Add a rate with POST /v1/token_billing/custom_pricing_units/{id}."


class PricingUnitAmountInvalid(InvalidRequest):
    """So many units are worth less than the ledger counts, or more than it can hold."""

    code = "custom_pricing_unit_amount_invalid"
    remedy = "Give a number of units above zero that is worth at least 0.000000001 of the currency."


@dataclass(frozen=True, slots=True)
class UnitRateOfExchange:
    """From `since` on, one unit is worth `rate` of the currency (an exact decimal, in currency units)."""

    currency: str
    rate: str
    since: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class PricingUnit(Record):
    """A unit (`cpu_…`) and what it was worth when; `lookup_key` may be another name of it."""

    KIND: ClassVar[str] = "custom_pricing_unit"

    display_name: str
    rates: tuple[UnitRateOfExchange, ...] = ()
    active: bool = True
    metadata: Mapping[str, str] = field(default_factory=dict)

    def rate_at(self, currency: str, at: datetime) -> Fraction:
        """Return what one unit is worth at `at`, in currency units. Raises `PricingUnitWithoutRate`."""
        held = [entry for entry in self.rates if entry.currency == currency and entry.since <= at]
        if not held:
            raise PricingUnitWithoutRate(
                f"Custom pricing unit {self.id} ({self.display_name}) has no rate for {currency} yet."
            )
        return Fraction(max(held, key=lambda entry: entry.since).rate)

    def with_rate(self, currency: str, rate: Decimal, *, since: datetime) -> PricingUnit:
        """Return the unit with a rate from `since` on; one of the same instant is replaced."""
        kept = [entry for entry in self.rates if (entry.currency, entry.since) != (currency, since)]
        added = UnitRateOfExchange(currency, decimal_text(rate), since)
        rates = sorted([*kept, added], key=lambda entry: (entry.since, entry.currency))
        return replace(self, rates=tuple(rates))

    def worth_nano(self, units: Decimal, *, currency: str, at: datetime) -> int:
        """Return what so many units are worth at `at`. Raises `PricingUnitAmountInvalid`."""
        exact = Fraction(units) * self.rate_at(currency, at) * NANO
        nano = exact.numerator // exact.denominator
        if nano <= 0:
            raise PricingUnitAmountInvalid(f"{units} {self.display_name} are worth nothing.")
        return checked_nano(nano)

    def units_of(self, nano: int, *, currency: str, at: datetime) -> Fraction:
        """Return how many units an amount is worth at `at`, exactly."""
        return Fraction(nano, NANO) / self.rate_at(currency, at)
