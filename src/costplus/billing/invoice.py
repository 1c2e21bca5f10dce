"""Invoices: exact usage amounts turned into minor units once.

Rule 1: a line is Σ quantity × unit price; the lines' exact amounts sum to the charges of the period.
Rule 2: the total is exact amount + what earlier invoices could not ask for, rounded down to minor units;
lines receive minor units by largest remainder, so that they add up; the rest is carried.
Under the policy `line_half_up` each line is rounded by itself, as Stripe does, and nothing is carried.
Rule 3: prepaid credit is shown in minor units but moves in nanos.
Rule 4: usage that came after its period's invoice was final has lines of its own that name the period.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from fractions import Fraction
from typing import Any, ClassVar, Literal

from costplus.catalog.exchange import MARK
from costplus.core.errors import InvalidRequest, NotFound
from costplus.core.money import NANO, decimal_text, for_invoice, nano_per_minor, spread
from costplus.core.period import Period
from costplus.core.records import Record
from costplus.rating.item_charge import LIMITS
from costplus.rating.sheet import UnitRate

NO_NAMES: Mapping[str, str] = {}
Rounding = Literal["down", "line_half_up"]
BillingReason = Literal[
    "subscription_update",
    "subscription_cycle",
    "subscription_create",
    "subscription_threshold",
    "subscription_update",
    "manual",
    "upcoming",
]
# Invoices that ask for usage; the others ask for what is written on them only.
BILLS_USAGE = ("subscription_cycle", "subscription_threshold", "upcoming")


class NoSuchInvoice(NotFound):
    """The invoice does not exist."""

    code = "resource_missing"


class InvoiceState(InvalidRequest):
    """The invoice is not in a state that allows this."""

    code = "invoice_not_in_state"
    remedy = "draft → open → paid | void | uncollectible."


@dataclass(frozen=True, slots=True)
class CreditShare:
    """What one grant paid, in minor units; no grant is named where that is not known (any more)."""

    grant: str
    amount_minor: int


@dataclass(frozen=True, slots=True)
class TaxShare:
    """One rate's tax on a line, or on all lines; `inclusive` tax is part of the amounts already."""

    rate: str
    amount_minor: int
    taxable_minor: int
    inclusive: bool
    reason: str = "standard_rated"  # As Stripe names it: `customer_exempt`, `reverse_charge`, …


@dataclass(frozen=True, slots=True)
class DiscountShare:
    """What one coupon takes off."""

    coupon: str
    amount_minor: int


@dataclass(frozen=True, slots=True, kw_only=True)
class InvoiceLine:
    """One model's tokens of one type at one price; a fee or an item (no model); or late usage written off."""

    id: str  # il_…
    description: str
    amount_minor: int
    amount_nano: int
    period: Period
    kind: Literal["usage", "fee", "item", "write_off"] = "usage"
    provider: str = ""
    model: str = ""
    leaf: str = ""
    quantity: int = 1
    unit_price: str = ""  # Exact, in currency units.
    rate: str = ""  # Of usage: the unit rate that its charges have units at.
    is_late: bool = False  # Of usage from `period`, whose own invoice was final already.
    item: str = ""  # The invoice item that it stands for.
    is_proration: bool = False
    discountable: bool = True
    tax_rates: tuple[str, ...] = ()  # Its own, in place of the invoice's.
    metadata: Mapping[str, str] = field(default_factory=dict)
    credits: tuple[CreditShare, ...] = ()
    discount_minor: int = 0
    taxes: tuple[TaxShare, ...] = ()

    @property
    def credit_minor(self) -> int:
        return sum(share.amount_minor for share in self.credits)


@dataclass(frozen=True, slots=True, kw_only=True)
class Invoice(Record):
    """`subtotal − discounts − credit + tax − surplus = total`, in minor units; the nano figures are exact.

    `tax_minor` is what is added: inclusive tax is in the subtotal already. `surplus_minor` is what the
    customer's surplus pays, or below zero what it gains. Of the total, credit notes take off what they name
    and payments pay the rest.
    """

    KIND: ClassVar[str] = "invoice"

    customer: str
    subscription: str
    currency: str
    period: Period
    billing_reason: BillingReason
    status: Literal["draft", "open", "paid", "void", "uncollectible"] = "draft"
    number: str | None = None
    lines: tuple[InvoiceLine, ...] = ()
    usage_nano: int = 0  # Σ charges of the period.
    credit_nano: int = 0  # Of those, what credit paid.
    carried_in_nano: int = 0
    carried_out_nano: int = 0
    subtotal_minor: int = 0
    credit_minor: int = 0
    total_minor: int = 0
    paid_minor: int = 0
    finalizes_at: datetime | None = None
    finalized_at: datetime | None = None
    paid_at: datetime | None = None
    voided_at: datetime | None = None
    uncollectible_at: datetime | None = None
    test_clock: str | None = None
    usage_due_minor: int = 0  # Of usage, what credit did not pay, before discounts and tax.
    written_off_nano: int = 0  # Of late usage, what is not asked for.
    rounding: Rounding = "down"
    credits: tuple[CreditShare, ...] = ()
    coupon: str = ""
    discounts: tuple[DiscountShare, ...] = ()
    discount_minor: int = 0
    taxes: tuple[TaxShare, ...] = ()
    tax_rates: tuple[str, ...] = ()  # Named for this invoice, in place of what follows from the customer.
    tax_minor: int = 0
    tax_inclusive_minor: int = 0
    is_taxed_by_address: bool = False
    is_reverse_charge: bool = False
    surplus_minor: int = 0
    surplus_before_minor: int = 0  # The customer's surplus when the invoice was made final.
    credited_minor: int = 0  # By credit notes, while it was open.
    credited_after_minor: int = 0  # By credit notes, once it was paid.
    credited_tax_minor: int = 0  # Of both, tax.
    refunded_minor: int = 0  # Of payments, what went back or was given back out of band.
    overpaid_minor: int = 0
    collection_method: Literal["send_invoice", "charge_automatically"] = "send_invoice"
    days_until_due: int | None = None
    due_date: datetime | None = None
    auto_advance: bool = True
    description: str | None = None
    footer: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    finalization_error: str = ""  # Why it could not be made final, in words.
    sent_at: datetime | None = None
    overdue_at: datetime | None = None
    updated: datetime | None = None
    threshold_minor: int = 0  # Of an interim invoice: what was reached.
    billed_to: Mapping[str, Any] = field(default_factory=dict)  # The customer as it was then.
    # Of usage: since when it asks for it, where earlier invoices asked for a part of the period; and the
    # billing period that it belongs to, where the invoice ends before it does.
    usage_from: datetime | None = None
    billing_period: Period | None = None
    attempt_count: int = 0  # How often a payment was tried.
    next_payment_attempt: datetime | None = None

    @property
    def parent(self) -> str:
        return self.customer

    @property
    def usage_period(self) -> Period:
        """The time whose usage it asks for."""
        return Period(self.usage_from or self.period.start, self.period.end)

    @property
    def remaining_minor(self) -> int:
        """What is still to be paid of it."""
        if self.status in ("paid", "void"):
            return 0
        return self.total_minor - self.credited_minor - self.paid_minor

    @property
    def gross_minor(self) -> int:
        """What is asked for before the customer's surplus pays of it: what Stripe calls the total."""
        return self.total_minor + self.surplus_minor

    @property
    def tax_total_minor(self) -> int:
        """All tax, whether added or included."""
        return self.tax_minor + self.tax_inclusive_minor

    @property
    def fixed_lines(self) -> tuple[InvoiceLine, ...]:
        """The lines that do not follow from usage."""
        return tuple(line for line in self.lines if line.kind in ("fee", "item"))


@dataclass(frozen=True, slots=True)
class UsageTotal:
    """How many units were charged at one rate within a period, or came late from another one."""

    rate: UnitRate
    quantity: int
    late_from: Period | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """An invoice's figures before it has an id."""

    lines: tuple[InvoiceLine, ...]
    subtotal_minor: int
    credit_minor: int
    total_minor: int
    carried_out_nano: int
    usage_due_minor: int = 0


def _title(rate: UnitRate, name: str | None, late_from: Period | None) -> str:
    if late_from is not None:
        when = f"{late_from.start:%Y-%m-%d} to {late_from.end:%Y-%m-%d}"
        return f"{_title(rate, name, None)} · late usage of {when}"
    if name is not None:
        return f"{name} · {rate.conditions}"
    band = f"prompt above {rate.above_prompt_tokens} tokens" if rate.above_prompt_tokens else ""
    said = [part for part in rate.conditions.replace("&", ", ").split(", ") if not part.startswith(MARK)]
    because = ", ".join(part for part in (band, *said) if part)
    title = f"{rate.provider}/{rate.model} · {rate.leaf.replace('_', ' ')}"
    return f"{title} ({because})" if because else title


def exact_line_nanos(totals: Sequence[UsageTotal], *, usage_nano: int) -> list[int]:
    """Return each line's nanos: Σ quantity × unit price, with the events' roundings spread over them.

    `usage_nano` is the sum of the charges, each of which was rounded up by less than one nano.
    """
    exact = [
        divmod(total.quantity * NANO * total.rate.unit_price.numerator, total.rate.unit_price.denominator)
        for total in totals
    ]
    floors = [floor for floor, _ in exact]
    rest = usage_nano - sum(floors)
    assert rest >= 0  # Every event was rounded up.
    fractions = [
        Fraction(part, total.rate.unit_price.denominator)
        for (_, part), total in zip(exact, totals, strict=True)
    ]
    # Where no line has a fraction, lines that ask for nothing bear no rounding either.
    weights = fractions if any(fractions) else [max(floor, 0) for floor in floors]
    return [f + extra for f, extra in zip(floors, spread(rest, weights), strict=True)]


def _line_minors(usage_minor: int, nanos: Sequence[int], *, per_minor: int) -> list[int]:
    """Return each line's minor units; they sum to `usage_minor`.

    Beside a discount proportions say nothing: then each line has its own whole minor units, and the rest goes
    to the largest remainders.
    """
    if not nanos:
        return []
    if min(nanos) >= 0:
        return spread(usage_minor, nanos)
    floors = [nano // per_minor for nano in nanos]
    rest = spread(usage_minor - sum(floors), [nano % per_minor for nano in nanos])
    return [floor + extra for floor, extra in zip(floors, rest, strict=True)]


def _usage_line(
    id: str, total: UsageTotal, *, name: str | None, minor: int, nano: int, period: Period
) -> InvoiceLine:
    """Return a rate's line; what a limit adds or takes off is shown as one amount."""
    rate, is_amount = total.rate, total.rate.leaf in LIMITS
    return InvoiceLine(
        id=id,
        description=_title(rate, name, total.late_from),
        amount_minor=minor,
        amount_nano=nano,
        period=total.late_from or period,
        is_late=total.late_from is not None,
        provider=rate.provider,
        model=rate.model,
        leaf=rate.leaf,
        rate=rate.id,
        quantity=1 if is_amount else total.quantity,
        unit_price=decimal_text(rate.unit_price * total.quantity if is_amount else rate.unit_price),
    )


def draft(
    totals: Sequence[UsageTotal],
    *,
    line_ids: Sequence[str],
    period: Period,
    currency: str,
    usage_nano: int,
    owed_nano: int,
    carried_in_nano: int,
    fees: Sequence[tuple[str, int, Period]] = (),
    names: Mapping[str, str] = NO_NAMES,
    rounding: Rounding = "down",
    written_off_nano: int = 0,
) -> Draft:
    """Return lines and totals of a period's usage and fees.

    `usage_nano`: Σ charges; `owed_nano`: what credit did not pay of them; `fees`: (title, minor units,
    period). `line_ids` has an id for each total and then each fee. `names`: what items are called, by rate.
    `written_off_nano` of what is owed is not asked for.
    """
    assert 0 <= written_off_nano <= owed_nano
    assert len(line_ids) == len(totals) + len(fees)
    per_minor = nano_per_minor(currency)
    due_nano = owed_nano - written_off_nano + carried_in_nano
    nanos = exact_line_nanos(totals, usage_nano=usage_nano) if totals else []
    if rounding == "down":
        usage_minor = for_invoice(usage_nano + carried_in_nano, currency=currency)
        minors = _line_minors(usage_minor, nanos, per_minor=per_minor)
        less = for_invoice(usage_nano + carried_in_nano - written_off_nano, currency=currency) - usage_minor
        due_minor = for_invoice(due_nano, currency=currency)
        credit_minor = usage_minor + less - due_minor
    else:
        minors = [_half_up(total.quantity * total.rate.unit_price * NANO, currency) for total in totals]
        usage_minor, less = sum(minors), -_half_up(written_off_nano, currency)
        credit_minor = min(_half_up(usage_nano - owed_nano, currency), usage_minor + less)
        due_minor = usage_minor + less - credit_minor
    if not totals:
        usage_minor = credit_minor = due_minor = less = 0  # No line: what was carried stays carried.
    lines = [
        _usage_line(id, total, name=names.get(total.rate.id), minor=minor, nano=nano, period=period)
        for id, total, nano, minor in zip(line_ids, totals, nanos, minors, strict=False)
    ]
    if written_off_nano:
        title = "Late usage that is not asked for"
        written = InvoiceLine(
            id=f"{line_ids[0]}w",
            description=title,
            amount_minor=less,
            amount_nano=-written_off_nano,
            period=period,
            kind="write_off",
        )
        lines.append(written)
    for id, (title, minor, fee_period) in zip(line_ids[len(totals) :], fees, strict=True):
        lines.append(fee_line(id, title, minor, period=fee_period, currency=currency))
    fees_minor = sum(minor for _, minor, _ in fees)
    carried_out_nano = due_nano - due_minor * per_minor if rounding == "down" or not totals else 0
    return Draft(
        lines=tuple(lines),
        subtotal_minor=usage_minor + less + fees_minor,
        credit_minor=credit_minor,
        total_minor=due_minor + fees_minor,
        carried_out_nano=carried_out_nano,
        usage_due_minor=due_minor,
    )


def _half_up(nano: int | Fraction, currency: str) -> int:
    return for_invoice(nano, currency=currency, policy="line_half_up")


def fee_line(id: str, title: str, minor: int, *, period: Period, currency: str) -> InvoiceLine:
    """Return the line of a fee."""
    nano = minor * nano_per_minor(currency)
    return InvoiceLine(
        id=id, description=title, amount_minor=minor, amount_nano=nano, period=period, kind="fee"
    )
