"""Money that does not fit: it never becomes credit by itself, and it is never lost."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from costplus.billing.collect import locked
from costplus.billing.payments.payment import PaymentState
from costplus.billing.receive import accept


def accepted(till: Any) -> Any:
    payment = till.payment()
    return till.shop.write(lambda tx: accept(tx, locked(tx, payment.id), at=till.shop.at))


def test_a_wrong_amount_is_held_and_what_came_is_surplus_once_confirmed(till: Any) -> None:
    till.buy(1000, token="pm_fake_wrong_amount")
    till.shop.at += till.fake.patience
    till.call_back()
    payment = till.payment()
    assert (payment.held, payment.stated_minor, till.results) == ("wrong_amount", 999, ["held"])
    assert (till.granted(), till.money()) == (0, 0)  # A call alone books nothing.
    till.collect()
    assert (till.granted(), till.surplus(), till.money(), till.taken()) == (0, 999, 999, 999)
    till.wait(days=30)
    assert (till.granted(), till.surplus()) == (0, 999)
    assert till.events("payment").count("payment.held") == 1


def test_a_wrong_currency_is_held_and_books_nothing(till: Any) -> None:
    till.buy(1000, token="pm_fake_wrong_currency")
    till.wait(minutes=1)
    payment = till.payment()
    assert (payment.held, payment.stated_currency, payment.is_open) == ("wrong_currency", "eur", True)
    assert (till.granted(), till.surplus(), till.money(), till.taken("eur")) == (0, 0, 0, 1000)
    assert till.events("payment.h") == ["payment.held"]
    with pytest.raises(PaymentState):
        accepted(till)


def test_a_person_may_accept_what_came_and_it_is_credit_for_that_much(till: Any) -> None:
    top_up = till.buy(1000, token="pm_fake_wrong_amount")
    till.wait(minutes=1)
    payment = accepted(till)
    assert (payment.status, payment.held, payment.received_minor) == ("succeeded", "", 999)
    assert (till.granted(), till.surplus(), till.money()) == (999, 0, 999)
    assert till.top_up(top_up.id).status == "succeeded"
    with pytest.raises(PaymentState):
        accepted(till)


def test_a_held_purchase_keeps_its_rule_waiting(till: Any) -> None:
    till.method("pm_fake_wrong_amount")
    till.rule(amount_minor=1000)
    till.shop.use(1)
    for _ in range(10):
        till.wait(days=1)
    assert len(till.top_ups()) == 1
    accepted(till)
    assert till.the_rule().payment == ""


def test_money_for_a_canceled_payment_is_surplus(till: Any) -> None:
    till.buy(1000, token="pm_fake_never")
    payment = till.payment()
    till.run(till.collector.cancel(payment.id, customer="cus_1"))
    assert (till.payment().status, till.granted()) == ("canceled", 0)
    charge = till.charges()[0]
    late = replace(charge, status="succeeded", taken_minor=1000, taken_currency="usd")
    till.run(till.take(*till.fake.callback("fevt_late", late)))
    assert (till.results, till.granted(), till.surplus()) == (["surplus"], 0, 1000)
    assert till.events("payment")[-1] == "payment.surplus"
