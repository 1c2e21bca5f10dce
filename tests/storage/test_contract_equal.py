"""All stores in step: any sequence of real verbs leaves the same money in each, and it sums to zero."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any, get_args

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from costplus.billing.credit import give
from costplus.billing.settle import settle
from costplus.billing.store import Store, Tx
from costplus.core.errors import BillingError
from costplus.core.ids import bucket_of
from costplus.ledger import account
from costplus.ledger.balance import Crossing
from costplus.ledger.post import Posted, begin_grant, expire_grant, void_grant
from costplus.ledger.reserve import expire_hold, place_hold, release_hold
from costplus.ledger.scope import Scope

pytestmark = pytest.mark.slow

CUSTOMERS = 2
BOOKS = {account.book(name) for name in get_args(account.Book)}  # Shared by the customers of a bucket.
ACTIONS = ("grant", "hold", "release", "use", "capture", "void", "expire", "begin", "end_hold")

steps = st.lists(
    st.tuples(
        st.sampled_from(ACTIONS),
        st.integers(0, CUSTOMERS - 1),
        st.integers(0, 3),  # Which grant, hold or call: few, so that they meet.
        st.integers(1, 50),  # How much, in thousandths of a dollar or tokens.
        st.integers(0, 90),  # Minutes that pass before it.
    ),
    max_size=25,
)


def verb_for(
    build: SimpleNamespace, step: tuple[Any, ...], customer: str, at: datetime
) -> Callable[[Tx], Any]:
    """Return the verb of a step; ids carry the customer, so that examples do not meet."""
    action, _, number, amount, _ = step
    grant_id, hold_id, nano = f"g{number}_{customer}", f"h{number}_{customer}", amount * 10**6
    if action == "grant":
        expires_at = at + timedelta(hours=1) if amount % 2 else None
        kind = "paid" if amount % 3 else "promotional"
        grant = build.grant(
            grant_id, customer=customer, amount_nano=nano, expires_at=expires_at, category=kind
        )
        if amount % 5 == 0:
            grant = replace(grant, scope=Scope(models=("gpt-4o",) if amount % 2 else ("other",)))
        if amount % 7 == 0:
            grant = replace(grant, effective_at=at + timedelta(minutes=30))
        return lambda tx: None if tx.grant(grant_id) else give(tx, grant, at=at)
    if action == "begin":
        return lambda tx: (grant := tx.grant(grant_id)) and begin_grant(tx, grant, at=at)
    if action == "end_hold":
        return lambda tx: expire_hold(tx, customer, hold_id, at=at)
    if action == "hold":
        hold = build.hold(hold_id, customer=customer, amount_nano=nano)
        return lambda tx: None if tx.hold(customer, hold_id) else place_hold(tx, hold, at=at)
    if action == "release":
        return lambda tx: release_hold(tx, customer, hold_id, amount_nano=nano if amount % 2 else None)
    if action in ("void", "expire"):
        end = void_grant if action == "void" else expire_grant
        return lambda tx: (grant := tx.grant(grant_id)) and end(tx, grant, at=at)
    item = build.settlement(f"call-{number}", customer=customer, at=at, quantities={"output": amount * 1000})
    if action == "capture":
        item = replace(item, hold=hold_id, release_nano=nano, closes=True)
    return lambda tx: settle(tx, [item], at=at)


async def outcome_of(store: Store, verb: Callable[[Tx], Any], customers: list[str]) -> Any:
    """Return what the verb did, without the ids that it made at random."""
    try:
        result = await store.write(verb, customers=customers)
    except BillingError as error:
        return (type(error), error.message)
    crossing = result.crossing if isinstance(result, Posted) else result
    if not isinstance(crossing, Crossing):
        return result
    return crossing.before_nano, crossing.after_nano, len(crossing.transactions)


def state_of(tx: Tx, customer: str, until: datetime) -> list[Any]:
    """Return everything about the customer's money, without the transaction ids made at random."""
    transactions = tx.transactions_of(customer)
    own = {posting.account for entry in transactions for posting in entry.postings} - BOOKS
    entries = tx.charged_page(customer=customer, limit=100)
    return [
        tx.balance_for_update(customer),
        tx.grants_of(customer),
        tx.placed_holds(customer=customer),
        [replace(entry, id="") for entry in transactions],
        [(name, tx.account_balance(customer, name)) for name in sorted(own)],
        [replace(entry, transaction="") for entry in entries],
        tx.usage_totals(customer, until - timedelta(days=1), until),
    ]


def check_books(tx: Tx, customers: list[str]) -> None:
    """Assert that every account is the sum of its postings, and that each bucket sums to zero."""
    sums: Counter[tuple[int, str]] = Counter()
    owner = {}
    for customer in customers:
        for entry in tx.transactions_of(customer):
            for posting in entry.postings:
                key = (bucket_of(customer), posting.account)
                sums[key] += posting.amount_nano
                owner[key] = customer
    assert sum(sums.values()) == 0
    for key, nano in sums.items():
        assert tx.account_balance(owner[key], key[1]) == nano


def check_customer(tx: Tx, customer: str) -> None:
    """Assert that the running figures follow from the ledger."""
    balance = tx.balance_for_update(customer)
    assert balance.held_nano == sum(hold.amount_nano for hold in tx.placed_holds(customer=customer))
    assert tx.account_balance(customer, account.accrued(customer)) == -balance.owed_total_nano
    for grant in tx.grants_of(customer):
        assert tx.account_balance(customer, account.credit(customer, grant.id)) == grant.remaining_nano


@pytest.fixture
def seen() -> list[str]:
    """Return a list that collects the customers of all examples: they share stores, and so books."""
    return []


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(steps=steps)
async def test_any_sequence_of_verbs_leaves_equal_money_in_all_stores(
    memory: Store,
    sqlite: Store,
    postgres: Store,
    build: SimpleNamespace,
    seen: list[str],
    steps: list[tuple[Any, ...]],
) -> None:
    customers = [build.fresh_customer() for _ in range(CUSTOMERS)]
    for store in (memory, sqlite, postgres):
        await store.write(lambda tx: build.enrol(tx, *customers))
    at = build.at
    for step in steps:
        at += step[4] * build.minute
        verb = verb_for(build, step, customers[step[1]], at)
        named = [customers[step[1]]]
        outcome = await outcome_of(memory, verb, named)
        assert outcome == await outcome_of(sqlite, verb, named) == await outcome_of(postgres, verb, named)
    seen.extend(customers)
    for customer in customers:
        states = []
        for store in (memory, sqlite, postgres):
            states.append(await store.read(lambda tx, name=customer: state_of(tx, name, at + build.minute)))
            await store.read(lambda tx, name=customer: check_customer(tx, name))
        assert states[0] == states[1] == states[2]
    for store in (memory, sqlite, postgres):
        await store.read(lambda tx: check_books(tx, seen))
