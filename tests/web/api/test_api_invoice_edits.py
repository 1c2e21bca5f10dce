"""Items, invoices by hand, lines of drafts, due dates, terms and coupons, through the API."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from costplus.web.objects.wire import unix

PATH = "/v1/invoices"
ITEMS = "/v1/invoiceitems"


@pytest.fixture
async def customer(api: Any) -> str:
    await api.set_up()
    return str(await api.customer())


async def item(api: Any, customer: str, amount: int, **form: Any) -> dict[str, Any]:
    made = {"customer": customer, "amount": amount, "currency": "usd", "description": "Set-up", **form}
    return dict(await api.post(ITEMS, made))


async def draft(api: Any, customer: str, **form: Any) -> dict[str, Any]:
    made = {"customer": customer, "pending_invoice_items_behavior": "include", **form}
    return dict(await api.post(PATH, made))


async def test_items_wait_are_listed_changed_and_deleted(api: Any, customer: str) -> None:
    first = await item(api, customer, 250, **{"metadata[a]": "b"})
    second = await item(api, customer, -50)
    assert (first["invoice"], first["quantity"], first["pricing"]["unit_amount_decimal"]) == (None, 1, "250")
    changed = await api.post(f"{ITEMS}/{first['id']}", {"unit_amount_decimal": "1.5", "quantity": 3})
    assert (changed["amount"], changed["quantity"], changed["metadata"]) == (5, 3, {"a": "b"})
    assert (await api.delete(f"{ITEMS}/{second['id']}"))["deleted"] is True
    listed = await api.get(ITEMS, customer=customer, pending="true")
    assert [entry["id"] for entry in listed["data"]] == [first["id"]]
    assert (await api.get(f"{ITEMS}/{first['id']}"))["amount"] == 5
    assert await api.refusal("GET", f"{ITEMS}/{second['id']}") == (404, "resource_missing", "id")


REFUSED = [
    ({"currency": "usd"}, "parameter_missing", "amount"),
    ({"amount": "5", "currency": "eur"}, "currency_mismatch", "currency"),
    ({"amount": "5", "unit_amount_decimal": "5"}, "parameters_exclusive", "unit_amount_decimal"),
    ({"amount": "5", "period[start]": "9", "period[end]": "8"}, "parameter_invalid_time", "period[end]"),
    ({"amount": "5", "invoice": "in_x"}, "resource_missing", "invoice"),
    ({"amount": "5", "subscription": "sub_x"}, "resource_missing", "subscription"),
    ({"amount": "5", "tax_rates[0]": "txr_x"}, "resource_missing", "tax_rates"),
]


@pytest.mark.parametrize(("form", "code", "param"), REFUSED)
async def test_items_that_cannot_be_are_refused(
    api: Any, customer: str, form: dict[str, str], code: str, param: str
) -> None:
    _, found, where = await api.refusal("POST", ITEMS, {"customer": customer, **form})
    assert (found, where) == (code, param)
    assert (await api.get(ITEMS))["data"] == []


async def test_an_invoice_by_hand_takes_the_items_that_wait_only_where_it_is_asked_to(
    api: Any, customer: str
) -> None:
    await item(api, customer, 250)
    empty = await api.post(PATH, {"customer": customer})
    assert (empty["lines"]["data"], empty["parent"], empty["billing_reason"]) == ([], None, "manual")
    full = await draft(api, customer, description="Thanks", footer="Bye", days_until_due=14)
    (line,) = full["lines"]["data"]
    assert line["parent"]["type"] == "invoice_item_details"
    assert (full["total"], full["description"], full["footer"]) == (250, "Thanks", "Bye")
    assert (full["auto_advance"], full["automatically_finalizes_at"]) == (False, None)
    final = await api.post(f"{PATH}/{full['id']}/finalize")
    assert final["due_date"] == unix(api.now + timedelta(days=14))
    assert final["status"] == "open"


async def test_a_drafts_terms_can_be_changed_and_a_final_ones_metadata_only(api: Any, customer: str) -> None:
    await item(api, customer, 250)
    made = await draft(api, customer)
    path = f"{PATH}/{made['id']}"
    due = unix(api.now + timedelta(days=3))
    changed = await api.post(
        path, {"description": "New", "due_date": due, "auto_advance": "true", "metadata[k]": "v"}
    )
    assert (changed["description"], changed["due_date"], changed["metadata"]) == ("New", due, {"k": "v"})
    assert changed["automatically_finalizes_at"] == unix(api.now + timedelta(hours=1))
    await api.post(f"{path}/finalize")
    assert (await api.post(path, {"metadata[k]": "w"}))["metadata"] == {"k": "w"}
    assert await api.refusal("POST", path, {"description": "No"}) == (400, "invoice_not_in_state", None)
    late = {"due_date": unix(api.now - timedelta(days=1))}
    other = await draft(api, customer)
    assert await api.refusal("POST", f"{PATH}/{other['id']}", late) == (
        400,
        "invoice_due_date_invalid",
        "due_date",
    )


async def test_lines_are_added_changed_and_removed(api: Any, customer: str) -> None:
    waiting = await item(api, customer, 30)
    path = f"{PATH}/{(await api.post(PATH, {'customer': customer}))['id']}"
    added = await api.post(
        f"{path}/add_lines",
        {
            "lines[0][amount]": 100,
            "lines[0][description]": "Help",
            "lines[1][invoice_item]": waiting["id"],
        },
    )
    first, second = added["lines"]["data"]
    assert [first["amount"], second["amount"], added["total"]] == [100, 30, 130]
    updated = await api.post(f"{path}/update_lines", {"lines[0][id]": first["id"], "lines[0][amount]": 120})
    assert (updated["total"], updated["lines"]["data"][0]["description"]) == (150, "Help")
    removed = await api.post(
        f"{path}/remove_lines",
        {
            "lines[0][id]": first["id"],
            "lines[0][behavior]": "delete",
            "lines[1][id]": second["id"],
            "lines[1][behavior]": "unassign",
        },
    )
    assert (removed["total"], removed["lines"]["data"]) == (0, [])
    assert (await api.get(f"{ITEMS}/{waiting['id']}"))["invoice"] is None


async def test_a_draft_by_hand_is_deleted_and_its_items_wait_again(api: Any, customer: str) -> None:
    waiting = await item(api, customer, 30)
    made = await draft(api, customer)
    assert (await api.delete(f"{PATH}/{made['id']}"))["deleted"] is True
    assert (await api.get(f"{ITEMS}/{waiting['id']}"))["invoice"] is None
    assert await api.refusal("GET", f"{PATH}/{made['id']}") == (404, "resource_missing", "id")
    assert (await api.event_types())[-1] == "invoice.deleted"


async def test_sending_an_invoice_makes_it_final_and_tells_of_it(api: Any, customer: str) -> None:
    await item(api, customer, 30)
    sent = await api.post(f"{PATH}/{(await draft(api, customer))['id']}/send")
    assert sent["status"] == "open"
    assert (await api.event_types())[-1] == "invoice.sent"


async def test_invoices_are_listed_by_state_method_creation_and_due_date(api: Any, customer: str) -> None:
    due = unix(api.now + timedelta(days=3))
    made = await draft(api, customer, due_date=due)
    other = await draft(api, customer, collection_method="charge_automatically")
    now = unix(api.now)

    async def listed(**query: Any) -> list[str]:
        return [entry["id"] for entry in (await api.get(PATH, **query))["data"]]

    both = [other["id"], made["id"]]
    assert await listed(collection_method="send_invoice") == [made["id"]]
    assert await listed(**{"due_date[gte]": due}) == [made["id"]]
    assert await listed(**{"due_date[gt]": due}) == []
    assert await listed(created=now) == both
    assert await listed(**{"created[lt]": now}) == []
    assert await listed(status="draft", **{"created[lte]": now}) == both


async def test_a_coupon_lowers_a_customers_invoices_until_it_is_taken_away(api: Any, customer: str) -> None:
    coupon = await api.post("/v1/coupons", {"percent_off": "12.5", "duration": "forever", "id": "SPRING"})
    assert (coupon["id"], coupon["percent_off"]) == ("SPRING", 12.5)
    discount = await api.post(f"/v1/customers/{customer}/discount", {"coupon": "SPRING"})
    assert discount["source"] == {"coupon": "SPRING", "type": "coupon"}
    await item(api, customer, 200)
    lowered = await draft(api, customer)
    assert (lowered["total"], lowered["total_discount_amounts"]) == (
        175,
        [{"amount": 25, "discount": discount["id"]}],
    )
    await api.delete(f"/v1/customers/{customer}/discount")
    await item(api, customer, 200)
    assert (await draft(api, customer))["total"] == 200
    assert (await api.post("/v1/coupons/SPRING", {"name": "Spring"}))["name"] == "Spring"
    assert [entry["id"] for entry in (await api.get("/v1/coupons"))["data"]] == ["SPRING"]
    assert (await api.delete("/v1/coupons/SPRING"))["deleted"] is True
    for form in ({"percent_off": "101"}, {"percent_off": "5", "amount_off": "5"}, {"amount_off": "5"}, {}):
        assert (await api.refusal("POST", "/v1/coupons", form))[1] == "coupon_invalid"


async def test_an_invoice_may_name_its_own_coupon(api: Any, customer: str) -> None:
    await api.post("/v1/coupons", {"amount_off": 30, "currency": "usd", "id": "30"})
    await item(api, customer, 200)
    assert (await draft(api, customer, **{"discounts[0][coupon]": "30"}))["total"] == 170


async def test_a_subscription_has_thresholds_and_terms_of_its_own(api: Any, customer: str) -> None:
    (subscription,) = (await api.get("/v1/subscriptions", customer=customer))["data"]
    path = f"/v1/subscriptions/{subscription['id']}"
    changed = await api.post(
        path,
        {
            "billing_thresholds[amount_gte]": 5000,
            "billing_thresholds[reset_billing_cycle_anchor]": "false",
            "days_until_due": 30,
            "invoice_grace_seconds": 7200,
            "late_usage": "write_off",
        },
    )
    assert changed["billing_thresholds"] == {"amount_gte": 5000, "reset_billing_cycle_anchor": False}
    assert changed["days_until_due"] == 30
    assert (await api.post(path, {"billing_thresholds": ""}))["billing_thresholds"] is None
    low = await api.refusal("POST", path, {"billing_thresholds[amount_gte]": 49})
    assert low == (400, "billing_threshold_invalid", "billing_thresholds[amount_gte]")
    grace = await api.refusal("POST", path, {"invoice_grace_seconds": 72 * 3600 + 1})
    assert grace == (400, "parameter_invalid_integer", "invoice_grace_seconds")


async def test_a_sum_that_no_account_holds_leaves_the_draft_as_it_is(api: Any, customer: str) -> None:
    most = 400_000_000_000  # Three times 4 billion dollars are more than an int64 of nanos.
    for _ in range(3):
        await item(api, customer, most)
    made = await draft(api, customer)
    assert made["total"] == 3 * most
    path = f"{PATH}/{made['id']}"
    assert (await api.refusal("POST", f"{path}/finalize"))[:2] == (400, "amount_invalid")
    kept = await api.get(path)
    assert (kept["status"], kept["number"], kept["total"]) == ("draft", None, 3 * most)
    one = kept["lines"]["data"][0]["parent"]["invoice_item_details"]["invoice_item"]
    await api.delete(f"{ITEMS}/{one}")
    assert (await api.post(f"{path}/finalize", {}))["total"] == 2 * most
