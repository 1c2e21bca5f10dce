"""Customers and the test clocks they may live by."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from costplus.web.objects.wire import unix

MONTH = timedelta(days=31)


async def test_a_customer_keeps_what_it_was_created_with(api: Any) -> None:
    made = await api.post(
        "/v1/customers",
        {
            "name": "Ann",
            "email": "ann@example.com",
            "description": "first",
            "phone": "+49 1",
            "address[city]": "Bonn",
            "address[country]": "DE",
            "shipping[name]": "Ann",
            "shipping[address][city]": "Köln",
            "preferred_locales[]": "de",
            "tax_exempt": "reverse",
            "metadata[tier]": "gold",
        },
    )
    assert made["id"].startswith("cus_") and made["created"] == unix(api.now)
    assert (made["name"], made["email"], made["phone"]) == ("Ann", "ann@example.com", "+49 1")
    assert (made["address"]["city"], made["shipping"]["address"]["city"]) == ("Bonn", "Köln")
    assert (made["tax_exempt"], made["preferred_locales"]) == ("reverse", ["de"])
    assert made["metadata"] == {"tier": "gold"}
    assert await api.get(f"/v1/customers/{made['id']}") == made


async def test_an_update_changes_what_is_sent_unsets_what_is_empty_and_leaves_the_rest(api: Any) -> None:
    form = {"name": "Ann", "phone": "1", "address[city]": "Bonn", "metadata[a]": "1", "metadata[b]": "2"}
    customer = await api.customer(**form)
    changed = await api.post(
        f"/v1/customers/{customer}",
        {"email": "a@example.com", "phone": "", "address": "", "metadata[a]": ""},
    )
    assert (changed["name"], changed["email"], changed["phone"]) == ("Ann", "a@example.com", None)
    assert (changed["address"], changed["metadata"]) == (None, {"b": "2"})


async def test_customers_are_announced(api: Any) -> None:
    customer = await api.customer()
    await api.post(f"/v1/customers/{customer}", {"name": "Ann"})
    await api.delete(f"/v1/customers/{customer}")
    assert await api.event_types() == ["customer.created", "customer.updated", "customer.deleted"]


async def test_a_new_customer_is_subscribed_to_the_default_plan_with_its_fee_and_credit(api: Any) -> None:
    await api.set_up(subscription_fee_amount="900", credit_grant_per_period_amount="500")
    customer = await api.customer()
    (subscription,) = (await api.get("/v1/subscriptions", customer=customer))["data"]
    assert subscription["status"] == "active"
    assert await api.get(f"/v1/subscriptions/{subscription['id']}") == subscription
    (invoice,) = (await api.get("/v1/invoices", customer=customer))["data"]
    assert (invoice["total"], invoice["status"]) == (900, "open")
    (grant,) = (await api.get("/v1/billing/credit_grants", customer=customer))["data"]
    assert (grant["amount"]["monetary"]["value"], grant["category"]) == (500, "promotional")


async def test_a_deleted_customer_is_gone_with_its_subscription_and_keys(api: Any) -> None:
    await api.set_up()
    customer = await api.customer(name="Ann")
    key = await api.post("/v1/token_billing/keys", {"customer": customer})
    gone = {"id": customer, "object": "customer", "deleted": True}
    assert await api.delete(f"/v1/customers/{customer}") == gone
    assert await api.get(f"/v1/customers/{customer}") == gone
    assert (await api.get("/v1/customers"))["data"] == []
    assert (await api.get("/v1/subscriptions"))["data"] == []
    canceled = (await api.get("/v1/subscriptions", status="all"))["data"]
    assert [entry["status"] for entry in canceled] == ["canceled"]
    assert (await api.get(f"/v1/token_billing/keys/{key['id']}"))["revoked_at"] == unix(api.now)
    for method in ("POST", "DELETE"):
        refusal = await api.refusal(method, f"/v1/customers/{customer}")
        assert refusal == (404, "resource_missing", "id")


async def test_customers_are_listed_by_email_and_by_clock(api: Any) -> None:
    clock = await api.post("/v1/test_helpers/test_clocks", {"frozen_time": unix(api.now)})
    ann = await api.customer(email="a@example.com")
    bea = await api.customer(email="b@example.com", test_clock=clock["id"])
    by_email = await api.get("/v1/customers", email="a@example.com")
    by_clock = await api.get("/v1/customers", test_clock=clock["id"])
    assert [entry["id"] for entry in by_email["data"]] == [ann]
    assert [entry["id"] for entry in by_clock["data"]] == [bea]


async def test_what_does_not_exist_is_missing(api: Any) -> None:
    assert await api.refusal("GET", "/v1/customers/cus_x") == (404, "resource_missing", "id")
    assert await api.refusal("GET", "/v1/subscriptions/sub_x") == (404, "resource_missing", "id")
    assert await api.refusal("GET", "/v1/test_helpers/test_clocks/clock_x") == (404, "resource_missing", "id")
    assert await api.refusal("POST", "/v1/customers", {"test_clock": "clock_x"}) == (
        404,
        "resource_missing",
        "test_clock",
    )


async def test_a_customer_on_a_clock_is_created_at_the_clocks_time(api: Any) -> None:
    then = api.now - 3 * MONTH
    clock = await api.post("/v1/test_helpers/test_clocks", {"frozen_time": unix(then), "name": "past"})
    assert (clock["status"], clock["name"], clock["frozen_time"]) == ("ready", "past", unix(then))
    made = await api.post("/v1/customers", {"test_clock": clock["id"]})
    assert (made["created"], made["test_clock"]) == (unix(then), clock["id"])


async def test_an_advanced_clock_closes_periods_on_its_way(api: Any) -> None:
    await api.set_up(subscription_fee_amount="100")
    path = "/v1/test_helpers/test_clocks"
    clock = await api.post(path, {"frozen_time": unix(api.now)})
    customer = await api.customer(test_clock=clock["id"])
    moved = await api.post(f"{path}/{clock['id']}/advance", {"frozen_time": unix(api.now + 2 * MONTH)})
    assert (moved["status"], moved["frozen_time"]) == ("ready", unix(api.now + 2 * MONTH))
    invoices = (await api.get("/v1/invoices", customer=customer))["data"]
    assert [invoice["billing_reason"] for invoice in invoices] == [
        "subscription_cycle",
        "subscription_cycle",
        "subscription_create",
    ]
    assert "test_helpers.test_clock.ready" in await api.event_types()


async def test_a_clock_does_not_run_backwards_nor_more_than_a_year(api: Any) -> None:
    path = "/v1/test_helpers/test_clocks"
    clock = await api.post(path, {"frozen_time": unix(api.now)})
    for to in (unix(api.now), unix(api.now + timedelta(days=367))):
        refusal = await api.refusal("POST", f"{path}/{clock['id']}/advance", {"frozen_time": to})
        assert refusal == (400, "test_clock_frozen_time_invalid", "frozen_time")


async def test_a_deleted_clock_takes_its_customers_with_it(api: Any) -> None:
    path = "/v1/test_helpers/test_clocks"
    clock = await api.post(path, {"frozen_time": unix(api.now)})
    await api.customer(test_clock=clock["id"])
    kept = await api.customer()
    assert (await api.delete(f"{path}/{clock['id']}"))["deleted"] is True
    assert (await api.get(path))["data"] == []
    assert [entry["id"] for entry in (await api.get("/v1/customers"))["data"]] == [kept]


async def test_a_deleted_customer_is_invoiced_for_what_it_used(api: Any) -> None:
    await api.set_up()
    customer = await api.customer()
    await api.report(customer, 1_000_000)
    await api.delete(f"/v1/customers/{customer}")
    (invoice,) = (await api.get("/v1/invoices", customer=customer))["data"]
    assert invoice["status"] == "open"
    assert invoice["total"] > 0
