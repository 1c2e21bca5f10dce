"""What waits for its time: drafts to be finalised, and when each customer is due next.

Rule 1: whoever makes a draft, or makes one final, calls `remember_invoice`; whoever changes a subscription
calls `plan_ahead`. Being due too early costs a look, being due too late costs an invoice its time.
Rule 2: customers on a test clock are due when that is advanced, and never here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar

from costplus.billing.account import every_customer
from costplus.billing.customer import Customer
from costplus.billing.invoice import Invoice
from costplus.billing.store import Tx
from costplus.billing.subscription import Subscription
from costplus.billing.threshold import ThresholdReached
from costplus.billing.upcoming import due_to_tell
from costplus.core.records import R, Record

PAGE = 500
AGENDA = "agenda"


@dataclass(frozen=True, slots=True, kw_only=True)
class DueInvoice(Record):
    """An invoice (it has its id) with which something happens at `due_at`: a draft is made final, an open
    one is overdue."""

    KIND: ClassVar[str] = "due_invoice"

    customer: str
    due_at: datetime

    @property
    def parent(self) -> str:
        return self.customer


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageAfterEnd(Record):
    """Usage came for a subscription (it has its id) that ended, and whose last invoice was final already."""

    KIND: ClassVar[str] = "usage_after_end"

    customer: str

    @property
    def parent(self) -> str:
        return self.customer


@dataclass(frozen=True, slots=True, kw_only=True)
class AgendaFilled(Record):
    """Says that every customer of this database has been entered in the agenda."""

    KIND: ClassVar[str] = "agenda_filled"


def every_of(tx: Tx, kind: type[R], customer: str) -> Iterator[R]:
    """Yield all records of a kind that belong to the customer, newest first."""
    cursor: str | None = None
    while True:
        page = tx.page(kind, parent=customer, limit=PAGE, older_than=cursor)
        yield from page
        if len(page) < PAGE:
            return
        cursor = page[-1].id


def invoice_due_at(invoice: Invoice) -> datetime | None:
    """Return when something happens with the invoice by itself, or None."""
    if invoice.status == "draft":
        return invoice.finalizes_at
    if invoice.status == "open" and invoice.overdue_at is None:
        return invoice.due_date
    return None


def remember_invoice(tx: Tx, invoice: Invoice) -> None:
    """Have the draft finalised by itself, or the open invoice called overdue, at its time."""
    due_at = invoice_due_at(invoice)
    if due_at is None:
        tx.remove(DueInvoice, invoice.id)
        return
    mark = DueInvoice(id=invoice.id, created=invoice.created, customer=invoice.customer, due_at=due_at)
    tx.save(mark)
    wake(tx, invoice.customer, at=due_at)


def remember_late_usage(tx: Tx, subscription: Subscription, *, at: datetime) -> None:
    """Have usage invoiced that came after the last invoice of a subscription that ended."""
    if tx.find(UsageAfterEnd, subscription.id) is None:
        tx.save(UsageAfterEnd(id=subscription.id, created=at, customer=subscription.customer))
        wake(tx, subscription.customer, at=at)


def due_invoices(tx: Tx, customer: str) -> Sequence[DueInvoice]:
    """Return the customer's invoices with which something happens by itself."""
    return list(every_of(tx, DueInvoice, customer))


def wake(tx: Tx, customer: str, *, at: datetime) -> None:
    """Have the customer looked at by `at`, unless that happens earlier anyway."""
    record = tx.find(Customer, customer)
    if record is None or record.test_clock is not None or record.deleted:
        return
    known = tx.due_of(customer)
    if known is None or at < known:
        tx.set_due(customer, at)


def plan_ahead(tx: Tx, customer: Customer, *, subscriptions: Sequence[Subscription] | None = None) -> None:
    """Note when the customer is due next, by its subscriptions and drafts; grants are asked for apart."""
    if customer.test_clock is not None:
        return
    if customer.deleted:
        tx.set_due(customer.id, None)
        return
    if subscriptions is None:
        subscriptions = list(every_of(tx, Subscription, customer.id))
    due = [at for subscription in subscriptions if (at := subscription.due_at) is not None]
    due += [mark.due_at for mark in due_invoices(tx, customer.id)]
    due += [late.created for late in every_of(tx, UsageAfterEnd, customer.id)]
    due += [reached.created for reached in every_of(tx, ThresholdReached, customer.id)]
    due += [at for at, _ in due_to_tell(tx, [each for each in subscriptions if each.status == "active"])]
    tx.set_due(customer.id, min(due, default=None))


def due_customers(tx: Tx, *, at: datetime, limit: int = 1000) -> list[str]:
    """Return up to `limit` customers in real time for whom something is due by `at`, earliest first."""
    due = {id: None for id in tx.customers_due(at, limit=limit) if _is_real(tx, id)}
    taken = limit
    while len(due) < limit:  # Grants of customers on test clocks lie in the way and are passed over.
        grants = tx.grants_expiring(at, limit=taken)
        for customer in dict.fromkeys(grant.customer for grant in grants):
            if customer not in due and _is_real(tx, customer):
                due[customer] = None
        if len(grants) < taken:
            break
        taken *= 4
    return list(due)[:limit]


def _is_real(tx: Tx, id: str) -> bool:
    """Whether the customer exists and lives in real time."""
    customer = tx.find(Customer, id)
    return customer is not None and customer.test_clock is None and not customer.deleted


def fill_agenda(tx: Tx, *, at: datetime) -> int:
    """Enter every customer and draft of a database that has no agenda yet; return how many customers."""
    if tx.find(AgendaFilled, AGENDA) is not None:
        return 0
    count = 0
    for customer in list(every_customer(tx)):
        for invoice in every_of(tx, Invoice, customer.id):
            if invoice_due_at(invoice) is not None:
                remember_invoice(tx, invoice)
        wake(tx, customer.id, at=at)
        count += 1
    tx.save(AgendaFilled(id=AGENDA, created=at))
    return count
