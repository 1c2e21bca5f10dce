"""A database keeps what following, adopting and undoing make just as the memory does."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from costplus.billing.adopt import adopt, undo
from costplus.billing.card_change import CardChange
from costplus.billing.customer import Customer
from costplus.billing.plan import Plan
from costplus.billing.setup import SetUpRequest, set_up
from costplus.billing.store import Store, Tx
from costplus.billing.subscribe import subscribe
from costplus.billing.terms import terms_of
from costplus.billing.track import follow
from costplus.catalog.book import PriceChange, RecordedPrice
from costplus.catalog.load import book_changed, catalogue_of
from costplus.catalog.snapshot import VersionEntry
from costplus.core.money import decimal_text
from costplus.rating.pricing import Pricing
from costplus.rating.rate_card import RateCard, adjustment
from costplus.storage.memory import MemoryStore
from costplus.storage.sqlite import SqliteStore

pytestmark = pytest.mark.slow

MODEL = {"provider": "openai", "model": "gpt-4o-mini"}


@pytest.fixture(params=["memory", "sqlite", "postgres"])
async def store(
    request: pytest.FixtureRequest, tmp_path: Path, new_postgres: Callable[[], Awaitable[Store]]
) -> AsyncIterator[Store]:
    """Return each kind of store."""
    opened: Store
    if request.param == "postgres":
        opened = await new_postgres()
    elif request.param == "sqlite":
        opened = await SqliteStore.open(tmp_path / "costplus.db")
    else:
        opened = MemoryStore()
    yield opened
    await opened.close()


def record(tx: Tx, number: int, *, at: Any) -> PriceChange:
    """Record a price of `number` dollars per million and return its change."""
    components = (("input", str(number), 1_000_000, None),)
    entry = VersionEntry(id=f"pv_{number}", valid_from=at, components=components)
    fields: dict[str, Any] = {**MODEL, "created": at}
    tx.save(RecordedPrice(id=entry.id, currency="usd", version=entry, origin="sync", **fields))
    change = PriceChange(
        id=f"pc_{number}",
        kind="price",
        status="applied",
        digest="",
        components=components,
        effective_at=at,
        new_version=entry.id,
        **fields,
    )
    tx.save(change)
    book_changed(tx, at=at)
    return change


async def test_a_card_follows_adopts_and_undoes_in_every_store(store: Store, build: Any) -> None:
    at, hour = build.at, timedelta(hours=1)
    request = SetUpRequest(
        plan_name="AI",
        models=(),
        default=adjustment("markup", Decimal(30)),
        price_tracking="migrate_all",
        fee_minor=0,
        credit_minor=0,
    )
    done = await store.write(lambda tx: set_up(tx, request, at=at))

    def enrol(tx: Tx) -> None:
        customer = Customer(id="cus_1", created=at)
        tx.save(customer)
        plan = tx.find(Plan, done.plan.id)
        assert plan is not None
        subscribe(tx, customer, plan, at=at)

    def price(tx: Tx) -> str:
        card = terms_of(tx, "cus_1").card_at(at)
        sheet = Pricing(catalogue_of(tx)).sold(**MODEL, card=card, at=at).sheet
        return decimal_text(sheet.rates_for(prompt_tokens=1).by_leaf["input"][2].unit_price * 1_000_000)

    def change(tx: Tx, number: int) -> None:
        changes = [record(tx, number, at=at)]
        follow(tx, Pricing(catalogue_of(tx)), changes, at=at)

    def by_hand(tx: Tx, verb: Callable[[RateCard], Any]) -> None:
        card = tx.find(RateCard, done.card.id)
        assert card is not None
        verb(card)

    def keep_to_itself(tx: Tx) -> None:
        by_hand(tx, lambda card: tx.save(replace(card, price_tracking="disabled")))

    await store.write(enrol)
    at += hour
    await store.write(lambda tx: change(tx, 2))
    at += hour
    assert await store.read(price) == "2.6"
    await store.write(keep_to_itself)
    await store.write(lambda tx: change(tx, 3))
    at += hour
    assert await store.read(price) == "2.6"

    def take_all(tx: Tx) -> None:
        pricing = Pricing(catalogue_of(tx))
        by_hand(tx, lambda card: adopt(tx, pricing, card, "all", mode="migrate_all", at=at))

    await store.write(take_all)
    at += hour
    assert await store.read(price) == "3.9"
    await store.write(lambda tx: by_hand(tx, lambda card: undo(tx, card, at=at)))
    at += hour
    assert await store.read(price) == "2.6"
    actions = await store.read(lambda tx: [entry.action for entry in tx.page(CardChange)])
    assert actions == ["undo", "adopt", "follow"]
