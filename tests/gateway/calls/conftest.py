"""Calls through real processes: a simulated provider, a gateway, and the books that it keeps.

Rule 1: the books are read from the database file, read-only, beside the running server.
Rule 2: every figure is worked out again, with fractions, from the catalogue's price components.
"""

from __future__ import annotations

import asyncio
import functools
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx2
import pytest

from costplus.billing.customer import Customer
from costplus.billing.setup import SetUpRequest, set_up
from costplus.billing.store import Tx
from costplus.billing.subscribe import subscribe
from costplus.bootstrap import key_record
from costplus.catalog.catalogue import Catalogue
from costplus.catalog.sources.bundled import bundled_catalogue
from costplus.core.ids import CustomerId, GrantId
from costplus.core.usage import LEAVES
from costplus.gateway.journal import Intent, Used, Void, read_segment
from costplus.ledger.grant import Grant
from costplus.ledger.post import grant_credit
from costplus.rating.rate_card import adjustment
from costplus.storage.sqlite import SqliteStore

MERCHANT_KEY = "sk_test_merchant_of_the_tests"
PATIENCE_S = 10
DOLLAR = 10**9
CUSTOMERS = 250


@dataclass
class Process:
    """A started server."""

    url: str
    popen: subprocess.Popen[str]

    def end(self, number: int = signal.SIGTERM) -> int:
        """Send the signal and return the exit status."""
        self.popen.send_signal(number)
        return self.popen.wait(30)


@contextmanager
def started(*arguments: str, folder: Path, environ: Mapping[str, str] | None = None) -> Iterator[Process]:
    """Run a costplus command until it says that it is ready; end it where the test has not."""
    folder.mkdir(parents=True, exist_ok=True)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("COSTPLUS_")}
    with (
        (folder / "stderr.log").open("ab") as log,
        subprocess.Popen(
            [sys.executable, "-m", "costplus", *arguments, "--json"],
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            cwd=folder,
            env={**kept, "COSTPLUS_PRICES__SYNC": "false", **(environ or {})},
        ) as popen,
    ):
        try:
            assert popen.stdout is not None
            line = popen.stdout.readline()
            assert line, (folder / "stderr.log").read_text()
            yield Process(json.loads(line)["url"], popen)
        finally:
            if popen.poll() is None:
                popen.terminate()
                popen.wait(30)


def environment(openai_url: str, anthropic_url: str | None = None, **gateway: object) -> dict[str, str]:
    """Return the settings of a gateway in front of the given providers."""
    names = ("BEDROCK", "COHERE", "GOOGLE", "MISTRAL", "OPENAI")
    urls = {**dict.fromkeys(names, openai_url), "ANTHROPIC": anthropic_url or openai_url}
    return {
        "COSTPLUS_SECRET_KEY": MERCHANT_KEY,
        "COSTPLUS_LOG_LEVEL": "error",
        "COSTPLUS_PROVIDERS__BEDROCK__WIRE": "bedrock",
        **{f"COSTPLUS_PROVIDERS__{name}__BASE_URL": url for name, url in urls.items()},
        **{f"COSTPLUS_PROVIDERS__{name}__API_KEY": "sk-provider-secret" for name in urls},
        **{f"COSTPLUS_GATEWAY__{name.upper()}": str(value) for name, value in gateway.items()},
    }


async def _seed(
    path: Path, credit_nano: Mapping[str, int | None], keys: Mapping[str, str], models: Any
) -> None:
    at = datetime.now(UTC)

    def verb(tx: Tx) -> None:
        made = set_up(
            tx,
            SetUpRequest(
                plan_name="Tests",
                models=models,
                default=adjustment("markup", Decimal(30)),
                price_tracking="disabled",
                fee_minor=0,
                credit_minor=0,
            ),
            at=at,
        )
        for id, amount_nano in credit_nano.items():
            at_zero = "overage" if amount_nano is None else "block"
            customer = Customer(id=id, created=at, on_zero_credit=at_zero)
            tx.save(customer)
            subscribe(tx, customer, made.plan, at=at)
            if amount_nano:
                grant_credit(tx, _grant(id, amount_nano, at=at), at=at)
        for secret, customer_id in keys.items():
            key = key_record(secret, name="test", at=at, customer=customer_id)
            tx.save(replace(key, revoked_at=at if "revoked" in secret else None))

    store = await SqliteStore.open(path)
    await store.write(verb)
    await store.close()


def _grant(customer: str, amount_nano: int, *, at: datetime) -> Grant:
    return Grant(
        id=GrantId(f"credgr_{customer}"),
        customer=CustomerId(customer),
        created=at,
        amount_nano=amount_nano,
        remaining_nano=amount_nano,
        currency="usd",
        effective_at=at,
    )


def seed(
    folder: Path,
    credit_nano: Mapping[str, int | None],
    *,
    keys: Mapping[str, str] | None = None,
    models: tuple[str, ...] = (),
) -> None:
    """Make the database: customers with their credit (None: overage without any), and virtual keys."""
    folder.mkdir(parents=True, exist_ok=True)
    asyncio.run(_seed(folder / "costplus.db", credit_nano, keys or {}, models))


@dataclass(frozen=True)
class Booked:
    """What the books hold of one call."""

    id: str
    customer: str
    model: str
    quantities: dict[str, int]
    flags: list[str]
    source: str
    price_nano: int
    cost_nano: int
    raw_usage: str


class Books:
    """The database and the journal of a gateway, as an auditor would read them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def rows(self, sql: str, *arguments: object) -> list[tuple[Any, ...]]:
        """Return what a query finds."""
        database = sqlite3.connect(f"file:{self._folder / 'costplus.db'}?mode=ro", uri=True)
        try:
            return database.execute(sql, arguments).fetchall()
        finally:
            database.close()

    def booked(self) -> dict[str, Booked]:
        """Return every charged event by its request id; two with one id are a failure."""
        found = self.rows(
            "SELECT request_id, e.customer, model, usage, source, price_nano, cost_nano, raw_usage"
            " FROM usage_events e LEFT JOIN charges c"
            " ON e.bucket = c.bucket AND e.customer = c.customer AND e.id = c.event_id"
        )
        calls = {}
        for id, customer, model, usage, source, price_nano, cost_nano, raw in found:
            assert id not in calls, f"{id} is booked twice"
            assert price_nano is not None, f"{id} has no charge"
            used = json.loads(usage)
            calls[id] = Booked(
                id, customer, model, used["quantities"], used["flags"], source, price_nano, cost_nano, raw
            )
        return calls

    def of(self, customer: str) -> list[Booked]:
        """Return the customer's charged events."""
        return [call for call in self.booked().values() if call.customer == customer]

    def wait_for(self, id: str) -> Booked:
        """Return the call once it is settled."""
        return until(lambda: self.booked().get(id), f"{id} is settled")

    def held_nano(self, customer: str | None = None) -> int:
        """Return Σ placed holds, having compared it with the balances."""
        ((held, noted),) = self.rows(
            "SELECT (SELECT coalesce(sum(amount_nano), 0) FROM holds WHERE state = 'placed' AND"
            " customer LIKE ?1), (SELECT coalesce(sum(held_nano), 0) FROM balances WHERE customer LIKE ?1)",
            customer or "%",
        )
        assert held == noted
        return int(held)

    def credit_nano(self, customer: str) -> int:
        """Return what the customer's grants still hold."""
        rows = self.rows("SELECT remaining_nano FROM grants WHERE customer = ?", customer)
        return sum(remaining_nano for (remaining_nano,) in rows)

    def owed_nano(self, customer: str) -> int:
        """Return what credit did not cover."""
        return sum(
            sum(json.loads(owed).values())
            for (owed,) in self.rows("SELECT owed FROM balances WHERE customer = ?", customer)
        )

    def unbalanced(self) -> list[tuple[Any, ...]]:
        """Return the transactions that do not sum to zero, and accounts that are not their postings' sum."""
        return self.rows(
            "SELECT bucket, customer, seq FROM postings GROUP BY 1, 2, 3 HAVING sum(amount_nano) <> 0"
            " UNION ALL SELECT a.bucket, a.account, a.balance_nano FROM accounts a WHERE a.balance_nano <>"
            " (SELECT sum(p.amount_nano) FROM postings p WHERE p.bucket = a.bucket AND p.account = a.account)"
        )

    def open_intents(self, customer: str | None = None) -> list[str]:
        """Return the calls that the journal began and did not end."""
        begun, ended = {}, set()
        for path in sorted((self._folder / "journal").glob("*.journal")):
            for entry in read_segment(path):
                if isinstance(entry, Intent):
                    begun[entry.id] = entry.customer
                elif isinstance(entry, Used | Void):
                    ended.add(entry.id)
        return [id for id, who in begun.items() if id not in ended and customer in (None, who)]


def until(look: Callable[[], Any], what: str) -> Any:
    """Look again and again until there is something, within bounds."""
    deadline = time.monotonic() + PATIENCE_S
    while not (found := look()):
        assert time.monotonic() < deadline, f"not in time: {what}"
        time.sleep(0.02)
    return found


@functools.cache
def _catalogue() -> Catalogue:
    return bundled_catalogue()


def price_nano(model: str, quantities: Mapping[str, int]) -> int:
    """Return Σ quantity × the catalogue's price × 1.30, rounded up once to a nano.

    A leaf without a price has its parent's; a leaf whose parents have none is not charged.
    """
    provider, _, name = model.partition("/")
    version, _ = _catalogue().price_at(provider, name, at=datetime.now(UTC))
    prompt = sum(n for leaf, n in quantities.items() if LEAVES[leaf].direction == "input")
    unit: dict[str, Fraction] = {}
    plain = [part for part in version.components if not {w.field for w in part.when} - {"prompt_tokens"}]
    for part in sorted(plain, key=lambda part: part.threshold):
        if prompt > part.threshold or not part.when:
            unit[part.leaf] = Fraction(part.amount) / part.per
    exact = Fraction(0)
    for leaf, n in quantities.items():
        priced: str | None = leaf
        while priced is not None and priced not in unit:
            priced = LEAVES[priced].parent
        exact += n * (unit[priced] if priced else Fraction(0)) * Fraction(13, 10) * DOLLAR
    return -(-exact.numerator // exact.denominator)


class Gateway:
    """A running gateway: how to call it, and its books."""

    def __init__(self, process: Process, folder: Path) -> None:
        self.process = process
        self.url = process.url
        self.folder = folder
        self.books = Books(folder)
        self.http = httpx2.Client(base_url=process.url, timeout=30, trust_env=False)

    def post(
        self, path: str, body: Any, customer: str | None = None, *, key: str | None = MERCHANT_KEY
    ) -> httpx2.Response:
        """Post JSON (or bytes as they are) as a customer of the merchant."""
        headers = {"content-type": "application/json"}
        if key:
            headers["authorization"] = f"Bearer {key}"
        if customer:
            headers["x-stripe-customer-id"] = customer
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.http.post(path, content=content, headers=headers)

    def chat(self, text: str, customer: str, *, model: str = "gpt-4o-mini", **more: Any) -> httpx2.Response:
        """Ask the chat endpoint one thing."""
        body = {"model": model, "messages": [{"role": "user", "content": text}], **more}
        return self.post("/v1/chat/completions", body, customer)

    def messages(
        self, text: str, customer: str, *, model: str = "claude-sonnet-4-5", **more: Any
    ) -> httpx2.Response:
        """Ask the messages endpoint one thing."""
        body = {"model": model, "max_tokens": 500, "messages": [{"role": "user", "content": text}], **more}
        return self.post("/v1/messages", body, customer)


@contextmanager
def gateway_on(folder: Path, environ: Mapping[str, str], *, role: str = "gateway") -> Iterator[Gateway]:
    """Serve the gateway on a data directory."""
    arguments = ("serve", "--role", role, "--port", "0", "--data-dir", str(folder))
    with started(*arguments, folder=folder, environ=environ) as process:
        gateway = Gateway(process, folder)
        try:
            yield gateway
        finally:
            gateway.http.close()


@pytest.fixture(scope="session")
def calls() -> SimpleNamespace:
    """Return what tests start processes and check figures with."""
    return SimpleNamespace(
        started=started,
        environment=environment,
        seed=seed,
        gateway_on=gateway_on,
        books=Books,
        until=until,
        price_nano=price_nano,
        merchant_key=MERCHANT_KEY,
    )


@pytest.fixture(scope="session")
def provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """Run one simulated provider for all tests of this folder."""
    with started("dev-provider", "--port", "0", folder=tmp_path_factory.mktemp("provider")) as process:
        yield process


@pytest.fixture(scope="session")
def provider_calls(provider: Process) -> Iterator[Callable[[], int]]:
    """Return how to ask how many requests the provider has seen."""
    with httpx2.Client(base_url=provider.url, trust_env=False) as http:
        yield lambda: sum(http.get("/_sim/stats").json()["requests"].values())


@pytest.fixture(scope="session")
def gateway(provider: Process, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """Run one gateway for all tests that need nothing special: customers with $10 each."""
    folder = tmp_path_factory.mktemp("gateway")
    credit: dict[str, int | None] = {f"cus_{n:03d}": 10 * DOLLAR for n in range(CUSTOMERS)}
    credit |= {"cus_virtual": 10 * DOLLAR, "cus_empty": 0, "cus_overage": None}
    seed(folder, credit, keys={"sk_test_virtual": "cus_virtual", "sk_test_revoked": "cus_virtual"})
    with gateway_on(folder, environment(provider.url, body_bytes_max=50_000)) as served:
        yield served


@pytest.fixture(scope="session")
def narrow_gateway(provider: Process, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """Run a gateway whose rate card lists one model only."""
    folder = tmp_path_factory.mktemp("narrow")
    seed(folder, {"cus_rich": DOLLAR}, models=("openai/gpt-4o-mini",))
    with gateway_on(folder, environment(provider.url)) as served:
        yield served


@pytest.fixture(scope="session")
def _customers() -> Iterator[str]:
    return iter([f"cus_{n:03d}" for n in range(CUSTOMERS)])


@pytest.fixture
def customer(_customers: Iterator[str]) -> str:
    """Return a customer of the shared gateway that no other test uses."""
    return next(_customers)
