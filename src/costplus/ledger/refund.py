"""Give back what was charged too much: less is owed for that period, the rest becomes credit.

Rule 1: the period that was charged too much owes less first; what it does not owe was paid, by credit or by
an earlier grant, and returns as a promotional grant, which pays what else is owed like any new credit.
Rule 2: a refund has a reference, its grant follows from it, and both happen once.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from datetime import datetime

from costplus.core.ids import CustomerId, GrantId, new_id
from costplus.core.money import nano_per_minor
from costplus.ledger import account
from costplus.ledger.balance import Crossing
from costplus.ledger.grant import Grant
from costplus.ledger.post import credit_of, grant_credit
from costplus.ledger.store import LedgerStore
from costplus.ledger.transaction import Transaction, transaction


@dataclass(frozen=True, slots=True, kw_only=True)
class Refund:
    """What is given back, of which billing period, and why."""

    customer: CustomerId
    currency: str
    amount_nano: int
    period_start: int  # In milliseconds, as `Balance.owed_nano` names periods.
    reference: str  # The same for the same refund, for ever.
    name: str  # What its grant is called.


@dataclass(frozen=True, slots=True)
class GivenBack:
    """The outcome of a refund: its transaction, the credit's way, and the grant where there had to be one."""

    transaction: Transaction
    crossing: Crossing
    grant: Grant | None


def give_back(store: LedgerStore, refund: Refund, *, at: datetime) -> GivenBack:
    """Take the refund off what its period owes, and grant the rest as credit."""
    assert refund.amount_nano > 0
    balance = store.balance_for_update(refund.customer)
    before = credit_of(store, refund.customer, at=at)
    owed_nano = balance.owed_nano.get(refund.period_start, 0)
    less_nano = min(owed_nano, refund.amount_nano)
    rest_nano = refund.amount_nano - less_nano
    owed = {**balance.owed_nano, refund.period_start: owed_nano - less_nano}
    store.save_balance(replace(balance, owed_nano={start: nano for start, nano in owed.items() if nano}))
    entry = transaction(
        id=new_id("txn", at=at),
        customer=refund.customer,
        at=at,
        kind="usage",
        reference=refund.reference,
        postings=[
            (account.book("revenue"), -refund.amount_nano),
            (account.accrued(refund.customer), less_nano),
            (account.book("promotions"), rest_nano),  # Which the grant takes out again.
        ],
    )
    store.append_transaction(entry)
    if not rest_nano:
        return GivenBack(entry, Crossing(refund.customer, before, before), None)
    grant = _grant(refund, rest_nano, at=at)
    return GivenBack(entry, grant_credit(store, grant, at=at), grant)


def _grant(refund: Refund, nano: int, *, at: datetime) -> Grant:
    named = f"{refund.customer}\x00{refund.reference}"
    return Grant(
        id=GrantId("credgr_" + hashlib.sha256(named.encode()).hexdigest()[:32]),
        customer=refund.customer,
        created=at,
        updated=at,
        amount_nano=nano,
        remaining_nano=nano,
        currency=refund.currency,
        effective_at=at,
        category="promotional",
        name=refund.name,
        source="refund",
        minor_amount=nano // nano_per_minor(refund.currency),
    )
