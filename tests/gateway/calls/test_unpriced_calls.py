"""A call to a model that has no price: refused, held and charged nothing for now, or charged the fallback."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx2
import pytest

from costplus.billing.store import Tx
from costplus.billing.subscription import Subscription
from costplus.rating.rate_card import FixedPrice, RateCardVersion
from costplus.storage.sqlite import SqliteStore

pytestmark = pytest.mark.e2e

DOLLAR = 10**9
MODEL = "gpt-of-tomorrow"
FALLBACK = {"input": FixedPrice(Decimal(100), 1_000_000), "output": FixedPrice(Decimal(500), 1_000_000)}
WAYS = [("chat", {}), ("chat", {"stream": True}), ("messages", {}), ("messages", {"stream": True})]


async def _set_card(path: Path, changes: dict[str, Any]) -> None:
    def verb(tx: Tx) -> None:
        (version,) = tx.page(RateCardVersion)
        other = replace(version, id="rcv_other", **changes)
        tx.save(other)
        for subscription in tx.page(Subscription):
            tx.save(replace(subscription, rate_card_version=other.id))

    store = await SqliteStore.open(path)
    await store.write(verb)
    await store.close()


def serve(calls: Any, provider: Any, folder: Path, **changes: Any) -> Iterator[Any]:
    calls.seed(folder, {"cus_rich": 100 * DOLLAR, "cus_poor": DOLLAR // 100, "cus_overage": None})
    asyncio.run(_set_card(folder / "costplus.db", changes))
    with calls.gateway_on(folder, calls.environment(provider.url)) as served:
        yield served


@pytest.fixture(scope="module")
def holding(calls: Any, provider: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    yield from serve(calls, provider, tmp_path_factory.mktemp("hold"), unpriced="hold")


@pytest.fixture(scope="module")
def falling_back(calls: Any, provider: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    folder = tmp_path_factory.mktemp("fallback")
    yield from serve(calls, provider, folder, unpriced="fallback", fallback=FALLBACK)


def queued(gateway: Any, id: str) -> dict[str, Any]:
    """Return the queue's entry of the call with that request id."""
    ((body,),) = gateway.books.rows(
        "SELECT r.body FROM records r JOIN usage_events e ON e.id = r.id"
        " WHERE r.kind = 'unpriced_usage' AND e.request_id = ?",
        id,
    )
    entry: dict[str, Any] = json.loads(body)
    return entry


@pytest.mark.parametrize(("way", "more"), WAYS)
@pytest.mark.parametrize("customer", ["cus_rich", "cus_overage"])
def test_a_held_call_is_served_charged_nothing_and_queued(
    holding: Any, calls: Any, customer: str, way: str, more: dict[str, Any]
) -> None:
    credit_nano = holding.books.credit_nano(customer)
    answer = getattr(holding, way)("hello [[tokens=20]]", customer, model=MODEL, **more)
    assert answer.status_code == 200, answer.text
    booked = holding.books.wait_for(answer.headers["costplus-request-id"])
    assert (booked.model, booked.price_nano, booked.cost_nano) == (MODEL, 0, 0)
    assert booked.quantities["output"] == 20
    entry = queued(holding, booked.id)
    assert (entry["leaves"], entry["policy"], entry["price_nano"]) == (["model"], "hold", 0)
    assert holding.books.credit_nano(customer) == credit_nano
    assert holding.books.open_intents(customer) == []


def test_a_held_call_reserves_the_dearest_list_price(holding: Any) -> None:
    answer = holding.chat("hello", "cus_rich", model=MODEL, max_tokens=10)
    dearest = (
        Decimal(600) / 1_000_000 * 10 * Decimal("1.3")
    )  # OpenAI's dearest output, and the input's share.
    assert Decimal(answer.headers["costplus-held"]) > dearest
    assert answer.headers["costplus-charged"] == "0"


def test_whoever_has_no_credit_for_the_dearest_is_refused(holding: Any) -> None:
    answer = holding.chat("hello", "cus_poor", model=MODEL)
    assert answer.status_code == 402, answer.text
    assert holding.books.of("cus_poor") == []


@pytest.mark.parametrize(("way", "more"), WAYS)
def test_a_fallback_price_is_charged_at_once_and_queued(
    falling_back: Any, way: str, more: dict[str, Any]
) -> None:
    before_nano = falling_back.books.credit_nano("cus_rich")
    answer = getattr(falling_back, way)("hello [[tokens=20]]", "cus_rich", model=MODEL, **more)
    assert answer.status_code == 200, answer.text
    booked = falling_back.books.wait_for(answer.headers["costplus-request-id"])
    inputs = sum(n for leaf, n in booked.quantities.items() if leaf not in ("output", "reasoning"))
    assert booked.price_nano == inputs * 100_000 + 20 * 500_000 and booked.cost_nano == 0
    entry = queued(falling_back, booked.id)
    assert (entry["leaves"], entry["policy"]) == (["fallback"], "fallback")
    assert entry["price_nano"] == booked.price_nano
    assert falling_back.books.credit_nano("cus_rich") == before_nano - booked.price_nano
    assert falling_back.books.unbalanced() == []


def test_a_tier_that_may_cost_more_is_refused(falling_back: Any) -> None:
    answer = falling_back.chat("hello", "cus_rich", model=MODEL, service_tier="priority")
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "service_tier_unpriced")


@pytest.mark.parametrize(("way", "kind"), [("chat", "error"), ("messages", "type")])
def test_by_default_an_unknown_model_is_refused(gateway: Any, customer: str, way: str, kind: str) -> None:
    answer = getattr(gateway, way)("hello", customer, model=MODEL)
    assert answer.status_code == 400 and kind in answer.json()
    assert answer.json()["error"]["code"] == "model_unpriced"
    assert gateway.books.of(customer) == []


@pytest.mark.parametrize("unpriced", ["hold", "fallback"])
def test_what_a_killed_gateway_left_is_swept_by_the_cards_rule(
    calls: Any, provider: Any, tmp_path: Path, unpriced: str
) -> None:
    calls.seed(tmp_path, {"cus_rich": 100 * DOLLAR})
    asyncio.run(_set_card(tmp_path / "costplus.db", {"unpriced": unpriced, "fallback": FALLBACK}))
    environ = calls.environment(provider.url)
    with (
        calls.gateway_on(tmp_path, environ) as served,
        contextlib.suppress(httpx2.HTTPError),
        ThreadPoolExecutor(1) as asking,
    ):
        asking.submit(served.chat, "[[hang]]", "cus_rich", model=MODEL)
        calls.until(lambda: served.books.open_intents("cus_rich"), "the intent is journalled")
        served.process.popen.kill()
        served.process.popen.wait(30)
    with calls.gateway_on(tmp_path, environ) as served:
        (swept,) = calls.until(lambda: served.books.of("cus_rich"), "the call is swept")
        assert (swept.source, swept.model) == ("sweep", MODEL)
        assert swept.price_nano == (100_000 * swept.quantities["input"] if unpriced == "fallback" else 0)
        assert queued(served, swept.id)["policy"] == unpriced
        assert served.books.held_nano("cus_rich") == 0
