"""The worker: what is due in real time is closed, old replies go."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

from costplus.billing.customer import Customer
from costplus.billing.invoice import Invoice
from costplus.billing.setup import SetUpRequest, set_up
from costplus.billing.store import StoredReply, Tx
from costplus.billing.subscribe import subscribe
from costplus.catalog.sources.bundled import bundled_catalogue
from costplus.rating.pricing import Pricing
from costplus.rating.rate_card import adjustment
from costplus.storage.memory import MemoryStore
from costplus.worker import REPLIES_KEPT, Worker

START = datetime(2026, 1, 1, tzinfo=UTC)
PRICING = Pricing(bundled_catalogue())


async def shop_with_one_customer() -> MemoryStore:
    store = MemoryStore()
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
    return store


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


async def test_replies_are_forgotten_after_two_days() -> None:
    store = MemoryStore()
    reply = StoredReply(key="k", request_digest="d", status=200, body=b"{}", created=START)
    await store.write(lambda tx: tx.save_reply(reply))
    await Worker(store, pricing=PRICING, now=lambda: START + REPLIES_KEPT).forget_replies()
    assert await store.read(lambda tx: tx.reply("k")) is not None
    late = START + REPLIES_KEPT + timedelta(seconds=1)
    await Worker(store, pricing=PRICING, now=lambda: late).forget_replies()
    assert await store.read(lambda tx: tx.reply("k")) is None
