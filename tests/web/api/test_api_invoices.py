"""Invoices: previewed, closed by a clock, paid, voided, and explained to the last digit."""

from __future__ import annotations

import hashlib
import hmac
from datetime import timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest

from costplus.core.period import add_months
from costplus.web.objects.wire import cut_decimal, unix

PATH = "/v1/invoices"


class Period:
    """A customer on a test clock, whose periods end when told to."""

    def __init__(self, api: Any, customer: str, clock: str) -> None:
        self.api = api
        self.customer = customer
        self.clock = clock
        self.months = 0

    async def end(self, *, after: timedelta = timedelta(0)) -> dict[str, Any]:
        """End the period (and wait `after` longer); return its invoice."""
        self.months += 1
        to = unix(add_months(self.api.now, self.months) + after)
        await self.api.post(f"/v1/test_helpers/test_clocks/{self.clock}/advance", {"frozen_time": to})
        listed = await self.api.get(PATH, customer=self.customer)
        return dict(listed["data"][0])


@pytest.fixture
async def period(api: Any) -> Period:
    await api.set_up()
    clock = await api.post("/v1/test_helpers/test_clocks", {"frozen_time": unix(api.now)})
    return Period(api, await api.customer(test_clock=clock["id"]), clock["id"])


GRACE = timedelta(hours=1)


async def test_a_preview_shows_the_running_period_line_by_line(api: Any, period: Period) -> None:
    await api.report(period.customer, 10_000_000)
    await api.report(period.customer, 1_000_000, token_type="output")
    preview = await api.post(f"{PATH}/create_preview", {"customer": period.customer})
    assert preview["id"].startswith("upcoming_in_")
    assert (preview["billing_reason"], preview["total"], preview["hosted_invoice_url"]) == (
        "upcoming",
        273,
        None,
    )
    shown = [
        (line["metadata"]["token_type"], line["quantity"], line["pricing"]["unit_amount_decimal"])
        for line in preview["lines"]["data"]
    ]
    assert shown == [("input", 10_000_000, "0.0000195"), ("output", 1_000_000, "0.000078")]
    assert sum(line["amount"] for line in preview["lines"]["data"]) == preview["subtotal"]
    assert (await api.get(PATH))["data"] == []


async def test_a_preview_shows_prepaid_credit_and_the_next_fee(api: Any) -> None:
    await api.set_up(subscription_fee_amount="900")
    customer = await api.customer()
    await api.grant(customer, 100)
    await api.report(customer, 10_000_000)
    preview = await api.post(f"{PATH}/create_preview", {"customer": customer})
    assert (preview["subtotal"], preview["total"]) == (195 + 900, 95 + 900)
    (credit,) = preview["total_pretax_credit_amounts"]
    assert credit["amount"] == 100


async def test_a_preview_needs_a_subscription_of_the_customer(api: Any, period: Period) -> None:
    path = f"{PATH}/create_preview"
    wrong = {"customer": period.customer, "subscription": "sub_x"}
    assert await api.refusal("POST", path, wrong) == (404, "resource_missing", "subscription")
    assert await api.refusal("POST", path) == (400, "parameter_missing", "customer")
    await api.delete(f"/v1/customers/{period.customer}")
    assert await api.refusal("POST", path, {"customer": period.customer}) == (
        404,
        "resource_missing",
        "customer",
    )


async def test_a_period_that_ends_leaves_a_draft_that_becomes_final_after_the_grace(
    api: Any, period: Period
) -> None:
    await api.report(period.customer, 10_000_000)
    draft = await period.end()
    assert (draft["status"], draft["number"], draft["total"]) == ("draft", None, 195)
    assert draft["automatically_finalizes_at"] == draft["period_end"] + 3600
    await period.end()
    final = await api.get(f"{PATH}/{draft['id']}")
    assert (final["status"], final["number"], final["amount_remaining"]) == ("open", "CP-000001", 195)


async def test_a_draft_can_be_made_final_at_once_and_then_paid_out_of_band(api: Any, period: Period) -> None:
    await api.report(period.customer, 10_000_000)
    draft = await period.end()
    path = f"{PATH}/{draft['id']}"
    final = await api.post(f"{path}/finalize", {"auto_advance": "false"})
    assert (final["status"], final["number"]) == ("open", "CP-000001")
    again = await api.refusal("POST", f"{path}/finalize")
    assert again == (400, "invoice_not_in_state", None)
    refusal = await api.refusal("POST", f"{path}/pay")
    assert refusal == (400, "invoice_no_payment_method", "paid_out_of_band")
    paid = await api.post(f"{path}/pay", {"paid_out_of_band": "true"})
    assert (paid["status"], paid["amount_paid"], paid["amount_remaining"]) == ("paid", 195, 0)
    types = await api.event_types()
    assert types[-3:] == ["invoice.created", "invoice.finalized", "invoice.paid"] or (
        "invoice.paid" in types and "invoice.finalized" in types
    )


async def test_an_open_invoice_can_be_voided_or_given_up(api: Any, period: Period) -> None:
    for verb, status in (("void", "void"), ("mark_uncollectible", "uncollectible")):
        await api.report(period.customer, 10_000_000)
        invoice = await period.end(after=GRACE)
        changed = await api.post(f"{PATH}/{invoice['id']}/{verb}")
        assert changed["status"] == status
        listed = await api.get(PATH, customer=period.customer, status=status)
        assert [entry["id"] for entry in listed["data"]] == [invoice["id"]]


async def test_a_final_invoice_has_a_page_that_only_its_link_opens(api: Any, period: Period) -> None:
    await api.report(period.customer, 10_000_000)
    invoice = await period.end(after=GRACE)
    digest = hmac.new(b"secret of the tests", invoice["id"].encode(), hashlib.sha256).hexdigest()
    assert invoice["hosted_invoice_url"] == f"https://bill.example/i/{invoice['id']}/{digest[:32]}"
    (event,) = (await api.get("/v1/events", type="invoice.finalized"))["data"]
    assert event["data"]["object"]["hosted_invoice_url"] == invoice["hosted_invoice_url"]


async def test_lines_are_paged_in_the_invoices_order(api: Any, period: Period) -> None:
    for model in ("openai/gpt-4o", "openai/gpt-4o-mini", "anthropic/claude-sonnet-4.5"):
        await api.report(period.customer, 1_000_000, model=model)
    invoice = await period.end(after=GRACE)
    lines = invoice["lines"]["data"]
    assert [line["metadata"]["model"] for line in lines] == ["claude-sonnet-4-5", "gpt-4o", "gpt-4o-mini"]
    path = f"{PATH}/{invoice['id']}/lines"
    assert (await api.get(path))["data"] == lines
    page = await api.get(path, limit=1, starting_after=lines[0]["id"])
    assert (page["data"], page["has_more"]) == ([lines[1]], True)
    refusal = await api.refusal("GET", path, {"starting_after": "il_x"})
    assert refusal == (404, "resource_missing", None)


async def test_an_explanation_proves_every_figure(api: Any, period: Period) -> None:
    await api.grant(period.customer, 10)
    for tokens in (7, 11, 10_000_001):
        await api.report(period.customer, tokens)
        await api.report(period.customer, tokens, token_type="output")
    invoice = await period.end(after=GRACE)
    explained = await api.get(f"/v1/token_billing/invoices/{invoice['id']}/explain")
    lines = explained["lines"]
    assert explained["charges_match"] is True
    for line in lines:
        assert line["quantity"] * Decimal(line["unit_price"]) == Decimal(line["exact_amount"])
        assert 0 <= Decimal(line["ledger_amount"]) - Decimal(line["exact_amount"]) < Decimal("1e-8")
    assert sum(Decimal(line["ledger_amount"]) for line in lines) == Decimal(explained["charges"])
    assert sum(line["amount_minor"] for line in lines) == explained["subtotal_minor"] == invoice["subtotal"]
    due = Decimal(explained["usage"]) - Decimal(explained["credit"]) + Decimal(explained["carried_in"])
    assert due == Decimal(explained["due"])
    assert due - Decimal(explained["carried_out"]) == Decimal(explained["total_minor"]) / 100


async def test_what_is_too_small_for_a_cent_is_carried_to_the_next_invoice(api: Any, period: Period) -> None:
    await api.report(period.customer, 30_000)
    first = await period.end(after=GRACE)
    await api.report(period.customer, 30_000)
    second = await period.end(after=GRACE)
    assert (first["total"], first["status"], second["total"]) == (0, "paid", 1)
    explained = await api.get(f"/v1/token_billing/invoices/{second['id']}/explain")
    assert (explained["carried_in"], explained["carried_out"]) == ("0.00585", "0.0017")


async def test_an_invoice_that_does_not_exist_is_missing(api: Any) -> None:
    for method, path in (
        ("GET", f"{PATH}/in_x"),
        ("GET", f"{PATH}/in_x/lines"),
        ("POST", f"{PATH}/in_x/finalize"),
        ("GET", "/v1/token_billing/invoices/in_x/explain"),
    ):
        assert await api.refusal(method, path) == (404, "resource_missing", "id")


async def test_a_margin_that_never_ends_as_a_decimal_is_cut_on_the_wire_and_exact_in_the_explanation(
    api: Any,
) -> None:
    form = {"default_margin_percent": "30", "credit_grant_per_period_amount": "0"}
    await api.post("/v1/token_billing/onboarding/init", form)
    customer = await api.customer()
    await api.report(customer, 10_000_000)
    preview = await api.post(f"{PATH}/create_preview", {"customer": customer})
    (line,) = preview["lines"]["data"]
    assert line["pricing"]["unit_amount_decimal"] == "0.000021428571"
    (event,) = (await api.get("/v1/token_billing/usage_events", customer=customer))["data"]
    assert event["derivation"]["steps"][0]["unit_price"] == "3/14000000"
    assert cut_decimal(Fraction(3, 140_000)) == "0.000021428571"
