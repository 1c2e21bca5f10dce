"""Invoices that are charged by themselves: at finalisation, again after declines, and what follows then."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

from costplus.billing.customer import Customer
from costplus.billing.issue import pay, void
from costplus.billing.payments.method import PaymentMethod
from costplus.billing.payments.policy import POLICY, CollectionPolicy

HOUR = timedelta(hours=1)


def invoiced(till: Any, *, token: str = "pm_fake_ok", provider: str = "fake") -> None:
    """Use $3 in a month and let it be invoiced, the customer's default method being this."""
    till.method(token, provider=provider)
    till.shop.use(3 * 10**9)
    till.shop.close(till.shop.subscription().period.end + HOUR)


def declined_on(till: Any) -> list[int]:
    """Return on which days after finalisation the charge was tried."""
    (payment,) = till.payments()
    return [(attempt.at - payment.created).days for attempt in payment.attempts]


def test_a_final_invoice_is_charged_once(till: Any) -> None:
    invoiced(till)
    assert (till.invoice().status, till.invoice().collection_method) == ("open", "charge_automatically")
    assert till.invoice().next_payment_attempt is not None
    till.collect()
    till.collect()
    invoice = till.invoice()
    assert (invoice.status, invoice.paid_minor, invoice.attempt_count) == ("paid", 300, 1)
    assert (till.taken(), till.money(), till.surplus()) == (300, 300, 0)
    assert till.events("invoice.p") == ["invoice.payment_succeeded", "invoice.paid"]
    assert till.shop.wrongs() == []


def test_without_a_default_method_an_invoice_is_sent(till: Any) -> None:
    till.shop.use(3 * 10**9)
    till.shop.close(till.shop.subscription().period.end + HOUR)
    assert (till.invoice().collection_method, till.payments()) == ("send_invoice", [])


def test_a_customer_may_prefer_to_be_sent_invoices(till: Any) -> None:
    till.method("pm_fake_ok")
    till.shop.write(lambda tx: tx.save(replace(tx.find(Customer, "cus_1"), collection_method="send_invoice")))
    till.shop.use(3 * 10**9)
    till.shop.close(till.shop.subscription().period.end + HOUR)
    assert (till.invoice().collection_method, till.payments()) == ("send_invoice", [])


def test_a_declined_invoice_is_tried_again_after_3_5_and_7_days_and_stays_open(till: Any) -> None:
    invoiced(till, token="pm_fake_decline")
    till.collect()
    assert till.invoice().next_payment_attempt == till.shop.at + timedelta(days=3)
    for _ in range(40):
        till.wait(days=1)
    assert declined_on(till) == [0, 3, 8, 15]
    assert (till.payment().status, till.invoice().status) == ("failed", "open")
    assert (till.invoice().attempt_count, till.invoice().next_payment_attempt) == (4, None)
    assert till.events("invoice.payment") == ["invoice.payment_failed"] * 4


def test_a_policy_may_retry_otherwise_and_give_the_invoice_up(till: Any) -> None:
    policy = CollectionPolicy(id=POLICY, created=till.shop.at, retry_days=(1,), finally_="mark_uncollectible")
    till.shop.write(lambda tx: tx.save(policy))
    invoiced(till, token="pm_fake_decline")
    till.collect()
    till.wait(days=1)
    assert (declined_on(till), till.invoice().status) == ([0, 1], "uncollectible")


def test_a_retry_that_succeeds_pays_the_invoice(till: Any) -> None:
    invoiced(till, token="pm_fake_decline_once")
    till.collect()
    till.wait(days=3)
    assert (till.invoice().status, till.taken(), len(till.charges())) == ("paid", 300, 2)
    till.call_back()
    assert till.results == ["no_news", "duplicate"]


def test_a_stolen_card_is_not_tried_again(till: Any) -> None:
    invoiced(till, token="pm_fake_decline_stolen")
    till.collect()
    assert (till.payment().status, till.payment().failure_code) == ("failed", "stolen_card")


def test_an_invoice_paid_in_another_way_is_not_charged(till: Any) -> None:
    invoiced(till)
    till.shop.change(pay, till.invoice())
    till.collect()
    assert (till.charges(), till.payment().status) == ([], "canceled")
    assert till.invoice().status == "paid"


def test_a_void_invoice_is_not_charged_and_late_money_is_surplus(till: Any) -> None:
    invoiced(till, token="pm_fake_delay")
    till.collect()
    till.shop.change(void, till.invoice())
    till.wait(minutes=1)
    assert (till.invoice().status, till.surplus(), till.money()) == ("void", 300, 300)
    assert till.payment().status == "canceled"
    assert "payment.surplus" in till.events("payment")


def test_an_invoice_paid_while_the_card_took_its_time_leaves_a_surplus(till: Any) -> None:
    invoiced(till, token="pm_fake_delay")
    till.collect()
    till.shop.change(pay, till.invoice())
    till.wait(minutes=1)
    assert (till.surplus(), till.money(), till.taken()) == (300, 600, 300)


def test_a_payment_that_needs_its_customer_waits_for_it(till: Any) -> None:
    invoiced(till, token="pm_fake_requires_action")
    till.collect()
    payment = till.payment()
    assert (payment.status, payment.action_url[:8]) == ("requires_action", "https://")
    assert till.events("invoice.payment") == ["invoice.payment_action_required"]
    till.run(till.fake.confirm(f"{payment.id}:1", at=till.shop.at))
    till.call_back()
    assert (till.invoice().status, till.results) == ("paid", ["counted"])


def test_one_that_is_never_confirmed_is_called_off(till: Any) -> None:
    invoiced(till, token="pm_fake_requires_action")
    till.collect()
    till.wait(days=7)
    till.wait(days=1)
    assert (till.payment().status, till.invoice().status, till.taken()) == ("canceled", "open", 0)


def test_a_month_on_a_test_clock_collects_each_attempt_at_its_own_time(till: Any) -> None:
    clock = till.shop.clock()
    till.shop.write(lambda tx: tx.save(replace(tx.find(Customer, "cus_1"), test_clock="clock_1")))
    till.method("pm_fake_decline")
    till.shop.use(3 * 10**9)
    end = till.shop.subscription().period.end + HOUR
    till.shop.close(end)
    till.shop.write(lambda tx: tx.save(replace(clock, frozen_time=end + timedelta(days=30))))
    till.run(till.collector.collect_due(clock="clock_1"))
    assert declined_on(till) == [0, 3, 8, 15]
    assert till.payment().status == "failed"


def test_a_retry_goes_to_the_card_that_is_the_default_by_then(till: Any) -> None:
    invoiced(till, token="pm_fake_decline")
    till.collect()
    new = till.method("pm_fake_ok")
    till.wait(days=3)
    assert (till.invoice().status, till.payment().method) == ("paid", new)


def test_a_detached_card_is_not_charged(till: Any) -> None:
    invoiced(till)
    detached(till, till.payment().method)
    till.collect()
    assert (till.charges(), till.payment().status, till.invoice().status) == ([], "canceled", "open")


def test_a_retry_may_become_a_bank_transfer(till: Any) -> None:
    invoiced(till, token="pm_fake_decline")
    till.collect()
    till.method("bank_transfer", provider="manual")
    till.wait(days=3)
    assert (till.payment().status, till.payment().reference[:3]) == ("processing", "CP-")


def detached(till: Any, id: str) -> None:
    def verb(tx: Any) -> None:
        tx.save(replace(tx.find(PaymentMethod, id), detached_at=till.shop.at))
        tx.save(replace(tx.find(Customer, "cus_1"), default_payment_method=""))

    till.shop.write(verb)
