"""Model prices by the API: what is in force and why, changes that wait, the seller's own decisions."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from costplus.billing.price_book import approve
from costplus.billing.price_record import Person
from costplus.catalog.book import ModelMark, PriceChange, RecordedMove, SourceState
from costplus.catalog.load import begin_book

pytestmark = pytest.mark.slow

BASE = "/v1/token_billing"
PRICES, CHANGES, ALIASES = f"{BASE}/prices", f"{BASE}/price_changes", f"{BASE}/model_aliases"
MINI = f"{PRICES}/openai/gpt-4o-mini"  # 0.15 and 0.6 dollars per million, 0.075 from the cache.
DAY = timedelta(days=1)


def change_of(api: Any, **fields: Any) -> PriceChange:
    """Return a held change of gpt-4o-mini's input from 0.15 to 1.5."""
    move = RecordedMove(
        leaf="input",
        when="",
        old="0.00000015",
        new="0.0000015",
        standing="single",
        votes={"litellm": "0.0000015"},
    )
    return replace(
        PriceChange(
            id="pchg_1",
            created=api.now,
            provider="openai",
            model="gpt-4o-mini",
            kind="price",
            status="held",
            digest="digest_1",
            components=(("input", "1.5", 1_000_000, None), ("output", "0.6", 1_000_000, None)),
            effective_at=api.now,
            moves=(move,),
            reasons=("ratio_10x", "waits_for_second_source"),
            large=True,
            sources={"litellm": "etag:abc"},
        ),
        **fields,
    )


async def keep(api: Any, *records: Any) -> None:
    def verb(tx: Any) -> None:
        begin_book(tx, at=api.now)
        for record in records:
            tx.save(record)

    await api.store.write(verb)


async def per_million(api: Any, path: str = MINI, **query: Any) -> dict[str, str]:
    """Return a model's list prices of tokens in force."""
    version = (await api.get(path, **query))["price_version"]
    listed = [c for c in version["components"] if c["usd_per_million"] and not c["conditions"]]
    return {c["token_type"]: c["usd_per_million"] for c in listed}


async def test_a_price_is_shown_with_where_it_comes_from(api: Any) -> None:
    found = await api.get(MINI)
    assert (found["id"], found["object"]) == ("openai/gpt-4o-mini", "token_billing.model_price")
    version = found["price_version"]
    assert (version["origin"], version["is_override"], version["currency"]) == ("bundled", False, "usd")
    assert version["source"].startswith("genai-prices")
    first = version["components"][0]
    assert first == {
        "token_type": "input",
        "unit_amount": "0.00000015",
        "usd_per_million": "0.15",
        "conditions": [],
        "rank": 0,
    }
    assert found["versions"][0]["id"] == version["id"]
    assert found["override"] is None and found["open_changes"] == []
    fresh = found["freshness"]
    assert fresh["snapshot_taken_on"].startswith("2026-11-")
    assert fresh["age_days"] == fresh["snapshot_age_days"] < 30


async def test_names_with_slashes_and_other_spellings_find_their_model(api: Any) -> None:
    found = await api.get(f"{PRICES}/openrouter/openai/gpt-4o-mini")
    assert (found["provider"], found["model"]) == ("openrouter", "openai/gpt-4o-mini")
    encoded = await api.get(f"{PRICES}/openrouter/openai%2Fgpt-4o-mini")
    assert encoded["model"] == "openai/gpt-4o-mini"
    assert (await api.get(f"{PRICES}/openai/GPT-4o-mini-2024-07-18"))["model"] == "gpt-4o-mini"
    assert await api.refusal("GET", f"{PRICES}/openai/none") == (404, "price_missing", "model")
    assert await api.refusal("GET", f"{PRICES}/nobody/none") == (404, "price_missing", "model")


async def test_conditions_stand_with_their_prices(api: Any) -> None:
    version = (await api.get(f"{PRICES}/google/gemini-2.5-pro"))["price_version"]
    long = [c for c in version["components"] if c["conditions"] == ["prompt_tokens>200000"]]
    assert {c["token_type"]: c["usd_per_million"] for c in long}["input"] == "2.5"


async def test_models_are_listed_with_their_prices_page_by_page(api: Any) -> None:
    first = await api.get(PRICES, provider="openai", search="gpt-4o-m", limit=1)
    assert [entry["id"] for entry in first["data"]] == ["openai/gpt-4o-mini"] and first["has_more"]
    after = await api.get(
        PRICES, provider="openai", search="GPT-4O-M", starting_after="openai/gpt-4o-mini", limit=100
    )
    assert after["data"] and not after["has_more"]
    assert all(entry["model"].startswith("gpt-4o-mini-") for entry in after["data"])
    back = await api.get(PRICES, search="openai/gpt-4o-m", ending_before=after["data"][0]["id"], limit=1)
    assert [entry["id"] for entry in back["data"]] == ["openai/gpt-4o-mini"]
    assert (await api.get(PRICES, provider="gemini", limit=1))["data"][0]["provider"] == "google"
    assert (await api.get(PRICES, provider="openai", at="1971-01-01T00:00:00Z", limit=100))["data"] != []
    assert (await api.get(PRICES, provider="nobody"))["data"] == []
    assert (await api.refusal("GET", PRICES, {"starting_after": "openai/none"}))[:2] == (
        404,
        "resource_missing",
    )
    assert (await api.refusal("GET", PRICES, {"limit": 101}))[1] == "parameter_invalid_integer"


async def test_open_changes_say_who_says_what_and_why_they_wait(api: Any) -> None:
    applied = replace(change_of(api), id="pchg_2", digest="d2", status="rejected", reasons=())
    await keep(api, change_of(api), applied)
    (shown,) = (await api.get(CHANGES))["data"]
    assert (shown["id"], shown["status"], shown["large"]) == ("pchg_1", "held", True)
    (move,) = shown["changes"]
    assert (move["old_usd_per_million"], move["new_usd_per_million"]) == ("0.15", "1.5")
    assert (move["percent"], move["standing"]) == ("900", "single")
    assert move["said_by"] == [
        {
            "source": "litellm",
            "revision": "etag:abc",
            "unit_amount": "0.0000015",
            "usd_per_million": "1.5",
        }
    ]
    assert [entry["reason"] for entry in shown["explanations"]] == shown["reasons"]
    assert all(entry["explanation"].endswith(".") for entry in shown["explanations"])
    assert [c["id"] for c in (await api.get(MINI))["open_changes"]] == ["pchg_1"]


FILTERS = [
    ({"status": "all"}, ["pchg_2", "pchg_1"]),
    ({"status": "held"}, ["pchg_1"]),
    ({"status": "rejected"}, ["pchg_2"]),
    ({"status": "all", "provider": "google"}, []),
    ({"status": "all", "provider": "openai", "model": "gpt-4o-mini", "kind": "price"}, ["pchg_2", "pchg_1"]),
    ({"status": "all", "kind": "override"}, []),
    ({"status": "all", "limit": 1}, ["pchg_2"]),
]


@pytest.mark.parametrize(("query", "ids"), FILTERS)
async def test_changes_are_listed_by_what_they_are(api: Any, query: dict[str, Any], ids: list[str]) -> None:
    await keep(api, change_of(api), change_of(api, id="pchg_2", digest="d2", status="rejected"))
    assert [entry["id"] for entry in (await api.get(CHANGES, **query))["data"]] == ids


async def test_a_change_shows_its_impact_on_the_last_days(api: Any) -> None:
    await api.set_up()
    customer = await api.customer()
    await api.report(customer, 1_000_000)
    api.now += DAY
    await keep(api, change_of(api))
    impact = (await api.get(f"{CHANGES}/pchg_1"))["impact"]
    assert (impact["events"], impact["cost_now"], impact["cost_then"]) == (1, "0.15", "1.5")
    assert impact["margin_percent_unfollowed"].startswith("-")
    assert await api.refusal("GET", f"{CHANGES}/none") == (404, "resource_missing", "id")


async def test_an_approved_change_counts_at_once_and_only_once(api: Any) -> None:
    await keep(api, change_of(api))
    done = await api.post(f"{CHANGES}/pchg_1/approve", {"note": "the vendor says so"})
    assert (done["status"], done["decided_by"], done["note"]) == ("applied", "mk_tests", "the vendor says so")
    assert (await per_million(api))["input"] == "1.5"
    assert await api.refusal("POST", f"{CHANGES}/pchg_1/approve") == (400, "price_change_not_open", "id")
    assert await api.refusal("POST", f"{CHANGES}/pchg_1/reject") == (400, "price_change_not_open", "id")
    version = (await api.get(MINI))["price_version"]
    assert (version["origin"], version["price_change"]) == ("sync", "pchg_1")
    assert "price.change_applied" in await api.event_types()


async def test_the_same_idempotency_key_answers_the_same(api: Any) -> None:
    await keep(api, change_of(api))
    sent = [await api.post(f"{CHANGES}/pchg_1/approve", Idempotency_Key="once") for _ in range(2)]
    assert sent[0] == sent[1]


async def test_a_rejected_change_moves_nothing(api: Any) -> None:
    await keep(api, change_of(api))
    done = await api.post(f"{CHANGES}/pchg_1/reject", {"note": "a unit error"})
    assert (done["status"], done["note"]) == ("rejected", "a unit error")
    assert (await per_million(api))["input"] == "0.15"
    assert (await api.get(CHANGES))["data"] == []


async def test_undoing_restores_the_price_and_links_both_changes(api: Any) -> None:
    await keep(api, change_of(api))
    await api.post(f"{CHANGES}/pchg_1/approve")
    api.now += DAY
    undone = await api.post(f"{CHANGES}/pchg_1/undo", {"note": "sorry"})
    assert (undone["kind"], undone["undoes"], undone["note"]) == ("undo", "pchg_1", "sorry")
    before = await api.get(f"{CHANGES}/pchg_1")
    assert (before["status"], before["undone_by"]) == ("superseded", undone["id"])
    assert await per_million(api) == {"input": "0.15", "output": "0.6", "cached_input": "0.075"}
    assert await api.refusal("POST", f"{CHANGES}/pchg_1/undo") == (400, "price_change_not_open", "id")
    again = await api.post(f"{CHANGES}/{undone['id']}/undo")
    assert again["undoes"] == undone["id"] and (await per_million(api))["input"] == "1.5"


async def test_undoing_leaves_what_later_changes_moved(api: Any) -> None:
    output = RecordedMove(leaf="output", when="", old="0.0000006", new="0.0000008", standing="confirmed")
    parts = (("input", "1.5", 1_000_000, None), ("output", "0.8", 1_000_000, None))
    first, later = change_of(api), change_of(api, id="pchg_2", digest="d2", moves=(output,), components=parts)
    await keep(api, first)
    await api.post(f"{CHANGES}/pchg_1/approve")
    api.now += DAY
    await keep(api, later)
    await api.post(f"{CHANGES}/pchg_2/approve")
    api.now += DAY
    await api.post(f"{CHANGES}/pchg_1/undo")
    found = await per_million(api)
    assert (found["input"], found["output"]) == ("0.15", "0.8")
    await api.post(f"{CHANGES}/pchg_2/undo")
    assert (await per_million(api))["output"] == "0.6"


async def test_what_later_changes_moved_again_cannot_be_undone(api: Any) -> None:
    dearer = RecordedMove(leaf="input", when="", old="0.0000015", new="0.000002", standing="confirmed")
    parts = (("input", "2", 1_000_000, None), ("output", "0.6", 1_000_000, None))
    await keep(api, change_of(api))
    await api.post(f"{CHANGES}/pchg_1/approve")
    api.now += DAY
    await keep(api, change_of(api, id="pchg_2", digest="d2", moves=(dearer,), components=parts))
    await api.post(f"{CHANGES}/pchg_2/approve")
    refused = await api.refusal("POST", f"{CHANGES}/pchg_1/undo")
    assert refused == (400, "price_change_overtaken", "id")


def scheduled(api: Any) -> PriceChange:
    return change_of(
        api,
        kind="scheduled",
        status="scheduled",
        moves=(),
        reasons=("scheduled_unconfirmed",),
        effective_at=api.now + 10 * DAY,
        due_at=api.now + 10 * DAY,
        announced_by="genai-prices",
        announced_at=api.now - DAY,
        sources={"genai-prices": "etag:x"},
    )


async def test_a_scheduled_price_is_shown_and_counts_from_its_day_once_approved(api: Any) -> None:
    await keep(api, scheduled(api))
    found = await api.get(MINI)
    assert [entry["price_change"] for entry in found["scheduled"]] == ["pchg_1"]
    shown = await api.get(f"{CHANGES}/pchg_1")
    assert (shown["announced_by"], shown["due_at"]) == ("genai-prices", shown["effective_at"])
    assert [(m["token_type"], m["new_usd_per_million"]) for m in shown["changes"]] == [("input", "1.5")]
    await api.post(f"{CHANGES}/pchg_1/approve")
    assert (await per_million(api))["input"] == "0.15"
    api.now += 10 * DAY
    assert await per_million(api) == {"input": "1.5", "output": "0.6", "cached_input": "0.075"}
    version = (await api.get(MINI))["price_version"]
    assert {"conditions": ["processing=batch"], "usd_per_million": "0.3"}.items() <= next(
        c for c in version["components"] if c["token_type"] == "output" and c["conditions"]
    ).items()


async def test_a_scheduled_price_that_was_approved_can_be_taken_back_before_its_day(api: Any) -> None:
    await keep(api, scheduled(api))
    await api.post(f"{CHANGES}/pchg_1/approve")
    api.now += DAY
    assert (await api.post(f"{CHANGES}/pchg_1/undo"))["status"] == "superseded"
    api.now += 20 * DAY
    assert (await per_million(api))["input"] == "0.15"


async def test_a_declared_name_means_its_model_until_it_is_taken_back(api: Any) -> None:
    form = {"provider": "azure_ai", "name": "Our-Deployment", "target": "gpt-4o-mini"}
    alias = await api.post(ALIASES, form)
    assert (alias["provider"], alias["object"]) == ("azure", "token_billing.model_alias")
    assert (await api.post(ALIASES, form))["id"] == alias["id"]
    found = await api.get(f"{PRICES}/azure/our-deployment")
    assert (found["model"], [a["name"] for a in found["aliases"]]) == ("gpt-4o-mini", ["Our-Deployment"])
    assert [a["id"] for a in (await api.get(ALIASES, provider="azure"))["data"]] == [alias["id"]]
    assert (await api.get(f"{ALIASES}/{alias['id']}"))["target"] == "gpt-4o-mini"
    assert (await api.get(ALIASES, provider="openai"))["data"] == []
    assert (await api.delete(f"{ALIASES}/{alias['id']}"))["deleted"]
    assert (await api.refusal("GET", f"{PRICES}/azure/our-deployment"))[1] == "price_missing"
    gone = (404, "resource_missing", "id")
    assert await api.refusal("DELETE", f"{ALIASES}/{alias['id']}") == gone
    assert await api.refusal("GET", f"{ALIASES}/{alias['id']}") == gone
    assert await api.refusal("POST", ALIASES, form | {"target": "none"}) == (404, "price_missing", "target")
    assert "model.alias_moved" in await api.event_types()


async def test_sources_are_listed_with_what_they_said_last(api: Any) -> None:
    old = SourceState(
        id="litellm", created=api.now, url="https://mirror.example/", revision="etag:1", model_count=4000
    )
    old = replace(old, checked_at=api.now, accepted_at=api.now - timedelta(days=31))
    down = SourceState(id="models.dev", created=api.now, checked_at=api.now, status="rejected", error="No.")
    await keep(api, old, down)
    found = {entry["id"]: entry for entry in (await api.get(f"{BASE}/price_sources"))["data"]}
    assert (found["litellm"]["status"], found["litellm"]["stale"]) == ("stale", True)
    assert (found["litellm"]["models"], found["litellm"]["revision"]) == (4000, "etag:1")
    assert (found["models.dev"]["status"], found["models.dev"]["error"]) == ("rejected", "No.")
    assert (found["genai-prices"]["status"], found["genai-prices"]["enabled"]) == ("never_asked", False)
    fresh = (await api.get(MINI))["freshness"]
    assert {"name": "litellm", "status": "stale", "age_days": 31}.items() <= fresh["sources"][0].items()


async def test_marks_of_a_model_are_shown(api: Any) -> None:
    mark = ModelMark(id="openai/gpt-4o-mini", created=api.now, provider="openai", model="gpt-4o-mini")
    await keep(api, replace(mark, redirect_to="gpt-5-mini", gone_from=("litellm",)))
    shown = (await api.get(MINI))["mark"]
    assert (shown["redirect_to"], shown["gone_from"]) == ("gpt-5-mini", ["litellm"])


async def test_a_reader_that_was_overtaken_does_not_put_older_prices_back(api: Any) -> None:
    older = api.pricing.catalogue
    await keep(api, change_of(api))
    await api.post(f"{CHANGES}/pchg_1/approve")
    api.pricing.adopt(older)
    assert (await per_million(api))["input"] == "1.5"


async def test_another_process_write_is_seen_after_the_next_write_here(api: Any) -> None:
    await keep(api, change_of(api))
    await api.store.write(lambda tx: approve(tx, "pchg_1", at=api.now, by=Person(name="cli")))
    assert (await per_million(api))["input"] == "0.15"
    await api.post(ALIASES, {"provider": "openai", "name": "x", "target": "gpt-4o"})
    assert (await per_million(api))["input"] == "1.5"


@pytest.mark.parametrize("path", [PRICES, CHANGES, ALIASES, f"{BASE}/price_sources", MINI])
async def test_prices_are_the_sellers_to_see(api: Any, path: str) -> None:
    assert (await api.refusal("GET", path, key=None))[0] == 401
