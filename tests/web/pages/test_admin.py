"""The seller's pages: who gets in, and what they say."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from costplus.billing.event import Delivery, WebhookEndpoint

START = datetime(2026, 11, 1, tzinfo=UTC)
NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)


@pytest.mark.parametrize("path", ["/admin", "/admin/customers/cus_ada"])
async def test_without_a_session_admin_pages_say_how_to_get_in(seller: Any, path: str) -> None:
    await seller.busy()
    page = await seller.show(path, cookie="costplus_admin=1.2.3")
    assert (page.status, page.commands) == (401, ["costplus admin-link"])
    assert "Ada" not in page.text


async def test_a_login_link_works_once_and_not_by_looking_at_it(seller: Any) -> None:
    async with seller.browser() as browser, seller.browser() as other:
        assert (await browser.head("/admin/login?token=once")).status_code == 200
        answer = await browser.get("/admin/login?token=once")
        assert (answer.status_code, answer.headers["location"]) == (303, "/admin")
        cookie = answer.headers["set-cookie"].lower()
        assert "httponly" in cookie and "samesite=lax" in cookie and "path=/admin" in cookie
        assert "max-age=43200" in cookie and "secure" not in cookie
        assert (await browser.get("/admin")).status_code == 200
        assert (await other.get("/admin/login?token=once")).status_code == 401
        assert (await other.get("/admin")).status_code == 401
        assert (await browser.post("/admin/logout")).status_code == 303
        assert (await browser.get("/admin")).status_code == 401


@pytest.mark.parametrize(
    ("age", "status"), [(timedelta(hours=12) - timedelta(milliseconds=1), 200), (timedelta(hours=12), 401)]
)
async def test_a_session_lasts_twelve_hours(seller: Any, age: timedelta, status: int) -> None:
    async with seller.browser() as browser:
        await browser.get("/admin/login?token=once")
        seller.now += age
        assert (await browser.get("/admin")).status_code == status


async def test_over_https_the_session_cookie_is_secure(seller: Any) -> None:
    seller.base_url = "https://bill.example.com"
    async with seller.browser() as browser:
        assert "secure" in (await browser.get("/admin/login?token=once")).headers["set-cookie"].lower()


async def test_an_empty_overview_names_the_next_command_for_every_step(seller: Any) -> None:
    page = await seller.show_admin()
    assert page.status == 200
    assert page.text.count("To do") == 6
    everything = "\n".join(page.commands)
    for path in (
        "/v1/token_billing/onboarding/init",
        "/v1/customers",
        "/v1/chat/completions",
        "/v1/webhook_endpoints",
    ):
        assert f"curl http://localhost:4242{path}" in everything


async def test_the_overview_shows_revenue_cost_and_margin_of_the_month(seller: Any) -> None:
    await seller.busy()
    page = await seller.show_admin()
    assert "Revenue since 2026-11-01 $0.64198238" in page.text
    assert "Provider cost $0.4938326" in page.text
    assert "Gross margin 23.08 % $0.14814978" in page.text
    assert seller.flushed == 1
    assert page.row("Ada")[1:] == ["$0.00", "$0.00", "$0.14198238", "overage"]
    event = page.row("2026-11-24 12:00:00 UTC")
    assert event[1:3] == ["Ada", "openai/gpt-4.1-mini"]
    assert event[3] == "1,234,567 input, 10 cached input, 3 output"
    assert event[4:] == ["$0.4938326", "$0.64198238", "$0.14814978 23.08 %"]


async def test_usage_without_a_price_is_marked_and_not_hidden(seller: Any) -> None:
    await seller.customer()
    await seller.use("k1", model="gpt-99", input=7)
    row = (await seller.show_admin()).row("2026-11-24")
    assert "unpriced: model" in row[2]
    assert row[4:] == ["$0.00", "$0.00", "$0.00 –"]


async def test_getting_started_disappears_once_everything_is_done(seller: Any) -> None:
    endpoint = WebhookEndpoint(id="we_1", created=START, url="https://x.example/hook", secret="whsec_x")
    await seller.store.write(lambda tx: tx.save(endpoint))
    await seller.busy()
    assert (await seller.show_admin()).text.count("To do") == 2
    seller.providers = ("openai",)
    told = Delivery(
        id="whd_9", event=await event_id(seller), endpoint="we_1", due_at=NOON, status="delivered"
    )
    await seller.store.write(lambda tx: tx.save_delivery(told))
    assert "Getting started" not in (await seller.show_admin()).text


async def event_id(seller: Any) -> str:
    return await seller.store.read(lambda tx: tx.due_deliveries(NOON)[0].event)


async def test_failed_and_retried_webhooks_are_listed_with_their_reason(seller: Any) -> None:
    endpoint = WebhookEndpoint(id="we_1", created=START, url="https://x.example/hook", secret="whsec_x")
    await seller.store.write(lambda tx: tx.save(endpoint))
    await seller.customer()
    event = await event_id(seller)
    for id, status, error in (("whd_1", "failed", "HTTP 410"), ("whd_2", "pending", "HTTP 500: <oops>")):
        delivery = Delivery(
            id=id, event=event, endpoint="we_1", due_at=NOON, attempts=3, status=status, error=error
        )  # type: ignore[arg-type]  # One of the three.
        await seller.store.write(lambda tx, delivery=delivery: tx.save_delivery(delivery))  # type: ignore[misc]  # A default binds it.
    rows = [row for row in (await seller.show_admin()).rows if row[0].startswith("customer.created")]
    assert [row[1:] for row in rows] == [
        ["https://x.example/hook", "given up", "3", "HTTP 410"],
        ["https://x.example/hook", "next attempt 2026-11-24 12:00:00 UTC", "3", "HTTP 500: <oops>"],
    ]


async def test_a_customers_page_shows_grants_in_burn_order_and_derivations(seller: Any) -> None:
    await seller.busy()
    await seller.grant("credgr_late", minor=100)
    await seller.grant("credgr_first", minor=200, priority=1, category="promotional", name="Welcome")
    await seller.grant("credgr_soon", minor=100, expires_at=NOON + timedelta(days=1))
    await seller.grant("credgr_later", minor=100, effective_at=NOON + timedelta(days=1))
    page = await seller.show_admin("/admin/customers/cus_ada")
    grants = [(row[0], row[1].split()[0], row[-1]) for row in page.rows if len(row) == 8][1:]
    assert grants == [
        ("1", "Welcome", "burns"),
        ("2", "credgr_soon", "burns"),
        ("3", "credgr_late", "burns"),
        ("–", "credgr_later", "not yet effective"),
        ("–", "credgr_paid", "used up"),
    ]
    assert "1234567 input × 0.0000004 with markup 30% = cost 0.4938268, price 0.64197484" in page.text
    assert "Sum: cost 0.4938326, price 0.64198238; charged 0.64198238" in page.text
    assert "Available credit $3.85801762" in page.text


async def test_a_customers_page_links_to_its_invoices(seller: Any) -> None:
    await seller.busy()
    invoice = await seller.close_month()
    page = await seller.show_admin("/admin/customers/cus_ada")
    assert seller.link(invoice.id) in [attributes.get("href") for tag, attributes in page.tags if tag == "a"]
    assert (await seller.show_admin("/admin/customers/cus_none")).status == 404


@pytest.mark.parametrize(("query", "times"), [("", 0), ("?live=1", 1), ("?live=0", 0)])
async def test_an_admin_page_refreshes_only_when_asked(seller: Any, query: str, times: int) -> None:
    page = await seller.show_admin(f"/admin{query}")
    assert sum(attributes.get("http-equiv") == "refresh" for _, attributes in page.tags) == times
