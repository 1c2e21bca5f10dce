"""Measure how long closing customers' periods takes: `python bench/closing.py [customers] [due]`.

Makes a database of so many customers with a fee, credit and usage, and lets the worker close those that are
due: each ends a period and, an hour later, has its invoice finalised.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import structlog

from costplus.billing.customer import Customer
from costplus.billing.plan import Plan
from costplus.billing.settle import Settlement, settle
from costplus.billing.setup import SetUp, SetUpRequest, set_up
from costplus.billing.store import Tx
from costplus.billing.subscribe import subscribe
from costplus.catalog.price import Component, PriceVersion
from costplus.catalog.sources.bundled import bundled_catalogue
from costplus.core.usage import Usage
from costplus.metering.event import usage_event
from costplus.rating.charge import rate
from costplus.rating.pricing import Pricing
from costplus.rating.rate_card import RateCardVersion, adjustment
from costplus.rating.sheet import RateSheet, compile_sheet
from costplus.storage.sqlite import SqliteStore
from costplus.worker import Worker

START = datetime(2026, 1, 31, 12, tzinfo=UTC)
BATCH = 500


def rates() -> RateSheet:
    """Return a sheet for the usage that is to be invoiced."""
    parts = [Component(leaf, Decimal("2.5"), 1_000_000) for leaf in ("input", "output")]
    price = PriceVersion("pv_bench", "openai", "m", "usd", START, None, tuple(parts))
    markup = adjustment("markup", Decimal(30))
    card = RateCardVersion(id="rcv_bench", created=START, rate_card="rcd_bench", default=markup)
    return compile_sheet(price, card)


def enter(tx: Tx, account: SetUp, sheet: RateSheet, numbers: range, *, due: int) -> None:
    """Make customers: the first `due` began a month ago, the others lately."""
    plan = tx.find(Plan, account.plan.id)
    assert plan is not None
    for number in numbers:
        at = START if number < due else START + timedelta(days=20)
        customer = Customer(id=f"cus_{number:06}", created=at)
        tx.save(customer)
        subscribe(tx, customer, plan, at=at)
        if number < due:
            settle(tx, [used(customer.id, call, sheet) for call in range(3)], at=at)


def used(customer: str, call: int, sheet: RateSheet) -> Settlement:
    """Return a call of the customer."""
    usage = Usage({"input": 4_000_000, "output": 100})
    event = usage_event(
        customer=customer,
        at=START + timedelta(hours=call),
        key=f"call-{call}",
        usage=usage,
        source="gateway",
        provider="openai",
        model="m",
    )
    return Settlement(event=event, charge=rate(usage, sheet))


async def measure(path: Path, customers: int, due: int) -> None:
    """Fill a database, close what is due, and print how long that took."""
    store = await SqliteStore.open(path)
    sheet = rates()
    request = SetUpRequest(
        plan_name="AI",
        models=(),
        default=adjustment("markup", Decimal(30)),
        price_tracking="disabled",
        fee_minor=1000,
        credit_minor=500,
    )
    account = await store.write(lambda tx: set_up(tx, request, at=START))
    for first in range(0, customers, BATCH):
        numbers = range(first, min(first + BATCH, customers))
        await store.write(lambda tx, numbers=numbers: enter(tx, account, sheet, numbers, due=due))
    for name, at in (
        ("nothing due", START + timedelta(days=27)),
        ("periods ended", START + timedelta(days=28, minutes=1)),
        ("invoices finalised", START + timedelta(days=28, hours=2)),
    ):
        worker = Worker(store, pricing=Pricing(bundled_catalogue()), now=lambda at=at: at)
        began, cpu = time.perf_counter(), time.process_time()
        await worker.close_due()
        print(  # noqa: T201 - A measurement is printed.
            f"{name}: {time.perf_counter() - began:.2f} s, {time.process_time() - cpu:.2f} s of one core"
        )
    await store.close()


if __name__ == "__main__":
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    wanted = [int(argument) for argument in sys.argv[1:3]] or [10_000, 10_000]
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(measure(Path(folder) / "bench.db", wanted[0], wanted[-1]))
