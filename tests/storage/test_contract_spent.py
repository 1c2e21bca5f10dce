"""What was spent within a stretch of time, of all, one model or one key, on every store."""

from __future__ import annotations

from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from costplus.billing.store import Store, Tx
from costplus.rating.item_charge import Metered

MINUTE = timedelta(minutes=1)


@pytest.fixture
async def kept(store: Store, build: SimpleNamespace) -> list[Any]:
    """Keep five charges: by two keys, of two models, one billed later than it was used, one of another."""
    at = build.at
    entries = [
        build.charged("a", at=at, api_key="mk_1"),
        build.charged("b", at=at + MINUTE, api_key="mk_2", quantities={"input": 50}),
        build.charged("c", at=at + 2 * MINUTE, api_key="mk_1", rates=build.sheet("small")),
        build.charged("d", at=at, billed_at=at + 10 * MINUTE, quantities={"output": 7}),
        build.charged("e", at=at, customer="cus_2"),
    ]
    await store.write(lambda tx: build.keep(tx, entries))
    return entries


def total(*entries: Any) -> Metered:
    return Metered(len(entries), sum(entry.charge.price_nano for entry in entries))


async def spent(store: Store, *span: Any, **part: Any) -> Metered:
    def verb(tx: Tx) -> Metered:
        return tx.spent_between("cus_1", *span, **part)

    return await store.read(verb)


async def test_spend_is_summed_by_the_events_own_time_half_open(
    store: Store, build: SimpleNamespace, kept: list[Any]
) -> None:
    a, b, c, d, _ = kept
    at = build.at
    assert await spent(store, at, at + 2 * MINUTE) == total(a, b, d)
    assert await spent(store, at, at + 2 * MINUTE + timedelta(microseconds=1)) == total(a, b, c, d)
    assert await spent(store, at + timedelta(microseconds=1), at + MINUTE) == Metered()


async def test_or_by_when_it_is_billed(store: Store, build: SimpleNamespace, kept: list[Any]) -> None:
    a, b, c, d, _ = kept
    at = build.at
    assert await spent(store, at, at + 5 * MINUTE, by_billing=True) == total(a, b, c)
    assert await spent(store, at + 5 * MINUTE, at + 11 * MINUTE, by_billing=True) == total(d)


async def test_of_one_key_or_one_model_only(store: Store, build: SimpleNamespace, kept: list[Any]) -> None:
    a, b, c, d, _ = kept
    span = (build.at, build.at + 5 * MINUTE)
    for by_billing in (False, True):
        assert await spent(store, *span, api_key="mk_1", by_billing=by_billing) == total(a, c)
        assert await spent(store, *span, api_key="mk_9", by_billing=by_billing) == Metered()
    assert await spent(store, *span, provider="openai", model="large") == total(a, b, d)
    assert await spent(store, *span, provider="openai", model="large", api_key="mk_1") == total(a)
    assert await spent(store, *span, provider="anthropic", model="large") == Metered()


async def test_an_event_comes_back_with_the_key_that_it_came_with(store: Store, kept: list[Any]) -> None:
    first = kept[0].event
    assert await store.read(lambda tx: tx.event("cus_1", first.id)) == first
    found = await store.read(lambda tx: tx.charge_of("cus_1", first.id))
    assert found is not None and found.event.api_key == "mk_1"
