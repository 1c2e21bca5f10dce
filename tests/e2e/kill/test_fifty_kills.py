"""`kill -9`, fifty times, while usage comes in, periods close and webhooks go out.

Rule 1: a client repeats what was not answered, under the same key, as a client in the field does.
Rule 2: the moments are drawn from the seed; what the server was doing then is the scheduler's choice.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest

from costplus.audit import audit
from costplus.storage.sqlite import SqliteStore

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

KILLS = 50
KEY = "sk_test_e2e_0123456789"
AUTH = {"authorization": f"Bearer {KEY}"}
MONTH_S = 31 * 86_400
MODEL = "openai/gpt-4o-mini"


@dataclass
class Client:
    """What a seller's programs did, and what they were answered."""

    dice: random.Random
    url: str = ""
    live: str = ""  # The customer in real time.
    clocked: str = ""  # The customer on the test clock.
    clock: str = ""
    clock_time: int = 0
    reported: dict[str, str] = field(default_factory=dict)  # Identifier → customer, once acknowledged.
    open_reports: list[tuple[str, str]] = field(default_factory=list)
    calls: set[str] = field(default_factory=set)  # Request ids whose whole answer came.
    stopped: threading.Event = field(default_factory=threading.Event)

    def set_up(self, hook: str) -> None:
        with httpx2.Client(base_url=self.url, headers=AUTH, timeout=20) as http:
            setup = {
                "plan_name": "Plan",
                "default_markup_percent": "30",
                "subscription_fee_amount": "500",
                "credit_grant_per_period_amount": "100",
            }
            _ok(http.post("/v1/token_billing/onboarding/init", data=setup))
            _ok(http.post("/v1/webhook_endpoints", data={"url": hook, "enabled_events[]": "*"}))
            self.live = _ok(http.post("/v1/customers", data={"name": "Ann"}))["id"]
            self.clock_time = int(time.time())
            clock = {"frozen_time": str(self.clock_time)}
            self.clock = _ok(http.post("/v1/test_helpers/test_clocks", data=clock))["id"]
            created = {"name": "Clocked", "test_clock": self.clock}
            self.clocked = _ok(http.post("/v1/customers", data=created))["id"]

    def work(self) -> None:
        """Report, call and let time pass until the server is gone or it is told to stop."""
        jobs = (self.report, self.report, self.report, self.call, self.call, self.advance)
        http = httpx2.Client(base_url=self.url, headers=AUTH, timeout=20, trust_env=False)
        with http, contextlib.suppress(httpx2.TransportError):
            while not self.stopped.is_set():
                self.dice.choice(jobs)(http)

    def report(self, http: httpx2.Client) -> None:
        if not self.open_reports:
            number = len(self.reported)
            customer = self.clocked if number % 4 == 0 else self.live
            self.open_reports.append((f"report-{number}", customer))
        identifier, customer = self.open_reports[-1]
        payload = {
            "event_name": "token-billing-tokens",
            "identifier": identifier,
            "payload[stripe_customer_id]": customer,
            "payload[value]": "1000",
            "payload[model]": MODEL,
            "payload[token_type]": "input",
        }
        if customer == self.clocked:
            payload["timestamp"] = str(self.clock_time)
        answer = http.post("/v1/billing/meter_events", data=payload)
        assert answer.status_code == 200 or "already" in answer.text, answer.text
        self.open_reports.pop()
        self.reported[identifier] = customer

    def call(self, http: httpx2.Client) -> None:
        text = f"[[input=100]] [[tokens={self.dice.randrange(1, 30)}]]"
        body = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": text}]}
        headers = {"x-stripe-customer-id": self.live}
        answer = http.post("/v1/chat/completions", json=body, headers=headers)
        assert answer.status_code == 200, answer.text
        self.calls.add(answer.headers["costplus-request-id"])

    def advance(self, http: httpx2.Client) -> None:
        if self.dice.random() > 0.25:
            return
        target = self.clock_time + MONTH_S
        path = f"/v1/test_helpers/test_clocks/{self.clock}"
        if _ok(http.get(path))["frozen_time"] < target:
            _ok(http.post(f"{path}/advance", data={"frozen_time": str(target)}))
        self.clock_time = target


def _ok(answer: httpx2.Response) -> Any:
    assert answer.status_code == 200, answer.text
    return answer.json()


def rows(database: Path, sql: str) -> list[tuple[Any, ...]]:
    with contextlib.closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as db:
        return db.execute(sql).fetchall()


@pytest.fixture
def worked(serve: Callable[..., Any], receiver: Any, tmp_path: Path) -> Iterator[tuple[Client, Any, Path]]:
    """Run, work and kill fifty times; yield with a server that has come to rest."""
    client = Client(random.Random(4))
    for kill in range(KILLS):
        server = serve()
        client.url = server.url
        if kill == 0:
            client.set_up(receiver.url)
        client.stopped.clear()
        workers = [threading.Thread(target=client.work)]
        for worker in workers:
            worker.start()
        client.stopped.wait(client.dice.uniform(0.05, 0.9))
        server.process.kill()
        server.process.wait()
        client.stopped.set()
        for worker in workers:
            worker.join()
    server = serve()
    client.url = server.url
    client.stopped.clear()
    with httpx2.Client(base_url=client.url, headers=AUTH, timeout=20) as http:
        while client.open_reports:
            client.report(http)
    yield client, server, tmp_path / "data" / "costplus.db"


def undelivered(database: Path) -> int:
    return int(rows(database, "SELECT count(*) FROM deliveries WHERE status = 'pending'")[0][0])


def test_fifty_kills_lose_nothing_and_bill_nothing_twice(
    worked: tuple[Client, Any, Path], receiver: Any
) -> None:
    client, server, database = worked
    deadline = time.monotonic() + 240  # What a killed server had claimed is free again after a minute.
    while undelivered(database) and time.monotonic() < deadline:
        client.stopped.wait(0.2)
    assert undelivered(database) == 0
    assert server.terminate() == 0

    keys = Counter(
        key for (key,) in rows(database, "SELECT key FROM usage_events WHERE source LIKE 'meter%'")
    )
    assert keys == dict.fromkeys(client.reported, 1)
    requests = Counter(
        id
        for (id,) in rows(
            database, "SELECT request_id FROM usage_events WHERE source IN ('gateway', 'sweep')"
        )
    )
    assert client.calls <= requests.keys() and set(requests.values()) == {1}
    assert len(client.reported) > KILLS and len(client.calls) > KILLS  # It did get to work.

    invoices = [
        (invoice["subscription"], invoice["period"]["start"], invoice["billing_reason"])
        for (body,) in rows(database, "SELECT body FROM records WHERE kind = 'invoice'")
        if (invoice := json.loads(body))["billing_reason"] == "subscription_cycle"
    ]
    assert len(invoices) == len(set(invoices)) >= 5  # Each period was closed once.

    events = {id for (id,) in rows(database, "SELECT id FROM records WHERE kind = 'event'")}
    wanted = {event for (event,) in rows(database, "SELECT event FROM deliveries")}
    arrived = {json.loads(body)["id"]: body for _, body in receiver.requests}
    assert wanted == arrived.keys() & wanted, "an event never arrived"
    assert arrived.keys() <= events

    async def audited() -> Any:
        store = await SqliteStore.open(database)
        try:
            return await audit(store)
        finally:
            await store.close()

    made = asyncio.run(audited())
    assert made.findings == ()
    assert made.charges >= len(client.reported) + len(client.calls)
