"""Top-ups, packs, methods and rules over HTTP."""

from __future__ import annotations

from typing import Any

import pytest

PATH = "/v1/token_billing"


async def test_credit_is_bought_with_the_default_method(cashier: Any) -> None:
    customer = await cashier.customer("pm_fake_ok")
    made = await cashier.top_up(customer, 1500, **{"metadata[order]": "7"})
    assert (made["status"], made["amount_granted"], made["metadata"]) == ("succeeded", 1500, {"order": "7"})
    assert await cashier.credit(customer) == "15"
    receipt = await cashier.api.get(f"{PATH}/top_ups/{made['id']}/receipt")
    assert (receipt["number"], receipt["amount"], receipt["paid_by"]) == ("RC-000001", 1500, "Card that pays")
    assert (await cashier.api.get(f"{PATH}/receipts", customer=customer))["data"] == [receipt]
    (grant,) = (await cashier.api.get("/v1/billing/credit_grants", customer=customer))["data"]
    assert (grant["category"], grant["metadata"]["top_up"]) == ("paid", made["id"])
    types = await cashier.api.event_types()
    assert {"payment.created", "payment.succeeded", "top_up.succeeded"} <= set(types)


async def test_a_decline_is_a_card_error_and_a_repeated_request_is_no_second_attempt(cashier: Any) -> None:
    customer = await cashier.customer("pm_fake_decline_insufficient")
    form = {"customer": customer, "amount": 1000}
    for _ in range(2):
        answer = await cashier.api.send("POST", f"{PATH}/top_ups", form=form, Idempotency_Key="k1")
        assert (answer.status, answer.error["type"], answer.error["code"]) == (
            402,
            "card_error",
            "card_declined",
        )
        assert answer.error["decline_code"] == "insufficient_funds"
    assert answer.headers["Idempotent-Replayed"] == "true"
    payment = await cashier.payment()
    assert (payment["status"], len(payment["attempts"])) == ("failed", 1)
    assert (await cashier.credit(customer)) == "0"


async def test_the_same_key_buys_once(cashier: Any) -> None:
    customer = await cashier.customer("pm_fake_ok")
    first = await cashier.api.post(
        f"{PATH}/top_ups", {"customer": customer, "amount": 1000}, Idempotency_Key="k1"
    )
    again = await cashier.api.post(
        f"{PATH}/top_ups", {"customer": customer, "amount": 1000}, Idempotency_Key="k1"
    )
    assert (first, await cashier.credit(customer)) == (again, "10")


@pytest.mark.parametrize(
    ("form", "refused"),
    [
        ({}, (400, "top_up_invalid", "amount")),
        ({"amount": 1, "credits": "1"}, (400, "top_up_invalid", "amount")),
        ({"amount": 0}, (400, "parameter_invalid_integer", "amount")),
        ({"amount": 2**53}, (400, "amount_invalid", None)),
        ({"credits": "-1"}, (400, "top_up_invalid", "credits")),
        ({"credits": "1e9999"}, (400, "amount_invalid", "credits")),
        ({"credits": "0.001"}, (400, "top_up_invalid", "amount")),
        ({"amount": 1, "currency": "eur"}, (400, "top_up_invalid", "currency")),
        ({"credit_pack": "cpack_x"}, (404, "resource_missing", "credit_pack")),
        ({"amount": 1, "payment_method": "pm_x"}, (404, "resource_missing", "payment_method")),
    ],
)
async def test_a_top_up_that_makes_no_sense_is_refused(cashier: Any, form: Any, refused: Any) -> None:
    customer = await cashier.customer("pm_fake_ok")
    assert await cashier.api.refusal("POST", f"{PATH}/top_ups", {"customer": customer, **form}) == refused
    assert (await cashier.api.get(f"{PATH}/payments"))["data"] == []


async def test_credits_are_priced_to_the_nearest_cent(cashier: Any) -> None:
    customer = await cashier.customer("pm_fake_ok")
    form = {"customer": customer, "credits": "17.9699999999999988631316"}
    assert (await cashier.api.post(f"{PATH}/top_ups", form))["amount"] == 1797
    assert await cashier.credit(customer) == "17.97"


async def test_a_pack_is_made_sold_and_retired(cashier: Any) -> None:
    form = {"name": "Big", "currency": "usd", "credit": 10_000, "unit_price": "0.50", "valid_days": 365}
    pack = await cashier.api.post(f"{PATH}/credit_packs", form)
    assert (pack["price"], pack["credit"], pack["active"]) == (5000, 10_000, True)
    customer = await cashier.customer("pm_fake_ok")
    buy = {"customer": customer, "credit_pack": pack["id"]}
    made = await cashier.api.post(f"{PATH}/top_ups", buy)
    assert (made["amount"], made["promotional_amount"], len(made["credit_grants"])) == (5000, 5000, 2)
    assert await cashier.credit(customer) == "100"
    await cashier.api.post(f"{PATH}/credit_packs/{pack['id']}", {"active": "false"})
    refused = await cashier.api.refusal("POST", f"{PATH}/top_ups", buy)
    assert refused == (400, "credit_pack_inactive", "credit_pack")
    dear = {"name": "Dear", "currency": "usd", "credit": 100, "price": 101}
    refused = await cashier.api.refusal("POST", f"{PATH}/credit_packs", dear)
    assert refused == (400, "credit_pack_invalid", None)
    assert (await cashier.api.get(f"{PATH}/credit_packs", active="true"))["data"] == []


async def test_methods_are_attached_chosen_and_detached(cashier: Any) -> None:
    customer = await cashier.customer()
    first = await cashier.attach(customer, "pm_fake_ok")
    assert await cashier.attach(customer, "pm_fake_ok") == first
    second = await cashier.attach(customer, "bank_transfer", provider="manual")
    default = (await cashier.api.get(f"/v1/customers/{customer}"))["invoice_settings"]
    assert default["default_payment_method"] == first
    await cashier.api.post(f"{PATH}/payment_methods/{second}/set_default")
    path = f"/v1/customers/{customer}"
    assert (await cashier.api.get(path))["invoice_settings"]["default_payment_method"] == second
    form = {"invoice_settings[default_payment_method]": first}
    assert (await cashier.api.post(path, form))["invoice_settings"]["default_payment_method"] == first
    assert (await cashier.api.post(f"{PATH}/payment_methods/{first}/detach"))["detached_at"] is not None
    assert (await cashier.api.get(path))["invoice_settings"]["default_payment_method"] is None
    listed = await cashier.api.get(f"{PATH}/payment_methods", customer=customer)
    assert [each["id"] for each in listed["data"]] == [second]
    form = {"customer": customer, "amount": 100, "payment_method": first}
    refused = await cashier.api.refusal("POST", f"{PATH}/top_ups", form)
    assert refused == (400, "payment_method_detached", "payment_method")


async def test_methods_that_nobody_knows_are_refused(cashier: Any) -> None:
    customer = await cashier.customer()
    form = {"customer": customer, "provider": "fake", "token": "pm_x"}
    path = f"{PATH}/payment_methods"
    assert await cashier.api.refusal("POST", path, form) == (400, "payment_method_refused", "token")
    form["provider"] = "nobody"
    assert await cashier.api.refusal("POST", path, form) == (404, "payment_provider_unknown", "provider")


async def test_anothers_method_cannot_be_charged(cashier: Any) -> None:
    await cashier.customer("pm_fake_ok")
    other = await cashier.customer()
    theirs = (await cashier.api.get("/v1/customers", limit=2))["data"][1]["invoice_settings"]
    form = {"customer": other, "amount": 100, "payment_method": theirs["default_payment_method"]}
    refused = await cashier.api.refusal("POST", f"{PATH}/top_ups", form)
    assert refused == (404, "resource_missing", "payment_method")


async def test_a_rule_recharges_what_reported_usage_takes(cashier: Any) -> None:
    customer = await cashier.customer("pm_fake_ok")
    await cashier.api.grant(customer, 100)
    path = f"{PATH}/customers/{customer}/auto_recharge"
    rule = await cashier.api.post(path, {"threshold": 50, "amount": 2000, "monthly_cap": 5000})
    assert (rule["enabled"], rule["amount"], rule["payment_in_flight"]) == (True, 2000, None)
    await cashier.api.report(customer, 10_000_000)
    assert (await cashier.api.get(path))["payment_in_flight"] == (await cashier.payment())["id"]
    await cashier.collector.collect_due()
    assert await cashier.credit(customer) == "19.05"
    (made,) = (await cashier.api.get(f"{PATH}/top_ups", customer=customer))["data"]
    assert (made["origin"], made["status"]) == ("auto_recharge", "succeeded")
    off = await cashier.api.post(path, {"enabled": "false"})
    assert (off["enabled"], off["stopped"], off["month_amount"]) == (False, "disabled", 2000)


@pytest.mark.parametrize(
    ("form", "refused"),
    [
        ({"amount": 1}, (400, "parameter_missing", "threshold")),
        ({"threshold": 1}, (400, "auto_recharge_invalid", "amount")),
        ({"threshold": 5, "target": 5}, (400, "auto_recharge_invalid", "target")),
        ({"threshold": 5, "target": 9, "amount": 1}, (400, "auto_recharge_invalid", "target")),
        (
            {"threshold": 5, "amount": 1, "declines_max": 0},
            (400, "parameter_invalid_integer", "declines_max"),
        ),
    ],
)
async def test_a_rule_that_cannot_work_is_refused(cashier: Any, form: Any, refused: Any) -> None:
    customer = await cashier.customer("pm_fake_ok")
    path = f"{PATH}/customers/{customer}/auto_recharge"
    assert await cashier.api.refusal("POST", path, form) == refused
    assert await cashier.api.refusal("GET", path) == (404, "resource_missing", "id")


async def test_a_rule_needs_something_to_charge(cashier: Any) -> None:
    customer = await cashier.customer()
    path = f"{PATH}/customers/{customer}/auto_recharge"
    refused = await cashier.api.refusal("POST", path, {"threshold": 1, "amount": 1})
    assert refused == (400, "invoice_no_payment_method", "payment_method")
