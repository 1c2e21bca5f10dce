"""The worker: what is due in real time is closed, unpriced usage is resolved, old replies go."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from costplus.billing.alert import Alert
from costplus.billing.customer import Customer
from costplus.billing.event import Event
from costplus.billing.invoice import Invoice
from costplus.billing.job_lease import LEASE, JobLease, take_job
from costplus.billing.report import report
from costplus.billing.resolve import BATCH
from costplus.billing.settle import Settlement, settle
from costplus.billing.setup import SetUpRequest, set_up
from costplus.billing.store import Store, StoredReply, Tx
from costplus.billing.subscribe import subscribe
from costplus.billing.watched import save_alert
from costplus.catalog.book import RecordedPrice
from costplus.catalog.catalogue import Catalogue
from costplus.catalog.snapshot import VersionEntry
from costplus.catalog.sources.bundled import bundled_catalogue, bundled_snapshot
from costplus.core.errors import NotFound
from costplus.core.ids import BUCKETS
from costplus.core.usage import Usage
from costplus.metering.event import usage_event
from costplus.rating.charge import Charge, unpriced_charge
from costplus.rating.pricing import Pricing
from costplus.rating.rate_card import adjustment
from costplus.storage.memory import MemoryStore
from costplus.storage.sqlite import SqliteStore
from costplus.worker import REPLIES_KEPT, Worker

START = datetime(2026, 1, 1, tzinfo=UTC)
PRICING = Pricing(bundled_catalogue())


async def shop_with_one_customer() -> MemoryStore:
    store = MemoryStore()
    await open_shop(store)
    return store


async def open_shop(store: Store) -> None:
    """Set a shop up and subscribe its one customer."""
    request = SetUpRequest(
        plan_name="Plan",
        models=(),
        default=adjustment("markup", Decimal(30)),
        price_tracking="disabled",
        fee_minor=500,
        credit_minor=0,
    )

    def verb(tx: Tx) -> None:
        plan = set_up(tx, request, at=START).plan
        customer = Customer(id="cus_1", created=START)
        tx.save(customer)
        subscribe(tx, customer, plan, at=START)

    await store.write(verb)


async def test_periods_that_ended_are_invoiced_once() -> None:
    store = await shop_with_one_customer()
    worker = Worker(store, pricing=PRICING, now=lambda: START + timedelta(days=32))
    await worker.close_due()
    await worker.close_due()
    invoices = await store.read(lambda tx: tx.page(Invoice, parent="cus_1"))
    assert [(invoice.billing_reason, invoice.status) for invoice in invoices] == [
        ("subscription_cycle", "open"),
        ("subscription_create", "open"),
    ]


async def test_of_two_workers_one_does_a_job_and_the_other_goes_on_when_it_is_done() -> None:
    store, done = MemoryStore(), []
    begun, gate = asyncio.Event(), asyncio.Event()

    def worker(name: str) -> Callable[[], Awaitable[None]]:
        async def job() -> None:
            done.append(name)
            begun.set()
            await gate.wait()

        return Worker(store, pricing=PRICING, now=lambda: START).alone(job)

    one, two = worker("one"), worker("two")
    first = asyncio.ensure_future(one())
    await begun.wait()
    await two()
    assert done == ["one"]
    gate.set()
    await first
    await two()
    assert done == ["one", "two"]
    assert await store.read(lambda tx: tx.page(JobLease)) == []


async def test_a_job_that_is_taken_by_another_worker_meanwhile_is_broken_off(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("costplus.worker.RENEW_EVERY_S", 0.001)
    store, ended = MemoryStore(), asyncio.Event()

    async def job() -> None:
        await store.write(lambda tx: take_job(tx, "job", holder="other", at=START + LEASE))
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    await Worker(store, pricing=PRICING, now=lambda: START).alone(job)()
    assert ended.is_set()
    (lease,) = await store.read(lambda tx: tx.page(JobLease))
    assert lease.holder == "other"


async def test_a_job_that_fails_is_free_again() -> None:
    store = MemoryStore()

    async def job() -> None:
        raise NotFound("On purpose.")

    with pytest.raises(NotFound):
        await Worker(store, pricing=PRICING, now=lambda: START).alone(job)()
    assert await store.read(lambda tx: tx.page(JobLease)) == []


async def test_replies_are_forgotten_after_two_days() -> None:
    store = MemoryStore()
    reply = StoredReply(key="k", request_digest="d", status=200, body=b"{}", created=START)
    await store.write(lambda tx: tx.save_reply(reply))
    await Worker(store, pricing=PRICING, now=lambda: START + REPLIES_KEPT).forget_replies()
    assert await store.read(lambda tx: tx.reply("k")) is not None
    late = START + REPLIES_KEPT + timedelta(seconds=1)
    await Worker(store, pricing=PRICING, now=lambda: late).forget_replies()
    assert await store.read(lambda tx: tx.reply("k")) is None


def at_price(usd: str) -> Catalogue:
    """Return the packaged prices with one more model."""
    version = VersionEntry("pv_new", START - timedelta(days=1), (("input", usd, 1_000_000, None),))
    price = RecordedPrice(
        id="pv_new",
        created=START,
        provider="openai",
        model="gpt-of-tomorrow",
        currency="usd",
        version=version,
        origin="sync",
    )
    return Catalogue(bundled_snapshot(), recorded=[price])


async def test_unpriced_usage_is_resolved_in_batches_once_the_prices_change() -> None:
    store, pricing = await shop_with_one_customer(), Pricing(bundled_catalogue())
    events = [
        usage_event(
            customer="cus_1",
            at=START + timedelta(seconds=number),
            key=f"event-{number}",
            usage=Usage({"input": 1000}),
            source="meter_events_v1",
            provider="openai",
            model="gpt-of-tomorrow",
        )
        for number in range(BATCH + 1)
    ]
    await store.write(lambda tx: report(tx, pricing, events, at=START))
    worker = Worker(store, pricing=pricing, now=lambda: START + timedelta(hours=1))
    await worker.resolve_unpriced()
    await worker.resolve_at_new_prices()
    assert await owed_nano(store) == 0
    pricing.adopt(at_price("1"))
    await worker.resolve_at_new_prices()
    assert await owed_nano(store) == len(events) * 1_300_000
    await worker.try_all_again()
    await worker.resolve_unpriced()
    assert await owed_nano(store) == len(events) * 1_300_000


async def test_usage_that_came_after_a_resolution_is_looked_at_next_time() -> None:
    store, pricing = await shop_with_one_customer(), Pricing(at_price("1"))
    worker = Worker(store, pricing=pricing, now=lambda: START)
    await worker.resolve_unpriced()
    event = usage_event(
        customer="cus_1",
        at=START,
        key="late",
        usage=Usage({"input": 1000}),
        source="gateway",
        provider="openai",
        model="gpt-of-tomorrow",
    )
    settlement = Settlement(event=event, charge=unpriced_charge())  # From a process with older prices.
    await store.write(lambda tx: settle(tx, [settlement], at=START))
    await worker.resolve_unpriced()
    assert await owed_nano(store) == 1_300_000


async def owed_nano(store: MemoryStore) -> int:
    return await store.read(lambda tx: tx.balance_for_update("cus_1").owed_total_nano)


async def test_alerts_about_the_present_are_looked_at_and_told_once() -> None:
    store = await shop_with_one_customer()
    alert = Alert(
        id="alrt_1",
        created=START,
        title="fast",
        alert_type="burn_rate",
        per="hour",
        threshold_minor=1,
        currency="usd",
    )
    event = usage_event(
        customer="cus_1", at=START, key="k", usage=Usage({}), source="gateway", provider="openai", model="m"
    )
    charge = Charge(price_nano=50_000_000, cost_nano=0, lines=())

    def verb(tx: Tx) -> None:
        save_alert(tx, alert)
        settle(tx, [Settlement(event=event, charge=charge)], at=START)

    await store.write(verb)
    for minutes in (1, 2, 90, 91):
        at = START + timedelta(minutes=minutes)
        await Worker(store, pricing=PRICING, now=lambda at=at: at).look_at_rates()  # type: ignore[misc]  # Bound now.
    events = await store.read(lambda tx: tx.page(Event, limit=100))
    told = [event.type for event in reversed(events) if event.type.startswith("billing.alert.")]
    assert told == ["billing.alert.triggered", "billing.alert.recovered"]


async def test_a_balance_that_its_postings_do_not_make_is_drift_until_it_is_put_right(tmp_path: Path) -> None:
    store = await SqliteStore.open(tmp_path / "costplus.db")
    event = usage_event(
        customer="cus_1", at=START, key="k", usage=Usage({}), source="gateway", provider="openai", model="m"
    )
    charge = Charge(price_nano=50_000_000, cost_nano=0, lines=())

    await open_shop(store)
    await store.write(lambda tx: settle(tx, [Settlement(event=event, charge=charge)], at=START))
    worker = Worker(store, pricing=PRICING, now=lambda: START)

    async def findings() -> int:
        for _ in range(BUCKETS):
            await worker.look_at_ledger()
        return worker.drift.findings

    def tamper(nano: int) -> None:
        with sqlite3.connect(tmp_path / "costplus.db") as other:
            first = "(SELECT min(account) FROM accounts)"
            other.execute(
                f"UPDATE accounts SET balance_nano = balance_nano + ? WHERE account = {first}", (nano,)
            )

    assert await findings() == 0
    tamper(1)
    assert await findings() == 2  # The account, and its bucket, which no longer sums to nothing.
    tamper(-1)
    assert await findings() == 0
    assert worker.drift.looked_at == 3 * BUCKETS
    await store.close()
