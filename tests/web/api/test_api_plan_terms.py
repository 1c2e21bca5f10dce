"""Plans say what they include and commit to, customers see what is left; both over HTTP."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

INIT = "/v1/token_billing/onboarding/init"
TERMS = {
    "credit_grant_per_period_amount": "500",
    "credit_grant_category": "paid",
    "credit_grant_priority": "7",
    "credit_rollover[periods]": "2",
    "credit_rollover[most]": "300",
    "credit_rollover[pays_overage]": "false",
    "allowances[0][id]": "mini",
    "allowances[0][name]": "1,000 small tokens",
    "allowances[0][units]": "1000",
    "allowances[0][models][]": "openai/gpt-4o-mini",
    "allowances[0][weights][output]": "2.5",
    "allowances[0][rollover][most_percent]": "50",
    "allowances[1][units]": "20",
    "allowances[1][event_name]": "images",
    "minimum_spend[amount]": "10000",
    "minimum_spend[periods]": "3",
    "cost_tracking_only": "false",
}


async def plan_of(api: Any, done: dict[str, Any]) -> dict[str, Any]:
    id = done["resources"]["pricing_plan_id"]
    return dict(await api.get(f"/v1/token_billing/pricing_plans/{id}"))


async def test_a_plan_says_what_it_includes_and_commits_to(api: Any) -> None:
    plan = await plan_of(api, await api.set_up(**TERMS))
    assert plan["credit_grant_category"] == "paid" and plan["credit_grant_priority"] == 7
    assert plan["credit_rollover"] == {
        "least": 0,
        "most": 300,
        "most_percent": None,
        "pays_overage": False,
        "periods": 2,
    }
    assert plan["minimum_spend"] == {"amount": 10000, "periods": 3}
    assert plan["cost_tracking_only"] == []
    mini, images = plan["allowances"]
    assert (mini["id"], mini["models"], mini["weights"]) == (
        "mini",
        ["openai/gpt-4o-mini"],
        {"output": "2.5"},
    )
    assert mini["rollover"] == {"most": None, "most_percent": "50", "periods": 1}
    assert (images["id"], images["event_name"], images["rollover"]) == ("allowance-2", "images", None)


async def test_the_same_set_up_again_changes_nothing_and_without_terms_there_are_none(api: Any) -> None:
    first = await api.set_up(**TERMS)
    plan = await plan_of(api, first)
    assert await plan_of(api, await api.set_up(**TERMS)) == plan
    plain = await plan_of(api, await api.set_up())
    assert (plain["allowances"], plain["minimum_spend"], plain["credit_rollover"]) == ([], None, None)


REFUSED = [
    ({"allowances[0][units]": "0"}, "parameter_invalid_integer", "allowances[0][units]"),
    ({"allowances[0][name]": "x"}, "parameter_missing", "allowances[0][units]"),
    (
        {"allowances[0][units]": "1", "allowances[0][models][]": "nobody/x"},
        "markup_override_unknown",
        "allowances[0][models]",
    ),
    (
        {"allowances[0][units]": "1", "allowances[0][weights][output]": "0.0001"},
        "allowance_invalid",
        "allowances[0][weights]",
    ),
    (
        {"allowances[0][units]": "1", "allowances[0][id]": "a"}
        | {"allowances[1][units]": "1", "allowances[1][id]": "a"},
        "allowance_invalid",
        "allowances[1][id]",
    ),
    ({"credit_rollover[most_percent]": "101"}, "allowance_invalid", "credit_rollover[most_percent]"),
    ({"credit_rollover[periods]": "13"}, "parameter_invalid_integer", "credit_rollover[periods]"),
    ({"minimum_spend[periods]": "0"}, "parameter_invalid_integer", "minimum_spend[periods]"),
    ({"credit_grant_category": "gift"}, "parameter_invalid_choice", "credit_grant_category"),
    ({"allowances[0][units]": "1", "allowances[0][unit]": "1"}, "parameter_unknown", "allowances[0][unit]"),
]


@pytest.mark.parametrize(("form", "code", "param"), REFUSED)
async def test_terms_that_cannot_be_counted_are_refused_by_their_parameter(
    api: Any, form: dict[str, str], code: str, param: str
) -> None:
    assert await api.refusal("POST", INIT, form) == (400, code, param)


async def test_a_customer_sees_what_is_left_of_what_is_included(api: Any) -> None:
    await api.set_up(**TERMS)
    customer = await api.customer()
    await api.report(customer, 600)
    await api.report(customer, 100, token_type="output")
    path = f"/v1/token_billing/customers/{customer}/included_usage"
    tokens, images = (await api.get(path))["data"]
    assert (tokens["remaining"], tokens["unit"], tokens["parts"][0]["used"]) == ("150", "token", "850")
    assert (images["remaining"], images["unit"]) == ("20", "unit")
    events = (await api.get("/v1/token_billing/usage_events", customer=customer))["data"]
    assert {(event["price"], tuple(event["waived"])) for event in events} == {("0", ("included/mini",))}
    assert all(event["list_price"] != "0" for event in events)
    assert events[0]["derivation"]["steps"][0]["list_price"]


async def test_a_customer_without_a_plan_has_nothing_included(api: Any) -> None:
    customer = await api.customer()
    path = f"/v1/token_billing/customers/{customer}/included_usage"
    assert (await api.refusal("GET", path))[1] == "customer_not_subscribed"


async def test_a_customer_is_switched_to_cost_tracking_and_back(api: Any) -> None:
    await api.set_up()
    customer = await api.customer()
    path = f"/v1/token_billing/customers/{customer}"
    state = await api.post(path, {"cost_tracking_only": "true"})
    assert state["cost_tracking_only"] == [{"on": True, "since": int(api.now.timestamp())}]
    await api.report(customer, 1000)
    later = int((api.now + timedelta(hours=1)).timestamp())
    state = await api.post(path, {"cost_tracking_only": "false", "cost_tracking_since": later})
    assert [switch["on"] for switch in state["cost_tracking_only"]] == [True, False]
    api.now += timedelta(hours=1)
    await api.report(customer, 1000)
    events = (await api.get("/v1/token_billing/usage_events", customer=customer))["data"]
    assert sorted((event["price"] == "0", event["waived"]) for event in events) == [
        (False, []),
        (True, ["shadow"]),
    ]
    past = {"cost_tracking_only": "true", "cost_tracking_since": int(api.now.timestamp()) - 1}
    assert await api.refusal("POST", path, past) == (400, "parameter_invalid_time", "cost_tracking_since")


async def test_a_plan_that_only_tracks_asks_for_nothing(api: Any) -> None:
    plan = await plan_of(api, await api.set_up(cost_tracking_only="true", subscription_fee_amount="900"))
    assert [switch["on"] for switch in plan["cost_tracking_only"]] == [True]
    customer = await api.customer()
    await api.report(customer, 1000)
    preview = await api.post("/v1/invoices/create_preview", {"customer": customer})
    assert preview["total"] == 0
    assert [line["description"] for line in preview["lines"]["data"]] == [
        "openai/gpt-4o-mini · input (cost tracking only)"
    ]
    assert (await api.get("/v1/invoices", customer=customer))["data"] == []
