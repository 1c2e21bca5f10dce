"""Tax rates, and which of them an invoice is taxed by.

Rule 1: a rate's percentage never changes; a new one is a new rate, from its own time on.
Rule 2: the nearest rule wins: a line's own rates, the invoice's, those of the customer's address where the
account goes by it, the account's default.
Rule 3: an exempt customer is taxed nothing; under reverse charge the tax is the customer's own to pay, and
the invoice says so. Both keep the rates on the lines, at zero.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from fractions import Fraction
from typing import ClassVar, Literal

from costplus.billing.invoice import InvoiceLine
from costplus.core.errors import InvalidRequest, NotFound
from costplus.core.records import Record

TaxExempt = Literal["none", "exempt", "reverse"]
REVERSE_CHARGE_NOTE = "Reverse charge: the customer accounts for the tax on this supply."


class NoSuchTaxRate(NotFound):
    """The tax rate does not exist."""

    code = "resource_missing"


class InvalidTaxRate(InvalidRequest):
    """A tax rate that cannot be."""

    code = "tax_rate_invalid"


class TaxLocationMissing(InvalidRequest):
    """Tax goes by the customer's address, which has no country, and there is no default rate."""

    code = "customer_tax_location_invalid"
    remedy = "Give the customer an address with a country, set tax_exempt, or a default tax rate."


@dataclass(frozen=True, slots=True, kw_only=True)
class TaxRate(Record):
    """A tax (`txr_…`) of a jurisdiction; `percentage` is a decimal text such as 19 or 8.875."""

    KIND: ClassVar[str] = "tax_rate"

    display_name: str
    percentage: str
    inclusive: bool
    active: bool = True
    country: str = ""
    state: str = ""
    jurisdiction: str = ""
    description: str = ""
    tax_type: str = ""
    effective_at: datetime | None = None
    ends_at: datetime | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)

    @property
    def share(self) -> Fraction:
        """The percentage as a fraction of one."""
        return Fraction(self.percentage) / 100

    def in_force(self, at: datetime) -> bool:
        """Return whether the rate applies at `at`."""
        begun = self.effective_at is None or self.effective_at <= at
        return self.active and begun and (self.ends_at is None or at < self.ends_at)


@dataclass(frozen=True, slots=True, kw_only=True)
class TaxId(Record):
    """A customer's tax id (`txi_…`), as it was told; printed on invoices, never checked here."""

    KIND: ClassVar[str] = "tax_id"

    customer: str
    type: str
    value: str
    country: str = ""

    @property
    def parent(self) -> str:
        return self.customer


@dataclass(frozen=True, slots=True, kw_only=True)
class Levy:
    """What an invoice's lines are taxed by."""

    rates: tuple[TaxRate, ...] = ()
    own: Mapping[str, TaxRate] = field(default_factory=dict)  # Those that lines name, by id.
    exempt: TaxExempt = "none"
    by_address: bool = False

    @property
    def is_free(self) -> bool:
        return self.exempt != "none"

    @property
    def reason(self) -> str:
        """Why the tax is what it is, in Stripe's words."""
        if self.exempt == "none":
            return "standard_rated"
        return "customer_exempt" if self.exempt == "exempt" else "reverse_charge"

    def rates_of(self, line: InvoiceLine) -> tuple[TaxRate, ...]:
        """Return the rates of one line."""
        if line.tax_rates:
            return tuple(self.own[id] for id in line.tax_rates if id in self.own)
        return self.rates


def of_address(rates: Iterable[TaxRate], *, country: str, state: str, at: datetime) -> tuple[TaxRate, ...]:
    """Return the rates in force for an address: the country's own, and the state's."""
    here = [
        rate for rate in rates if rate.in_force(at) and rate.country == country and rate.state in ("", state)
    ]
    return tuple(sorted(here, key=lambda rate: (rate.state, rate.id)))


def check_percentage(text: str) -> str:
    """Return the percentage as it is kept, or raise `InvalidTaxRate`."""
    try:
        value = Fraction(text)
    except ValueError:
        value = Fraction(-1)
    digits = text.partition(".")[2]
    if not 0 <= value <= 100 or len(digits) > 4 or "/" in text:
        raise InvalidTaxRate(
            f"Invalid percentage: {text}.",
            param="percentage",
            remedy="Give a number from 0 to 100 with at most four decimals.",
        )
    return text


def check_mix(rates: Sequence[TaxRate]) -> None:
    """Raise `InvalidTaxRate` where a rate is named twice."""
    if len({rate.id for rate in rates}) != len(rates):
        raise InvalidTaxRate("A tax rate is named twice.", param="tax_rates")
