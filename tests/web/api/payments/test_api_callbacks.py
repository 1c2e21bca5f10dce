"""Money-in callbacks over HTTP: signed, fresh, fitting, and counted once."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

PATH = "/v1/token_billing"
CALLBACKS = f"{PATH}/callbacks/fake"


async def bought(cashier: Any, token: str) -> tuple[str, dict[str, Any]]:
    """Return a customer and its top-up of $10 with this kind of card."""
    customer = await cashier.customer(token)
    return customer, await cashier.top_up(customer, 1000)


async def test_a_late_success_is_called_in_and_granted(cashier: Any) -> None:
    customer, made = await bought(cashier, "pm_fake_delay")
    assert (made["status"], await cashier.credit(customer)) == ("pending", "0")
    await cashier.call_back(seconds=5)
    assert await cashier.credit(customer) == "10"
    (kept,) = (await cashier.api.get(f"{PATH}/callbacks"))["data"]
    assert (kept["result"], kept["type"], kept["amount"]) == ("counted", "payment.succeeded", 1000)


async def test_the_same_callback_again_counts_once(cashier: Any) -> None:
    customer, _ = await bought(cashier, "pm_fake_delay")
    await cashier.call_back(seconds=5)
    for _ in range(3):
        status, said = await cashier.call(*cashier.sent[0])
        assert (status, said["result"]) == (200, "duplicate")
    assert await cashier.credit(customer) == "10"


async def test_two_callbacks_about_one_charge_count_once(cashier: Any) -> None:
    customer, _ = await bought(cashier, "pm_fake_double")
    await cashier.call_back()
    assert (len(cashier.sent), await cashier.credit(customer)) == (2, "10")


async def test_a_failure_that_arrives_after_the_success_changes_nothing(cashier: Any) -> None:
    customer, _ = await bought(cashier, "pm_fake_delay")
    await cashier.call_back(seconds=5)
    failed = replace(await cashier.charge(), status="declined", code="late")
    status, said = await cashier.call(*cashier.fake.callback("fevt_old", failed))
    assert (status, said["result"]) == (200, "no_news")
    assert ((await cashier.payment())["status"], await cashier.credit(customer)) == ("succeeded", "10")


async def test_a_success_that_arrives_after_a_failure_is_money_all_the_same(cashier: Any) -> None:
    customer, _ = await bought(cashier, "pm_fake_delay")
    charge = await cashier.charge()
    failed = replace(charge, status="declined", code="early")
    await cashier.call(*cashier.fake.callback("fevt_1", failed))
    assert (await cashier.payment())["status"] == "failed"
    done = replace(charge, status="succeeded", taken_minor=1000, taken_currency="usd")
    await cashier.call(*cashier.fake.callback("fevt_2", done))
    assert ((await cashier.payment())["status"], await cashier.credit(customer)) == ("succeeded", "10")


async def test_a_wrong_amount_is_held_for_a_person_and_becomes_surplus(cashier: Any) -> None:
    customer, _ = await bought(cashier, "pm_fake_wrong_amount")
    await cashier.call_back(seconds=5)
    (payment,) = (await cashier.api.get(f"{PATH}/payments", held="true"))["data"]
    assert payment["held"] == {"amount": 999, "currency": "usd", "reason": "wrong_amount"}
    assert payment["amount_received"] == 0
    await cashier.collector.collect_due()
    payment = await cashier.payment()
    assert (payment["amount_received"], payment["amount_surplus"]) == (999, 999)
    assert await cashier.credit(customer) == "0"
    assert (await cashier.api.event_types()).count("payment.held") == 1
    accepted = await cashier.api.post(f"{PATH}/payments/{payment['id']}/accept")
    assert (accepted["status"], await cashier.credit(customer)) == ("succeeded", "9.99")


async def test_a_wrong_currency_never_grants(cashier: Any) -> None:
    customer, _ = await bought(cashier, "pm_fake_wrong_currency")
    await cashier.call_back(seconds=5)
    await cashier.collector.collect_due()
    payment = await cashier.payment()
    assert payment["held"] == {"amount": 1000, "currency": "eur", "reason": "wrong_currency"}
    assert (payment["amount_received"], await cashier.credit(customer)) == (0, "0")
    path = f"{PATH}/payments/{payment['id']}"
    assert await cashier.api.refusal("POST", f"{path}/accept") == (400, "payment_not_in_state", None)
    back = await cashier.api.post(f"{path}/refund")
    assert (back["amount"], back["currency"], back["status"]) == (1000, "eur", "succeeded")


@pytest.mark.parametrize("change", ["body", "secret", "missing", "empty", "nonsense"])
async def test_a_bad_signature_is_refused_and_counts_nothing(cashier: Any, change: str) -> None:
    customer, _ = await bought(cashier, "pm_fake_delay")
    await cashier.call_back(seconds=1)
    done = replace(await cashier.charge(), status="succeeded", taken_minor=1000, taken_currency="usd")
    body, headers = cashier.fake.callback("fevt_1", done)
    name = "fake-signature"
    if change == "body":
        body = body.replace(b"1000", b"9000")
    elif change == "secret":
        cashier.fake._secret = b"another"
        _, headers = cashier.fake.callback("fevt_1", done)
        cashier.fake._secret = b"fake secret"
    elif change == "missing":
        del headers[name]
    else:
        headers[name] = "" if change == "empty" else "t=1e9,v1=deadbeef"
    status, said = await cashier.call(body, headers)
    assert (status, said["error"]["code"]) == (400, "callback_signature_invalid")
    assert (await cashier.credit(customer), (await cashier.payment())["status"]) == ("0", "processing")
    assert (await cashier.api.get(f"{PATH}/callbacks"))["data"] == []


@pytest.mark.parametrize(("later", "code"), [(300, "duplicate"), (301, None)])
async def test_a_replayed_old_callback_is_refused(cashier: Any, later: int, code: str | None) -> None:
    await bought(cashier, "pm_fake_delay")
    await cashier.call_back(seconds=5)
    await cashier.call_back(seconds=later)
    status, said = await cashier.call(*cashier.sent[0])
    if code is None:
        assert (status, said["error"]["code"]) == (400, "callback_timestamp_invalid")
    else:
        assert (status, said["result"]) == (200, code)


async def test_an_unknown_payment_is_answered_kept_and_told_of(cashier: Any) -> None:
    customer, _ = await bought(cashier, "pm_fake_never")
    charge = await cashier.charge()
    strange = replace(charge, payment="pay_x", status="succeeded", taken_minor=1000, taken_currency="usd")
    status, said = await cashier.call(*cashier.fake.callback("fevt_x", strange))
    assert (status, said["result"]) == (200, "unknown")
    (kept,) = (await cashier.api.get(f"{PATH}/callbacks", result="unknown"))["data"]
    assert (kept["payment"], kept["amount"]) == ("pay_x", 1000)
    (event,) = (await cashier.api.get("/v1/events", type="payment.unmatched"))["data"]
    assert event["data"]["object"]["id"] == "fake:fevt_x"
    unasked = replace(charge, id=f"{charge.payment}:7", status="succeeded", taken_minor=1000)
    _, said = await cashier.call(*cashier.fake.callback("fevt_y", unasked))
    assert (said["result"], await cashier.credit(customer)) == ("unknown", "0")


async def test_late_money_for_a_canceled_payment_is_surplus_and_announced(cashier: Any) -> None:
    customer, _ = await bought(cashier, "pm_fake_never")
    charge, payment = await cashier.charge(), await cashier.payment()
    canceled = await cashier.api.post(f"{PATH}/payments/{payment['id']}/cancel")
    assert canceled["status"] == "canceled"
    late = replace(charge, status="succeeded", taken_minor=1000, taken_currency="usd")
    _, said = await cashier.call(*cashier.fake.callback("fevt_late", late))
    assert said["result"] == "surplus"
    payment = await cashier.payment()
    assert (payment["amount_surplus"], await cashier.credit(customer)) == (1000, "0")
    assert "payment.surplus" in await cashier.api.event_types()


@pytest.mark.parametrize(("provider", "code"), [("nobody", 404), ("manual", 400)])
async def test_only_providers_that_call_are_listened_to(cashier: Any, provider: str, code: int) -> None:
    answer = await cashier.api.client.post(f"{PATH}/callbacks/{provider}", content=b"{}")
    assert answer.status_code == code


async def test_signed_nonsense_is_refused(cashier: Any) -> None:
    await bought(cashier, "pm_fake_never")
    _, headers = cashier.fake.callback("fevt_1", await cashier.charge())
    assert (await cashier.call(b"\xff", headers))[0] == 400
