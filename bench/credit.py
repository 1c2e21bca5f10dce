"""What credit costs a call: admission on a lease, its store transactions, and an exact hold in SQLite.

Prints one JSON object. Rule 1: the store is a file with `synchronous=FULL`, as in service.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Callable, Collection
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from costplus.billing.customer import Customer
from costplus.billing.plan import Plan
from costplus.billing.setup import SetUpRequest, set_up
from costplus.billing.store import Tx
from costplus.billing.subscribe import subscribe
from costplus.billing.terms import terms_of
from costplus.core.ids import CustomerId, GrantId, HoldId, new_id
from costplus.gateway.leases import Leases
from costplus.ledger.grant import Grant
from costplus.ledger.hold import Hold, InsufficientCredit
from costplus.ledger.post import UsagePosting, grant_credit, post_usage
from costplus.ledger.reserve import place_hold, release_hold
from costplus.ledger.scope import Scope
from costplus.rating.rate_card import adjustment
from costplus.storage.sqlite import SqliteStore

CUSTOMER = CustomerId("cus_bench")
HOLD_NANO = 2_500_000  # A call of a small model with 4,096 tokens of output allowed,
CHARGE_NANO = 40_000  # and what it costs in the end.
SETTLE_EVERY = 20  # Calls a settlement has.
DAY = timedelta(days=1)


class Counting:
    """A store that counts its transactions."""

    def __init__(self, store: SqliteStore) -> None:
        self.store = store
        self.reads = self.writes = 0

    async def write(self, verb: Callable[[Tx], Any], *, customers: Collection[str] | None = None) -> Any:
        self.writes += 1
        return await self.store.write(verb, customers=customers)

    async def read(self, verb: Callable[[Tx], Any]) -> Any:
        self.reads += 1
        return await self.store.read(verb)


def now() -> datetime:
    return datetime.now(UTC)


async def nothing_waits() -> None:
    """Nothing is queued here."""


def enrol(tx: Tx) -> None:
    """Set the account up with one customer."""
    request = SetUpRequest(
        plan_name="bench",
        models=(),
        default=adjustment("markup", Decimal(30)),
        price_tracking="disabled",
        fee_minor=0,
        credit_minor=0,
        on_zero_credit="block",
    )
    account = set_up(tx, request, at=now())
    customer = Customer(id=CUSTOMER, created=now())
    tx.save(customer)
    plan = tx.find(Plan, account.plan.id)
    assert plan is not None
    subscribe(tx, customer, plan, at=now())


def give(tx: Tx, nano: int, scope: Scope | None = None) -> None:
    """Give the customer credit."""
    at = now()
    grant = Grant(
        id=GrantId(new_id("credgr", at=at)),
        customer=CUSTOMER,
        created=at,
        amount_nano=nano,
        remaining_nano=nano,
        currency="usd",
        effective_at=at,
    )
    grant_credit(tx, replace(grant, scope=scope) if scope else grant, at=at)


async def on_leases(store: SqliteStore, calls: int, *, subject: str = "") -> dict[str, float]:
    """Admit calls one after the other, settling batches of them meanwhile."""
    counting = Counting(store)
    leases = Leases(counting, owner="gw_bench", now=now, settled=nothing_waits)  # type: ignore[arg-type]  # As much of a store as leases use.
    terms = await store.read(lambda tx: terms_of(tx, CUSTOMER))
    lease = await leases.take(terms, HOLD_NANO, subject=subject)
    lease.close(held_nano=HOLD_NANO, charged_nano=0)
    counting.reads = counting.writes = 0
    spent: list[float] = []
    for done in range(1, calls + 1):
        begun = time.perf_counter()
        lease = await leases.take(terms, HOLD_NANO, subject=subject)
        spent.append(time.perf_counter() - begun)
        freed = lease.close(held_nano=HOLD_NANO, charged_nano=HOLD_NANO)  # The worst case: all of it.
        if done % SETTLE_EVERY == 0:
            posting = UsagePosting(
                customer=CUSTOMER,
                price_nano={0: CHARGE_NANO * SETTLE_EVERY},
                cost_nano=0,
                releases={lease.hold_id: freed * SETTLE_EVERY},
            )
            await store.write(lambda tx, posting=posting: post_usage(tx, posting, at=now()))
    used = counting.reads + counting.writes
    await leases.give_back_all()
    return {
        "admit_us": sum(spent) / calls * 1e6,
        "admit_p50_us": median(spent) * 1e6,
        "per_call": used / calls,
        "worst_ms": max(spent) * 1e3,
    }


async def exact_holds(store: SqliteStore, count: int) -> dict[str, float]:
    """Place and release holds one by one."""
    spent: list[float] = []
    for number in range(count):
        at = now()
        hold = Hold(
            id=HoldId(f"hold_{number}"),
            customer=CUSTOMER,
            kind="request",
            owner="bench",
            amount_nano=HOLD_NANO,
            placed_at=at,
            expires_at=at + DAY,
        )
        begun = time.perf_counter()
        await store.write(lambda tx, hold=hold, at=at: place_hold(tx, hold, at=at))
        spent.append(time.perf_counter() - begun)
        await store.write(lambda tx, hold=hold: release_hold(tx, CUSTOMER, hold.id))
    return {"hold_p50_ms": median(spent) * 1e3, "hold_p99_ms": quantiles(spent, n=100)[-1] * 1e3}


async def crowd(store: SqliteStore, count: int, fitting: int) -> dict[str, float]:
    """Let many place a hold at once where credit is for fewer; return how many got one."""
    await store.write(enrol)
    await store.write(lambda tx: give(tx, HOLD_NANO * fitting))

    async def one(number: int) -> bool:
        at = now()
        hold = Hold(
            id=HoldId(f"hold_{number}"),
            customer=CUSTOMER,
            kind="request",
            owner="bench",
            amount_nano=HOLD_NANO,
            placed_at=at,
            expires_at=at + DAY,
        )
        try:
            await store.write(lambda tx: place_hold(tx, hold, at=at))
        except InsufficientCredit:
            return False
        return True

    begun = time.perf_counter()
    admitted = sum(await asyncio.gather(*map(one, range(count))))
    return {"crowd_admitted": admitted, "crowd_us": (time.perf_counter() - begun) / count * 1e6}


async def measure(folder: Path, *, quick: bool) -> dict[str, float]:
    """Return all figures."""
    calls, holds = (2_000, 200) if quick else (50_000, 2_000)
    store = await SqliteStore.open(folder / "leases.db")
    await store.write(enrol)
    await store.write(lambda tx: give(tx, 1_000_000 * 10**9))
    figures = await on_leases(store, calls)
    figures |= await exact_holds(store, holds)
    await store.write(lambda tx: give(tx, 10**15, Scope(models=("openai/gpt-4o",))))
    scoped = await on_leases(store, calls, subject="openai/gpt-4o")
    figures |= {f"scoped_{name}": value for name, value in scoped.items()}
    await store.close()
    other = await SqliteStore.open(folder / "crowd.db")
    figures |= await crowd(other, 500, 300)
    await other.close()
    return figures


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true")
    quick = parser.parse_args().quick
    with tempfile.TemporaryDirectory(prefix="costplus-bench-credit-") as folder:
        figures = asyncio.run(measure(Path(folder), quick=quick))
    sys.stdout.write(json.dumps(figures) + "\n")


if __name__ == "__main__":
    main()
