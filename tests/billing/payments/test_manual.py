"""Payments by hand: a reference to match, parts that count, and more than was asked for."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import Any

import pytest

from costplus.billing.collect import locked
from costplus.billing.issue import pay
from costplus.billing.payments.payment import PaymentReference, PaymentState, reference_of
from costplus.billing.receive import receive_transfer


def transfer(till: Any, amount_minor: int | None = None, *, id: str = "bank-1") -> Any:
    payment = till.payments()[-1].id
    return till.shop.write(
        lambda tx: receive_transfer(
            tx, locked(tx, payment), amount_minor=amount_minor, transfer=id, at=till.shop.at
        )
    )


def by_transfer(till: Any, amount_minor: int = 1000) -> Any:
    till.method("bank_transfer", provider="manual")
    top_up = till.order(amount_minor)
    till.collect()
    return top_up


def test_a_transfer_is_waited_for_under_a_reference(till: Any) -> None:
    by_transfer(till)
    payment = till.payment()
    assert (payment.status, payment.due_at, payment.reference[:3]) == ("processing", None, "CP-")
    found = till.shop.write(lambda tx: tx.find(PaymentReference, payment.reference))
    assert found.payment == payment.id
    till.wait(days=400)
    assert (till.payment().status, till.granted()) == ("processing", 0)


def test_marked_as_paid_it_is_credit_and_each_transfer_counts_once(till: Any) -> None:
    top_up = by_transfer(till)
    transfer(till)
    transfer(till)
    assert (till.top_up(top_up.id).status, till.granted(), till.money()) == ("succeeded", 1000, 1000)
    with pytest.raises(PaymentState):
        transfer(till, id="bank-2")


def test_parts_count_as_they_come_and_what_is_too_much_is_surplus(till: Any) -> None:
    top_up = by_transfer(till)
    assert transfer(till, 400).status == "processing"
    assert (till.granted(), till.top_up(top_up.id).status) == (400, "pending")
    payment = transfer(till, 700, id="bank-2")
    assert (payment.status, till.granted(), till.surplus(), till.money()) == ("succeeded", 1000, 100, 1100)
    transfer(till, 50, id="bank-3")
    assert (till.granted(), till.surplus()) == (1000, 150)


def test_an_invoice_may_be_paid_in_parts(till: Any) -> None:
    till.method("bank_transfer", provider="manual")
    till.shop.use(3 * 10**9)
    till.shop.close(till.shop.subscription().period.end + timedelta(hours=1))
    transfer(till, 100)  # Before the job has run: nothing has to be asked for.
    till.collect()
    assert (till.invoice().status, till.invoice().paid_minor) == ("open", 100)
    assert till.shop.wrongs() == []
    payment = transfer(till, 200, id="bank-2")
    assert (till.invoice().status, payment.status, payment.amount_minor) == ("paid", "succeeded", 300)
    assert till.shop.wrongs() == []


def test_a_part_that_completes_an_invoice_completes_its_payment(till: Any) -> None:
    till.method("bank_transfer", provider="manual")
    till.shop.use(3 * 10**9)
    till.shop.close(till.shop.subscription().period.end + timedelta(hours=1))
    till.collect()
    till.shop.change(partial(pay, amount_minor=100), till.invoice())
    assert transfer(till, 200).status == "succeeded"
    assert (till.invoice().status, till.surplus()) == ("paid", 0)


def test_only_payments_by_hand_are_marked_by_hand(till: Any) -> None:
    till.buy(1000, token="pm_fake_never")
    with pytest.raises(PaymentState):
        transfer(till)


def test_references_have_no_letters_that_look_like_others() -> None:
    for number in range(200):
        text = reference_of(f"pay_{number:032x}")
        assert len(text) == 13
        assert not set(text[3:]) & set("ILOU")
