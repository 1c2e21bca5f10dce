"""The queue of unpriced usage: what is in it, what a resolution would charge, and what it charged."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from costplus.catalog.book import RecordedPrice
from costplus.catalog.catalogue import Catalogue
from costplus.catalog.snapshot import VersionEntry
from costplus.catalog.sources.bundled import bundled_snapshot

QUEUE = "/v1/token_billing/unpriced_usage"
RESOLVE = f"{QUEUE}/resolve"
MODEL = "gpt-of-tomorrow"


@pytest.fixture
async def customer(api: Any) -> str:
    """Return a customer at 30 % markup that has used 1000 tokens of two models without a price."""
    await api.set_up()
    id = str(await api.customer())
    api.now += timedelta(minutes=10)
    for model in (MODEL, "gpt-of-next-year"):
        answer = await api.report(id, 1000, model=f"openai/{model}", identifier=model)
        assert answer.status == 200, answer.body
    return id


@pytest.fixture
def learn(api: Any) -> Callable[[], None]:
    """Return how the price of the first model becomes known: $2 a million."""

    def adopt() -> None:
        version = VersionEntry("pv_new", api.now - timedelta(days=9), (("input", "2", 1_000_000, None),))
        price = RecordedPrice(
            id="pv_new",
            created=api.now,
            provider="openai",
            model=MODEL,
            currency="usd",
            version=version,
            origin="sync",
        )
        api.pricing.adopt(Catalogue(bundled_snapshot(), recorded=[price]))

    return adopt


async def test_open_entries_are_listed_by_default_newest_first(
    api: Any, customer: str, learn: Callable[[], None]
) -> None:
    listed = (await api.get(QUEUE))["data"]
    assert [entry["model"] for entry in listed] == ["gpt-of-next-year", MODEL]
    learn()
    await api.post(RESOLVE)
    for status, count in {"open": 1, "resolved": 1, "all": 2}.items():
        assert len((await api.get(QUEUE, status=status))["data"]) == count
    assert [e["model"] for e in (await api.get(QUEUE, model=MODEL, status="all"))["data"]] == [MODEL]
    assert len((await api.get(QUEUE, model=f"openai/{MODEL}", status="all"))["data"]) == 1
    assert len((await api.get(QUEUE, customer=customer, status="all"))["data"]) == 2
    assert (await api.get(QUEUE, customer="cus_other", status="all"))["data"] == []
    first = await api.get(QUEUE, status="all", limit=1)
    rest = await api.get(QUEUE, status="all", starting_after=first["data"][0]["id"])
    assert first["has_more"] and len(rest["data"]) == 1


async def test_a_dry_run_tells_and_changes_nothing(
    api: Any, customer: str, learn: Callable[[], None]
) -> None:
    learn()
    told = await api.post(RESOLVE, {"dry_run": "true"})
    assert (told["count"], told["price"], told["dry_run"], told["still_open"]) == (1, "0.0026", True, 2)
    (entry,) = told["entries"]
    assert (entry["model"], entry["price"], entry["charged_meanwhile"]) == (MODEL, "0.0026", "0")
    assert len((await api.get(QUEUE))["data"]) == 2


async def test_a_resolution_charges_once_and_names_what_it_made(
    api: Any, customer: str, learn: Callable[[], None]
) -> None:
    learn()
    done = await api.post(RESOLVE)
    assert (done["count"], done["price"], done["still_open"]) == (1, "0.0026", 1)
    (resolved,) = (await api.get(QUEUE, status="resolved"))["data"]
    assert resolved == await api.get(f"{QUEUE}/{resolved['id']}")
    assert (resolved["status"], resolved["price"], resolved["taken_back_by"]) == ("resolved", "0.0026", None)
    again = await api.get(f"/v1/token_billing/usage_events/{resolved['adjustment']}", customer=customer)
    assert (again["source"], again["corrects"]) == ("rerate_reported", resolved["usage_event"])
    assert (again["price"], again["cost"]) == ("0.0026", "0.002")
    assert (await api.post(RESOLVE))["count"] == 0
    state = await api.get(f"/v1/token_billing/customers/{customer}")
    assert state["balance"]["owed"] == "0.0026"


async def test_a_meter_does_not_sum_what_was_charged_again(
    api: Any, customer: str, learn: Callable[[], None]
) -> None:
    learn()
    await api.post(RESOLVE)
    (meter,) = (await api.get("/v1/billing/meters"))["data"]
    start = int(api.now.timestamp()) // 60 * 60
    sums = await api.get(
        f"/v1/billing/meters/{meter['id']}/event_summaries",
        customer=customer,
        start_time=start - 600,
        end_time=start + 60,
    )
    assert [entry["aggregated_value"] for entry in sums["data"]] == [2000]


@pytest.mark.parametrize("filters", [{"provider": "anthropic"}, {"model": "gpt-of-next-year"}])
async def test_a_resolution_can_be_of_one_provider_or_model(
    api: Any, customer: str, learn: Callable[[], None], filters: dict[str, str]
) -> None:
    learn()
    assert (await api.post(RESOLVE, filters))["count"] == 0
    assert (await api.post(RESOLVE, {"provider": "openai", "model": MODEL}))["count"] == 1


async def test_what_is_not_in_the_queue_is_refused(api: Any) -> None:
    refusal = await api.refusal("GET", f"{QUEUE}/nothing")
    assert refusal == (404, "resource_missing", "id")
    assert (await api.refusal("GET", QUEUE, {"status": "lost"}))[0] == 400
