"""Exports: usage, ledger, invoices, customers and grants as rows of a CSV file, page by page.

Rule 1: a page is one short transaction, so an export of any length holds a page in memory and keeps nobody
waiting; what is written meanwhile may or may not be in it. Rule 2: rows are grouped by customer, deleted ones
too: what was billed stays. Rule 3: columns are added at the end and never change; see docs/export.md.
"""

from __future__ import annotations

import csv
import io
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Literal, get_args

import msgspec

from costplus.billing.cells import text_cell, time_cell
from costplus.billing.clock import frozen_time
from costplus.billing.customer import Customer
from costplus.billing.invoice import Invoice, InvoiceLine
from costplus.billing.plan import Plan
from costplus.billing.store import ChargedEvent, Store, Tx
from costplus.billing.subscription import Subscription
from costplus.core.money import decimal_text, nano_per_minor, nano_text
from costplus.core.usage import LEAVES
from costplus.ledger import account
from costplus.ledger.post import credit_of

Kind = Literal["usage", "ledger", "invoices", "customers", "balances"]
KINDS: Sequence[Kind] = get_args(Kind)
ROWS = 500  # About so many rows are read in one transaction,
CUSTOMERS = 200  # of at most so many customers.
FIRST, LAST = datetime(1970, 1, 1, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC)
Row = Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What is exported: of one customer or of all, within `[start, end)`."""

    customer: str = ""
    start: datetime = FIRST
    end: datetime = LAST

    def covers(self, at: datetime) -> bool:
        return self.start <= at < self.end


@dataclass(frozen=True, slots=True)
class Cursor:
    """Where the next page begins: behind a customer, or within it behind the row `inner`."""

    customer: str = ""
    inner: str = ""


COLUMNS: Mapping[Kind, Row] = {
    "usage": (
        *("event_id", "customer", "at", "billed_at", "key", "source", "corrects", "meter", "provider"),
        *("model", "requested_model", *LEAVES, "flags", "service_tier", "circumstances", "request_id"),
        *("reported_cost", "currency", "price", "cost", "unpriced", "transaction"),
    ),
    "ledger": (
        *("transaction", "customer", "at", "kind", "reference", "position", "account", "amount"),
        "currency",
    ),
    "invoices": (
        *("invoice", "number", "customer", "status", "created", "period_start", "period_end", "currency"),
        *("subtotal", "credit_applied", "total", "paid", "finalized_at", "paid_at", "line", "line_kind"),
        *("description", "provider", "model", "token_type", "quantity", "unit_price", "amount"),
        "exact_amount",
    ),
    "customers": (
        *("id", "name", "email", "description", "currency", "on_zero_credit", "metadata", "created"),
        *("deleted", "test_clock", "plan", "subscription_status", "credit", "owed", "receivable"),
    ),
    "balances": (
        *("id", "customer", "amount", "remaining", "currency", "category", "priority", "name"),
        *("effective_at", "expires_at", "created", "source", "voided_at", "expired_at"),
    ),
}


async def csv_chunks(store: Store, kind: Kind, wanted: Wanted, *, at: datetime) -> AsyncIterator[str]:
    """Yield the file in pieces, the heading first; `at` is what balances are as of."""
    yield _written([COLUMNS[kind]])
    cursor: Cursor | None = Cursor()
    while cursor is not None:
        rows, cursor = await store.read(partial(page, kind=kind, wanted=wanted, cursor=cursor, at=at))
        if rows:
            yield _written(rows)


def _written(rows: Sequence[Row]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def page(
    tx: Tx, *, kind: Kind, wanted: Wanted, cursor: Cursor, at: datetime
) -> tuple[list[Row], Cursor | None]:
    """Return the next rows and where the page after them begins, None where there is none."""
    rows: list[Row] = []
    for customer, start in _customers(tx, wanted, cursor):
        inner: str | None = start
        while inner is not None:
            found, inner = _SOURCES[kind](tx, customer, wanted, inner, at)
            rows += found
            if len(rows) >= ROWS and inner is not None:
                return rows, Cursor(customer.id, inner)
        cursor = Cursor(customer.id)
        if len(rows) >= ROWS:
            return rows, None if wanted.customer else cursor
    if wanted.customer or not tx.page(Customer, limit=1, older_than=cursor.customer or None):
        return rows, None
    return rows, cursor


def _customers(tx: Tx, wanted: Wanted, cursor: Cursor) -> Iterator[tuple[Customer, str]]:
    """Yield the customers of a page, newest first, each with the row behind which it begins."""
    if wanted.customer or cursor.inner:
        first = tx.find(Customer, wanted.customer or cursor.customer)
        if first is not None:
            yield first, cursor.inner
    if not wanted.customer:
        for customer in tx.page(Customer, limit=CUSTOMERS, older_than=cursor.customer or None):
            yield customer, ""


Found = tuple[list[Row], str | None]


def _usage(tx: Tx, customer: Customer, wanted: Wanted, after: str, at: datetime) -> Found:
    entries = tx.charged_between(customer.id, wanted.start, wanted.end, after=after, limit=ROWS)
    rows = [_usage_row(entry, customer.currency) for entry in entries]
    return rows, entries[-1].event.id if len(entries) == ROWS else None


def _usage_row(entry: ChargedEvent, currency: str) -> Row:
    event, charge = entry.event, entry.charge
    return (
        event.id,
        text_cell(event.customer),
        time_cell(event.at),
        time_cell(entry.billed_at),
        text_cell(event.key),
        event.source,
        event.corrects,
        text_cell(event.meter),
        text_cell(event.provider),
        text_cell(event.model),
        text_cell(event.requested_model),
        *(str(event.usage.quantities.get(leaf, "")) for leaf in LEAVES),
        " ".join(event.usage.flags),
        text_cell(event.service_tier),
        text_cell(event.circumstances),
        text_cell(event.request_id),
        text_cell(event.reported_cost),
        currency,
        nano_text(charge.price_nano),
        nano_text(charge.cost_nano),
        text_cell(" ".join(charge.unpriced)),
        entry.transaction,
    )


def _ledger(tx: Tx, customer: Customer, wanted: Wanted, after: str, at: datetime) -> Found:
    entries = tx.transactions_of(customer.id, limit=ROWS, after=after)
    rows: list[Row] = []
    for entry in entries:
        if wanted.covers(entry.at):
            head = (
                entry.id,
                text_cell(entry.customer),
                time_cell(entry.at),
                entry.kind,
                text_cell(entry.reference),
            )
            rows += [
                (
                    *head,
                    str(position),
                    text_cell(posting.account),
                    nano_text(posting.amount_nano),
                    customer.currency,
                )
                for position, posting in enumerate(entry.postings)
            ]
    return rows, entries[-1].id if len(entries) == ROWS else None


def _invoices(tx: Tx, customer: Customer, wanted: Wanted, after: str, at: datetime) -> Found:
    limit = 100
    found = tx.page(Invoice, parent=customer.id, limit=limit, older_than=after or None)
    rows: list[Row] = []
    for invoice in found:
        if wanted.covers(invoice.created):
            head = _invoice_cells(invoice)
            lines = [_line_cells(line, invoice.currency) for line in invoice.lines]
            rows += [(*head, *line) for line in lines or [("",) * 10]]
    return rows, found[-1].id if len(found) == limit else None


def _minor_text(minor: int, *, currency: str) -> str:
    return nano_text(minor * nano_per_minor(currency))


def _invoice_cells(invoice: Invoice) -> Row:
    money = partial(_minor_text, currency=invoice.currency)
    return (
        invoice.id,
        text_cell(invoice.number or ""),
        text_cell(invoice.customer),
        invoice.status,
        time_cell(invoice.created),
        time_cell(invoice.period.start),
        time_cell(invoice.period.end),
        invoice.currency,
        money(invoice.subtotal_minor),
        money(invoice.credit_minor),
        money(invoice.total_minor),
        money(invoice.paid_minor),
        time_cell(invoice.finalized_at),
        time_cell(invoice.paid_at),
    )


def _line_cells(line: InvoiceLine, currency: str) -> Row:
    return (
        line.id,
        line.kind,
        text_cell(line.description),
        text_cell(line.provider),
        text_cell(line.model),
        line.leaf,
        decimal_text(line.quantity),
        line.unit_price,
        _minor_text(line.amount_minor, currency=currency),
        nano_text(line.amount_nano),
    )


def _customer(tx: Tx, customer: Customer, wanted: Wanted, after: str, at: datetime) -> Found:
    if not wanted.covers(customer.created):
        return [], None
    known = list(tx.page(Subscription, parent=customer.id))
    ordered = sorted(known, key=lambda subscription: subscription.status != "active")
    plan = tx.find(Plan, ordered[0].plan) if ordered else None
    credit_nano = credit_of(tx, customer.id, at=frozen_time(tx, customer) or at)
    row = (
        text_cell(customer.id),
        text_cell(customer.name or ""),
        text_cell(customer.email or ""),
        text_cell(customer.description or ""),
        customer.currency,
        customer.on_zero_credit or "",
        text_cell(_json(customer.metadata)) if customer.metadata else "",
        time_cell(customer.created),
        "true" if customer.deleted else "false",
        customer.test_clock or "",
        text_cell(plan.display_name) if plan else "",
        ordered[0].status if ordered else "",
        nano_text(credit_nano),
        nano_text(-tx.account_balance(customer.id, account.accrued(customer.id))),
        nano_text(-tx.account_balance(customer.id, account.receivable(customer.id))),
    )
    return [row], None


def _json(metadata: Mapping[str, str]) -> str:
    return msgspec.json.encode(dict(metadata), order="sorted").decode()


def _balances(tx: Tx, customer: Customer, wanted: Wanted, after: str, at: datetime) -> Found:
    rows: list[Row] = [
        (
            text_cell(grant.id),
            text_cell(grant.customer),
            nano_text(grant.amount_nano),
            nano_text(grant.remaining_nano),
            grant.currency,
            grant.category,
            str(grant.priority),
            text_cell(grant.name),
            time_cell(grant.effective_at),
            time_cell(grant.expires_at),
            time_cell(grant.created),
            grant.source,
            time_cell(grant.voided_at),
            time_cell(grant.expired_at),
        )
        for grant in tx.grants_of(customer.id)
        if wanted.covers(grant.created)
    ]
    return rows, None


_SOURCES: Mapping[Kind, Callable[[Tx, Customer, Wanted, str, datetime], Found]] = {
    "usage": _usage,
    "ledger": _ledger,
    "invoices": _invoices,
    "customers": _customer,
    "balances": _balances,
}
