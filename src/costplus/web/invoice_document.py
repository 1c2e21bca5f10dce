"""An invoice as a document: every text that its page and its PDF show, in order.

Rule 1: page and PDF are made of the same document, so they never differ.
Rule 2: nothing of the seller's cost is in it.   Rule 3: amounts come as text with all of their digits.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from costplus.billing.coupon import Coupon
from costplus.billing.customer import Customer
from costplus.billing.invoice import Invoice, InvoiceLine
from costplus.billing.seller import Seller
from costplus.billing.tax import REVERSE_CHARGE_NOTE, TaxRate
from costplus.metering.event import METER
from costplus.rating.item_charge import LIMITS
from costplus.web.figures import count, day, instant, leaf_name, minor_amount, nano_amount, unit_amount

STATES = {
    "draft": "Draft: the figures may still change",
    "open": "Open: awaiting payment",
    "paid": "Paid",
    "void": "Void: nothing is owed",
    "uncollectible": "Uncollectible",
}
OTHER = "Fees and other charges"
# Parts of an address that stand on one line.
ADDRESS_LINES = (("line1",), ("line2",), ("postal_code", "city", "state"), ("country",))
_LATE = " · late usage of "  # What descriptions of late usage end with, before the period.


@dataclass(frozen=True, slots=True)
class Fact:
    """A labelled value of the document's head."""

    label: str
    text: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """One line: what, how many, at what price each, for how much; `exact` where that has more digits."""

    text: str
    note: str
    quantity: str
    unit_price: str
    amount: str
    exact: str


@dataclass(frozen=True, slots=True)
class Group:
    """The lines of one model or meter, those that came late from one period, or the others."""

    title: str
    rows: tuple[Row, ...]


@dataclass(frozen=True, slots=True)
class Total:
    """One line below the table."""

    label: str
    amount: str
    is_due: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """Everything the page and the PDF of an invoice show."""

    title: str
    state: str
    currency: str
    seller: tuple[str, ...]
    buyer: tuple[str, ...]
    facts: tuple[Fact, ...]
    groups: tuple[Group, ...]
    totals: tuple[Total, ...]
    notes: tuple[str, ...]


def document_of(
    invoice: Invoice,
    customer: Customer | None,
    seller: Seller | None,
    *,
    rates: Sequence[TaxRate] = (),
    coupon: Coupon | None = None,
) -> Document:
    """Return the invoice's document; a customer or seller that is not known is left out.

    `rates` are those of its taxes, `coupon` that of its discount.
    """
    return Document(
        title=f"Invoice {invoice.number}" if invoice.number else "Invoice (draft)",
        state=STATES[invoice.status],
        currency=invoice.currency.upper(),
        seller=seller_lines(seller) if seller else (),
        buyer=buyer_lines(customer, invoice.customer, billed_to=invoice.billed_to),
        facts=tuple(_facts(invoice)),
        groups=tuple(_groups(invoice)),
        totals=tuple(_totals(invoice, {rate.id: rate for rate in rates}, coupon)),
        notes=tuple(_notes(invoice, seller)),
    )


def seller_lines(seller: Seller) -> tuple[str, ...]:
    """Return who sells, line by line."""
    tax_id = f"Tax ID: {seller.tax_id}" if seller.tax_id else ""
    return tuple(text for text in (seller.name, *seller.address, seller.email, tax_id) if text)


def buyer_lines(
    customer: Customer | None, id: str, *, billed_to: Mapping[str, Any] | None = None
) -> tuple[str, ...]:
    """Return who is billed, line by line: as the invoice keeps it, else as the customer is now."""
    billed = billed_to or {}
    if not billed and customer is not None:
        profile = customer.profile
        billed = {"name": customer.name, "email": customer.email, "address": profile.get("address")}
    address = billed.get("address") or {}
    lines = [" ".join(str(address[name]) for name in names if address.get(name)) for names in ADDRESS_LINES]
    tax_ids = [f"Tax ID: {tax_id['value']}" for tax_id in billed.get("tax_ids") or ()]
    return tuple(text for text in (billed.get("name") or id, *lines, billed.get("email"), *tax_ids) if text)


def _facts(invoice: Invoice) -> Iterator[Fact]:
    period = invoice.period
    yield Fact("Amount due", minor_amount(invoice.remaining_minor, invoice.currency))
    yield Fact("Status", STATES[invoice.status])
    whole = f"until before {instant(period.end)}"
    yield Fact("Period", f"{day(period.start)} to {day(period.end)}", whole)
    if invoice.finalized_at:
        yield Fact("Issued", day(invoice.finalized_at))
    if invoice.due_date:
        yield Fact("Due", day(invoice.due_date))
    if invoice.paid_at:
        yield Fact("Paid", day(invoice.paid_at))


def _groups(invoice: Invoice) -> Iterator[Group]:
    """Yield models, then meters and minimums, then what came late, then fees and other charges."""
    places: dict[tuple[int, str], list[InvoiceLine]] = {}
    for line in invoice.lines:
        places.setdefault(_place(line), []).append(line)
    for (_, title), lines in sorted(places.items(), key=lambda place: place[0][0]):
        yield Group(title, tuple(_row(line, invoice.currency) for line in lines))


def _place(line: InvoiceLine) -> tuple[int, str]:
    """Return a line's group: in which order, and what it is called."""
    if line.kind != "usage":
        return 4, OTHER
    if line.is_late:
        return 3, f"Late usage of {day(line.period.start)} to {day(line.period.end)}"
    if line.provider != METER:
        return 0, f"{line.provider}/{line.model}"
    return (2 if line.leaf in LIMITS else 1), _named(line)[0]


def _named(line: InvoiceLine) -> tuple[str, str, str]:
    """Return what a usage line is of, which part of it, and on what conditions; its description says so."""
    said = line.description.partition(_LATE)[0] if line.is_late else line.description
    if line.provider == METER:
        name, _, part = said.rpartition(" · ")
        return (name, part, "") if name else (part, "", "")
    return f"{line.provider}/{line.model}", leaf_name(line.leaf), said.partition(" (")[2].removesuffix(")")


def _row(line: InvoiceLine, currency: str) -> Row:
    amount = minor_amount(line.amount_minor, currency)
    exact = nano_amount(line.amount_nano, currency)
    text, note = line.description, f"{day(line.period.start)} to {day(line.period.end)}"
    if line.kind == "usage":
        name, part, note = _named(line)
        text = f"{name} · {part}" if line.is_late and part else part or name
    return Row(
        text=text,
        note=note,
        quantity=count(line.quantity),
        unit_price=unit_amount(line.unit_price, line.leaf, currency) if line.unit_price else amount,
        amount=amount,
        exact=exact if exact != amount else "",
    )


def _totals(invoice: Invoice, rates: Mapping[str, TaxRate], coupon: Coupon | None) -> Iterator[Total]:
    currency = invoice.currency

    def less(label: str, minor: int) -> Iterator[Total]:
        if minor:
            yield Total(label, minor_amount(-minor, currency))

    yield Total("Subtotal", minor_amount(invoice.subtotal_minor, currency))
    yield from less(_discount(coupon), invoice.discount_minor)
    yield from less("Credit applied", invoice.credit_minor)
    for share in invoice.taxes:
        rate = rates.get(share.rate)
        name = f"{rate.display_name} {rate.percentage} %" if rate else "Tax"
        label = f"{name} on {minor_amount(share.taxable_minor, currency)}"
        yield Total(
            f"{label} (included)" if share.inclusive else label, minor_amount(share.amount_minor, currency)
        )
    yield Total("Total", minor_amount(invoice.gross_minor, currency))
    yield from less(
        "Balance applied" if invoice.surplus_minor > 0 else "To your balance", invoice.surplus_minor
    )
    yield from less("Credit notes", invoice.credited_minor)
    yield from less("Paid", invoice.paid_minor)
    yield Total("Amount due", minor_amount(invoice.remaining_minor, currency), is_due=True)


def _discount(coupon: Coupon | None) -> str:
    if coupon is None:
        return "Discount"
    name = coupon.name or "Discount"
    return f"{name} ({coupon.percent} %)" if coupon.percent else name


def _notes(invoice: Invoice, seller: Seller | None) -> Iterator[str]:
    currency = invoice.currency
    if invoice.carried_in_nano or invoice.carried_out_nano:
        carried_in = nano_amount(invoice.carried_in_nano, currency)
        carried_out = nano_amount(invoice.carried_out_nano, currency)
        yield (
            f"Usage too small to be asked for is carried: {carried_in} came from the invoice before, "
            f"{carried_out} goes on to the next."
        )
    if seller and seller.payment_instructions and invoice.remaining_minor:
        yield seller.payment_instructions
    if invoice.is_reverse_charge:
        yield REVERSE_CHARGE_NOTE
    if invoice.footer:
        yield invoice.footer
    if seller and seller.footer:
        yield seller.footer
