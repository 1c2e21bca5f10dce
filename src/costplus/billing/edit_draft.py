"""Edit what is not final: invoice items, invoices by hand, and the lines of drafts.

Rule 1: usage and fees follow from what was used and from the plan; only items can be changed.
Rule 2: an item is on one draft or waits; where its draft is deleted it waits again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from costplus.billing.compose import item_line, open_draft, with_figures
from costplus.billing.customer import Customer
from costplus.billing.invoice import Invoice, InvoiceState
from costplus.billing.invoice_item import InvoiceItem, NoSuchInvoiceItem
from costplus.billing.notify import announce
from costplus.billing.store import Tx
from costplus.core.errors import InvalidRequest
from costplus.core.ids import new_id
from costplus.core.period import Period

DRAFT_WAITS = timedelta(hours=1)  # Before a draft by hand that advances by itself becomes final.
LINES_MAX = 250


class LineNotEditable(InvalidRequest):
    """Only lines that stand for invoice items can be changed."""

    code = "invoice_line_not_editable"
    remedy = "Usage and fees follow from what was used and from the plan; add an item instead."


class CurrencyMismatch(InvalidRequest):
    """A book is in one currency, and the amount is in another one."""

    code = "currency_mismatch"


def check_currency(customer: Customer, currency: str | None, *, param: str = "currency") -> str:
    """Return the customer's currency, which is the only one that its amounts may be in."""
    if currency is not None and currency.lower() != customer.currency:
        raise CurrencyMismatch(
            f"Customer {customer.id} is billed in {customer.currency}, not {currency.lower()}.",
            param=param,
            remedy=f"Give amounts in {customer.currency}.",
        )
    return customer.currency


def check_draft(invoice: Invoice) -> None:
    """Raise `InvoiceState` where the invoice is final."""
    if invoice.status != "draft":
        raise InvoiceState(f"Invoice {invoice.id} is {invoice.status}, not a draft.")


def add_item(tx: Tx, item: InvoiceItem, *, at: datetime) -> InvoiceItem:
    """Keep a new item: waiting, or on the draft that it names."""
    tx.balance_for_update(item.customer)
    tx.save(item)
    announce(tx, "invoiceitem.created", item, at=at)
    if item.invoice:
        put_on(tx, _draft(tx, item), [item], at=at)
    return item


def change_item(tx: Tx, item: InvoiceItem, *, at: datetime) -> InvoiceItem:
    """Save an item that was changed, and the draft that it is on."""
    tx.balance_for_update(item.customer)
    invoice = _draft(tx, item) if item.invoice else None
    tx.save(item)
    if invoice is not None:
        _update(tx, _with_items(invoice, [item], at=at), at=at)
    return item


def remove_item(tx: Tx, item: InvoiceItem, *, at: datetime) -> None:
    """Delete an item that no final invoice asks for."""
    tx.balance_for_update(item.customer)
    if item.invoice:
        invoice = _draft(tx, item)
        kept = tuple(line for line in invoice.lines if line.item != item.id)
        _update(tx, replace(invoice, lines=kept), at=at)
    tx.remove(InvoiceItem, item.id)
    announce(tx, "invoiceitem.deleted", item, at=at)


def _draft(tx: Tx, item: InvoiceItem) -> Invoice:
    invoice = tx.find(Invoice, item.invoice)
    assert invoice is not None, item.invoice
    check_draft(invoice)
    return invoice


def put_on(tx: Tx, invoice: Invoice, items: Sequence[InvoiceItem], *, at: datetime) -> Invoice:
    """Put items on a draft, at the end of its lines."""
    check_draft(invoice)
    for item in items:
        tx.save(replace(item, invoice=invoice.id))
    return _update(tx, _with_items(invoice, items, at=at), at=at)


def _with_items(invoice: Invoice, items: Sequence[InvoiceItem], *, at: datetime) -> Invoice:
    """Return the draft with the items' lines, those that it has already in their place."""
    lines = list(invoice.lines)
    for item in items:
        made = item_line(item, at=at)
        place = next((i for i, line in enumerate(lines) if line.item == item.id), None)
        if place is None:
            lines.append(made)
        else:
            lines[place] = replace(made, id=lines[place].id)
    if len(lines) > LINES_MAX:
        raise InvoiceState(f"An invoice has at most {LINES_MAX} lines.", remedy="Begin another invoice.")
    return replace(invoice, lines=tuple(lines))


def take_off(tx: Tx, invoice: Invoice, lines: Sequence[tuple[str, bool]], *, at: datetime) -> Invoice:
    """Take item lines off a draft: (line id, whether its item is deleted; else it waits)."""
    check_draft(invoice)
    for id, deletes in lines:
        item = item_of_line(tx, invoice, id)
        if deletes:
            tx.remove(InvoiceItem, item.id)
            announce(tx, "invoiceitem.deleted", item, at=at)
        else:
            tx.save(replace(item, invoice=""))
    gone = {id for id, _ in lines}
    kept = tuple(line for line in invoice.lines if line.id not in gone)
    return _update(tx, replace(invoice, lines=kept), at=at)


def item_of_line(tx: Tx, invoice: Invoice, id: str) -> InvoiceItem:
    """Return the item that a line stands for. Raises `LineNotEditable` where it stands for none."""
    line = next((line for line in invoice.lines if line.id == id), None)
    if line is None:
        raise NoSuchInvoiceItem(f"Invoice {invoice.id} has no line '{id}'.", param="lines")
    item = tx.find(InvoiceItem, line.item) if line.item else None
    if item is None:
        raise LineNotEditable(f"Line {id} of invoice {invoice.id} stands for no invoice item.", param="lines")
    return item


def _update(tx: Tx, invoice: Invoice, *, at: datetime) -> Invoice:
    """Save a changed draft with its figures of now."""
    invoice = replace(with_figures(tx, invoice, at=at), updated=at)
    tx.save(invoice)
    announce(tx, "invoice.updated", invoice, at=at)
    return invoice


def new_invoice(tx: Tx, customer: Customer, blank: Invoice, *, takes_items: bool, at: datetime) -> Invoice:
    """Begin an invoice by hand; with the customer's waiting items where it `takes_items`."""
    tx.balance_for_update(customer.id)
    if blank.auto_advance:
        blank = replace(blank, finalizes_at=at + DRAFT_WAITS)
    return open_draft(tx, blank, at=at, takes_items=takes_items)


def blank_invoice(customer: Customer, *, subscription: str, at: datetime) -> Invoice:
    """Return the invoice by hand that has nothing on it yet."""
    return Invoice(
        id=new_id("in", at=at),
        created=at,
        customer=customer.id,
        subscription=subscription,
        currency=customer.currency,
        period=Period(at, at),
        billing_reason="manual",
        test_clock=customer.test_clock,
        auto_advance=False,
    )


def change_draft(tx: Tx, before: Invoice, after: Invoice, *, at: datetime) -> Invoice:
    """Save an invoice whose terms were changed; of a final one only what asks for no other amount."""
    tx.balance_for_update(before.customer)
    terms = [
        "tax_rates",
        "coupon",
        "days_until_due",
        "collection_method",
        "footer",
        "description",
        "due_date",
    ]
    if before.status != "draft":
        changed = [name for name in terms if getattr(before, name) != getattr(after, name)]
        if changed:
            raise InvoiceState(
                f"Invoice {before.id} is {before.status}: its {changed[0]} cannot be changed.",
                remedy="Only its metadata can.",
            )
        after = replace(after, updated=at)
        tx.save(after)
        announce(tx, "invoice.updated", after, at=at)
        return after
    if after.auto_advance != before.auto_advance:
        waits = max(after.created + DRAFT_WAITS, at) if after.auto_advance else None
        after = replace(after, finalizes_at=waits)
    return _update(tx, after, at=at)


def delete_draft(tx: Tx, invoice: Invoice, *, at: datetime) -> None:
    """Delete a draft that was begun by hand; its items wait again."""
    tx.balance_for_update(invoice.customer)
    check_draft(invoice)
    if invoice.billing_reason != "manual":
        raise InvoiceState(
            f"Invoice {invoice.id} belongs to a subscription and cannot be deleted.",
            remedy="Finalise it and void it: usage is asked for once.",
        )
    for line in invoice.lines:
        item = tx.find(InvoiceItem, line.item) if line.item else None
        if item is not None:
            tx.save(replace(item, invoice=""))
    tx.remove(Invoice, invoice.id)
    announce(tx, "invoice.deleted", invoice, at=at)
