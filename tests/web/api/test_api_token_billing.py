"""Our own resources: the set-up, settings, keys, balances, usage with its derivation, rate cards."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from costplus.billing.close import account_settings
from costplus.billing.event import Delivery
from costplus.billing.outbox import AT_ONCE

SECOND = timedelta(seconds=1)
INIT = "/v1/token_billing/onboarding/init"
DASHED = ["openai/gpt-4o-mini", "anthropic/claude-3-5-sonnet", "Anthropic/Claude-Sonnet-4.5"]


async def test_the_set_up_answers_what_stripes_command_line_reads(api: Any) -> None:
    done = await api.post(
        INIT,
        {
            "plan_name": "Custom AI plan",
            "models[]": DASHED,
            "default_markup_percent": "15.5",
            "price_tracking_preference": "new_customers_only",
            "subscription_fee_amount": "1000",
            "credit_grant_per_period_amount": "500",
            "interval": "month",
        },
    )
    assert (done["status"], done["message"]) == ("initialized", "Token Billing is initialized for testmode.")
    assert done["ai_gateway_enabled"] and done["pricing_configured"] and done["token_meters_configured"]
    assert not done["test_request_completed"] and not done["webhook_healthy"]
    assert (done["inference_mode"], done["gateway_endpoint"]) == ("not_tested", "https://bill.example/v1")
    assert done["environment_variables"] == {
        "STRIPE_TOKEN_BILLING_GATEWAY_URL": "https://bill.example/v1",
        "STRIPE_TOKEN_BILLING_PRICING_PLAN_ID": done["resources"]["pricing_plan_id"],
        "OPENAI_BASE_URL": "https://bill.example/v1",
        "ANTHROPIC_BASE_URL": "https://bill.example",
    }
    assert done["models"] == [
        "anthropic/claude-3-5-sonnet",
        "anthropic/claude-sonnet-4-5",
        "openai/gpt-4o-mini",
    ]
    plan = await api.get(f"/v1/token_billing/pricing_plans/{done['resources']['pricing_plan_id']}")
    assert (plan["display_name"], plan["subscription_fee_amount"]) == ("Custom AI plan", 1000)
    assert plan["credit_grant_per_period_amount"] == 500


async def test_the_set_up_has_stripes_defaults(api: Any) -> None:
    done = await api.post(INIT)
    plan = await api.get(f"/v1/token_billing/pricing_plans/{done['resources']['pricing_plan_id']}")
    assert (plan["display_name"], plan["credit_grant_per_period_amount"]) == ("AI starter", 1000)
    card = await api.get(f"/v1/token_billing/rate_cards/{done['resources']['rate_card_id']}")
    assert card["live_version"]["default"] == {
        "kind": "markup",
        "markup_percent": "20",
        "margin_percent": "16.666666",
    }
    assert card["price_tracking_preference"] == "disabled"


async def test_the_same_set_up_again_changes_nothing_and_another_makes_a_version(api: Any) -> None:
    form = {"default_markup_percent": "30"}
    first = await api.post(INIT, form)
    assert await api.post(INIT, form) == first
    path = f"/v1/token_billing/rate_cards/{first['resources']['rate_card_id']}"
    assert len((await api.get(f"{path}/versions"))["data"]) == 1
    other = await api.post(INIT, {"default_margin_percent": "30"})
    assert other["resources"] == first["resources"]
    versions = (await api.get(f"{path}/versions"))["data"]
    assert [version["default"]["markup_percent"] for version in versions] == ["42.857142", "30"]
    (card,) = (await api.get("/v1/token_billing/rate_cards"))["data"]
    assert card["live_version"] == versions[0]["id"]


async def test_models_without_a_price_are_named_and_an_error_only_where_none_has_one(api: Any) -> None:
    done = await api.post(INIT, {"models[]": ["openai/gpt-4o", "meta/llama-9", "gpt-4o"]})
    assert done["models"] == ["openai/gpt-4o"]
    assert [step.split(" ")[0] for step in done["next_steps"][:2]] == ["meta/llama-9", "gpt-4o"]
    refusal = await api.refusal("POST", INIT, {"models[]": ["meta/llama-9", "gpt-4o"]})
    assert refusal == (400, "models_unpriced", "models")


async def test_markups_can_be_set_per_provider_and_per_model(api: Any) -> None:
    await api.set_up(
        **{
            "markup_overrides[anthropic]": "50",
            "markup_overrides[openai/gpt-4o]": "0",
            "markup_overrides[openai]": "",
        }
    )
    customer = await api.customer()
    for model in ("openai/gpt-4o", "openai/gpt-4o-mini", "anthropic/claude-sonnet-4.5"):
        await api.report(customer, 1_000, model=model)
        api.now += SECOND
    events = (await api.get("/v1/token_billing/usage_events", customer=customer))["data"]
    assert [event["derivation"]["steps"][0]["working"].split(" with ")[1] for event in events] == [
        "markup 50%",
        "markup 30%",
        "markup 0%",
    ]


@pytest.mark.parametrize(
    ("form", "code", "param"),
    [
        ({"markup_overrides[nobody]": "1"}, "markup_override_unknown", "markup_overrides[nobody]"),
        ({"default_markup_percent": "-1"}, "markup_invalid", "markup_percent"),
        ({"default_margin_percent": "100"}, "markup_invalid", "margin_percent"),
        ({"default_markup_percent": "x"}, "amount_invalid", "default_markup_percent"),
        (
            {"default_markup_percent": "1", "default_margin_percent": "1"},
            "parameters_exclusive",
            "default_margin_percent",
        ),
        ({"interval": "year"}, "parameter_invalid_choice", "interval"),
        ({"price_tracking_preference": "all"}, "parameter_invalid_choice", "price_tracking_preference"),
        ({"subscription_fee_amount": "1.5"}, "parameter_invalid_integer", "subscription_fee_amount"),
    ],
)
async def test_a_set_up_that_makes_no_sense_changes_nothing(
    api: Any, form: dict[str, str], code: str, param: str
) -> None:
    assert await api.refusal("POST", INIT, form) == (400, code, param)
    assert await api.store.read(account_settings) is None


async def test_webhooks_are_healthy_once_something_was_delivered_and_nothing_failed(api: Any) -> None:
    await api.post("/v1/webhook_endpoints", {"url": "https://example.com", "enabled_events[]": "*"})
    first = await api.set_up()
    assert not first["webhook_healthy"]
    for status, healthy in (("delivered", True), ("failed", False)):
        (event,) = (await api.get("/v1/events", limit=1))["data"]
        deliveries = await api.store.read(lambda tx, event=event: tx.deliveries_of(event["id"]))
        told = Delivery(
            id=deliveries[0].id,
            event=event["id"],
            endpoint=deliveries[0].endpoint,
            due_at=AT_ONCE,
            status=status,  # type: ignore[arg-type]  # Both are statuses of deliveries.
        )
        await api.store.write(lambda tx, told=told: tx.save_delivery(told))
        assert (await api.set_up())["webhook_healthy"] is healthy


async def test_settings_have_defaults_and_are_changed_one_by_one(api: Any) -> None:
    path = "/v1/token_billing/settings"
    before = await api.get(path)
    assert (before["id"], before["zero_credit_rejection_enabled"]) == (None, False)
    changed = await api.post(path, {"zero_credit_rejection_enabled": "true"})
    assert changed["id"].startswith("tbset_") and changed["zero_credit_rejection_enabled"]
    changed = await api.post(path, {"invoice_grace_seconds": "0"})
    assert (changed["zero_credit_rejection_enabled"], changed["invoice_grace_seconds"]) == (True, 0)
    too_long = {"invoice_grace_seconds": str(72 * 3600 + 1)}
    assert await api.refusal("POST", path, too_long) == (
        400,
        "parameter_invalid_integer",
        "invoice_grace_seconds",
    )
    assert (await api.set_up())["zero_credit_rejection_enabled"]
    assert not (await api.set_up(zero_credit_rejection="false"))["zero_credit_rejection_enabled"]


async def test_a_customer_overrides_what_happens_at_zero(api: Any) -> None:
    await api.set_up(zero_credit_rejection="true")
    customer = await api.customer()
    path = f"/v1/token_billing/customers/{customer}"
    for sent, own, applied in (
        ("overage", "overage", "overage"),
        ("block", "block", "block"),
        ("", None, "block"),
    ):
        state = await api.post(path, {"on_zero_credit": sent})
        assert (state["on_zero_credit"], state["on_zero_credit_applied"]) == (own, applied)
    assert await api.get(path) == state
    assert state["subscription"]["status"] == "active"
    assert state["period"]["end"] > state["period"]["start"]
    refusal = await api.refusal("POST", path, {"on_zero_credit": "maybe"})
    assert refusal == (400, "parameter_invalid_choice", "on_zero_credit")
    assert await api.refusal("GET", "/v1/token_billing/customers/cus_x") == (404, "resource_missing", "id")


async def test_a_customer_without_a_plan_has_a_balance_too(api: Any) -> None:
    state = await api.get(f"/v1/token_billing/customers/{await api.customer()}")
    assert (state["subscription"], state["period"], state["on_zero_credit_applied"]) == (
        None,
        None,
        "overage",
    )


async def test_keys_are_listed_per_customer_and_without_their_secrets(api: Any) -> None:
    customer = await api.customer()
    path = "/v1/token_billing/keys"
    made = await api.post(path, {"customer": customer, "name": "laptop"})
    secret = made.pop("secret")
    assert secret.endswith(made["hint"]) and secret.startswith("sk_cust_")
    assert (await api.get(path, customer=customer))["data"] == [made]
    assert await api.get(f"{path}/{made['id']}") == made
    own = await api.post(path)
    assert own["secret"].startswith("sk_test_") and own["customer"] is None
    assert len((await api.get(path))["data"]) == 3
    revoked = await api.delete(f"{path}/{made['id']}")
    assert await api.delete(f"{path}/{made['id']}") == revoked
    assert await api.refusal("GET", f"{path}/mk_x") == (404, "resource_missing", "id")
    assert await api.refusal("POST", path, {"customer": "cus_x"}) == (404, "resource_missing", "customer")


async def test_usage_events_are_listed_newest_first_with_their_derivation(api: Any) -> None:
    await api.set_up()
    customer, other = await api.customer(), await api.customer()
    for who, tokens in ((customer, 1), (other, 2), (customer, 3)):
        await api.report(who, tokens)
        api.now += SECOND
    path = "/v1/token_billing/usage_events"
    listed = (await api.get(path))["data"]
    assert [event["quantities"]["input"] for event in listed] == [3, 2, 1]
    page = await api.get(path, customer=customer, limit=1)
    assert page["has_more"]
    rest = await api.get(path, customer=customer, starting_after=page["data"][0]["id"])
    assert [event["quantities"]["input"] for event in rest["data"]] == [1]
    event = listed[0]
    assert await api.get(f"{path}/{event['id']}", customer=customer) == event
    assert event["derivation"]["exact_price"] == "0.000000585"
    refusal = await api.refusal("GET", f"{path}/{event['id']}", {"customer": other})
    assert refusal == (404, "resource_missing", "id")


async def test_rate_cards_and_plans_that_do_not_exist_are_missing(api: Any) -> None:
    for path in ("rate_cards/rcd_x", "pricing_plans/bpp_x"):
        assert await api.refusal("GET", f"/v1/token_billing/{path}") == (404, "resource_missing", "id")
