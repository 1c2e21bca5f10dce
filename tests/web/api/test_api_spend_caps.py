"""Caps, what they are used up to, forecasts, and block or overage by customer, plan and account."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest


@pytest.fixture
async def customer(api: Any) -> str:
    await api.set_up()
    return str(await api.customer())


async def test_a_customer_s_caps_are_set_shown_changed_and_removed(api: Any, customer: str) -> None:
    path = f"/v1/token_billing/customers/{customer}"
    assert (await api.get(path))["spend_caps"] == {"day": None, "month": None}
    await api.report(customer, 1_000_000)
    form = {
        "spend_caps[day][amount]": 500,
        "spend_caps[month][amount]": 900,
        "spend_caps[month][mode]": "soft",
    }
    caps = (await api.post(path, form))["spend_caps"]
    midnight = int((api.now.replace(hour=0) + timedelta(days=1)).timestamp())
    assert caps["day"] == {
        "amount": 500,
        "currency": "usd",
        "held": "0",
        "left": "4.805",
        "mode": "hard",
        "resets_at": midnight,
        "spent": "0.195",
    }
    assert (caps["month"]["mode"], caps["month"]["spent"]) == ("soft", "0.195")
    changed = await api.post(path, {"spend_caps[day][amount]": 100, "spend_caps[month]": ""})
    assert (changed["spend_caps"]["day"]["left"], changed["spend_caps"]["month"]) == ("0.805", None)
    assert (await api.get(path))["spend_caps"] == changed["spend_caps"]


async def test_a_key_s_caps_are_its_own(api: Any, customer: str) -> None:
    key = await api.post("/v1/token_billing/keys", {"customer": customer, "spend_caps[day][amount]": 500})
    assert key["spend_caps"]["day"]["amount"] == 500
    await api.report(customer, 1_000_000)  # Reported without a key.
    path = f"/v1/token_billing/keys/{key['id']}"
    assert (await api.get(path))["spend_caps"]["day"]["spent"] == "0"
    renamed = await api.post(path, {"name": "app", "spend_caps[day]": ""})
    assert (renamed["name"], renamed["spend_caps"]["day"]) == ("app", None)
    (listed,) = (await api.get("/v1/token_billing/keys", customer=customer))["data"]
    assert listed == renamed


async def test_a_sellers_own_key_has_no_caps(api: Any) -> None:
    refusal = await api.refusal("POST", "/v1/token_billing/keys", {"spend_caps[day][amount]": 500})
    assert refusal == (400, "key_without_customer", "spend_caps")


@pytest.mark.parametrize(
    ("form", "code"),
    [
        ({"spend_caps[day][mode]": "hard"}, "parameter_missing"),
        ({"spend_caps[day][amount]": "-1"}, "parameter_invalid_integer"),
        ({"spend_caps[week][amount]": "1"}, "parameter_unknown"),
    ],
)
async def test_caps_that_make_no_sense_are_refused(
    api: Any, customer: str, form: dict[str, str], code: str
) -> None:
    path = f"/v1/token_billing/customers/{customer}"
    assert (await api.refusal("POST", path, form))[1] == code


async def test_reported_usage_passes_a_hard_cap_and_is_told_once(api: Any, customer: str) -> None:
    await api.post(f"/v1/token_billing/customers/{customer}", {"spend_caps[day][amount]": 100})
    for _ in range(3):
        assert (await api.report(customer, 4_000_000)).status == 200
    types = await api.event_types()
    assert [type for type in types if "spend_cap" in type] == [
        "token_billing.spend_cap.reached",
        "token_billing.spend_cap.exceeded",
    ]
    (event,) = (await api.get("/v1/events", type="token_billing.spend_cap.exceeded"))["data"]
    assert (event["data"]["object"]["spent"], event["data"]["object"]["exceeded"]) == ("1.56", True)


async def test_a_forecast_says_when_credit_ends_and_what_it_is_computed_from(api: Any, customer: str) -> None:
    await api.grant(customer, 1000)
    api.now += timedelta(days=1)
    await api.report(customer, 10_000_000)
    found = await api.get(f"/v1/token_billing/customers/{customer}/forecast", days=2)
    assert found["rate"]["spent"] == "1.95"
    assert found["credit"]["balance"] == "8.05"
    assert found["credit"]["days_left"] == 4
    assert [day["spent"] for day in found["days"]] == ["0", "1.95"]
    assert found["invoice"]["spent"] == "1.95"
    assert len(found["computed_from"]) == 3
    assert found["computed_from"][0].startswith("rate: 1.95 usd charged from")
    refusal = await api.refusal("GET", "/v1/token_billing/customers/cus_x/forecast")
    assert refusal[:2] == (404, "resource_missing")


async def test_block_or_overage_is_the_customers_rule_else_its_plans_else_the_accounts(
    api: Any, customer: str
) -> None:
    path = f"/v1/token_billing/customers/{customer}"
    state = await api.get(path)
    assert (state["on_zero_credit"], state["on_zero_credit_applied"]) == (None, "overage")
    plan = f"/v1/token_billing/pricing_plans/{state['subscription']['pricing_plan']}/zero_credit"
    assert (await api.post(plan, {"on_zero_credit": "block"}))["on_zero_credit"] == "block"
    assert (await api.get(path))["on_zero_credit_applied"] == "block"
    assert (await api.post(path, {"on_zero_credit": "overage"}))["on_zero_credit_applied"] == "overage"
    await api.post(path, {"on_zero_credit": ""})
    await api.post(plan, {"on_zero_credit": ""})
    assert (await api.get(path))["on_zero_credit_applied"] == "overage"
    unknown = "/v1/token_billing/pricing_plans/bpp_x/zero_credit"
    assert (await api.refusal("POST", unknown))[:2] == (404, "resource_missing")
