"""An invoice as a document: every text that its page and its PDF show, in order.

Rule 1: page and PDF are made of the same document, so they never differ.
Rule 2: nothing of the seller's cost is in it.   Rule 3: amounts come as text with all of their digits.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby

from costplus.billing.customer import Customer
from costplus.billing.invoice import Invoice, InvoiceLine
from costplus.billing.seller import Seller
from costplus.core.money import nano_per_minor
from costplus.web.figures import count, day, instant, leaf_name, minor_amount, nano_amount, unit_amount

STATES = {
    "draft": "Draft: the figures may still change",
    "open": "Open: awaiting payment",
    "paid": "Paid",
    "void": "Void: nothing is owed",
    "uncollectible": "Uncollectible",
}
OTHER = "Fees and other charges"
ADDRESS_FIELDS = ("line1", "line2", "postal_code", "city", "state", "country")


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
    """The lines of one model, or those of no model."""

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


def amount_due_minor(invoice: Invoice) -> int:
    """Return what is still to be paid."""
    if invoice.status in ("paid", "void"):
        return 0
    return invoice.total_minor - invoice.paid_minor


def document_of(invoice: Invoice, customer: Customer | None, seller: Seller | None) -> Document:
    """Return the invoice's document; a customer or seller that is not known is left out."""
    return Document(
        title=f"Invoice {invoice.number}" if invoice.number else "Invoice (draft)",
        state=STATES[invoice.status],
        currency=invoice.currency.upper(),
        seller=_seller(seller) if seller else (),
        buyer=_buyer(customer, invoice),
        facts=tuple(_facts(invoice)),
        groups=tuple(_groups(invoice)),
        totals=tuple(_totals(invoice)),
        notes=tuple(_notes(invoice, seller)),
    )


def _seller(seller: Seller) -> tuple[str, ...]:
    tax_id = f"Tax ID: {seller.tax_id}" if seller.tax_id else ""
    return tuple(text for text in (seller.name, *seller.address, seller.email, tax_id) if text)


def _buyer(customer: Customer | None, invoice: Invoice) -> tuple[str, ...]:
    if customer is None:
        return (invoice.customer,)
    address = customer.profile.get("address") or {}
    lines = [str(address[name]) for name in ADDRESS_FIELDS if address.get(name)]
    return tuple(text for text in (customer.name or customer.id, *lines, customer.email) if text)


def _facts(invoice: Invoice) -> Iterator[Fact]:
    period = invoice.period
    yield Fact("Amount due", minor_amount(amount_due_minor(invoice), invoice.currency))
    yield Fact("Status", STATES[invoice.status])
    whole = f"{instant(period.start)} until before {instant(period.end)}"
    yield Fact("Period", f"{day(period.start)} to {day(period.end)}", whole)
    if invoice.finalized_at:
        yield Fact("Issued", day(invoice.finalized_at))
    if invoice.paid_at:
        yield Fact("Paid", day(invoice.paid_at))


def _groups(invoice: Invoice) -> Iterator[Group]:
    def title(line: InvoiceLine) -> str:
        return f"{line.provider}/{line.model}" if line.kind == "usage" else OTHER

    for name, lines in groupby(invoice.lines, key=title):
        yield Group(name, tuple(_row(line, invoice.currency) for line in lines))


def _row(line: InvoiceLine, currency: str) -> Row:
    is_usage = line.kind == "usage"
    amount = minor_amount(line.amount_minor, currency)
    exact = nano_amount(line.amount_nano, currency)
    return Row(
        text=leaf_name(line.leaf) if is_usage else line.description,
        note=_condition(line) if is_usage else f"{day(line.period.start)} to {day(line.period.end)}",
        quantity=count(line.quantity),
        unit_price=unit_amount(line.unit_price, line.leaf, currency) if line.unit_price else amount,
        amount=amount,
        exact=exact if exact != amount else "",
    )


def _condition(line: InvoiceLine) -> str:
    """Return what a usage line's description says beyond model and token type."""
    return line.description.partition(" (")[2].removesuffix(")")


def _totals(invoice: Invoice) -> Iterator[Total]:
    currency = invoice.currency
    yield Total("Subtotal", minor_amount(invoice.subtotal_minor, currency))
    if invoice.credit_minor:
        yield Total("Credit applied", minor_amount(-invoice.credit_minor, currency))
    yield Total("Total", minor_amount(invoice.total_minor, currency))
    if invoice.paid_minor:
        yield Total("Paid", minor_amount(-invoice.paid_minor, currency))
    yield Total("Amount due", minor_amount(amount_due_minor(invoice), currency), is_due=True)


def _notes(invoice: Invoice, seller: Seller | None) -> Iterator[str]:
    currency = invoice.currency
    exact_nano = invoice.total_minor * nano_per_minor(currency) + invoice.carried_out_nano
    if invoice.carried_in_nano or invoice.carried_out_nano:
        carried_in = nano_amount(invoice.carried_in_nano, currency)
        carried_out = nano_amount(invoice.carried_out_nano, currency)
        exact = nano_amount(exact_nano, currency)
        yield f"Exact total {exact}: {carried_in} carried in from before, {carried_out} carried on."
    if seller and seller.payment_instructions and amount_due_minor(invoice):
        yield seller.payment_instructions
    if seller and seller.footer:
        yield seller.footer
