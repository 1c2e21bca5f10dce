"""Credit notes: lower what remains, give back what was paid, with its tax, never too much, numbered."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costplus.billing.credit_note import CreditNoteTooLarge, InvalidCreditNote, Wanted, credit_cap
from costplus.billing.give_back import fail_refund, succeed_refund, void_note
from costplus.billing.invoice import InvoiceState
from costplus.billing.issue import mark_uncollectible, void
from costplus.billing.refund import Refund

Desk = Any  # The desk of conftest.


@pytest.fixture
def taxed(desk: Desk) -> Desk:
    """Return a desk whose invoices are taxed at 20 %."""
    desk.policy(default_tax_rates=(desk.tax("20").id,))
    return desk


def test_a_note_lowers_what_an_open_invoice_asks_for_with_its_tax(
    taxed: Desk, build: SimpleNamespace
) -> None:
    invoice = taxed.invoice(100)
    note = taxed.note(invoice.id, 60)
    assert (note.number, note.total_minor, note.tax_minor) == ("CP-000001-CN-01", 60, 10)
    assert (note.pre_payment_minor, note.post_payment_minor) == (60, 0)
    assert taxed.of(invoice.id).remaining_minor == 60
    assert taxed.shop.account_nano("book/revenue") == 50 * build.cent
    assert taxed.shop.wrongs() == []
    assert taxed.pay(invoice.id).paid_minor == 60
    assert taxed.shop.wrongs() == []


def test_a_note_over_all_that_remains_pays_the_invoice(taxed: Desk) -> None:
    invoice = taxed.invoice(100)
    taxed.note(invoice.id, 120)
    paid = taxed.of(invoice.id)
    assert (paid.status, paid.paid_minor) == ("paid", 0)
    assert taxed.shop.account_nano("book/tax_payable") == 0
    assert taxed.shop.announced("invoice.payment") == []
    assert taxed.shop.wrongs() == []


def test_a_note_on_a_paid_invoice_goes_to_the_surplus_that_the_next_one_uses(taxed: Desk) -> None:
    invoice = taxed.invoice(100)
    taxed.pay(invoice.id)
    note = taxed.note(invoice.id, 48)
    assert (note.credit_minor, note.tax_minor, note.pre_payment_minor) == (48, 8, 0)
    following = taxed.invoice(100)
    assert (following.surplus_minor, following.total_minor) == (48, 72)
    assert taxed.shop.wrongs() == []


def test_a_note_can_go_back_as_money(taxed: Desk, build: SimpleNamespace) -> None:
    invoice = taxed.invoice(100)
    taxed.pay(invoice.id)
    note = taxed.note(invoice.id, refund_minor=60)
    refund = taxed.shop.write(lambda tx: tx.find(Refund, note.refund))
    assert (refund.amount_minor, refund.status, refund.invoice) == (60, "pending", invoice.id)
    assert taxed.shop.account_nano("book/payments") == -60 * build.cent
    done = taxed.shop.write(lambda tx: succeed_refund(tx, refund, payment="pay_1", at=taxed.shop.at))
    assert (done.status, done.payment) == ("succeeded", "pay_1")
    assert taxed.shop.announced("refund") == ["refund.created", "refund.updated"]
    assert taxed.shop.wrongs() == []


def test_a_refund_that_fails_is_surplus_and_fails_once(taxed: Desk, build: SimpleNamespace) -> None:
    invoice = taxed.invoice(100)
    taxed.pay(invoice.id)
    note = taxed.note(invoice.id, refund_minor=60)

    def fail(tx: Any) -> Refund:
        return fail_refund(tx, tx.find(Refund, note.refund), reason="account closed", at=taxed.shop.at)

    assert taxed.shop.write(fail) == taxed.shop.write(fail)
    assert taxed.shop.account_nano("cus_1/surplus") == 60 * build.cent
    assert taxed.shop.wrongs() == []


def test_what_is_given_back_is_split_over_surplus_refund_and_out_of_band(taxed: Desk) -> None:
    invoice = taxed.invoice(100)
    taxed.pay(invoice.id)
    note = taxed.note(invoice.id, 120, credit_minor=20, refund_minor=30, out_of_band_minor=70)
    assert (note.credit_minor, note.refund_minor, note.out_of_band_minor) == (20, 30, 70)
    assert taxed.shop.wrongs() == []
    with pytest.raises(CreditNoteTooLarge):
        taxed.note(invoice.id, 1)


def test_of_a_partly_paid_invoice_what_remains_goes_first(taxed: Desk) -> None:
    invoice = taxed.invoice(100)
    taxed.pay(invoice.id, 50)
    note = taxed.note(invoice.id, 90)
    assert (note.pre_payment_minor, note.post_payment_minor, note.credit_minor) == (70, 20, 20)
    assert taxed.of(invoice.id).status == "paid"
    assert taxed.shop.wrongs() == []


def test_an_invoice_that_is_voided_after_a_note_takes_back_the_rest_only(
    taxed: Desk, build: SimpleNamespace
) -> None:
    invoice = taxed.invoice(100)
    taxed.note(invoice.id, 60)
    taxed.do(void, invoice.id)
    assert taxed.shop.account_nano("book/revenue") == 0
    assert taxed.shop.account_nano("book/tax_payable") == 0
    assert taxed.shop.account_nano("cus_1/receivable") == 0


def test_lines_are_given_back_by_their_ids_and_no_more_than_they_asked_for(taxed: Desk) -> None:
    invoice = taxed.invoice(100, 40)
    first, second = invoice.lines
    note = taxed.note(invoice.id, wanted=(Wanted(first.id, "", 30), Wanted(second.id, "Gone", 40)))
    assert [(line.amount_minor, line.added_tax_minor) for line in note.lines] == [(30, 6), (40, 8)]
    assert note.total_minor == 84
    with pytest.raises(CreditNoteTooLarge):
        taxed.note(invoice.id, wanted=(Wanted(second.id, "", 1),))
    with pytest.raises(CreditNoteTooLarge):
        taxed.note(invoice.id, wanted=(Wanted(first.id, "", 71),))
    with pytest.raises(InvalidCreditNote):
        taxed.note(invoice.id, wanted=(Wanted("il_other", "", 1),))
    assert taxed.shop.wrongs() == []


def test_a_note_is_for_open_and_paid_invoices(taxed: Desk) -> None:
    draft = taxed.invoice(100, is_final=False)
    given_up = taxed.invoice(50)
    taxed.do(mark_uncollectible, given_up.id)
    for id in (draft.id, given_up.id):
        with pytest.raises(InvoiceState):
            taxed.note(id, 10)


def test_money_that_was_not_paid_cannot_be_refunded(taxed: Desk) -> None:
    invoice = taxed.invoice(100)
    taxed.note(invoice.id, 100)
    taxed.pay(invoice.id)
    with pytest.raises(CreditNoteTooLarge):
        taxed.note(invoice.id, 21, refund_minor=21)
    with pytest.raises(InvalidCreditNote):
        taxed.note(invoice.id, 20, refund_minor=10)


def test_a_note_on_an_open_invoice_can_be_voided_and_its_number_stays(
    taxed: Desk, build: SimpleNamespace
) -> None:
    invoice = taxed.invoice(100)
    note = taxed.note(invoice.id, 60)
    taxed.shop.write(lambda tx: void_note(tx, note, at=taxed.shop.at))
    assert taxed.of(invoice.id).remaining_minor == 120
    assert taxed.shop.wrongs() == []
    assert taxed.note(invoice.id, 120).number == "CP-000001-CN-02"
    assert taxed.shop.account_nano("book/tax_payable") == 0


def test_a_note_that_gave_money_back_cannot_be_voided(taxed: Desk) -> None:
    invoice = taxed.invoice(100)
    taxed.pay(invoice.id)
    note = taxed.note(invoice.id, 60)
    with pytest.raises(InvalidCreditNote):
        taxed.shop.write(lambda tx: void_note(tx, note, at=taxed.shop.at))


@given(
    st.lists(st.integers(1, 10_000), min_size=1, max_size=4),
    st.integers(0, 3_000),
    st.booleans(),
    st.lists(st.integers(1, 6_000), max_size=6),
)
def test_notes_of_any_amounts_give_back_exactly_the_invoice_and_its_tax(
    new_desk: Any, amounts: list[int], hundredths: int, inclusive: bool, notes: list[int]
) -> None:
    desk = new_desk()
    rate = desk.tax(f"{hundredths // 100}.{hundredths % 100:02}", inclusive=inclusive)
    desk.policy(default_tax_rates=(rate.id,))
    invoice = desk.invoice(*amounts)
    rest = invoice.total_minor
    for amount in notes:
        if amount <= rest:
            desk.note(invoice.id, amount)
            rest -= amount
            assert desk.shop.wrongs() == []
    if rest:
        desk.note(invoice.id, rest)
    assert desk.of(invoice.id).status == "paid"
    assert desk.shop.account_nano("book/revenue") == desk.shop.account_nano("book/tax_payable") == 0
    assert desk.shop.wrongs() == []


CAPS = [
    (100, 200, 50, 100),
    (300, 200, 50, 150),
    (100, 200, 200, 0),
    (-50, 200, 50, 0),
    (100, 200, 250, 0),
    (100, 0, 0, 0),
]


@pytest.mark.parametrize(("potential", "paid", "credited", "expected"), CAPS)
def test_a_credit_is_never_more_than_was_paid(
    potential: int, paid: int, credited: int, expected: int
) -> None:
    assert credit_cap(potential, paid=paid, credited=credited) == expected
