"""A seller whose prices are synchronised for real: price lists on sockets, a clock, a store, an archive.

Rule 1: a price is dollars per million tokens, by leaf; `prices` says what all lists state at first.
Rule 2: the program's own snapshot is a small one with the same prices.
"""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import itertools
import json
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar

import httpx2
import msgspec
import pytest

from costplus.billing.customer import Customer
from costplus.billing.event import Event
from costplus.billing.price_sync import PriceSync, SyncReport
from costplus.billing.report import report
from costplus.billing.setup import SetUpRequest, set_up
from costplus.billing.store import ChargedEvent, Store, Tx
from costplus.billing.subscribe import subscribe
from costplus.catalog import snapshot as form
from costplus.catalog.agreement import components_of
from costplus.catalog.book import BOOK, PriceBase, PriceChange, RecordedPrice, SourceState
from costplus.catalog.load import catalogue_of, every
from costplus.catalog.price import ALWAYS
from costplus.catalog.sources.archive import Archive
from costplus.catalog.sources.fetch import open_client
from costplus.catalog.survey import DEFAULT_POLICY
from costplus.core.usage import Usage
from costplus.metering.event import usage_event
from costplus.rating.pricing import Pricing
from costplus.rating.rate_card import PriceTracking, adjustment
from costplus.storage.memory import MemoryStore
from costplus.storage.sqlite import SqliteStore

T = TypeVar("T")
Prices = dict[str, dict[str, str]]  # Model → leaf → dollars per million.

BEGIN = datetime(2026, 11, 1, 9, tzinfo=UTC)
PROVIDER = "openai"
GENAI, LITELLM, MODELS_DEV = "genai-prices", "litellm", "models.dev"
FEATURED: Prices = {
    "large": {"input": "2", "cached_input": "0.2", "output": "8"},
    "small": {"input": "0.5", "output": "2"},
}
# Enough models that a tenth of them is a sign of something.
FILLERS: Prices = {f"filler-{number:02}": {"input": "1", "output": "4"} for number in range(60)}
_GENAI = {"input": "input_mtok", "cached_input": "cache_read_mtok", "output": "output_mtok"}
_LITELLM = {
    "input": "input_cost_per_token",
    "cached_input": "cache_read_input_token_cost",
    "output": "output_cost_per_token",
}
_MODELS_DEV = {"input": "input", "cached_input": "cache_read", "output": "output"}


def genai_document(prices: Mapping[str, Any], *, later: Mapping[str, Any]) -> Any:
    """Return the list; `later` has per model the day and the price that is announced for it."""
    models = []
    for model, stated in prices.items():
        now = {_GENAI[leaf]: float(amount) for leaf, amount in stated.items()}
        entry: dict[str, Any] = {"id": model, "prices": now}
        if model in later:
            day, announced = later[model]
            then = {_GENAI[leaf]: float(amount) for leaf, amount in announced.items()}
            starts = {"start_date": f"{day:%Y-%m-%d}"}
            entry["prices"] = [{"prices": now}, {"constraint": starts, "prices": then}]
        models.append(entry)
    return [{"id": PROVIDER, "models": models}]


def litellm_document(prices: Mapping[str, Any]) -> Any:
    return {
        model: {
            "litellm_provider": PROVIDER,
            "mode": "chat",
            **{_LITELLM[leaf]: float(Decimal(amount).scaleb(-6)) for leaf, amount in stated.items()},
        }
        for model, stated in prices.items()
    }


def models_dev_document(prices: Mapping[str, Any]) -> Any:
    models = {
        model: {"cost": {_MODELS_DEV[leaf]: float(amount) for leaf, amount in stated.items()}}
        for model, stated in prices.items()
    }
    return {PROVIDER: {"models": models}}


def entries(stated: Mapping[str, str]) -> tuple[form.ComponentEntry, ...]:
    return tuple((leaf, usd, 1_000_000, None) for leaf, usd in stated.items())


def snapshot_body(
    prices: Mapping[str, Any], *, taken_on: date, later: Mapping[str, Any] | None = None
) -> bytes:
    """Return a release's snapshot as it is written."""
    models = {}
    for model, stated in prices.items():
        written = entries(stated)
        id = form.price_version_id(
            provider=PROVIDER,
            model=model,
            currency="usd",
            valid_from=ALWAYS,
            components=list(map(form.component_from_entry, written)),
        )
        day, announced = (later or {}).get(model, (None, {}))
        scheduled = (form.ScheduledEntry(day, entries(announced)),) if day else ()
        version = form.VersionEntry(id, ALWAYS, written)
        models[model] = form.ModelEntry(GENAI, (version,), scheduled=scheduled)
    return msgspec.json.encode(
        form.Snapshot(form.SCHEMA, taken_on, "usd", {GENAI: "1"}, {PROVIDER: form.ProviderEntry(models, {})})
    )


@dataclass
class Lists:
    """A server of price lists, each under its own path, with an ETag that follows from what is served."""

    url: str = ""
    bodies: dict[str, bytes] = field(default_factory=dict)
    etags: dict[str, str] = field(default_factory=dict)  # Where it is not the body's hash.
    packed: set[str] = field(default_factory=set)  # Those whose body is compressed already.
    gone: set[str] = field(default_factory=set)
    answered: list[tuple[str, int]] = field(default_factory=list)

    def etag(self, name: str) -> str:
        return self.etags.get(name) or f'"{hashlib.sha256(self.bodies[name]).hexdigest()[:16]}"'

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with closing(writer.transport), suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
                asked = {k.lower(): v for k, _, v in (line.partition(": ") for line in head[1:]) if k}
                name = head[0].split(" ")[1].strip("/")
                writer.write(self.answer(name, asked.get("if-none-match", "")))
                await writer.drain()

    def answer(self, name: str, known: str) -> bytes:
        status = 404 if name in self.gone else 304 if known == self.etag(name) else 200
        self.answered.append((name, status))
        body = self.bodies[name] if status == 200 else b""
        lines = [f"HTTP/1.1 {status} X", f"content-length: {len(body)}"]
        lines += [f"etag: {self.etag(name)}"] if status != 404 else []
        lines += ["content-encoding: gzip"] if name in self.packed and body else []
        return "\r\n".join([*lines, "", ""]).encode() + body


class World:
    """One seller: the lists that are followed, and what the synchronisation makes of them."""

    def __init__(
        self, store: Store, lists: Lists, client: httpx2.AsyncClient, folder: Path, *, prices: Prices
    ) -> None:
        self.store = store
        self.lists = lists
        self.client = client
        self.archive = Archive(folder)
        self.at = BEGIN
        self.prices: dict[str, Prices] = {name: dict(prices) for name in (GENAI, LITELLM, MODELS_DEV)}
        self.later: dict[str, tuple[date, dict[str, str]]] = {}
        self.packaged = snapshot_body(prices, taken_on=date(2026, 11, 1))
        self.followed: tuple[str, ...] = (GENAI, LITELLM, MODELS_DEV)
        self.policy = DEFAULT_POLICY
        self.pricing: Pricing
        self.prices_of: PriceSync
        self._seen: set[str] = set()
        self._numbers = itertools.count(1)

    async def begin(self) -> None:
        digest = hashlib.sha256(self.packaged).hexdigest()
        body = zlib.compress(self.packaged)
        base = PriceBase(id=BOOK, created=self.at, digest=digest, body=body)
        await self.store.write(lambda tx: tx.save(base))
        await self.restart()
        for name in self.prices:
            self.publish(name)

    async def restart(self) -> None:
        """Begin anew with what the store and the archive have."""
        self.pricing = Pricing(await self.store.read(catalogue_of))
        self.prices_of = self.another(self.pricing)

    def another(self, pricing: Pricing | None = None) -> PriceSync:
        """Return a further synchronisation of the same store."""
        followed = {name: f"{self.lists.url}/{name}" for name in self.followed}
        return PriceSync(
            self.store,
            pricing or self.pricing,
            followed=followed,
            archive=self.archive,
            now=lambda: self.at,
            packaged=lambda: self.packaged,
            policy=self.policy,
        )

    def publish(self, name: str) -> None:
        """Serve what the list states now."""
        prices = self.prices[name]
        document = {
            GENAI: lambda: genai_document(prices, later=self.later),
            LITELLM: lambda: litellm_document(prices),
            MODELS_DEV: lambda: models_dev_document(prices),
        }[name]()
        self.serve(name, json.dumps(document).encode())

    def serve(self, name: str, body: bytes, *, packed: bool = False) -> None:
        """Serve any bytes."""
        self.lists.bodies[name] = gzip.compress(body, 1) if packed else body
        (self.lists.packed.add if packed else self.lists.packed.discard)(name)

    def state(self, *names: str, model: str = "large", **prices: str | None) -> None:
        """Let lists state other prices of a model; None takes a leaf away, no prices the model."""
        for name in names:
            stated = {**self.prices[name].get(model, {}), **prices}
            kept = {leaf: amount for leaf, amount in stated.items() if amount is not None}
            if prices:
                self.prices[name] = {**self.prices[name], model: kept}
            else:
                self.prices[name] = {m: p for m, p in self.prices[name].items() if m != model}
            self.publish(name)

    def alone(self, name: str, *, model: str = "large") -> None:
        """Let no other list state a model."""
        for other in self.prices.keys() - {name}:
            self.state(other, model=model)

    def wait(self, **span: float) -> None:
        self.at += timedelta(**span)

    async def sync(self, *accept: str, **span: float) -> SyncReport:
        """Synchronise, after a span of time."""
        self.wait(**(span or {"minutes": 1}))
        return await self.prices_of.run(self.client, accept=accept)

    async def records(self, kind: Any) -> list[Any]:
        """Return all records of a kind, oldest first."""
        return list(reversed(await self.store.read(lambda tx: list(every(tx, kind)))))

    async def changes(self, model: str = "large") -> list[PriceChange]:
        return [change for change in await self.records(PriceChange) if change.model == model]

    async def statuses(self, model: str = "large") -> list[str]:
        return [change.status for change in await self.changes(model)]

    async def news(self) -> list[str]:
        """Return the types of the events since this was asked last, about prices and their sources."""
        events: Sequence[Event] = await self.records(Event)
        fresh = [event for event in events if event.id not in self._seen]
        self._seen |= {event.id for event in fresh}
        about = ("price.", "model.", "source.", "cost.")
        return [event.type for event in fresh if event.type.startswith(about)]

    def price(self, model: str = "large", *, at: datetime | None = None) -> dict[str, str]:
        """Return the price that usage at an instant costs, as this process has it."""
        version = self.pricing.catalogue.current(PROVIDER, model, at=at or self.at)
        return {} if version is None else mtok(components_of(version))

    async def counts(self) -> Mapping[str, int]:
        """Return how many records of each kind there are."""
        return {kind.KIND: len(await self.records(kind)) for kind in (PriceChange, RecordedPrice, Event)}

    async def source(self, name: str) -> SourceState:
        state = await self.store.read(lambda tx: tx.find(SourceState, name))
        assert state is not None
        return state

    async def write(self, verb: Callable[[Tx], T]) -> T:
        return await self.store.write(verb)

    async def sell(self, *, tracking: PriceTracking = "disabled") -> None:
        """Set up a shop with one customer at 100 % markup; `disabled` only tells of price changes."""
        request = SetUpRequest(
            plan_name="AI",
            models=(),
            default=adjustment("markup", Decimal(100)),
            price_tracking=tracking,
            fee_minor=0,
            credit_minor=0,
        )
        record = Customer(id="cus_1", created=self.at)

        def verb(tx: Tx) -> None:
            plan = set_up(tx, request, at=self.at).plan
            tx.save(record)
            subscribe(tx, record, plan, at=self.at)

        await self.write(verb)

    async def use(
        self, *, at: datetime | None = None, model: str = "large", reported_cost: str = "", tokens: int = 1000
    ) -> ChargedEvent:
        """Report input tokens and return them with their charge."""
        event = usage_event(
            customer="cus_1",
            at=at or self.at,
            key=f"use-{next(self._numbers)}",
            usage=Usage({"input": tokens}),
            source="meter_events_v2",
            provider=PROVIDER,
            model=model,
            reported_cost=reported_cost,
        )
        await self.write(lambda tx: report(tx, self.pricing, [event], at=self.at))
        charged = await self.store.read(lambda tx: tx.charge_of("cus_1", event.id))
        assert charged is not None
        return charged


def mtok(parts: Mapping[Any, Fraction]) -> dict[str, str]:
    """Return list prices per million tokens as they are written."""
    return {
        leaf: f"{Decimal((cost * 1_000_000).numerator) / Decimal((cost * 1_000_000).denominator):f}"
        for (leaf, when), cost in parts.items()
        if not when
    }


@pytest.fixture
async def lists(listen: Callable[[Any], Awaitable[str]]) -> Lists:
    served = Lists()
    served.url = await listen(served.serve)
    return served


@pytest.fixture(params=["memory", "sqlite", "postgres"])
async def store(request: pytest.FixtureRequest, tmp_path: Path, new_postgres: Any) -> AsyncIterator[Store]:
    """Return each adapter in turn: what holds for one holds for all."""
    opened: Store
    if request.param == "postgres":
        opened = await new_postgres()
    else:
        path = tmp_path / "costplus.db"
        opened = MemoryStore() if request.param == "memory" else await SqliteStore.open(path)
    yield opened
    await opened.close()


@pytest.fixture
async def client() -> AsyncIterator[httpx2.AsyncClient]:
    async with open_client(trust_env=False) as opened:
        yield opened


@pytest.fixture
async def world(store: Store, lists: Lists, client: httpx2.AsyncClient, tmp_path: Path) -> World:
    """Return a seller of two models whose three lists agree with the program's own snapshot."""
    made = World(store, lists, client, tmp_path / "prices", prices=FEATURED)
    await made.begin()
    return made


@pytest.fixture
async def large_world(lists: Lists, client: httpx2.AsyncClient, tmp_path: Path) -> AsyncIterator[World]:
    """Return a seller of so many models that a list can be judged as a whole, in memory."""
    store = MemoryStore()
    await (made := World(store, lists, client, tmp_path / "prices", prices={**FEATURED, **FILLERS})).begin()
    yield made
    await store.close()


@pytest.fixture(scope="session")
def build() -> SimpleNamespace:
    """Return the words and builders of these tests."""
    return SimpleNamespace(
        begin=BEGIN,
        genai=GENAI,
        litellm=LITELLM,
        models_dev=MODELS_DEV,
        provider=PROVIDER,
        featured=FEATURED,
        snapshot_body=snapshot_body,
        world=World,
        memory=MemoryStore,
    )
