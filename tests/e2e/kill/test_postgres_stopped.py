"""PostgreSQL goes away under load and comes back: nothing is lost, nothing is billed twice.

Rule 1: a client repeats a report that was not acknowledged under its own key; a call that fails stays failed.
Rule 2: the pause is ten seconds, and `POSTGRES_PAUSE_S` makes it longer (60 are meant to be survived).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import httpx2
import pytest

from costplus.audit import Audited, audit
from costplus.billing.store import Tx
from costplus.metering.event import UsageEvent
from costplus.storage.postgres import PostgresStore

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

PAUSE_S = int(os.environ.get("POSTGRES_PAUSE_S", "10"))
BUSY_S, PATIENCE_S = 4, 90
AUTH = {"authorization": "Bearer sk_test_e2e_0123456789"}
REPORTERS, CALLERS = 3, 3
TOKENS = 1000
FIRST, LAST = datetime(2020, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)


@dataclass
class Clients:
    """A seller's programs: some report usage, some make calls, for as long as they are let."""

    url: str
    customers: list[str] = field(default_factory=list)
    reported: set[str] = field(default_factory=set)  # Identifiers that were acknowledged.
    answered: dict[str, str] = field(default_factory=dict)  # Request id → customer: the whole answer came.
    refused: Counter[int] = field(default_factory=Counter)
    ended: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def set_up(self) -> None:
        with httpx2.Client(base_url=self.url, headers=AUTH, timeout=20) as http:
            setup = {"plan_name": "Plan", "default_markup_percent": "30", "subscription_fee_amount": "500"}
            assert http.post("/v1/token_billing/onboarding/init", data=setup).status_code == 200
            for name in ("Ann", "Bob"):
                made = http.post("/v1/customers", data={"name": name})
                assert made.status_code == 200, made.text
                self.customers.append(made.json()["id"])

    def report(self, worker: int) -> None:
        number = 0
        while not self.ended.is_set():
            number += 1
            identifier = f"report-{worker}-{number}"
            payload = {
                "event_name": "token-billing-tokens",
                "identifier": identifier,
                "payload[stripe_customer_id]": self.customers[number % 2],
                "payload[value]": str(TOKENS),
                "payload[model]": "openai/gpt-4o-mini",
                "payload[token_type]": "input",
            }
            self._until_taken(identifier, payload)

    def _until_taken(self, identifier: str, payload: dict[str, str]) -> None:
        deadline = time.monotonic() + PAUSE_S + PATIENCE_S
        while time.monotonic() < deadline:
            with contextlib.suppress(httpx2.TransportError):
                answer = httpx2.post(
                    f"{self.url}/v1/billing/meter_events", data=payload, headers=AUTH, timeout=10
                )
                if answer.status_code == 200 or "already" in answer.text:
                    with self.lock:
                        self.reported.add(identifier)
                    return
                assert answer.status_code >= 500, answer.text
                with self.lock:
                    self.refused[answer.status_code] += 1
            self.ended.wait(0.1)
        raise AssertionError(f"{identifier} was never acknowledged")

    def call(self, worker: int) -> None:
        body = {
            "model": "gpt-4o-mini",
            "messages": [{"role": "user", "content": "[[input=50]] [[tokens=9]]"}],
        }
        customer = self.customers[worker % 2]
        headers = {**AUTH, "x-stripe-customer-id": customer}
        while not self.ended.is_set():
            with contextlib.suppress(httpx2.TransportError):
                answer = httpx2.post(
                    f"{self.url}/v1/chat/completions", json=body, headers=headers, timeout=10
                )
                with self.lock:
                    if answer.status_code == 200:
                        self.answered[answer.headers["costplus-request-id"]] = customer
                    else:
                        assert answer.status_code >= 500, answer.text
                        self.refused[answer.status_code] += 1


async def booked(url: str, customers: Sequence[str]) -> tuple[list[UsageEvent], Audited]:
    """Return all events that have a charge, and what an audit finds."""
    store = await PostgresStore.open(url, writers=1, readers=1)

    def events(tx: Tx) -> list[UsageEvent]:
        found: list[UsageEvent] = []
        for customer in customers:
            found += [e.event for e in tx.charged_between(customer, FIRST, LAST, limit=1_000_000)]
        return found

    try:
        return await store.read(events), await audit(store)
    finally:
        await store.close()


def test_postgres_that_stops_and_starts_under_load_loses_and_doubles_nothing(
    serve: Callable[..., Any], new_postgres_server: Callable[..., Any]
) -> None:
    database = new_postgres_server()
    url = asyncio.run(database.make_database())
    server = serve(COSTPLUS_DATABASE_URL=url)
    clients = Clients(server.url)
    clients.set_up()
    jobs = [(clients.report, n) for n in range(REPORTERS)] + [(clients.call, n) for n in range(CALLERS)]
    failures: list[BaseException] = []

    def run(job: Callable[[int], None], worker: int) -> None:
        try:
            job(worker)
        except BaseException as error:  # The test fails with it, below.
            failures.append(error)
            raise

    threads = [threading.Thread(target=run, args=each) for each in jobs]
    for thread in threads:
        thread.start()
    clients.ended.wait(BUSY_S)
    before = len(clients.reported)
    database.stop()  # As `kill -9` does it.
    clients.ended.wait(PAUSE_S)
    database.start()
    known = len(clients.reported)
    clients.ended.wait(BUSY_S * 2)
    clients.ended.set()
    for thread in threads:
        thread.join()
    assert not failures
    assert before > 0 and len(clients.reported) > known, "it did not go on by itself"
    assert clients.answered and clients.refused
    assert server.process.poll() is None
    assert server.terminate() == 0

    events, made = asyncio.run(booked(url, clients.customers))
    keys = Counter(event.key for event in events if event.source.startswith("meter"))
    assert keys.keys() >= clients.reported and set(keys.values()) == {1}
    assert keys.keys() == clients.reported  # Every report was repeated until it was acknowledged.
    calls = Counter(event.request_id for event in events if not event.source.startswith("meter"))
    assert calls.keys() >= clients.answered.keys() and set(calls.values()) == {1}
    assert made.findings == ()
