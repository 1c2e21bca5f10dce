"""The customer's surplus: money of the customer's that later invoices use, and each change of it.

Rule 1: the ledger account `surplus` is what counts; the entries say how it came about, one a change.
Rule 2: entries are written with Stripe's sign: below zero is in the customer's favour.
Rule 3: a surplus below zero is a debt that the next invoice adds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import ClassVar, Literal

from costplus.billing.store import Tx
from costplus.core.errors import NotFound
from costplus.core.ids import new_id
from costplus.core.money import nano_per_minor
from costplus.core.records import Record
from costplus.ledger import account
from costplus.ledger.post import move

EntryType = Literal[
    "adjustment", "applied_to_invoice", "unapplied_from_invoice", "credit_note", "invoice_too_large"
]


class NoSuchSurplusEntry(NotFound):
    """The customer balance transaction does not exist."""

    code = "resource_missing"


@dataclass(frozen=True, slots=True, kw_only=True)
class SurplusEntry(Record):
    """One change of a customer's surplus (`cbtxn_…`): `amount_minor` below zero adds to it."""

    KIND: ClassVar[str] = "customer_balance_transaction"

    customer: str
    currency: str
    amount_minor: int
    ending_minor: int  # With the same sign: below zero is what the customer has.
    type: EntryType
    invoice: str = ""
    credit_note: str = ""
    description: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)

    @property
    def parent(self) -> str:
        return self.customer


def surplus_of(tx: Tx, customer: str, *, currency: str) -> int:
    """Return the customer's surplus in minor units; below zero it is a debt."""
    return tx.account_balance(customer, account.surplus(customer)) // nano_per_minor(currency)


def note_surplus(
    tx: Tx,
    customer: str,
    *,
    gained_minor: int,
    currency: str,
    type: EntryType,
    at: datetime,
    invoice: str = "",
    credit_note: str = "",
    description: str | None = None,
    metadata: Mapping[str, str] | None = None,
) -> SurplusEntry:
    """Write down that the surplus has changed, once its postings are made."""
    entry = SurplusEntry(
        id=new_id("cbtxn", at=at),
        created=at,
        customer=customer,
        currency=currency,
        amount_minor=-gained_minor,
        ending_minor=-surplus_of(tx, customer, currency=currency),
        type=type,
        invoice=invoice,
        credit_note=credit_note,
        description=description,
        metadata=metadata or {},
    )
    tx.save(entry)
    return entry


def adjust_surplus(
    tx: Tx,
    customer: str,
    *,
    gained_minor: int,
    currency: str,
    at: datetime,
    description: str | None = None,
    metadata: Mapping[str, str] | None = None,
) -> SurplusEntry:
    """Give the customer a surplus by hand (or take it, below zero); the seller bears it as a promotion."""
    tx.balance_for_update(customer)
    nano = gained_minor * nano_per_minor(currency)
    postings = [(account.surplus(customer), nano), (account.book("promotions"), -nano)]
    move(tx, customer=customer, kind="adjustment", reference=customer, postings=postings, at=at)
    return note_surplus(
        tx,
        customer,
        gained_minor=gained_minor,
        currency=currency,
        type="adjustment",
        at=at,
        description=description,
        metadata=metadata,
    )
