"""draft → open → paid | void | uncollectible, and what each step books."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from costplus.billing.close import close_account
from costplus.billing.customer import Customer
from costplus.billing.invoice import Invoice, InvoiceState
from costplus.billing.issue import finalize, mark_uncollectible, pay, void
from costplus.core.period import monthly_period

Shop = Any  # The shop of conftest.
VERBS = {"finalize": finalize, "pay": pay, "void": void, "mark_uncollectible": mark_uncollectible}


@pytest.fixture
def issued(shop: Shop, build: SimpleNamespace) -> Shop:
    """Return a shop whose customer has one open invoice over 5 cents."""
    shop.use(5 * build.cent)
    shop.close(monthly_period(build.at, 0).end + build.hour)
    return shop


def do(shop: Shop, *names: str) -> Invoice:
    """Apply verbs to the shop's first invoice, one after another."""
    for name in names:
        shop.change(VERBS[name], shop.invoices()[0])
    return shop.invoices()[0]


def test_a_payment_settles_the_receivable(issued: Shop, build: SimpleNamespace) -> None:
    invoice = do(issued, "pay")
    assert (invoice.status, invoice.paid_minor, invoice.paid_at) == ("paid", 5, issued.at)
    assert issued.account_nano("cus_1/receivable") == 0
    assert issued.account_nano("book/payments") == -5 * build.cent
    assert issued.announced("invoice.")[-1] == "invoice.paid"
    assert issued.wrongs() == []


def test_paying_twice_is_paying_once(issued: Shop, build: SimpleNamespace) -> None:
    assert do(issued, "pay") == do(issued, "pay")
    assert issued.account_nano("book/payments") == -5 * build.cent
    assert issued.announced("invoice.paid") == ["invoice.paid"]


def test_voiding_takes_the_revenue_back_and_leaves_nothing_owed(issued: Shop, build: SimpleNamespace) -> None:
    invoice = do(issued, "void")
    assert (invoice.status, invoice.voided_at) == ("void", issued.at)
    assert issued.account_nano("cus_1/receivable") == issued.account_nano("book/revenue") == 0
    assert issued.announced("invoice.")[-1] == "invoice.voided"


def test_an_uncollectible_invoice_is_written_off_and_may_still_be_paid(
    issued: Shop, build: SimpleNamespace
) -> None:
    assert do(issued, "mark_uncollectible").uncollectible_at == issued.at
    assert issued.account_nano("cus_1/receivable") == 0
    assert issued.account_nano("book/write_offs") == -5 * build.cent
    assert issued.wrongs() == []
    assert do(issued, "pay").status == "paid"
    assert issued.account_nano("book/write_offs") == 0
    assert issued.account_nano("book/payments") == -5 * build.cent
    assert issued.wrongs() == []


def test_voiding_what_was_given_up_takes_revenue_back_and_nothing_is_written_off(
    issued: Shop, build: SimpleNamespace
) -> None:
    do(issued, "mark_uncollectible", "void")
    assert issued.account_nano("book/write_offs") == issued.account_nano("book/revenue") == 0
    assert issued.wrongs() == []


def test_an_uncollectible_invoice_can_be_voided(issued: Shop) -> None:
    assert do(issued, "mark_uncollectible", "void").status == "void"
    assert issued.wrongs() == []


REFUSED = [
    (("pay",), "void"),
    (("pay",), "finalize"),
    (("pay",), "mark_uncollectible"),
    (("void",), "pay"),
    (("void",), "void"),
    (("void",), "mark_uncollectible"),
    (("mark_uncollectible",), "mark_uncollectible"),
    ((), "finalize"),
]


@pytest.mark.parametrize(("before", "verb"), REFUSED)
def test_a_step_that_the_state_does_not_allow_is_refused_and_books_nothing(
    issued: Shop, before: tuple[str, ...], verb: str
) -> None:
    do(issued, *before)
    state, entries = issued.invoices(), issued.write(lambda tx: tx.transactions_of("cus_1"))
    with pytest.raises(InvoiceState):
        do(issued, verb)
    assert issued.invoices() == state
    assert issued.write(lambda tx: tx.transactions_of("cus_1")) == entries


@pytest.mark.parametrize("verb", ["pay", "void", "mark_uncollectible"])
def test_a_draft_can_only_be_finalised(shop: Shop, build: SimpleNamespace, verb: str) -> None:
    shop.use(5 * build.cent)
    shop.close(monthly_period(build.at, 0).end)
    with pytest.raises(InvoiceState):
        do(shop, verb)
    assert do(shop, "finalize").status == "open"


def test_a_draft_finalised_by_hand_is_not_finalised_again_by_time(shop: Shop, build: SimpleNamespace) -> None:
    shop.use(5 * build.cent)
    shop.close(monthly_period(build.at, 0).end)
    do(shop, "finalize")
    assert shop.close(monthly_period(build.at, 0).end + build.day) == 0
    assert [invoice.number for invoice in shop.invoices()] == ["CP-000001"]


def test_usage_of_a_voided_invoice_is_not_asked_for_again(issued: Shop, build: SimpleNamespace) -> None:
    do(issued, "void")
    issued.close(monthly_period(build.at, 1).end + build.hour)
    assert [invoice.total_minor for invoice in issued.invoices()] == [5, 0]


def test_a_closed_account_is_invoiced_for_what_it_used_so_far(shop: Shop, build: SimpleNamespace) -> None:
    shop.use(5 * build.cent)
    shop.at += build.day
    record = shop.write(lambda tx: tx.find(Customer, "cus_1"))
    for _ in range(2):
        shop.write(lambda tx: close_account(tx, record, at=shop.at))
    invoice = shop.invoices()[0]
    assert (len(shop.invoices()), invoice.status, invoice.total_minor) == (1, "open", 5)
    assert invoice.period.start == build.at
    assert shop.subscription().status == "canceled"
    assert shop.close(shop.at + 90 * build.day) == 0
    assert shop.wrongs() == []


def test_a_call_that_ends_after_its_account_was_closed_is_booked_all_the_same(
    shop: Shop, build: SimpleNamespace
) -> None:
    record = shop.write(lambda tx: tx.find(Customer, "cus_1"))
    shop.write(lambda tx: close_account(tx, record, at=shop.at))
    assert shop.use(7).new == 1
    assert (shop.owed(), shop.account_nano("book/revenue")) == ([7], 7)
