"""Subscriptions over the API: every object in Stripe's shape, every refusal by its parameter."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

PLANS = "/v1/token_billing/pricing_plans"
JANUARY = datetime(2026, 1, 1, tzinfo=UTC)


def unix(month: int, day: int, *, year: int = 2026) -> int:
    return int(datetime(year, month, day, tzinfo=UTC).timestamp())


@pytest.fixture
async def shop(api: Any) -> SimpleNamespace:
    """Return plans, and a customer on a test clock at the start of January that has no subscription."""
    card = (await api.set_up())["resources"]["rate_card_id"]
    await api.post("/v1/token_billing/settings", {"subscribe_new_customers": "false"})

    async def plan(fee: int = 3100, *, priced: bool = True, **fields: Any) -> str:
        on = {"rate_card": card} if priced else {}
        made = await api.post(PLANS, {"display_name": "Pro", "subscription_fee_amount": fee, **on, **fields})
        return str(made["id"])

    clock = await api.post("/v1/test_helpers/test_clocks", {"frozen_time": unix(1, 1)})

    async def to(month: int, day: int) -> None:
        path = f"/v1/test_helpers/test_clocks/{clock['id']}/advance"
        await api.post(path, {"frozen_time": unix(month, day)})

    async def subscribe(plan: str, **form: Any) -> dict[str, Any]:
        sent = {"customer": customer, "items[0][price]": plan, **form}
        return dict(await api.post("/v1/subscriptions", sent))

    customer = await api.customer(test_clock=clock["id"])
    return SimpleNamespace(plan=plan, to=to, subscribe=subscribe, customer=customer, card=card)


async def test_a_subscription_is_made_listed_and_retrieved(api: Any, shop: Any) -> None:
    made = await shop.subscribe(await shop.plan())
    assert (made["status"], made["items"]["data"][0]["price"]["unit_amount"]) == ("active", 3100)
    assert await api.get(f"/v1/subscriptions/{made['id']}") == made
    assert (await api.get("/v1/subscriptions", customer=shop.customer))["data"] == [made]
    item = made["items"]["data"][0]
    assert await api.get(f"/v1/subscription_items/{item['id']}") == item
    assert (await api.get("/v1/subscription_items", subscription=made["id"]))["data"] == [item]


async def test_a_plan_is_made_changed_archived_and_refused_then(api: Any, shop: Any) -> None:
    plan = await shop.plan(interval="week", interval_count=2, trial_period_days=3, trial_usage="free")
    shown = await api.get(f"{PLANS}/{plan}")
    assert (shown["interval"], shown["interval_count"], shown["trial_usage"]) == ("week", 2, "free")
    await api.post(f"{PLANS}/{plan}", {"active": "false", "proration_by": "day"})
    assert plan not in [entry["id"] for entry in (await api.get(PLANS, active="true"))["data"]]
    refusal = await api.refusal(
        "POST", "/v1/subscriptions", {"customer": shop.customer, "items[0][price]": plan}
    )
    assert refusal == (400, "pricing_plan_archived", "items")


async def test_the_plan_of_new_customers_is_not_archived(api: Any) -> None:
    plan = (await api.set_up())["resources"]["pricing_plan_id"]
    assert await api.refusal("POST", f"{PLANS}/{plan}", {"active": "false"}) == (
        400,
        "pricing_plan_is_default",
        "active",
    )


async def test_a_rate_card_of_its_own_prices_a_plans_usage(api: Any, shop: Any) -> None:
    card = await api.post(
        "/v1/token_billing/rate_cards", {"display_name": "Dear", "default_markup_percent": "100"}
    )
    plan = await api.post(PLANS, {"display_name": "Dear", "rate_card": card["id"]})
    await shop.subscribe(plan["id"])
    await api.report(shop.customer, 10_000_000, timestamp="2026-01-01T00:00:00Z")
    preview = await api.post("/v1/invoices/create_preview", {"customer": shop.customer})
    assert preview["total"] == 300  # $1.50 of input tokens, twice.


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ({"items[0][price]": "bpp_x"}, (404, "resource_missing", "items[0][price]")),
        ({"items[0][quantity]": "2"}, (400, "parameter_missing", "items[0][price]")),
        ({}, (400, "parameter_missing", "items")),
        ({"items[0][price]": "PLAN", "trial_end": "1"}, (400, "subscription_start_invalid", "trial_end")),
        (
            {"items[0][price]": "PLAN", "trial_end": "1900000000", "trial_period_days": "3"},
            (400, "parameters_exclusive", "trial_end"),
        ),
        (
            {"items[0][price]": "PLAN", "billing_cycle_anchor": str(unix(3, 1))},
            (400, "subscription_start_invalid", "billing_cycle_anchor"),
        ),
        ({"items[0][price]": "PLAN", "proration_date": "1"}, (400, "parameter_unknown", "proration_date")),
        (
            {"items[0][price]": "PLAN", "items[1][price]": "PLAN"},
            (400, "subscription_items_invalid", "items"),
        ),
    ],
)
async def test_what_cannot_be_begun_is_refused_by_its_parameter(
    api: Any, shop: Any, form: dict[str, str], expected: Any
) -> None:
    plan = await shop.plan()
    sent = {name: plan if value == "PLAN" else value for name, value in form.items()}
    assert await api.refusal("POST", "/v1/subscriptions", {"customer": shop.customer, **sent}) == expected
    assert (await api.get("/v1/subscriptions", status="all"))["data"] == []


async def test_an_anchor_by_day_of_month_is_by_the_customers_clocks(api: Any, shop: Any) -> None:
    await api.post(f"/v1/customers/{shop.customer}", {"timezone": "Europe/Berlin"})
    made = await shop.subscribe(
        await shop.plan(),
        **{"billing_cycle_anchor_config[day_of_month]": 31, "billing_cycle_anchor_config[hour]": 0},
    )
    item = made["items"]["data"][0]
    assert item["current_period_end"] == unix(1, 31) - 3600  # Midnight in Berlin.
    await shop.to(5, 1)
    item = (await api.get(f"/v1/subscriptions/{made['id']}"))["items"]["data"][0]
    assert item["current_period_start"] == unix(4, 30) - 7200
    assert item["current_period_end"] == unix(5, 31) - 7200


async def test_a_time_zone_that_is_none_is_refused(api: Any, shop: Any) -> None:
    path = f"/v1/customers/{shop.customer}"
    assert await api.refusal("POST", path, {"timezone": "Mars/Base"}) == (
        400,
        "timezone_invalid",
        "timezone",
    )


async def test_a_change_can_wait_for_the_periods_end_and_is_shown(api: Any, shop: Any) -> None:
    made, other = await shop.subscribe(await shop.plan()), await shop.plan(900)
    item = made["items"]["data"][0]["id"]
    path = f"/v1/subscriptions/{made['id']}"
    form = {"items[0][id]": item, "items[0][price]": other, "apply_at": "period_end"}
    assert (await api.post(path, form))["items"]["data"][0]["price"]["id"] != other
    state = await api.get(f"/v1/token_billing/subscriptions/{made['id']}")
    assert state["scheduled_items"] == [{"pricing_plan": other, "quantity": 1}]
    await shop.to(2, 1)
    assert (await api.get(path))["items"]["data"][0]["price"]["unit_amount"] == 900


async def test_usage_is_refused_in_a_pause_and_free_where_that_is_asked_for(api: Any, shop: Any) -> None:
    made = await shop.subscribe(await shop.plan(0))
    await shop.to(1, 2)
    path = f"/v1/subscriptions/{made['id']}"
    await api.post(f"{path}/pause", {})
    at = "2026-01-02T00:00:00Z"
    refused = await api.report(shop.customer, 10_000_000, timestamp=at)
    assert (refused.status, refused.error["code"]) == (403, "subscription_paused")
    await api.post(f"{path}/resume", {})
    await api.post(f"{path}/pause", {"usage": "free"})
    assert (await api.report(shop.customer, 10_000_000, timestamp=at)).status == 200
    (event,) = (await api.get("/v1/token_billing/usage_events", customer=shop.customer))["data"]
    assert (event["price"], event["cost"]) == ("0", "1.5")


async def test_usage_of_a_free_trial_costs_nothing_and_after_it_what_it_costs(api: Any, shop: Any) -> None:
    await shop.subscribe(await shop.plan(0, trial_usage="free"), trial_period_days=10)
    await api.report(shop.customer, 10_000_000, timestamp="2026-01-01T00:00:00Z")
    await shop.to(1, 12)
    await api.report(shop.customer, 10_000_000, timestamp="2026-01-12T00:00:00Z")
    await shop.to(2, 15)
    invoices = (await api.get("/v1/invoices", customer=shop.customer))["data"]
    assert [invoice["total"] for invoice in invoices] == [195, 0]
    assert [line["quantity"] for line in invoices[1]["lines"]["data"]] == [10_000_000]


async def test_a_deleted_item_a_wrong_one_and_an_ended_subscription(api: Any, shop: Any) -> None:
    plan, seat = await shop.plan(), await shop.plan(500, priced=False)
    made = await shop.subscribe(plan, **{"items[1][price]": seat, "items[1][quantity]": 3})
    path, (_, second) = f"/v1/subscriptions/{made['id']}", made["items"]["data"]
    changed = await api.post(path, {"items[0][id]": second["id"], "items[0][deleted]": "true"})
    assert [item["price"]["id"] for item in changed["items"]["data"]] == [plan]
    assert await api.refusal("POST", path, {"items[0][id]": "si_x"}) == (
        404,
        "resource_missing",
        "items[0][id]",
    )
    assert await api.refusal("GET", "/v1/subscription_items/si_x") == (404, "resource_missing", "id")
    added = await api.post("/v1/subscription_items", {"subscription": made["id"], "price": seat})
    assert added["quantity"] == 1
    await api.delete(path)
    assert await api.refusal("DELETE", path) == (400, "subscription_not_in_state", None)
    canceled = (await api.get("/v1/subscriptions", status="canceled", customer=shop.customer))["data"]
    assert [entry["id"] for entry in canceled] == [made["id"]]


async def test_a_start_ahead_is_incomplete_until_then(api: Any, shop: Any) -> None:
    made = await shop.subscribe(await shop.plan(), start_date=unix(1, 10))
    assert (made["status"], made["start_date"]) == ("incomplete", unix(1, 10))
    assert (await api.get("/v1/subscriptions", status="incomplete"))["data"] == [made]
    await shop.to(1, 10)
    assert (await api.get(f"/v1/subscriptions/{made['id']}"))["status"] == "active"


async def test_proration_by_day_is_a_setting(api: Any, shop: Any) -> None:
    settings = await api.post("/v1/token_billing/settings", {"proration_by": "day"})
    assert (settings["proration_by"], settings["subscribe_new_customers"]) == ("day", False)
