"""Movements of credit: what each transaction did to each grant, as customers see it.

Rule 1: a movement is the change of the rounded-down balance, so that a grant's movements add up to what the
summary shows, although single calls cost fractions of a cent.
Rule 2: usage of a period whose invoice is final names that invoice.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

from costplus.billing.invoice import Invoice
from costplus.core.ids import milliseconds
from costplus.core.money import decimal_text, nano_per_minor
from costplus.core.records import Record
from costplus.ledger.account import credit
from costplus.ledger.grant import Grant
from costplus.ledger.transaction import Kind, Transaction


@dataclass(frozen=True, slots=True, kw_only=True)
class Movement(Record):
    """What one transaction did to one grant; announced, and computed whenever it is asked for."""

    KIND: ClassVar[str] = "credit_movement"

    customer: str
    grant: str
    currency: str
    kind: Kind
    minor_change: int
    nano_change: int
    unit: str = ""  # The grant's custom pricing unit, or empty,
    unit_change: str = ""  # and how many of them moved, exactly.
    invoice: str = ""  # The final invoice over the usage that was paid.
    invoice_line: str = ""  # Its first line of usage.


def movement_id(transaction: str, grant: str) -> str:
    """Return a movement's id, from which its grant can be found again."""
    return f"cbtxn_{transaction.removeprefix('txn_')}_{grant.removeprefix('credgr_')}"


def grant_of_movement(movement_id: str) -> str:
    """Return the id of the grant that a movement's id names."""
    return "credgr_" + movement_id.removeprefix("cbtxn_").partition("_")[2]


def movement(entry: Transaction, grant: Grant, nano: int, *, before_nano: int) -> Movement:
    """Return what a transaction did to a grant that held `before_nano`: it moved `nano`."""
    per_minor = nano_per_minor(grant.currency)
    return Movement(
        id=movement_id(entry.id, grant.id),
        created=entry.at,
        customer=grant.customer,
        grant=grant.id,
        currency=grant.currency,
        kind=entry.kind,
        minor_change=(before_nano + nano) // per_minor - before_nano // per_minor,
        nano_change=nano,
        unit=grant.unit,
        unit_change=decimal_text(grant.units(nano)) if grant.unit else "",
    )


def movements(
    transactions: Iterable[Transaction], grants: Iterable[Grant], invoices: Iterable[Invoice] = ()
) -> list[Movement]:
    """Return what a customer's transactions (all of them, oldest first) did to its grants, newest first."""
    by_account = {credit(grant.customer, grant.id): grant for grant in grants}
    billed = _final_by_period(invoices)
    balance_nano = dict.fromkeys(by_account, 0)
    moved: list[Movement] = []
    for entry in transactions:
        for posting in entry.postings:
            grant = by_account.get(posting.account)
            if grant is None:
                continue
            before = balance_nano[posting.account]
            balance_nano[posting.account] = before + posting.amount_nano
            found = movement(entry, grant, posting.amount_nano, before_nano=before)
            moved.append(_invoiced(found, entry, billed))
    moved.reverse()
    return moved


def _final_by_period(invoices: Iterable[Invoice]) -> dict[int, Invoice]:
    """Return the final invoices over usage by the start of their period."""
    return {
        milliseconds(invoice.period.start): invoice
        for invoice in invoices
        if invoice.billing_reason == "subscription_cycle" and invoice.status != "draft"
    }


def _invoiced(found: Movement, entry: Transaction, billed: Mapping[int, Invoice]) -> Movement:
    invoice = billed.get(entry.period_ms) if entry.period_ms is not None else None
    if entry.kind == "invoice_void":
        return replace(found, invoice=entry.reference)
    if invoice is None:
        return found
    usage = (line.id for line in invoice.lines if line.kind == "usage")
    return replace(found, invoice=invoice.id, invoice_line=next(usage, ""))
