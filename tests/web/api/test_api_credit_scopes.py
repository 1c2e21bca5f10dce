"""Credit for some usage only, in custom pricing units, and what its movements say of invoices."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from costplus.web.objects.wire import unix

DAY = timedelta(days=1)
GRANTS, SUMMARY = "/v1/billing/credit_grants", "/v1/billing/credit_balance_summary"
MOVED = "/v1/billing/credit_balance_transactions"
UNITS = "/v1/token_billing/custom_pricing_units"
SCOPE = "applicability_config[scope]"


@pytest.fixture
async def customer(api: Any) -> str:
    await api.set_up()
    return str(await api.customer())


async def available(api: Any, customer: str, grant: str) -> int:
    query = {"filter[type]": "credit_grant", "filter[credit_grant]": grant}
    found = await api.get(SUMMARY, customer=customer, **query)
    return int(found["balances"][0]["available_balance"]["monetary"]["value"])


async def test_a_grant_for_one_model_is_not_burned_by_another(api: Any, customer: str) -> None:
    grant = await api.grant(customer, 100, **{f"{SCOPE}[models][0]": "openai/gpt-4o-mini"})
    scope = grant["applicability_config"]["scope"]
    assert scope == {"price_type": "metered", "models": ["openai/gpt-4o-mini"]}
    await api.report(customer, 1_000_000, model="openai/gpt-4o")
    assert await available(api, customer, grant["id"]) == 100
    await api.report(customer, 1_000_000)
    assert await available(api, customer, grant["id"]) == 80  # 19.5 cents.


async def test_a_grant_for_a_price_names_the_rate_card(api: Any, customer: str) -> None:
    (subscription,) = (await api.get("/v1/subscriptions", customer=customer))["data"]
    price = subscription["items"]["data"][0]["price"]["id"]
    form = {f"{SCOPE}[price_type]": "", f"{SCOPE}[prices][0][id]": price}
    grant = await api.grant(customer, 100, **form)
    (named,) = grant["applicability_config"]["scope"]["prices"]
    assert named["id"].startswith("rcd_")
    await api.report(customer, 1_000_000)
    assert await available(api, customer, grant["id"]) == 80


@pytest.mark.parametrize(
    ("form", "code"),
    [
        ({"[prices][0][id]": "price_x", "[price_type]": ""}, "credit_scope_invalid"),
        ({"[meters][0]": "nothing"}, "credit_scope_invalid"),
        ({"[providers][0]": "nobody"}, "credit_scope_invalid"),
        ({"[token_types][0]": "words"}, "credit_scope_invalid"),
        ({"[billable_items][0][id]": "b"}, "not_supported"),
        ({"[colour]": "red"}, "parameter_unknown"),
    ],
)
async def test_a_scope_that_no_usage_can_meet_is_refused(
    api: Any, customer: str, form: dict[str, str], code: str
) -> None:
    fields = {
        "customer": customer,
        "amount[type]": "monetary",
        "amount[monetary][value]": "1",
        "amount[monetary][currency]": "usd",
        f"{SCOPE}[price_type]": "metered",
    }
    sent = fields | {f"{SCOPE}{name}": value for name, value in form.items()}
    refused = await api.refusal("POST", GRANTS, sent)
    assert refused[:2] == (400, code)


async def test_summaries_can_be_asked_by_scope(api: Any, customer: str) -> None:
    await api.grant(customer, 100)
    await api.grant(customer, 30, **{f"{SCOPE}[models][0]": "openai/gpt-4o"})
    query = {"filter[type]": "applicability_scope"}
    for name, value in ((("price_type", "metered"), 130), (("models][0", "openai/gpt-4o"), 30)):
        asked = {f"filter[applicability_scope][{name[0]}]": name[1]}
        found = await api.get(SUMMARY, customer=customer, **query, **asked)
        assert found["balances"][0]["available_balance"]["monetary"]["value"] == value


async def test_credit_in_units_is_worth_what_they_were_worth_when_it_was_given(
    api: Any, customer: str
) -> None:
    rates = {"rates[0][currency]": "usd", "rates[0][rate]": "0.01"}
    unit = await api.post(UNITS, {"display_name": "sparks", **rates})
    later = unix(api.now + DAY)
    form = {"rates[0][currency]": "usd", "rates[0][rate]": "0.02", "rates[0][effective_at]": later}
    unit = await api.post(f"{UNITS}/{unit['id']}", form)
    assert [(entry["rate"], entry["effective_at"]) for entry in unit["rates"]][1] == ("0.02", later)
    amount = {
        "amount[type]": "custom_pricing_unit",
        "customer": customer,
        f"{SCOPE}[price_type]": "metered",
        "amount[custom_pricing_unit][id]": unit["id"],
        "amount[custom_pricing_unit][value]": "150.5",
    }
    now = await api.post(GRANTS, amount | {"priority": "1"})
    assert now["amount"]["custom_pricing_unit"] == {"id": unit["id"], "value": "150.5"}
    assert now["amount"]["monetary"]["value"] == 150
    api.now += DAY
    then = await api.post(GRANTS, amount)
    assert then["amount"]["monetary"]["value"] == 301
    await api.report(customer, 1_000_000)  # 19.5 cents are 19.5 units of the first grant.
    found = await api.get(SUMMARY, customer=customer)
    money, units = found["balances"]
    assert money["available_balance"]["monetary"]["value"] == 432
    assert units["available_balance"]["custom_pricing_unit"] == {"id": unit["id"], "value": "281.5"}
    (moved,) = (await api.get(MOVED, customer=customer, credit_grant=now["id"], limit=1))["data"]
    assert moved["debit"]["amount"]["custom_pricing_unit"]["value"] == "19.5"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"amount[custom_pricing_unit][value]": "0"}, "custom_pricing_unit_amount_invalid"),
        ({"amount[custom_pricing_unit][value]": "-1"}, "custom_pricing_unit_amount_invalid"),
        ({"amount[custom_pricing_unit][value]": "many"}, "amount_invalid"),
        ({"amount[custom_pricing_unit][value]": "1" * 30}, "amount_invalid"),
        ({"amount[custom_pricing_unit][id]": "cpu_x"}, "resource_missing"),
    ],
)
async def test_units_that_are_no_amount_are_refused(
    api: Any, customer: str, change: dict[str, str], code: str
) -> None:
    unit = await api.post(UNITS, {"display_name": "u", "rates[0][currency]": "usd", "rates[0][rate]": "1"})
    fields = {
        "customer": customer,
        f"{SCOPE}[price_type]": "metered",
        "amount[type]": "custom_pricing_unit",
        "amount[custom_pricing_unit][id]": unit["id"],
        "amount[custom_pricing_unit][value]": "1",
    }
    assert (await api.refusal("POST", GRANTS, fields | change))[1] == code
    await api.post(f"{UNITS}/{unit['id']}", {"active": "false"})
    assert (await api.refusal("POST", GRANTS, fields))[1] == "custom_pricing_unit_inactive"
    other = await api.post(UNITS, {"display_name": "euros"})
    refused = await api.refusal("POST", GRANTS, fields | {"amount[custom_pricing_unit][id]": other["id"]})
    assert refused[1] == "custom_pricing_unit_rate_missing"
    assert (await api.refusal("POST", UNITS, {"display_name": "eleven long"}))[0] == 400


async def test_units_are_listed_and_found(api: Any) -> None:
    unit = await api.post(UNITS, {"display_name": "u", "metadata[a]": "1"})
    assert await api.get(f"{UNITS}/{unit['id']}") == unit
    assert (await api.get(UNITS))["data"] == [unit]
    assert await api.refusal("GET", f"{UNITS}/cpu_x") == (404, "resource_missing", "id")


async def test_usage_names_its_invoice_once_that_is_final_and_a_void_gives_credit_back(api: Any) -> None:
    await api.set_up()
    clock = await api.post("/v1/test_helpers/test_clocks", {"frozen_time": unix(api.now)})
    customer = await api.customer(test_clock=clock["id"])
    grant = await api.grant(customer, 100)
    await api.report(customer, 10_000_000)  # 195 cents.
    (used,) = (await api.get(MOVED, customer=customer, limit=1))["data"]
    assert used["debit"]["credits_applied"] is None
    advance = {"frozen_time": unix(api.now + 32 * DAY)}
    await api.post(f"/v1/test_helpers/test_clocks/{clock['id']}/advance", advance)
    invoice = (await api.get("/v1/invoices", customer=customer))["data"][-1]
    (used,) = (await api.get(MOVED, customer=customer, limit=1))["data"]
    line = invoice["lines"]["data"][0]["id"]
    assert used["debit"]["credits_applied"] == {"invoice": invoice["id"], "invoice_line_item": line}
    await api.post(f"/v1/invoices/{invoice['id']}/void")
    (back,) = (await api.get(MOVED, customer=customer, limit=1))["data"]
    assert back["credit"]["type"] == "credits_application_invoice_voided"
    assert back["credit"]["credits_application_invoice_voided"]["invoice"] == invoice["id"]
    assert await available(api, customer, grant["id"]) == 100
