"""Invoices that are charged, by themselves and by hand, and payments by hand, over HTTP."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from costplus.core.period import add_months
from costplus.web.objects.wire import unix

PATH = "/v1/token_billing"
GRACE = timedelta(hours=1)


@pytest.fixture
async def clock(cashier: Any) -> str:
    made = await cashier.api.post("/v1/test_helpers/test_clocks", {"frozen_time": unix(cashier.api.now)})
    return str(made["id"])


async def advance(cashier: Any, clock: str, *, to: Any) -> None:
    path = f"/v1/test_helpers/test_clocks/{clock}/advance"
    await cashier.api.post(path, {"frozen_time": unix(to)})


async def invoiced(cashier: Any, clock: str, token: str = "", **method: Any) -> dict[str, Any]:
    """Return the open invoice over $1.95 of a customer whose default method is this, after a month."""
    customer = await cashier.customer(token, test_clock=clock, **method)
    await cashier.api.report(customer, 10_000_000)
    await advance(cashier, clock, to=add_months(cashier.api.now, 1) + GRACE)
    return dict((await cashier.api.get("/v1/invoices", customer=customer))["data"][0])


async def test_advancing_a_clock_charges_what_became_due(cashier: Any, clock: str) -> None:
    invoice = await invoiced(cashier, clock, "pm_fake_ok")
    assert (invoice["status"], invoice["collection_method"]) == ("paid", "charge_automatically")
    assert (invoice["amount_paid"], invoice["attempt_count"], invoice["attempted"]) == (195, 1, True)
    assert "invoice.payment_succeeded" in await cashier.api.event_types()


async def test_declines_are_retried_by_the_schedule_as_the_clock_runs(cashier: Any, clock: str) -> None:
    settings = {"retry_days[0]": "1", "retry_days[1]": "2", "after_last_retry": "mark_uncollectible"}
    said = await cashier.api.post(f"{PATH}/collection_settings", settings)
    assert (said["retry_days"], said["after_last_retry"]) == ([1, 2], "mark_uncollectible")
    invoice = await invoiced(cashier, clock, "pm_fake_decline")
    begun = add_months(cashier.api.now, 1) + GRACE
    assert invoice["next_payment_attempt"] == unix(begun + timedelta(days=1))
    await advance(cashier, clock, to=begun + timedelta(days=10))
    payment = await cashier.payment()
    days = [(attempt["at"] - unix(begun)) // 86_400 for attempt in payment["attempts"]]
    assert (payment["status"], days) == ("failed", [0, 1, 3])
    invoice = await cashier.api.get(f"/v1/invoices/{invoice['id']}")
    assert (invoice["status"], invoice["next_payment_attempt"]) == ("uncollectible", None)
    assert (await cashier.api.event_types()).count("invoice.payment_failed") == 3


@pytest.mark.parametrize("days", ["0", "x", "366", "1.5", "-1"])
async def test_pauses_that_cannot_be_are_refused(cashier: Any, days: str) -> None:
    path = f"{PATH}/collection_settings"
    refused = await cashier.api.refusal("POST", path, {"retry_days[0]": days})
    assert refused == (400, "retry_days_invalid", "retry_days")
    assert (await cashier.api.get(path))["retry_days"] == [3, 5, 7]


async def test_an_invoice_is_charged_to_a_method_on_demand(cashier: Any, clock: str) -> None:
    invoice = await invoiced(cashier, clock)
    path = f"/v1/invoices/{invoice['id']}/pay"
    refused = await cashier.api.refusal("POST", path)
    assert refused == (400, "invoice_no_payment_method", "paid_out_of_band")
    declining = await cashier.attach(invoice["customer"], "pm_fake_decline", set_default="false")
    for key in ("k1", "k1", "k2"):
        form = {"payment_method": declining}
        answer = await cashier.api.send("POST", path, form=form, Idempotency_Key=key)
        assert (answer.status, answer.error["decline_code"]) == (402, "generic_decline")
    paying = await cashier.attach(invoice["customer"], "pm_fake_ok")
    paid = await cashier.api.post(path, {"payment_method": paying})
    assert (paid["status"], paid["amount_paid"]) == ("paid", 195)
    assert (await cashier.api.post(path))["status"] == "paid"
    listed = (await cashier.api.get(f"{PATH}/payments", invoice=invoice["id"]))["data"]
    assert [each["status"] for each in listed] == ["succeeded", "failed", "failed"]


async def test_paying_by_hand_hurries_the_retry_that_waits(cashier: Any, clock: str) -> None:
    invoice = await invoiced(cashier, clock, "pm_fake_decline_once")
    paid = await cashier.api.post(f"/v1/invoices/{invoice['id']}/pay")
    assert paid["status"] == "paid"
    (payment,) = (await cashier.api.get(f"{PATH}/payments"))["data"]
    assert [attempt["status"] for attempt in payment["attempts"]] == ["declined", "succeeded"]


async def test_no_second_charge_while_one_is_under_way(cashier: Any, clock: str) -> None:
    invoice = await invoiced(cashier, clock, "pm_fake_never")
    path = f"/v1/invoices/{invoice['id']}/pay"
    assert await cashier.api.refusal("POST", path) == (400, "payment_in_progress", "id")
    payment = await cashier.payment()
    await cashier.api.post(f"{PATH}/payments/{payment['id']}/cancel")
    await cashier.attach(invoice["customer"], "pm_fake_ok", set_default="true")
    assert (await cashier.api.post(path))["status"] == "paid"


async def test_a_method_that_asks_its_owner_says_so(cashier: Any, clock: str) -> None:
    invoice = await invoiced(cashier, clock)
    method = await cashier.attach(invoice["customer"], "pm_fake_requires_action")
    form = {"payment_method": method}
    answer = await cashier.api.send("POST", f"/v1/invoices/{invoice['id']}/pay", form=form)
    assert (answer.status, answer.error["code"]) == (402, "invoice_payment_intent_requires_action")
    payment = await cashier.payment()
    assert payment["next_action"]["url"].startswith("https://")


async def test_a_customer_who_prefers_invoices_is_not_charged(cashier: Any, clock: str) -> None:
    customer = await cashier.customer("pm_fake_ok", test_clock=clock)
    form = {"collection_method": "send_invoice"}
    await cashier.api.post(f"{PATH}/customers/{customer}", form)
    await cashier.api.report(customer, 10_000_000)
    await advance(cashier, clock, to=add_months(cashier.api.now, 1) + GRACE)
    (invoice,) = (await cashier.api.get("/v1/invoices", customer=customer))["data"]
    assert (invoice["status"], invoice["collection_method"]) == ("open", "send_invoice")


async def test_a_bank_transfer_is_matched_by_its_reference_and_counted_once(cashier: Any, clock: str) -> None:
    invoice = await invoiced(cashier, clock, "bank_transfer", provider="manual")
    waiting = await cashier.payment()
    assert (invoice["status"], waiting["status"]) == ("open", "processing")
    found = await cashier.api.get(f"{PATH}/payments", reference=waiting["reference"].lower())
    assert [each["id"] for each in found["data"]] == [waiting["id"]]
    path = f"{PATH}/payments/{waiting['id']}"
    for _ in range(2):
        part = await cashier.api.post(f"{path}/mark_paid", {"amount": 100, "transfer": "bank-1"})
        assert (part["status"], part["amount_received"]) == ("processing", 100)
    partly = await cashier.api.get(f"/v1/invoices/{invoice['id']}")
    assert (partly["status"], partly["amount_paid"], partly["amount_remaining"]) == ("open", 100, 95)
    done = await cashier.api.post(f"{path}/mark_paid", {"amount": 100, "transfer": "bank-2"})
    assert (done["status"], done["amount_received"], done["amount_surplus"]) == ("succeeded", 200, 5)
    assert (await cashier.api.get(f"/v1/invoices/{invoice['id']}"))["status"] == "paid"
    refused = await cashier.api.refusal("GET", f"{PATH}/payments", {"reference": "CP-NOBODY"})
    assert refused == (404, "resource_missing", "reference")


async def test_a_top_up_is_refunded_as_far_as_it_is_unspent(cashier: Any) -> None:
    customer = await cashier.customer("pm_fake_ok")
    await cashier.top_up(customer, 1000)
    path = f"{PATH}/payments/{(await cashier.payment())['id']}"
    await cashier.api.report(customer, 10_000_000)
    refused = await cashier.api.refusal("POST", f"{path}/refund")
    assert refused == (400, "refund_exceeds_payment", "amount")
    for _ in range(2):
        back = await cashier.api.post(f"{path}/refund", {"amount": 800}, Idempotency_Key="r1")
        assert (back["status"], back["amount"]) == ("succeeded", 800)
    assert (await cashier.api.get(path))["amount_refunded"] == 800
    assert await cashier.credit(customer) == "0.05"
    assert (await cashier.api.get(f"{path}/refunds"))["data"] == [back]


async def test_what_does_not_exist_is_missing(cashier: Any) -> None:
    for verb in ("mark_paid", "accept", "cancel", "refund"):
        refused = await cashier.api.refusal("POST", f"{PATH}/payments/pay_x/{verb}")
        assert refused == (404, "resource_missing", "id")
    for path in ("payments/pay_x", "top_ups/topup_x", "credit_packs/cpack_x", "payment_methods/pm_x"):
        assert await cashier.api.refusal("GET", f"{PATH}/{path}") == (404, "resource_missing", "id")
    assert await cashier.api.refusal("POST", "/v1/invoices/in_x/pay") == (404, "resource_missing", "id")


async def test_a_payment_by_card_is_not_marked_by_hand(cashier: Any) -> None:
    customer = await cashier.customer("pm_fake_never")
    await cashier.top_up(customer, 1000)
    path = f"{PATH}/payments/{(await cashier.payment())['id']}/mark_paid"
    assert await cashier.api.refusal("POST", path) == (400, "payment_not_in_state", None)


async def test_what_a_credit_note_refunds_goes_back_through_the_provider(cashier: Any, clock: str) -> None:
    invoice = await invoiced(cashier, clock, "pm_fake_ok")
    form = {"invoice": invoice["id"], "amount": "95", "refund_amount": "95"}
    note = await cashier.api.post("/v1/credit_notes", form)
    (refund,) = (await cashier.api.get("/v1/refunds"))["data"]
    assert (refund["status"], refund["amount"]) == ("pending", 95)
    assert note["refunds"][0]["refund"] == refund["id"]
    await advance(cashier, clock, to=add_months(cashier.api.now, 1) + 2 * GRACE)
    assert (await cashier.api.get(f"/v1/refunds/{refund['id']}"))["status"] == "succeeded"
    assert (await cashier.payment())["amount_refunded"] == 95
    again = {"amount": "101"}
    payment = (await cashier.payment())["id"]
    refused = await cashier.api.refusal("POST", f"{PATH}/payments/{payment}/refund", again)
    assert refused[1] == "refund_exceeds_payment"
