"""What keeping the books costs: usage rated and settled in batches, roll-ups read, periods closed.

Run as a program; writes JSON. The whole path: event → rated → events, charges, postings, balances, roll-ups,
durable. Rule 1: every customer has credit for half of what it uses, so that grants burn and usage is owed.
Rule 2: the first and the last tenth of a run are told apart: what grows with the books shows as a slope.
Rule 3: as in a server, a few batches wait at once, and share a commit where they meet.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from itertools import islice
from typing import Any

from costplus.billing.close import close_customer
from costplus.billing.customer import Customer
from costplus.billing.plan import Plan
from costplus.billing.settle import Settlement, settle
from costplus.billing.setup import SetUpRequest, set_up
from costplus.billing.store import Store, Tx
from costplus.billing.subscribe import subscribe
from costplus.catalog.catalogue import Catalogue
from costplus.catalog.sources.bundled import bundled_snapshot
from costplus.config import Settings
from costplus.core.ids import CustomerId, GrantId
from costplus.core.usage import Usage
from costplus.database import open_store
from costplus.ledger.grant import Grant
from costplus.ledger.post import grant_credit
from costplus.metering.event import usage_event
from costplus.rating.charge import rate
from costplus.rating.pricing import Pricing
from costplus.rating.rate_card import RateCardVersion, adjustment
from costplus.serve import leave_alone_what_stays

START = datetime(2026, 11, 1, tzinfo=UTC)
PERIOD_END = datetime(2026, 12, 1, tzinfo=UTC)
MODELS = (
    *(("openai", "gpt-5"), ("openai", "gpt-5-mini"), ("openai", "gpt-4.1"), ("openai", "gpt-4o-mini")),
    *(("anthropic", "claude-sonnet-4-5"), ("anthropic", "claude-haiku-4-5"), ("google", "gemini-2.5-flash")),
)
BATCH = 1000
IN_FLIGHT = 4
ENROL_AT_ONCE = 500
READS = 300
CREDIT_NANO = 5 * 10**9


async def opened(url: str) -> Store:
    """Open the database that the URL names."""
    return await open_store(Settings(database=url))


def _set_up(tx: Tx) -> tuple[Plan, RateCardVersion]:
    request = SetUpRequest(
        plan_name="Bench",
        models=(),
        default=adjustment("markup", Decimal(30)),
        price_tracking="disabled",
        fee_minor=1000,
        credit_minor=0,
    )
    made = set_up(tx, request, at=START)
    return made.plan, made.version


def _enrol(tx: Tx, *, plan: Plan, ids: Sequence[str]) -> None:
    for id in ids:
        customer = Customer(id=id, created=START)
        tx.save(customer)
        subscribe(tx, customer, plan, at=START)
        grant = Grant(
            id=GrantId(f"credgr_{id}"),
            customer=CustomerId(id),
            created=START,
            amount_nano=CREDIT_NANO,
            remaining_nano=CREDIT_NANO,
            currency="usd",
            effective_at=START,
        )
        grant_credit(tx, grant, at=START)


def _usage(dice: random.Random) -> Usage:
    return Usage(
        {
            "input": dice.randrange(200, 4000),
            "cached_input": dice.randrange(0, 2000),
            "output": dice.randrange(20, 900),
        }
    )


def settlements(
    pricing: Pricing, card: RateCardVersion, customers: Sequence[str], events: int
) -> Iterator[Settlement]:
    """Yield rated events of a month, in order of time, spread over customers and models."""
    dice = random.Random(20_261_124)
    step = (PERIOD_END - START) / (events + 1)
    usages = [_usage(dice) for _ in range(1009)]
    for number in range(events):
        at = START + step * number
        provider, model = MODELS[int(dice.random() * len(MODELS))]
        usage = usages[number % len(usages)]
        sheet = pricing.sold(provider, model, card=card, at=at).sheet
        event = usage_event(
            customer=customers[int(dice.random() * len(customers))],
            at=at,
            key=f"call-{number}",
            usage=usage,
            source="gateway",
            provider=provider,
            model=model,
            raw_usage='{"prompt_tokens":1200,"completion_tokens":300}',
            request_id=f"req_{number}",
        )
        yield Settlement(event=event, charge=rate(usage, sheet))


async def ingest(store: Store, items: Iterator[Settlement], *, events: int) -> dict[str, float]:
    """Rate and settle everything in batches; return events a second in all and at both ends."""
    marks: list[float] = [time.perf_counter()]
    turns = asyncio.Semaphore(IN_FLIGHT)

    async def settle_one(batch: Sequence[Settlement]) -> None:
        try:
            await _settle(store, batch)
            marks.append(time.perf_counter())
        finally:
            turns.release()

    async with asyncio.TaskGroup() as group:
        await turns.acquire()
        while batch := list(islice(items, BATCH)):
            group.create_task(settle_one(batch))
            await turns.acquire()
    batches = len(marks) - 1
    tenth = max(batches // 10, 1)
    return {
        "events_per_s": events / (marks[-1] - marks[0]),
        "first_per_s": tenth * BATCH / (marks[tenth] - marks[0]),
        "last_per_s": tenth * BATCH / (marks[-1] - marks[-1 - tenth]),
    }


async def _settle(store: Store, batch: Sequence[Settlement]) -> None:
    customers = {item.event.customer for item in batch}
    await store.write(partial(settle, settlements=batch, at=START), customers=customers)


async def read_rollups(store: Store, customers: Sequence[str]) -> dict[str, float]:
    """Time one customer's month by model and token type, many times over; return p50, p99 and CPU in ms."""
    took: list[float] = []
    used_s = time.process_time()
    for number in range(READS):
        customer = customers[number * 7919 % len(customers)]
        before = time.perf_counter()
        await store.read(lambda tx, customer=customer: tx.usage_totals(customer, START, PERIOD_END))
        took.append((time.perf_counter() - before) * 1000)
    used_s = time.process_time() - used_s
    took.sort()
    return {
        "p50_ms": statistics.median(took),
        "p99_ms": took[int(len(took) * 0.99)],
        "read_cpu_ms": used_s * 1000 / READS,
    }


async def close_all(store: Store, customers: Sequence[str]) -> float:
    """Close everybody's first period and finalise its invoice; return customers a second."""
    until = PERIOD_END + timedelta(hours=2)

    def close(tx: Tx, *, id: str) -> int:
        customer = tx.find(Customer, id)
        assert customer is not None
        return close_customer(tx, customer, until=until)

    before = time.perf_counter()
    for id in customers:
        await store.write(partial(close, id=id), customers=[id])
    return len(customers) / (time.perf_counter() - before)


async def run(url: str, *, customers: int, events: int, closes: int) -> dict[str, Any]:
    """Fill a database and measure it."""
    store = await opened(url)
    ids = [f"cus_{number:06d}" for number in range(customers)]
    plan, card = await store.write(_set_up)
    for first in range(0, customers, ENROL_AT_ONCE):
        await store.write(partial(_enrol, plan=plan, ids=ids[first : first + ENROL_AT_ONCE]))
    pricing = Pricing(Catalogue(bundled_snapshot()))
    figures: dict[str, Any] = {"customers": customers, "events": events, "closes": closes}
    before = time.process_time()
    figures |= await ingest(store, settlements(pricing, card, ids, events), events=events)
    figures["cpu_us"] = (time.process_time() - before) * 1e6 / events
    figures |= await read_rollups(store, ids)
    if closes:
        before = time.process_time()
        figures["closed_per_s"] = await close_all(store, ids[:closes])
        figures["close_cpu_ms"] = (time.process_time() - before) * 1000 / closes
    await store.close()
    return figures


def main() -> None:
    """Measure each number of customers in a new SQLite file, or one in the database that is named."""
    parser = argparse.ArgumentParser(description="Measure what keeping the books costs.")
    parser.add_argument("--quick", action="store_true", help="Few customers, few events.")
    parser.add_argument("--url", help="The database (default: a new SQLite file each).")
    parser.add_argument("--customers", type=int, nargs="*", help="Numbers of customers.")
    parser.add_argument("--events", type=int, help="Events of each.")
    parser.add_argument("--closes", type=int, help="How many customers' periods to close.")
    given = parser.parse_args()
    leave_alone_what_stays()
    customers = given.customers or ([1, 1000] if given.quick else [1, 1000, 10_000, 100_000])
    events = given.events or (5_000 if given.quick else 100_000)
    closes = (100 if given.quick else 2_000) if given.closes is None else given.closes
    found: list[dict[str, Any]] = []
    for number in customers:
        with tempfile.TemporaryDirectory() as folder:
            url = given.url or f"sqlite:///{folder}/books.db"
            measured = run(url, customers=number, events=events, closes=min(closes, number))
            found.append(asyncio.run(measured))
    sys.stdout.write(json.dumps({"runs": found}) + "\n")


if __name__ == "__main__":
    main()
