"""Many at once on a real store: a burst of usage, several collectors, callbacks meanwhile: one purchase."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from costplus.billing.auto_recharge import AutoRecharge
from costplus.billing.collector import Collector
from costplus.billing.customer import Customer
from costplus.billing.payments.fake import FakeProcessor
from costplus.billing.payments.fake_card import FakeCharge
from costplus.billing.payments.method import PaymentMethod
from costplus.billing.payments.payment import Payment
from costplus.billing.settle import settle
from costplus.billing.setup import SetUpRequest, set_up
from costplus.billing.store import Store, Tx
from costplus.billing.subscribe import subscribe
from costplus.ledger.post import credit_of
from costplus.rating.rate_card import adjustment
from costplus.storage.sqlite import SqliteStore

DOLLAR = 10**9


@pytest.fixture(params=["sqlite", "postgres"])
async def store(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    build: SimpleNamespace,
    new_postgres: Callable[[], Awaitable[Store]],
) -> AsyncIterator[Store]:
    """Return a database with a customer that owes nothing and recharges $20 at $5 or below."""
    opened: Store
    if request.param == "sqlite":
        opened = await SqliteStore.open(tmp_path / "costplus.db")
    else:
        opened = await new_postgres()
    terms = SetUpRequest(
        plan_name="AI",
        models=(),
        default=adjustment("markup", Decimal(0)),
        price_tracking="disabled",
        fee_minor=0,
        credit_minor=0,
    )

    def verb(tx: Tx) -> None:
        plan = set_up(tx, terms, at=build.at).plan
        customer = Customer(id="cus_1", created=build.at, default_payment_method="pm_1")
        tx.save(customer)
        subscribe(tx, customer, plan, at=build.at)
        method = PaymentMethod(
            id="pm_1",
            created=build.at,
            customer="cus_1",
            provider="fake",
            token="pm_fake_double",
            kind="card",
            label="Card",
        )
        tx.save(method)
        rule = AutoRecharge(
            id="cus_1", created=build.at, currency="usd", threshold_minor=500, amount_minor=2000
        )
        tx.save(replace(rule, cool_down_s=0))

    await opened.write(verb)
    yield opened
    await opened.close()


async def test_a_burst_with_four_collectors_makes_one_purchase(
    store: Store, build: SimpleNamespace, shop: Any
) -> None:
    async def send(body: bytes, headers: Mapping[str, str]) -> int:
        await collectors[0].called("fake", headers, body)
        return 200

    fake = FakeProcessor(store, secret=b"s", now=lambda: build.at, send=send)
    collectors = [Collector(store, {"fake": fake}, now=lambda: build.at) for _ in range(4)]
    uses = [shop.settlement(DOLLAR // 10) for _ in range(100)]

    async def use(item: Any) -> None:
        await store.write(lambda tx: settle(tx, [item], at=build.at), customers=["cus_1"])

    jobs = [each.collect_due() for each in collectors for _ in range(3)]
    await asyncio.gather(*map(use, uses), *jobs, *(fake.call_back_due() for _ in range(3)))
    await asyncio.gather(*(each.collect_due() for each in collectors))
    await fake.call_back_due()
    charges = await store.read(lambda tx: tx.page(FakeCharge))
    payments = await store.read(lambda tx: tx.page(Payment))
    credit = await store.read(lambda tx: credit_of(tx, "cus_1", at=build.at))
    owed = await store.read(lambda tx: tx.balance_for_update("cus_1").owed_total_nano)
    assert len(charges) == len(payments) == 1
    assert credit - owed == 10 * DOLLAR
