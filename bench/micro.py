"""What single steps cost: loading prices, rating, journalling, settling. Run as a program; writes JSON.

Rule 1: each figure is the median of several repetitions on one core, with real files where files are used.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from pathlib import Path

from costplus.billing.customer import Customer
from costplus.billing.settle import settle
from costplus.billing.setup import SetUpRequest, set_up
from costplus.billing.store import Tx
from costplus.billing.subscribe import subscribe
from costplus.catalog.sources.bundled import bundled_catalogue
from costplus.core.usage import usage_of
from costplus.gateway.call import settlement_of
from costplus.gateway.journal import Intent, Journal, Used
from costplus.rating.charge import Charge, rate
from costplus.rating.rate_card import Adjustment, RateCardVersion, adjustment
from costplus.rating.sheet import RateSheet, compile_sheet
from costplus.storage.sqlite import SqliteStore

REPETITIONS = 7
RATED_EVENTS = 20_000
JOURNALLED_CALLS = 5_000
BATCH = 500
CUSTOMER = "cus_bench"
MODEL = "gpt-4o-mini"
QUANTITIES = {"input": 1200, "cached_input": 800, "output": 300, "reasoning": 40}


def median_s(step: Callable[[], object], *, repetitions: int = REPETITIONS) -> float:
    """Return the median duration of `step` in seconds."""
    durations = []
    for _ in range(repetitions):
        began = time.perf_counter()
        step()
        durations.append(time.perf_counter() - began)
    return statistics.median(durations)


def sheet_at(at: datetime) -> RateSheet:
    """Return the sheet of the measured model at 30 % markup."""
    price, _ = bundled_catalogue().price_at("openai", MODEL, at=at)
    markup = adjustment("markup", Decimal(30))
    card = RateCardVersion(id="rcv_bench", created=at, rate_card="rc", default=markup)
    return compile_sheet(price, card)


def rating_us(sheet: RateSheet) -> float:
    """Return microseconds for rating one event of four leaves."""
    usage = usage_of(QUANTITIES)

    def step() -> None:
        for _ in range(RATED_EVENTS):
            rate(usage, sheet)

    return median_s(step) / RATED_EVENTS * 1e6


def used_record(number: int, sheet: RateSheet, charge: Charge, at: datetime) -> Used:
    """Return the journal's record of one call."""
    return Used(
        id=f"req_{number:032x}",
        customer=CUSTOMER,
        at=at + timedelta(milliseconds=number),
        provider=sheet.provider,
        model=sheet.model,
        requested_model=sheet.model,
        quantities=QUANTITIES,
        flags=(),
        raw_usage=json.dumps({"prompt_tokens": 2000, "completion_tokens": 340, "total_tokens": 2340}),
        service_tier="default",
        price_nano=charge.price_nano,
        cost_nano=charge.cost_nano,
        lines=[(line.rate.id, line.quantity) for line in charge.lines],
    )


def journal_us(folder: Path, sheet: RateSheet, charge: Charge, at: datetime) -> float:
    """Return microseconds for one call's two records: its intent and what it used."""
    journal = Journal(folder)
    rates = [line.rate for line in charge.lines]
    used = [used_record(number, sheet, charge, at) for number in range(JOURNALLED_CALLS)]
    intents = [
        Intent(
            id=record.id,
            customer=record.customer,
            at=record.at,
            provider=record.provider,
            model=record.model,
            requested_model=record.requested_model,
            input_tokens=2000,
            price_version=sheet.price.id,
            card_version=sheet.card.id,
            hold="hold_bench",
            held_nano=1_000_000,
        )
        for record in used
    ]

    def step() -> None:
        for intent, record in zip(intents, used, strict=True):
            journal.intend(intent)
            journal.use(record, rates)
        journal.settled([record.id for record in used])

    elapsed_s = median_s(step)
    journal.close()
    return elapsed_s / JOURNALLED_CALLS * 1e6


async def settle_us(path: Path, sheet: RateSheet, charge: Charge, at: datetime) -> float:
    """Return microseconds an event for settling batches through SQLite, each made durable."""
    store = await SqliteStore.open(path)
    await store.write(partial(enrol, default=sheet.card.default, at=at))
    rates = {line.rate.id: line.rate for line in charge.lines}
    durations = []
    for repetition in range(REPETITIONS):
        first = repetition * BATCH
        records = [used_record(number, sheet, charge, at) for number in range(first, first + BATCH)]
        batch = [settlement_of(record, rates) for record in records]
        began = time.perf_counter()
        settled = await store.write(partial(settle, settlements=batch, at=at))
        durations.append(time.perf_counter() - began)
        assert settled.new == BATCH
    await store.close()
    return statistics.median(durations) / BATCH * 1e6


def enrol(tx: Tx, *, default: Adjustment, at: datetime) -> None:
    """Make the customer whose events are settled."""
    request = SetUpRequest(
        plan_name="Bench",
        models=(),
        default=default,
        price_tracking="disabled",
        fee_minor=0,
        credit_minor=0,
    )
    customer = Customer(id=CUSTOMER, created=at, on_zero_credit="overage")
    tx.save(customer)
    subscribe(tx, customer, set_up(tx, request, at=at).plan, at=at)


def main() -> None:
    """Measure every step and write the figures."""
    at = datetime.now(UTC)
    sheet = sheet_at(at)
    charge = rate(usage_of(QUANTITIES), sheet)
    with tempfile.TemporaryDirectory(prefix="costplus-bench-") as folder:
        figures = {
            "catalogue_ms": median_s(bundled_catalogue) * 1000,
            "rating_us": rating_us(sheet),
            "journal_us": journal_us(Path(folder) / "journal", sheet, charge, at),
            "settle_us": asyncio.run(settle_us(Path(folder) / "micro.db", sheet, charge, at)),
        }
    sys.stdout.write(json.dumps(figures) + "\n")


if __name__ == "__main__":
    main()
