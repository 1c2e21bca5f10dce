"""Payments in part and too much, what each step books, and what is refused."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from costplus.billing.invoice import InvoiceState
from costplus.billing.issue import finalize, mark_uncollectible, pay, send, void

Desk = Any  # The desk of conftest.


def test_a_part_lowers_what_remains_and_the_last_one_pays_it(desk: Desk, build: SimpleNamespace) -> None:
    invoice = desk.invoice(100)
    part = desk.pay(invoice.id, 40)
    assert (part.status, part.paid_minor, part.remaining_minor) == ("open", 40, 60)
    assert desk.shop.account_nano("cus_1/receivable") == -60 * build.cent
    assert desk.shop.wrongs() == []
    assert desk.pay(invoice.id).status == "paid"
    assert desk.shop.announced("invoice.p") == ["invoice.payment_succeeded", "invoice.paid"]
    assert desk.shop.wrongs() == []


def test_what_is_paid_too_much_is_surplus_and_pays_the_next_invoice(desk: Desk) -> None:
    invoice = desk.pay(desk.invoice(100).id, 130)
    assert (invoice.status, invoice.paid_minor, invoice.overpaid_minor) == ("paid", 100, 30)
    again = desk.pay(invoice.id, 20)
    assert (again.status, again.overpaid_minor) == ("paid", 50)
    assert desk.pay(invoice.id) == again
    following = desk.invoice(80)
    assert (following.surplus_minor, following.total_minor) == (50, 30)
    assert desk.shop.wrongs() == []


@pytest.mark.parametrize("amount", [0, -1])
def test_a_payment_is_above_nothing(desk: Desk, amount: int) -> None:
    with pytest.raises(InvoiceState):
        desk.pay(desk.invoice(100).id, amount)


def test_voiding_gives_back_what_the_surplus_and_a_part_had_paid(desk: Desk) -> None:
    rate = desk.tax("20")
    desk.policy(default_tax_rates=(rate.id,))
    desk.invoice(-50)
    invoice = desk.invoice(100)
    assert (invoice.tax_minor, invoice.surplus_minor, invoice.total_minor) == (20, 60, 60)
    desk.pay(invoice.id, 25)
    desk.do(void, invoice.id)
    assert desk.shop.account_nano("cus_1/surplus") == 85 * 10_000_000
    assert desk.shop.wrongs() == []


def test_giving_up_writes_off_what_remains_of_a_part_paid_invoice(desk: Desk, build: SimpleNamespace) -> None:
    invoice = desk.invoice(100)
    desk.pay(invoice.id, 40)
    desk.do(mark_uncollectible, invoice.id)
    assert desk.shop.account_nano("book/write_offs") == -60 * build.cent
    desk.pay(invoice.id, 10)
    assert desk.shop.account_nano("book/write_offs") == -50 * build.cent
    assert desk.pay(invoice.id).status == "paid"
    assert desk.shop.account_nano("book/write_offs") == 0
    assert desk.shop.wrongs() == []


REFUSED = [
    ("paid", [pay], [finalize, void, mark_uncollectible]),
    ("void", [void], [finalize, pay, void, mark_uncollectible, send]),
    ("draft", [], [pay, void, mark_uncollectible]),
    ("uncollectible", [mark_uncollectible], [finalize, mark_uncollectible, send]),
]


@pytest.mark.parametrize(("status", "steps", "refused"), REFUSED, ids=[row[0] for row in REFUSED])
def test_steps_that_a_state_does_not_allow_are_refused_and_change_nothing(
    desk: Desk, status: str, steps: list[Any], refused: list[Any]
) -> None:
    invoice = desk.invoice(100, is_final=status != "draft")
    for verb in steps:
        desk.do(verb, invoice.id)
    before = desk.of(invoice.id)
    assert before.status == status
    for verb in refused:
        with pytest.raises(InvoiceState):
            desk.do(verb, invoice.id)
    assert desk.of(invoice.id) == before
    assert desk.shop.wrongs() == []


def test_sending_a_draft_makes_it_final(desk: Desk) -> None:
    sent = desk.do(send, desk.invoice(100, is_final=False).id)
    assert (sent.status, sent.sent_at) == ("open", desk.shop.at)
    assert desk.shop.announced("invoice.")[-2:] == ["invoice.finalized", "invoice.sent"]
