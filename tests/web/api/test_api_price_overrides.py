"""The seller's own prices by the API: overrides, redirects, and what is no price."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

pytestmark = pytest.mark.slow

BASE = "/v1/token_billing"
PRICES, CHANGES, OVERRIDES = f"{BASE}/prices", f"{BASE}/price_changes", f"{BASE}/price_overrides"
REDIRECTS = f"{BASE}/model_redirects"
MINI = f"{PRICES}/openai/gpt-4o-mini"  # 0.15 and 0.6 dollars per million, 0.075 from the cache.
OWN = {"provider": "openai", "model": "gpt-4o-mini", "prices[input]": "0.2"}
DAY = timedelta(days=1)


async def per_million(api: Any, path: str = MINI, **query: Any) -> dict[str, str]:
    """Return a model's list prices of tokens in force."""
    version = (await api.get(path, **query))["price_version"]
    listed = [c for c in version["components"] if c["usd_per_million"] and not c["conditions"]]
    return {c["token_type"]: c["usd_per_million"] for c in listed}


async def test_an_override_is_made_once_per_idempotency_key(api: Any) -> None:
    made = [await api.post(OVERRIDES, OWN, Idempotency_Key="once") for _ in range(2)]
    assert made[0]["id"] == made[1]["id"]
    assert len((await api.get(CHANGES, status="all"))["data"]) == 1


async def test_what_was_in_force_at_an_instant_is_shown_for_it(api: Any) -> None:
    await api.post(OVERRIDES, OWN)
    assert (await per_million(api))["input"] == "0.2"
    assert (await per_million(api, at="2026-11-01T00:00:00Z"))["input"] == "0.15"


async def test_an_override_wins_until_it_ends(api: Any) -> None:
    ends = (api.now + DAY).isoformat()
    made = await api.post(OVERRIDES, {**OWN, "ends_at": ends, "note": "our contract"})
    assert (made["kind"], made["status"], made["note"]) == ("override", "applied", "our contract")
    found = await api.get(MINI)
    assert found["override"]["price_change"] == made["id"]
    assert found["price_version"]["is_override"] and found["price_version"]["origin"] == "override"
    assert await per_million(api) == {"input": "0.2", "output": "0.6", "cached_input": "0.075"}
    api.now += DAY
    assert (await per_million(api))["input"] == "0.15"


async def test_an_override_keeps_what_an_earlier_one_set_and_each_is_undone_alone(api: Any) -> None:
    await api.post(OVERRIDES, OWN)
    api.now += DAY
    output = {"provider": "openai", "model": "gpt-4o-mini", "prices[output]": "0.7"}
    second = await api.post(OVERRIDES, output)
    found = await per_million(api)
    assert (found["input"], found["output"]) == ("0.2", "0.7")
    await api.post(f"{CHANGES}/{second['id']}/undo")
    found = await per_million(api)
    assert (found["input"], found["output"]) == ("0.2", "0.6")


async def test_a_price_under_a_condition_can_be_set(api: Any) -> None:
    form = OWN | {"prices[input@processing=batch]": "0.1", "prices[web_search]": "10000"}
    await api.post(OVERRIDES, form)
    version = (await api.get(MINI))["price_version"]
    by_part = {(c["token_type"], *c["conditions"]): c for c in version["components"]}
    assert by_part["input", "processing=batch"]["usd_per_million"] == "0.1"
    search = by_part["web_search",]
    assert (search["unit_amount"], search["usd_per_million"]) == ("0.01", None)


async def test_the_same_override_after_it_was_undone_counts_again(api: Any) -> None:
    form = OWN | {"valid_from": (api.now - DAY).isoformat()}
    made = await api.post(OVERRIDES, form)
    await api.post(f"{CHANGES}/{made['id']}/undo")
    assert (await per_million(api))["input"] == "0.15"
    api.now += DAY
    await api.post(OVERRIDES, form)
    assert (await per_million(api))["input"] == "0.2"


async def test_usage_is_rated_by_an_override_from_the_next_request_on(api: Any) -> None:
    await api.set_up()
    customer = await api.customer()
    api.now += DAY
    await api.post(OVERRIDES, OWN)
    await api.report(customer, 1_000_000)
    (event,) = (await api.get(f"{BASE}/usage_events", customer=customer))["data"]
    assert event["cost"] == "0.2"


async def test_a_model_without_a_price_gets_its_first_one_only_when_it_is_said_to_be_new(api: Any) -> None:
    form = {"provider": "vllm", "model": "our/llama", "prices[input]": "0.05", "prices[output]": "0.1"}
    assert await api.refusal("POST", OVERRIDES, form) == (404, "price_missing", "model")
    await api.post(OVERRIDES, form | {"new_model": "true"})
    assert (await per_million(api, f"{PRICES}/vllm/our/llama"))["output"] == "0.1"


NO_PRICE = [
    ({"prices[inputs]": "1"}, 400, "price_invalid", "prices[inputs]"),
    ({"prices[input]": "-0.01"}, 400, "price_invalid", "prices[input]"),
    ({"prices[input]": "NaN"}, 400, "amount_invalid", "prices[input]"),
    ({"prices[input]": "Infinity"}, 400, "amount_invalid", "prices[input]"),
    ({"prices[input]": "cheap"}, 400, "amount_invalid", "prices[input]"),
    ({"prices[input]": "0.0000000000001"}, 400, "price_invalid", "prices[input]"),
    ({"prices[input]": "1000000.01"}, 400, "price_invalid", "prices[input]"),
    ({"prices[input]": ""}, 400, "parameter_missing", "prices[input]"),
    ({"prices[input@]": "1"}, 400, "price_invalid", "prices[input@]"),
    ({"prices[input@region]": "1"}, 400, "price_invalid", "prices[input@region]"),
    ({"prices[input@colour=red]": "1"}, 400, "price_invalid", "prices[input@colour=red]"),
    ({"prices[input@prompt_tokens>x]": "1"}, 400, "price_invalid", "prices[input@prompt_tokens>x]"),
    ({"provider": "opnai"}, 404, "price_missing", "model"),
    ({"model": "gpt-4o-maxi"}, 404, "price_missing", "model"),
    ({"ends_at": "2026-11-19T00:00:00Z"}, 400, "price_invalid", "ends_at"),
    (
        {"valid_from": "2026-12-02T00:00:00Z", "ends_at": "2026-12-02T00:00:00Z"},
        400,
        "price_invalid",
        "ends_at",
    ),
    ({"valid_from": "soon"}, 400, "parameter_invalid_time", "valid_from"),
    ({"colour": "red"}, 400, "parameter_unknown", "colour"),
]


@pytest.mark.parametrize(("form", "status", "code", "param"), NO_PRICE)
async def test_what_is_no_price_is_refused_and_changes_nothing(
    api: Any, form: dict[str, str], status: int, code: str, param: str
) -> None:
    assert await api.refusal("POST", OVERRIDES, OWN | form) == (status, code, param)
    assert (await api.get(CHANGES, status="all"))["data"] == []


async def test_an_override_needs_a_price_and_names_a_part_once(api: Any) -> None:
    bare = {"provider": "openai", "model": "gpt-4o-mini"}
    assert await api.refusal("POST", OVERRIDES, bare) == (400, "parameter_missing", "prices")
    twice = OWN | {"prices[output@region=us&speed=fast]": "1", "prices[output@speed=fast&region=us]": "2"}
    assert (await api.refusal("POST", OVERRIDES, twice))[1] == "price_invalid"


async def test_a_model_can_be_priced_as_another(api: Any) -> None:
    form = {"provider": "openai", "model": "gpt-4o-mini", "redirect_to": "gpt-4o"}
    made = await api.post(REDIRECTS, form | {"since": (api.now - DAY).isoformat()})
    assert made["kind"] == "redirect"
    assert (await per_million(api))["input"] == (await per_million(api, f"{PRICES}/openai/gpt-4o"))["input"]
    assert "model.redirected" in await api.event_types()
    refused = await api.refusal("POST", REDIRECTS, form | {"redirect_to": "none"})
    assert refused == (404, "price_missing", "redirect_to")
    assert (await api.refusal("POST", REDIRECTS, form | {"model": "none"}))[2] == "model"
    assert (await api.refusal("POST", REDIRECTS, form | {"model": "gpt-4o"}))[1] == "price_invalid"
    assert (await api.refusal("POST", REDIRECTS, {"provider": "openai"}))[1] == "parameter_missing"
