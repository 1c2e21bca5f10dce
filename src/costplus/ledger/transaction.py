"""Transactions: postings that sum to zero, appended once and never changed.

Rule 1: Σ postings = 0.   Rule 2: a mistake is undone by a reversing transaction.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from costplus.core.ids import CustomerId, TransactionId
from costplus.core.money import checked_nano

Kind = Literal[
    "grant",
    "usage",
    "debt_payment",
    "grant_void",
    "grant_expiry",
    "grant_rollover",
    "invoice",
    "invoice_void",
    "payment",
    "refund",
    "credit_note",
    "write_off",
    "adjustment",
]

PERIOD = "period"
EVERY_ONE = 2**31 - 1  # As a limit: all of a customer's transactions, however many there are.


def period_reference(start_ms: int) -> str:
    """Return the reference of a transaction that is about one billing period's usage."""
    return f"{PERIOD}/{start_ms}"


@dataclass(frozen=True, slots=True)
class Posting:
    """One account's change, in nanos of the book's currency."""

    account: str
    amount_nano: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Transaction:
    """Why value moved, and how. All of it concerns one customer, and so one bucket."""

    id: TransactionId
    customer: CustomerId
    at: datetime
    kind: Kind
    postings: tuple[Posting, ...]
    reference: str = ""  # The grant or invoice that caused it; of usage and its debt, its period.

    @property
    def period_ms(self) -> int | None:
        """The start of the billing period whose usage it pays, None where it is for none or several."""
        word, _, ms = self.reference.partition("/")
        return int(ms) if word == PERIOD and ms else None


def transaction(
    *,
    id: str,
    customer: str,
    at: datetime,
    kind: Kind,
    postings: Iterable[tuple[str, int]],
    reference: str = "",
) -> Transaction:
    """Return a balanced transaction without its zero postings; an unbalanced one is a broken invariant."""
    kept = tuple(Posting(account, checked_nano(nano)) for account, nano in postings if nano != 0)
    assert sum(posting.amount_nano for posting in kept) == 0, kept
    return Transaction(
        id=TransactionId(id),
        customer=CustomerId(customer),
        at=at,
        kind=kind,
        postings=kept,
        reference=reference,
    )
