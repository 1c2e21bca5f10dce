"""Simulations and price matches: figures now and then, and how a name leads to its price."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from costplus.catalog import names
from costplus.rating.match import SENTENCES
from costplus.web.api import simulations

SIMULATIONS, MATCH = "/v1/token_billing/simulations", "/v1/token_billing/price_match"
MINI = "openai/gpt-4o-mini"


async def used(api: Any) -> tuple[str, str]:
    """Set up at 30 % markup; return two customers, with one and two million tokens in."""
    await api.set_up()
    first, second = await api.customer(), await api.customer()
    assert (await api.report(first, 1_000_000)).status == 200
    assert (await api.report(second, 2_000_000, model="openai/GPT-4o-mini-2024-07-18")).status == 200
    api.now += timedelta(hours=1)
    return first, second


async def test_another_markup_is_shown_beside_what_was_charged(api: Any) -> None:
    first, second = await used(api)
    made = await api.post(SIMULATIONS, {"default_markup_percent": "50"})
    assert made["object"] == "token_billing.simulation" and made["currency"] == "usd"
    assert made["totals"] == {
        "events": 2,
        "revenue": {"now": "0.585", "then": "0.675", "change": "0.09"},
        "cost": {"now": "0.45", "then": "0.45", "change": "0"},
        "margin": {"now": "0.135", "then": "0.225", "change": "0.09"},
        "margin_percent": {"now": "23.07", "then": "33.33"},
        "unpriced_events": {"now": 0, "then": 0, "newly_priced": 0},
    }
    customers = made["by_customer"]
    assert [part["customer"] for part in customers["data"]] == [second, first]
    assert not customers["has_more"] and made["skipped_events"] == {}
    assert {part["model"] for part in made["by_model"]["data"]} >= {MINI}


async def test_one_customer_a_window_and_a_limit_narrow_it(api: Any) -> None:
    first, _ = await used(api)
    made = await api.post(SIMULATIONS, {"customer": first})
    assert made["totals"]["events"] == 1
    assert made["totals"]["revenue"] == {"now": "0.195", "then": "0.195", "change": "0"}
    made = await api.post(SIMULATIONS, {"limit": "1"})
    assert made["by_customer"]["has_more"] and len(made["by_customer"]["data"]) == 1
    earlier = int(api.now.timestamp()) - 7200
    made = await api.post(SIMULATIONS, {"end": earlier})
    assert made["totals"]["events"] == 0 and made["totals"]["margin_percent"] == {"now": None, "then": None}
    assert made["end"] - made["start"] == 30 * 86_400


async def test_prices_factors_and_overrides_combine_and_are_passed_on_only_where_asked(api: Any) -> None:
    await used(api)
    form = {f"prices[{MINI}][input]": "0.30", "markup_overrides[openai]": "0"}
    made = await api.post(SIMULATIONS, form)
    assert made["totals"]["cost"] == {"now": "0.45", "then": "0.9", "change": "0.45"}
    assert made["totals"]["margin"]["then"] == "-0.45"
    made = await api.post(SIMULATIONS, form | {"pass_on_prices": "true"})
    assert made["totals"]["margin"]["then"] == "0"
    made = await api.post(SIMULATIONS, {f"price_factors[{MINI}]": "0.5"})
    assert made["totals"]["cost"]["then"] == "0.225" and made["totals"]["revenue"]["change"] == "0"


async def test_another_version_of_the_card_can_be_tried(api: Any) -> None:
    done = await api.set_up()
    await used(api)
    card = done["resources"]["rate_card_id"]
    await api.set_up(default_margin_percent="50", default_markup_percent="")
    made = await api.post(SIMULATIONS, {"rate_card": card})
    assert made["totals"]["revenue"] == {"now": "0.585", "then": "0.9", "change": "0.315"}
    versions = (await api.get(f"/v1/token_billing/rate_cards/{card}/versions"))["data"]
    made = await api.post(SIMULATIONS, {"rate_card": card, "rate_card_version": versions[-1]["id"]})
    assert made["totals"]["revenue"]["change"] == "0"


async def test_a_simulation_leaves_no_trace(api: Any) -> None:
    await used(api)
    before = (await api.event_types(), await api.get("/v1/token_billing/usage_events"))
    for _ in range(2):
        await api.post(SIMULATIONS, {"default_markup_percent": "50"}, Idempotency_Key="same")
    assert (await api.event_types(), await api.get("/v1/token_billing/usage_events")) == before


REFUSED = [
    ({"default_markup_percent": "1", "default_margin_percent": "1"}, 400, "parameters_exclusive"),
    ({"customer": "cus_none"}, 404, "resource_missing"),
    ({"rate_card": "rcd_none"}, 404, "resource_missing"),
    ({"start": "200", "end": "200"}, 400, "parameter_invalid_time"),
    ({"price_factors[openai/none]": "2"}, 400, "simulation_name_unknown"),
    ({f"prices[{MINI}][ink]": "2"}, 400, "simulation_price_invalid"),
    ({"markup_overrides[openai]": "-1"}, 400, "markup_invalid"),
    ({"surprise": "1"}, 400, "parameter_unknown"),
]


@pytest.mark.parametrize(("form", "status", "code"), REFUSED)
async def test_what_cannot_be_simulated_is_refused(
    api: Any, form: dict[str, str], status: int, code: str
) -> None:
    assert (await api.refusal("POST", SIMULATIONS, form))[:2] == (status, code)


async def test_too_much_usage_for_one_request_is_refused_with_the_way_out(
    api: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    await used(api)
    monkeypatch.setattr(simulations, "EVENTS_MAX", 1)
    answer = await api.send("POST", SIMULATIONS, form={})
    assert (answer.status, answer.error["code"]) == (413, "simulation_too_large")
    assert "costplus simulate" in answer.error["message"]


async def test_a_match_explains_how_a_name_led_to_its_price(api: Any) -> None:
    await api.set_up()
    found = await api.post(MATCH, {"model": " Anthropic/Claude-Sonnet-4.5 ", "quantities[input]": "1000"})
    assert found["matched"] and (found["provider"], found["model"]) == ("anthropic", "claude-sonnet-4-5")
    assert [step["step"] for step in found["steps"]] == ["lower_case", "separators"]
    assert all(step["explanation"].endswith(".") for step in found["steps"])
    version = found["price_version"]
    assert version["id"].startswith("pv_") and version["source"] and version["valid_to"] is None
    (rate,) = (rate for rate in found["rates"] if rate["token_type"] == "input")
    assert (rate["unit_cost"], rate["unit_price"]) == ("0.000003", "0.0000039")
    assert rate["adjustment"]["markup_percent"] == "30"
    assert (found["charge"]["cost"], found["charge"]["price"]) == ("0.003", "0.0039")
    assert "markup 30%" in found["charge"]["steps"][0]["working"]


async def test_a_match_goes_by_the_circumstances(api: Any) -> None:
    form = {"model": MINI, "quantities[input]": "1000000", "quantities[reasoning]": "10"}
    plain = await api.post(MATCH, form)
    batch = await api.post(MATCH, form | {"processing": "batch"})
    priority = await api.post(MATCH, form | {"service_tier": "priority"})
    exact = [Decimal(found["charge"]["exact_cost"]) for found in (plain, batch, priority)]
    assert exact == [Decimal("0.150006"), Decimal("0.075003"), Decimal("0.25001")]
    assert plain["conditions"] == [] and batch["conditions"] == ["processing=batch"]
    assert plain["rate_card_version"] is None  # Nothing is set up: it sells at cost.
    (rate,) = (rate for rate in plain["rates"] if rate["token_type"] == "reasoning")
    assert rate["priced_as"] == "output"


async def test_what_has_no_price_says_why_and_what_to_do(api: Any) -> None:
    found = await api.post(MATCH, {"model": "openai/gpt-99"})
    assert not found["matched"] and found["reason"]["code"] == "model_unpriced"
    assert found["reason"]["remedy"] and found["price_version"] is None and found["rates"] == []
    found = await api.post(MATCH, {"model": "gpt-4o-mini"})
    assert found["reason"]["code"] == "provider_missing" and MINI in found["candidates"]
    found = await api.post(MATCH, {"model": "gpt-4o-mini", "provider": "OpenAI"})
    assert found["matched"]


async def test_a_model_that_is_not_on_the_customers_card_has_a_price_but_is_not_sold(api: Any) -> None:
    await api.set_up(**{"models[]": MINI})
    customer = await api.customer()
    found = await api.post(MATCH, {"model": "openai/gpt-5", "customer": customer})
    assert not found["matched"] and found["reason"]["code"] == "model_not_on_rate_card"
    assert found["price_version"]["id"] and found["rate_card_version"]


MISUSED = [
    ({}, 400, "parameter_missing"),
    ({"model": MINI, "quantities[ink]": "1"}, 400, "parameter_invalid_choice"),
    ({"model": MINI, "quantities[input]": "-1"}, 400, "parameter_invalid_integer"),
    ({"model": MINI, "customer": "cus_none"}, 404, "resource_missing"),
    ({"model": MINI, "rate_card": "rcd_none"}, 404, "resource_missing"),
]


@pytest.mark.parametrize(("form", "status", "code"), MISUSED)
async def test_a_match_that_makes_no_sense_is_refused(
    api: Any, form: dict[str, str], status: int, code: str
) -> None:
    assert (await api.refusal("POST", MATCH, form))[:2] == (status, code)


def test_every_step_of_understanding_a_name_has_its_sentence() -> None:
    rewriting = {step for step, _ in names._NORMALISERS}
    assert SENTENCES.keys() == rewriting | {
        "alias",
        "separators",
        "modifier",
        "dearest_region",
        "operator_alias",
    }
