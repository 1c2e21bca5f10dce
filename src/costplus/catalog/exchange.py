"""Exchange rates: what providers charge in one currency, in the currency of a book.

Rule 1: a rate is stored with where and of which day it is, and never changes; usage converts by the one in
force at its own time, so that what was charged stays as it was.
Rule 2: conversion is exact: a price's amounts are multiplied, and nothing rounds before the charge does.
Rule 3: a price without a rate for its currency is no price: its usage waits as unpriced, never as zero.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import ClassVar

from costplus.catalog.price import ModelUnpriced, PriceVersion
from costplus.core.records import Record

MARK = "fx "  # Begins what a unit rate says about the conversion.


class FxRateMissing(ModelUnpriced):
    """A provider's price is in a currency that no stored rate converts at that instant."""

    code = "fx_rate_missing"
    remedy = "Store a rate with POST /v1/token_billing/fx_rates; usage that waits is charged then."


@dataclass(frozen=True, slots=True, kw_only=True)
class FxRate(Record):
    """One unit of `base` is `rate` (a decimal text) units of `quote` from `effective_at` on (`fx_…`)."""

    KIND: ClassVar[str] = "fx_rate"
    IMMUTABLE: ClassVar[bool] = True

    base: str
    quote: str
    rate: str
    effective_at: datetime
    source: str  # Who states it: `ecb`, a bank, a contract.
    stated_on: str  # The day that it is of: 2026-11-23.

    @property
    def parent(self) -> str:
        return f"{self.base}/{self.quote}"

    @property
    def words(self) -> str:
        """What a unit rate says about it."""
        return f"{MARK}{self.base}→{self.quote} {self.rate} of {self.stated_on} ({self.source})"


class Exchange:
    """The stored rates of all pairs of currencies."""

    def __init__(self, rates: Iterable[FxRate] = ()) -> None:
        self._rates: dict[tuple[str, str], list[FxRate]] = {}
        for rate in rates:
            self._rates.setdefault((rate.base, rate.quote), []).append(rate)
        for known in self._rates.values():
            known.sort(key=lambda rate: (rate.effective_at, rate.created, rate.id), reverse=True)

    def rate_at(self, base: str, quote: str, *, at: datetime) -> FxRate:
        """Return the rate in force at `at`; of equal ones the latest. Raises `FxRateMissing`."""
        for rate in self._rates.get((base, quote), ()):
            if rate.effective_at <= at:
                return rate
        raise FxRateMissing(f"There is no rate from {base} to {quote} at {at:%Y-%m-%dT%H:%M:%SZ}.")


def converted(price: PriceVersion, rate: FxRate) -> PriceVersion:
    """Return the price version in the rate's currency; it keeps its id and says how it was converted."""
    assert price.currency.lower() == rate.base, (price.currency, rate)
    factor = Decimal(rate.rate)
    components = tuple(replace(component, amount=component.amount * factor) for component in price.components)
    return replace(price, currency=rate.quote, components=components, converted=rate.words)
