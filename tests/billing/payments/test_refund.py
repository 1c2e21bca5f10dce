"""Refunds: money goes back once, and what paid for it goes with it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from costplus.billing.credit_pack import CreditPack
from costplus.billing.payments.base import Outcome
from costplus.billing.payments.refund import RefundTooLarge
from costplus.billing.refunding import begin_refund, end_refund
from costplus.ledger.hold import Hold
from costplus.ledger.reserve import place_hold

DOLLAR = 10**9


def refunded(till: Any, amount_minor: int | None = None, *, id: str = "re_1") -> Any:
    """Refund the latest payment, all of it by default."""
    payment = till.payments()[-1].id
    refund = till.shop.write(
        lambda tx: begin_refund(tx, payment_id=payment, amount_minor=amount_minor, id=id, at=till.shop.at)
    )
    return till.run(till.collector.refund(refund.id, customer="cus_1"))


def test_a_top_up_is_refunded_out_of_its_credit(till: Any) -> None:
    till.buy(1000)
    assert refunded(till, 400).status == "succeeded"
    assert (till.shop.credit(), till.taken(), till.money()) == (6 * DOLLAR, 600, 600)
    assert till.payment().status == "succeeded"
    refunded(till, id="re_2")
    assert (till.shop.credit(), till.taken(), till.payment().status) == (0, 0, "refunded")
    assert till.events("payment.r") == ["payment.refunded"] * 2
    assert till.shop.wrongs() == []


def test_the_same_refund_again_is_the_same(till: Any) -> None:
    till.buy(1000)
    for _ in range(3):
        refunded(till, 400)
    assert (till.taken(), till.money()) == (600, 600)


@pytest.mark.parametrize("amount_minor", [1001, 700])
def test_what_was_spent_cannot_be_refunded(till: Any, amount_minor: int) -> None:
    till.buy(1000)
    till.shop.use(4 * DOLLAR)
    with pytest.raises(RefundTooLarge):
        refunded(till, amount_minor)
    assert (till.shop.credit(), till.taken(), till.money()) == (6 * DOLLAR, 1000, 1000)


def test_what_a_call_holds_cannot_be_refunded(till: Any) -> None:
    till.buy(1000)
    hold = Hold(
        id="hold_1",  # type: ignore[arg-type]  # An id by any name.
        customer="cus_1",  # type: ignore[arg-type]  # An id by any name.
        kind="request",
        owner="gw",
        amount_nano=5 * DOLLAR,
        placed_at=till.shop.at,
        expires_at=till.shop.at + timedelta(hours=1),
    )
    till.shop.write(lambda tx: place_hold(tx, hold, at=till.shop.at))
    with pytest.raises(RefundTooLarge):
        refunded(till)


def test_a_whole_refund_takes_the_bonus_back(till: Any) -> None:
    pack = CreditPack(
        id="cpack_1",
        created=till.shop.at,
        name="Big",
        currency="usd",
        price_minor=1000,
        credit_minor=1000,
        bonus_minor=200,
    )
    till.buy(0, pack=pack)
    assert till.shop.credit() == 12 * DOLLAR
    refunded(till)
    assert till.shop.credit() == 0


def test_a_refund_that_is_refused_gives_back_what_was_taken(till: Any) -> None:
    till.buy(1000)
    payment = till.payment().id
    till.shop.write(
        lambda tx: begin_refund(tx, payment_id=payment, amount_minor=1000, id="re_1", at=till.shop.at)
    )
    assert till.shop.credit() == 0  # It cannot be spent while it may be on its way back.
    refused = Outcome(status="declined", code="expired")
    refund = till.shop.write(lambda tx: end_refund(tx, id="re_1", outcome=refused, at=till.shop.at))
    assert (refund.status, till.shop.credit(), till.money()) == ("failed", 10 * DOLLAR, 1000)
    assert till.events("payment.r") == ["payment.refund_failed"]
    assert refunded(till, id="re_2").status == "succeeded"


def test_surplus_goes_back_first(till: Any) -> None:
    till.buy(1000, token="pm_fake_wrong_amount")
    till.wait(minutes=1)
    refunded(till)
    assert (till.surplus(), till.money(), till.taken(), till.payment().status) == (0, 0, 0, "refunded")


def test_other_money_goes_back_as_it_came(till: Any) -> None:
    till.buy(1000, token="pm_fake_wrong_currency")
    till.wait(minutes=1)
    assert refunded(till).currency == "eur"
    assert (till.taken("eur"), till.money(), till.payment().status) == (0, 0, "refunded")


def test_an_invoices_refund_lessens_revenue(till: Any) -> None:
    till.method("pm_fake_ok")
    till.shop.use(3 * DOLLAR)
    till.shop.close(till.shop.subscription().period.end + timedelta(hours=1))
    till.collect()
    revenue = till.shop.account_nano("book/revenue")
    refunded(till, 100)
    assert revenue - till.shop.account_nano("book/revenue") == DOLLAR
    assert (till.invoice().status, till.money(), till.taken()) == ("paid", 200, 200)
