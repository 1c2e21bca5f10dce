"""Alerts on spend, usage and their rates through the API: made, listed, told in Stripe's shapes."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

PREVIEW = {"Stripe_Version": "2026-10-28.preview"}
PATH = "/v1/billing/alerts"


@pytest.fixture
async def customer(api: Any) -> str:
    await api.set_up()
    return str(await api.customer())


def spend(minor: int, span: str = "day", *filters: tuple[str, str], currency: str = "usd") -> dict[str, Any]:
    form: dict[str, Any] = {
        "alert_type": "spend_threshold",
        "title": "spend",
        "spend_threshold[aggregation_period]": span,
        "spend_threshold[gte][type]": "amount",
        "spend_threshold[gte][amount][currency]": currency,
        "spend_threshold[gte][amount][value]": minor,
    }
    for number, (kind, value) in enumerate(filters):
        form[f"spend_threshold[filters][{number}][type]"] = kind
        form[f"spend_threshold[filters][{number}][{kind}]"] = value
    return form


async def meter(api: Any, formula: str = "sum", **more: str) -> str:
    form = {
        "display_name": "Calls",
        "event_name": f"calls_{formula}",
        "default_aggregation[formula]": formula,
    }
    return str((await api.post("/v1/billing/meters", form | more))["id"])


def usage(meter: str, gte: int, recurrence: str = "one_time") -> dict[str, Any]:
    return {
        "alert_type": "usage_threshold",
        "title": "calls",
        "usage_threshold[meter]": meter,
        "usage_threshold[gte]": gte,
        "usage_threshold[recurrence]": recurrence,
    }


async def fired(api: Any, **headers: str) -> list[dict[str, Any]]:
    answer = await api.send("GET", "/v1/events", form={"type": "billing.alert.triggered"}, **headers)
    return [event["data"]["object"] for event in reversed(answer.body["data"])]


async def test_a_spend_alert_is_told_once_in_whole_minor_units(api: Any, customer: str) -> None:
    alert = await api.post(PATH, spend(100))
    assert alert["spend_threshold"] == {
        "aggregation_period": "day",
        "filters": [],
        "group_by": None,
        "gte": {
            "amount": {"currency": "usd", "value": 100},
            "custom_pricing_unit": None,
            "type": "amount",
        },
    }
    await api.report(customer, 5_128_205)
    assert await fired(api) == []
    await api.report(customer, 1)
    await api.report(customer, 10_000_000)
    (general,) = await fired(api)
    assert general.keys() == {"object", "alert", "created", "customer", "livemode", "value"}
    assert (general["customer"], general["value"]) == (customer, 100)
    assert general["alert"] == alert


async def test_the_preview_tells_the_exact_value_and_its_window(api: Any, customer: str) -> None:
    await api.post(PATH, spend(100, "month"))
    await api.report(customer, 5_555_555)
    (shown,) = await fired(api, **PREVIEW)
    assert (shown["value"], shown["currency"], shown["aggregation_period"]) == ("108.3333225", "usd", "month")
    assert shown["triggered_at"] == shown["created"]
    assert shown["window"]["end"] - shown["window"]["start"] == 30 * 86_400


async def test_a_back_dated_report_fires_for_its_own_day(api: Any, customer: str) -> None:
    await api.post(PATH, spend(100))
    at = (api.now - timedelta(days=3)).strftime("%Y-%m-%dT%H:%M:%SZ")
    for identifier in ("a", "b", "b"):
        await api.report(customer, 3_000_000, timestamp=at, identifier=identifier)
    await api.report(customer, 3_000_000)
    (shown,) = await fired(api, **PREVIEW)
    assert shown["window"]["end"] <= int(api.now.timestamp()) - 2 * 86_400


async def test_a_usage_alert_is_stripes_own_shape_and_counts_from_its_creation(
    api: Any, customer: str
) -> None:
    id = await meter(api)
    event = {"event_name": "calls_sum", "payload": {"stripe_customer_id": customer, "value": "9"}}
    await api.send("POST", "/v2/billing/meter_events", json=event)
    api.now += timedelta(minutes=1)
    alert = await api.post(PATH, usage(id, 10))
    assert alert["usage_threshold"] == {"filters": [], "gte": 10, "meter": id, "recurrence": "one_time"}
    for expected in (0, 1, 1):
        await api.send("POST", "/v2/billing/meter_events", json=event)
        assert len(await fired(api)) == expected
    assert (await fired(api))[0]["value"] == 18


async def test_rates_and_run_outs_fire_while_a_test_clock_advances(api: Any) -> None:
    await api.set_up()
    clock = await api.post("/v1/test_helpers/test_clocks", {"frozen_time": int(api.now.timestamp())})
    customer = await api.customer(test_clock=clock["id"])
    await api.grant(customer, 300)
    burn = {
        "alert_type": "burn_rate",
        "title": "fast",
        "burn_rate[per]": "hour",
        "burn_rate[gte][amount][currency]": "usd",
        "burn_rate[gte][amount][value]": 150,
    }
    out = {"alert_type": "credit_run_out", "title": "soon", "credit_run_out[lte][days]": 3}
    for form in (burn, out):
        kind = form["alert_type"]
        own = {f"{kind}[filters][0][type]": "customer", f"{kind}[filters][0][customer]": customer}
        await api.post(PATH, form | own)
    await api.report(customer, 10_000_000)
    assert await fired(api) == []
    to = int(api.now.timestamp()) + 86_400
    await api.post(f"/v1/test_helpers/test_clocks/{clock['id']}/advance", {"frozen_time": to})
    told = {shown["alert"]["alert_type"]: shown["value"] for shown in await fired(api)}
    assert told == {"burn_rate": 195, "credit_run_out": 0}
    (recovered,) = (await api.get("/v1/events", type="billing.alert.recovered"))["data"]
    assert recovered["data"]["object"]["alert"]["alert_type"] == "burn_rate"  # The hour passed.


async def test_filters_and_lists_narrow_to_a_key_a_model_a_type_and_a_meter(api: Any, customer: str) -> None:
    key = await api.post("/v1/token_billing/keys", {"customer": customer})
    by_key = await api.post(PATH, spend(5, "month", ("api_key", key["id"]), ("model", "openai/gpt-4o-mini")))
    assert by_key["spend_threshold"]["filters"] == [
        {"type": "customer", "customer": customer},
        {"type": "api_key", "api_key": key["id"]},
        {"type": "model", "model": "openai/gpt-4o-mini"},
    ]
    by_meter = await api.post(PATH, usage(await meter(api), 1, "recurring"))
    for query, expected in (
        ({"customer": customer}, by_key["id"]),
        ({"alert_type": "usage_threshold"}, by_meter["id"]),
        ({"meter": by_meter["usage_threshold"]["meter"]}, by_meter["id"]),
    ):
        assert [alert["id"] for alert in (await api.get(PATH, **query))["data"]] == [expected]


async def test_alerts_that_could_never_fire_are_refused(api: Any, customer: str) -> None:
    own = ("customer", customer)
    merchant_key = (await api.post("/v1/token_billing/keys", {}))["id"]
    last = await meter(api, "last")
    for form, code in (
        (spend(5, "day", own, currency="eur"), "alert_currency_mismatch"),
        (spend(5, "day", own, currency="euro"), "parameter_invalid_string"),
        (spend(0), "parameter_invalid_integer"),
        (spend(5, "day", ("api_key", merchant_key)), "resource_missing"),
        (spend(5, "day", ("api_key", "mk_x")), "resource_missing"),
        (usage(last, 5), "alert_meter_not_summed"),
        (usage(await meter(api, "max"), 5), "alert_meter_not_summed"),
        (usage("mtr_x", 5), "resource_missing"),
    ):
        assert (await api.refusal("POST", PATH, form))[1] == code, form


async def test_a_meter_has_25_alerts_a_customer(api: Any, customer: str) -> None:
    form = usage(await meter(api), 5)
    alerts = [await api.post(PATH, form) for _ in range(25)]
    assert (await api.refusal("POST", PATH, form))[1] == "alerts_limit"
    await api.post(f"{PATH}/{alerts[0]['id']}/archive")
    await api.post(PATH, form)


async def test_an_alert_that_slept_counts_its_window_anew_when_it_wakes(api: Any, customer: str) -> None:
    alert = await api.post(PATH, spend(100))
    await api.post(f"{PATH}/{alert['id']}/deactivate")
    await api.report(customer, 5_000_000)
    api.now += timedelta(seconds=5)
    await api.post(f"{PATH}/{alert['id']}/activate")
    await api.report(customer, 200_000)
    assert [shown["value"] for shown in await fired(api)] == [101]
