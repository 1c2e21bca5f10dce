"""Invoices: exact usage amounts turned into minor units once.

Rule 1: a line is Σ quantity × unit price; the lines' exact amounts sum to the charges of the period.
Rule 2: the total is exact amount + what earlier invoices could not ask for, rounded down to minor units;
lines receive minor units by largest remainder, so that they add up; the rest is carried.
Rule 3: prepaid credit is shown in minor units but moves in nanos.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from fractions import Fraction
from typing import ClassVar, Literal

from costplus.core.errors import InvalidRequest, NotFound
from costplus.core.money import NANO, decimal_text, for_invoice, nano_per_minor, spread
from costplus.core.period import Period
from costplus.core.records import Record
from costplus.rating.item_charge import LIMITS
from costplus.rating.sheet import UnitRate

NO_NAMES: Mapping[str, str] = {}


class NoSuchInvoice(NotFound):
    """The invoice does not exist."""

    code = "resource_missing"


class InvoiceState(InvalidRequest):
    """The invoice is not in a state that allows this."""

    code = "invoice_not_in_state"
    remedy = "draft → open → paid | void | uncollectible."


@dataclass(frozen=True, slots=True, kw_only=True)
class InvoiceLine:
    """One model's tokens of one type at one price, or a fee (no model)."""

    id: str  # il_…
    description: str
    amount_minor: int
    amount_nano: int
    period: Period
    kind: Literal["usage", "fee"] = "usage"
    provider: str = ""
    model: str = ""
    leaf: str = ""
    quantity: int = 1
    unit_price: str = ""  # Exact, in currency units.


@dataclass(frozen=True, slots=True, kw_only=True)
class Invoice(Record):
    """`subtotal − credit = total`, in minor units; the nano figures are exact."""

    KIND: ClassVar[str] = "invoice"

    customer: str
    subscription: str
    currency: str
    period: Period
    billing_reason: Literal["subscription_cycle", "subscription_create", "upcoming"]
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

    @property
    def parent(self) -> str:
        return self.customer


@dataclass(frozen=True, slots=True)
class UsageTotal:
    """How many units were charged at one rate within a period."""

    rate: UnitRate
    quantity: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """An invoice's figures before it has an id."""

    lines: tuple[InvoiceLine, ...]
    subtotal_minor: int
    credit_minor: int
    total_minor: int
    carried_out_nano: int


def _title(rate: UnitRate, name: str | None) -> str:
    if name is not None:
        return f"{name} · {rate.conditions}"
    band = f"prompt above {rate.above_prompt_tokens} tokens" if rate.above_prompt_tokens else ""
    because = ", ".join(part for part in (band, rate.conditions.replace("&", ", ")) if part)
    title = f"{rate.provider}/{rate.model} · {rate.leaf.replace('_', ' ')}"
    return f"{title} ({because})" if because else title


def exact_line_nanos(totals: Sequence[UsageTotal], *, usage_nano: int) -> list[int]:
    """Return each line's nanos: Σ quantity × unit price, with the events' roundings spread over them.

    `usage_nano` is the sum of the charges, each of which was rounded up by less than one nano.
    """
    exact = [total.quantity * total.rate.unit_price * NANO for total in totals]
    floors = [value.numerator // value.denominator for value in exact]
    rest = usage_nano - sum(floors)
    assert rest >= 0  # Every event was rounded up.
    fractions = [q - f for q, f in zip(exact, floors, strict=True)]
    # Where no line has a fraction, lines that ask for nothing bear no rounding either.
    weights = fractions if any(fractions) else [max(q, Fraction(0)) for q in exact]
    return [f + extra for f, extra in zip(floors, spread(rest, weights), strict=True)]


def _line_minors(usage_minor: int, nanos: Sequence[int], *, per_minor: int) -> list[int]:
    """Return each line's minor units; they sum to `usage_minor`.

    Beside a discount proportions say nothing: then each line has its own whole minor units, and the rest goes
    to the largest remainders.
    """
    if not nanos:
        return []
    if min(nanos) >= 0:
        return spread(usage_minor, [Fraction(nano) for nano in nanos])
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
        description=_title(rate, name),
        amount_minor=minor,
        amount_nano=nano,
        period=period,
        provider=rate.provider,
        model=rate.model,
        leaf=rate.leaf,
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
) -> Draft:
    """Return lines and totals of a period's invoice.

    `usage_nano`: Σ charges; `owed_nano`: what credit did not pay of them; `fees`: (title, minor units,
    period). `line_ids` has an id for each total and then each fee. `names`: what items are called, by rate.
    """
    assert 0 <= owed_nano <= usage_nano or not totals
    assert len(line_ids) == len(totals) + len(fees)
    due_nano = owed_nano + carried_in_nano
    due_minor = for_invoice(due_nano, currency=currency)
    usage_minor = for_invoice(usage_nano + carried_in_nano, currency=currency)
    nanos = exact_line_nanos(totals, usage_nano=usage_nano) if totals else []
    minors = _line_minors(usage_minor, nanos, per_minor=nano_per_minor(currency))
    lines = [
        _usage_line(id, total, name=names.get(total.rate.id), minor=minor, nano=nano, period=period)
        for id, total, nano, minor in zip(line_ids, totals, nanos, minors, strict=False)
    ]
    for id, (title, minor, fee_period) in zip(line_ids[len(totals) :], fees, strict=True):
        nano = minor * nano_per_minor(currency)
        lines.append(
            InvoiceLine(
                id=id, description=title, amount_minor=minor, amount_nano=nano, period=fee_period, kind="fee"
            )
        )
    fees_minor = sum(minor for _, minor, _ in fees)
    if not totals:
        usage_minor = due_minor = 0  # Nothing to put on a line: what was carried stays carried.
    return Draft(
        lines=tuple(lines),
        subtotal_minor=usage_minor + fees_minor,
        credit_minor=usage_minor - due_minor,
        total_minor=due_minor + fees_minor,
        carried_out_nano=due_nano - due_minor * nano_per_minor(currency),
    )
