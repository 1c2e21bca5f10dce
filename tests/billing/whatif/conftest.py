"""A small world for simulations: prices of every kind, an account, and usage that is charged."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

import pytest

from costplus.billing import whatif
from costplus.billing.customer import Customer
from costplus.billing.plan import Plan
from costplus.billing.report import report
from costplus.billing.rerate import rate_priced
from costplus.billing.settle import Settlement, settle, subscription_of
from costplus.billing.setup import SetUpRequest, set_up
from costplus.billing.store import Store, Tx
from costplus.billing.subscribe import subscribe
from costplus.billing.subscription import Pin
from costplus.billing.terms import terms_of
from costplus.billing.whatif import Window, simulate, simulate_within
from costplus.catalog.book import RecordedPrice
from costplus.catalog.catalogue import Catalogue
from costplus.catalog.context import asking, circumstances, context_of
from costplus.catalog.price import Minimum, ModelUnpriced
from costplus.catalog.snapshot import ModelEntry, ProviderEntry, Snapshot, VersionEntry
from costplus.core.usage import usage_of
from costplus.metering.event import TOKEN_METER, UsageEvent, usage_event
from costplus.rating.charge import charge_of, rate, unpriced_charge
from costplus.rating.comparison import Simulation
from costplus.rating.pricing import Pricing
from costplus.rating.rate_card import Adjustment, adjustment
from costplus.rating.scenario import Scenario
from costplus.storage.memory import MemoryStore
from costplus.storage.sqlite import SqliteStore

START = datetime(2026, 11, 1, tzinfo=UTC)
HALF, END = START + timedelta(days=10), START + timedelta(days=20)
DAY, TICK = timedelta(days=1), timedelta(microseconds=1)
ALWAYS = datetime(2020, 1, 1, tzinfo=UTC)
M = 10**6
WINDOW = Window(start=START, end=END)
NOTHING = Scenario()
Entry = tuple[str, str, int, Any]

LARGE: list[Entry] = [("input", "2.5", M, None), ("cached_input", "0.3", M, None), ("output", "10", M, None)]
LARGE += [("input", "5", M, 2000), ("output", "15", M, 2000), ("input", "1.25", M, "processing=batch")]
LARGE += [("output", "5", M, "processing=batch"), ("input", "4", M, "service_tier=priority")]


def version(id: str, components: Sequence[Entry], **changes: Any) -> VersionEntry:
    fields = {"id": id, "valid_from": ALWAYS, "components": tuple(components), **changes}
    return VersionEntry(**fields)


def model(*versions: VersionEntry, aliases: tuple[str, ...] = ()) -> ModelEntry:
    return ModelEntry(source="test", versions=versions, aliases=aliases)


CATALOGUE = Catalogue(
    Snapshot(
        schema=1,
        taken_on=date(2026, 11, 1),
        currency="usd",
        sources={"test": "1"},
        providers={
            "openai": ProviderEntry(
                {
                    "large": model(
                        version("pv_l1", LARGE, valid_to=HALF),
                        version("pv_l2", [*LARGE[1:], ("input", "2", M, None)], valid_from=HALF),
                        aliases=("big",),
                    ),
                    "small": model(
                        version(
                            "pv_s",
                            [
                                ("input", "0.07", M, None),
                                ("output", "0.31", M, None),
                                ("request", "1", 999, None),
                            ],
                            multipliers=(("1.1", "tokens", "region=eu"),),
                            minimums=(Minimum("output", 16),),
                        )
                    ),
                },
                {"secret": ("hours",)},
            ),
            "mistral": ProviderEntry({"tiny": model(version("pv_t", [("input", "0.1", M, None)]))}, {}),
        },
    )
)


@dataclass
class Use:
    """One event as it happened."""

    customer: str = "cus_1"
    name: str = "openai/large"
    quantities: Mapping[str, int] = field(default_factory=lambda: {"input": 1000, "output": 100})
    at: datetime = START
    words: str = ""  # Circumstances.
    source: str = "gateway"
    second: str = ""  # A second model that a call ran on.
    served: str = ""  # The name that served, where that has no price.
    meter: str = TOKEN_METER

    def event(self, number: int) -> UsageEvent:
        provider, _, name = self.name.partition("/")
        return usage_event(
            customer=self.customer,
            at=self.at,
            key=f"k{number}",
            usage=usage_of(self.quantities),
            source=self.source,  # type: ignore[arg-type]  # One of the sources.
            provider=provider,
            model=name,
            meter=self.meter,
            circumstances=self.words if self.source == "gateway" else "",
        )


def charged(tx: Tx, pricing: Pricing, use: Use, number: int) -> None:
    """Charge an event as the gateway does, or as a report."""
    event = use.event(number)
    if use.source != "gateway":
        report(tx, pricing, [event], at=use.at)
        return
    card = terms_of(tx, use.customer).card_at(use.at)
    context = context_of(event.circumstances, at=event.at)
    try:
        priced = pricing.used(event.provider, event.model, card=card, at=event.at)
    except ModelUnpriced:
        settle(tx, [Settlement(event=event, charge=unpriced_charge())], at=use.at)
        return
    context = asking(context, priced.name.modifiers)
    event = replace(event, circumstances=circumstances(context))
    charge = rate_priced(event, priced)
    if use.second:
        other = pricing.used(event.provider, use.second, card=card, at=event.at).sheet
        ran = rate(event.usage, other, context=context)
        charge = charge_of((*charge.lines, *ran.lines), unpriced=(*charge.unpriced, *ran.unpriced))
    event = replace(event, model=use.served or event.model)
    settle(tx, [Settlement(event=event, charge=charge)], at=use.at)


@dataclass
class Shop:
    """A set-up account: the card's changes, and customers with adjustments of their own."""

    default: Adjustment = field(default_factory=lambda: adjustment("markup", Decimal(30)))
    card: Mapping[str, Any] = field(default_factory=dict)
    own: Mapping[str, Adjustment] = field(default_factory=dict)
    customers: tuple[str, ...] = ("cus_1", "cus_2")

    def open(self, tx: Tx) -> None:
        at = START - 40 * DAY
        done = set_up(
            tx,
            SetUpRequest(
                plan_name="AI",
                models=(),
                default=self.default,
                price_tracking="disabled",
                fee_minor=0,
                credit_minor=0,
            ),
            at=at,
        )
        version = replace(done.version, id="rcv_of_the_shop", **self.card)
        tx.save(version)
        tx.save(replace(done.card, live_version=version.id, latest_version=version.id))
        plan = tx.find(Plan, done.plan.id)
        assert plan is not None
        for id in self.customers:
            record = Customer(id=id, created=at)
            tx.save(record)
            subscribe(tx, record, plan, at=at)
            if id in self.own:
                subscription = subscription_of(tx, id)
                tx.save(subscription.moved(Pin(HALF, version.id, self.own[id])))


async def filled(store: Store, shop: Shop, uses: Sequence[Use], pricing: Pricing) -> None:
    def verb(tx: Tx) -> None:
        shop.open(tx)
        for number, use in enumerate(uses):
            charged(tx, pricing, use, number)

    await store.write(verb)


def run(
    uses: Sequence[Mapping[str, Any]],
    scenario: Scenario = NOTHING,
    *,
    shop: Mapping[str, Any] | None = None,
    window: Window = WINDOW,
    catalogue: Catalogue = CATALOGUE,
    on_file: bool = False,
    progress: whatif.Progress | None = None,
) -> tuple[Simulation, dict[tuple[str, str], list[int]]]:
    """Return the simulation, and [events, revenue, cost] that were really charged by customer and model."""

    async def work(store: Store) -> Any:
        pricing = Pricing(catalogue)
        await filled(store, Shop(**shop or {}), [Use(**use) for use in uses], pricing)
        made = await simulate(store, pricing, scenario, window, progress=progress)
        within = await store.read(lambda tx: simulate_within(tx, pricing, scenario, window, events_max=1000))
        assert within == made
        return made, await store.read(really)

    def really(tx: Tx) -> dict[tuple[str, str], list[int]]:
        sums: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0, 0])
        for entry in tx.charged_page(customer=None, limit=10_000):
            if window.start <= entry.event.at < window.end:
                sum_ = sums[entry.event.customer, f"{entry.event.provider}/{entry.event.model}"]
                sum_[0] += 1
                sum_[1] += entry.charge.price_nano
                sum_[2] += entry.charge.cost_nano
        return sums

    async def opened() -> Any:
        if not on_file:
            return await work(MemoryStore())
        with TemporaryDirectory() as folder:
            store = await SqliteStore.open(Path(folder) / "t.db")
            try:
                return await work(store)
            finally:
                await store.close()

    return asyncio.run(opened())  # type: ignore[no-any-return]  # What `work` returns.


def by(place: int, sums: Mapping[tuple[str, str], list[int]]) -> dict[str, tuple[int, ...]]:
    """Return real sums by customer (0) or by model (1)."""
    found: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0])
    for key, values in sums.items():
        found[key[place]] = [a + b for a, b in zip(found[key[place]], values, strict=True)]
    return {name: tuple(values) for name, values in found.items()}


def sums_of(simulation: Simulation, place: int, *, side: str = "then") -> dict[str, tuple[int, ...]]:
    part = simulation.by_model if place else simulation.by_customer
    sides = {name: (c.events, getattr(c, side)) for name, c in part.items()}
    return {name: (events, side.revenue_nano, side.cost_nano) for name, (events, side) in sides.items()}


def recorded(name: str, components: Sequence[Entry]) -> RecordedPrice:
    """Return a price that an operator set for the window and after."""
    provider, _, exact = name.partition("/")
    made = version(f"pv_{name}", components, valid_from=START)
    return RecordedPrice(
        id=made.id,
        created=START,
        provider=provider,
        model=exact,
        currency="usd",
        version=made,
        origin="override",
    )


@pytest.fixture(scope="session")
def world() -> SimpleNamespace:
    """Return the world's builders and instants."""
    return SimpleNamespace(
        start=START,
        half=HALF,
        day=DAY,
        window=WINDOW,
        catalogue=CATALOGUE,
        shop=Shop,
        use=Use,
        filled=filled,
        run=run,
        by=by,
        sums_of=sums_of,
        recorded=recorded,
    )
