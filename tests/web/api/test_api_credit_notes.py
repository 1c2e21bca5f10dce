"""Tax rates, credit notes, refunds and the customer's balance, through the API."""

from __future__ import annotations

from typing import Any

import pytest

PATH = "/v1/credit_notes"
POLICY = "/v1/token_billing/invoice_policy"


@pytest.fixture
async def customer(api: Any) -> str:
    await api.set_up()
    return str(await api.customer(name="Ann", **{"address[country]": "DE", "tax_exempt": "none"}))


async def tax_rate(api: Any, **form: Any) -> dict[str, Any]:
    made = {"display_name": "VAT", "percentage": "20", "inclusive": "false", **form}
    return dict(await api.post("/v1/tax_rates", made))


async def invoice(api: Any, customer: str, *amounts: int, pays: bool = False) -> dict[str, Any]:
    """Return a final invoice over items of those amounts."""
    for amount in amounts:
        await api.post("/v1/invoiceitems", {"customer": customer, "amount": amount, "currency": "usd"})
    draft = await api.post(
        "/v1/invoices", {"customer": customer, "pending_invoice_items_behavior": "include"}
    )
    path = f"/v1/invoices/{draft['id']}"
    final = await api.post(f"{path}/finalize")
    return dict(await api.post(f"{path}/pay", {"paid_out_of_band": "true"}) if pays else final)


@pytest.fixture
async def taxed(api: Any, customer: str) -> str:
    rate = await tax_rate(api)
    await api.post(POLICY, {"default_tax_rates[0]": rate["id"]})
    return customer


async def test_a_tax_rate_is_made_changed_and_listed_and_its_percentage_stays(api: Any) -> None:
    rate = await tax_rate(api, percentage="8.875", country="us", state="ny", jurisdiction="US - NY")
    assert (rate["percentage"], rate["country"], rate["state"]) == (8.875, "US", "NY")
    path = f"/v1/tax_rates/{rate['id']}"
    changed = await api.post(path, {"active": "false", "display_name": "Sales tax"})
    assert (changed["active"], changed["display_name"]) == (False, "Sales tax")
    assert (await api.refusal("POST", path, {"percentage": "9"}))[1] == "parameter_unknown"
    assert (await api.get("/v1/tax_rates", active="true"))["data"] == []
    assert (await api.get(path))["id"] == rate["id"]
    for wrong in ("101", "-1", "1.23456"):
        refusal = await api.refusal(
            "POST", "/v1/tax_rates", {"display_name": "x", "inclusive": "true", "percentage": wrong}
        )
        assert refusal == (400, "tax_rate_invalid", "percentage")


async def test_tax_is_on_the_invoice_and_its_lines(api: Any, taxed: str) -> None:
    made = await invoice(api, taxed, 100, 50)
    assert (made["subtotal"], made["total_excluding_tax"], made["total"]) == (150, 150, 180)
    (total,) = made["total_taxes"]
    assert (total["amount"], total["taxable_amount"], total["tax_behavior"]) == (30, 150, "exclusive")
    assert [line["taxes"][0]["amount"] for line in made["lines"]["data"]] == [20, 10]
    assert made["customer_name"] == "Ann"
    assert made["customer_address"]["country"] == "DE"


async def test_reverse_charge_is_said_on_the_invoice_with_the_customers_tax_id(api: Any, taxed: str) -> None:
    ids = f"/v1/customers/{taxed}/tax_ids"
    tax_id = await api.post(ids, {"type": "eu_vat", "value": "DE123456789"})
    await api.post(f"/v1/customers/{taxed}", {"tax_exempt": "reverse"})
    made = await invoice(api, taxed, 100)
    assert (made["total"], made["total_taxes"][0]["taxability_reason"]) == (100, "reverse_charge")
    assert made["footer"].startswith("Reverse charge")
    assert made["customer_tax_ids"] == [{"type": "eu_vat", "value": "DE123456789"}]
    assert [entry["id"] for entry in (await api.get(ids))["data"]] == [tax_id["id"]]
    assert (await api.delete(f"{ids}/{tax_id['id']}"))["deleted"] is True
    assert await api.refusal("GET", f"{ids}/{tax_id['id']}") == (404, "resource_missing", "tax_id")


async def test_tax_by_address_without_one_fails_to_be_final_and_says_why(api: Any, customer: str) -> None:
    await tax_rate(api, country="DE", percentage="19")
    await api.post(POLICY, {"tax_by_address": "true"})
    made = await invoice(api, customer, 100)
    assert (made["total"], made["automatic_tax"]["enabled"]) == (119, True)
    nowhere = await api.customer()
    await api.post("/v1/invoiceitems", {"customer": nowhere, "amount": 100, "currency": "usd"})
    draft = await api.post("/v1/invoices", {"customer": nowhere, "pending_invoice_items_behavior": "include"})
    assert draft["automatic_tax"]["status"] == "requires_location_inputs"
    refusal = await api.refusal("POST", f"/v1/invoices/{draft['id']}/finalize")
    assert refusal == (400, "customer_tax_location_invalid", "customer[address][country]")


async def test_a_note_on_an_open_invoice_lowers_what_is_due(api: Any, taxed: str) -> None:
    made = await invoice(api, taxed, 100)
    previewed = await api.get(f"{PATH}/preview", invoice=made["id"], amount=60)
    note = await api.post(PATH, {"invoice": made["id"], "amount": 60, "reason": "duplicate", "memo": "Sorry"})
    assert (note["number"], note["type"], note["total"], note["total_excluding_tax"]) == (
        f"{made['number']}-CN-01",
        "pre_payment",
        60,
        50,
    )
    assert {**previewed, "id": "", "lines": ""} == {
        **note,
        "id": "",
        "lines": "",
        "reason": None,
        "memo": None,
    }
    after = await api.get(f"/v1/invoices/{made['id']}")
    assert (after["amount_due"], after["amount_remaining"]) == (60, 60)
    assert after["pre_payment_credit_notes_amount"] == 60
    void = await api.post(f"{PATH}/{note['id']}/void")
    assert void["status"] == "void"
    assert (await api.get(f"/v1/invoices/{made['id']}"))["amount_remaining"] == 120
    assert (await api.event_types())[-2:] == ["credit_note.voided", "invoice.updated"]


async def test_a_note_by_lines_goes_to_the_balance_that_the_next_invoice_uses(api: Any, taxed: str) -> None:
    made = await invoice(api, taxed, 100, pays=True)
    (line,) = made["lines"]["data"]
    note = await api.post(
        PATH,
        {
            "invoice": made["id"],
            "lines[0][type]": "invoice_line_item",
            "lines[0][invoice_line_item]": line["id"],
            "lines[0][amount]": 40,
            "credit_amount": 48,
        },
    )
    assert (note["total"], note["post_payment_amount"], note["type"]) == (48, 48, "post_payment")
    assert (await api.get(f"/v1/customers/{taxed}"))["balance"] == -48
    balance = f"/v1/customers/{taxed}/balance_transactions"
    entry = await api.get(f"{balance}/{note['customer_balance_transaction']}")
    assert (entry["amount"], entry["ending_balance"], entry["type"]) == (-48, -48, "credit_note")
    following = await invoice(api, taxed, 10)
    assert (following["total"], following["amount_due"]) == (12, 0)
    assert (following["starting_balance"], following["ending_balance"]) == (-48, -36)
    assert following["status"] == "paid"
    types = [found["type"] for found in (await api.get(balance))["data"]]
    assert types == ["applied_to_invoice", "credit_note"]
    lines = await api.get(f"{PATH}/{note['id']}/lines")
    assert [found["amount"] for found in lines["data"]] == [40]


async def test_a_note_that_refunds_leaves_a_refund_to_be_sent(api: Any, taxed: str) -> None:
    made = await invoice(api, taxed, 100, pays=True)
    note = await api.post(PATH, {"invoice": made["id"], "refund_amount": 30})
    (named,) = note["refunds"]
    refund = await api.get(f"/v1/refunds/{named['refund']}")
    assert (refund["amount"], refund["status"]) == (30, "pending")
    assert [found["id"] for found in (await api.get("/v1/refunds"))["data"]] == [refund["id"]]
    listed = await api.get(PATH, invoice=made["id"])
    assert [found["id"] for found in listed["data"]] == [note["id"]]
    changed = await api.post(f"{PATH}/{note['id']}", {"memo": "Back", "metadata[a]": "b"})
    assert (changed["memo"], changed["metadata"]) == ("Back", {"a": "b"})


REFUSED = [
    ({}, "parameter_missing", "amount"),
    ({"amount": "121"}, "credit_note_amount_too_large", "amount"),
    ({"amount": "20", "refund_amount": "10"}, "credit_note_invalid", "credit_amount"),
    ({"amount": "20", "lines[0][amount]": "5"}, "parameter_missing", "lines[0][invoice_line_item]"),
    ({"lines[0][invoice_line_item]": "il_x", "lines[0][amount]": "5"}, "credit_note_invalid", "lines"),
]


@pytest.mark.parametrize(("form", "code", "param"), REFUSED)
async def test_notes_that_cannot_be_are_refused(
    api: Any, taxed: str, form: dict[str, str], code: str, param: str
) -> None:
    made = await invoice(api, taxed, 100, pays=True)
    _, found, where = await api.refusal("POST", PATH, {"invoice": made["id"], **form})
    assert (found, where) == (code, param)
    assert (await api.get(PATH))["data"] == []


async def test_a_balance_can_be_changed_by_hand(api: Any, customer: str) -> None:
    path = f"/v1/customers/{customer}/balance_transactions"
    entry = await api.post(path, {"amount": -500, "currency": "usd", "description": "Goodwill"})
    assert (entry["ending_balance"], entry["type"]) == (-500, "adjustment")
    assert (await invoice(api, customer, 200))["ending_balance"] == -300
    assert (await api.refusal("POST", path, {"amount": 5, "currency": "eur"}))[1] == "currency_mismatch"
    assert (await api.refusal("POST", path, {"amount": 0, "currency": "usd"}))[2] == "amount"
    assert await api.refusal("GET", f"{path}/cbtxn_x") == (404, "resource_missing", "entry")


async def test_the_invoice_policy_is_read_and_changed(api: Any) -> None:
    assert (await api.get(POLICY))["rounding"] == "down"
    changed = await api.post(
        POLICY,
        {"rounding": "line_half_up", "number_prefix": "R", "number_yearly": "true", "days_until_due": 14},
    )
    assert (changed["rounding"], changed["number_prefix"], changed["days_until_due"]) == (
        "line_half_up",
        "R",
        14,
    )
    refusal = await api.refusal("POST", POLICY, {"number_prefix": "no spaces"})
    assert refusal == (400, "invoice_policy_invalid", "number_prefix")


async def test_credit_is_named_by_grant_on_the_invoice_and_can_be_looked_up(api: Any, customer: str) -> None:
    grant = await api.grant(customer, 100)
    await api.report(customer, 10_000_000)
    preview = await api.post("/v1/invoices/create_preview", {"customer": customer})
    assert [share["amount"] for share in preview["total_pretax_credit_amounts"]] == [100]
    await api.delete(f"/v1/customers/{customer}")  # Whose usage is invoiced at once.
    (made,) = (await api.get("/v1/invoices", customer=customer))["data"]
    (line,) = made["lines"]["data"]
    assert line["pretax_credit_amounts"] == made["total_pretax_credit_amounts"]
    (share,) = made["total_pretax_credit_amounts"]
    path = "/v1/billing/credit_balance_transactions"
    applied = await api.get(f"{path}/{share['credit_balance_transaction']}")
    assert (applied["credit_grant"], applied["debit"]["amount"]["monetary"]["value"]) == (grant["id"], 100)
    assert applied["debit"]["credits_applied"] == {"invoice": made["id"], "invoice_line_item": line["id"]}
