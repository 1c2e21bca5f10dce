"""Tax: which rates apply, what they are taken of, one rounding, and where the money is booked."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from costplus.billing.invoice import TaxShare
from costplus.billing.issue import finalize
from costplus.billing.tax import TaxLocationMissing

Desk = Any  # The desk of conftest.


def test_tax_is_added_and_payable_to_its_authority(desk: Desk, build: SimpleNamespace) -> None:
    rate = desk.tax("19")
    desk.policy(default_tax_rates=(rate.id,))
    invoice = desk.invoice(100, 33)
    assert (invoice.tax_minor, invoice.total_minor) == (25, 158)  # 25.27, rounded once.
    assert [line.taxes[0].amount_minor for line in invoice.lines] == [19, 6]
    assert invoice.taxes == (TaxShare(rate.id, 25, 133, False),)
    assert desk.shop.account_nano("book/tax_payable") == 25 * build.cent
    assert desk.shop.account_nano("book/revenue") == 133 * build.cent
    assert desk.shop.wrongs() == []


def test_inclusive_tax_is_part_of_the_amount(desk: Desk, build: SimpleNamespace) -> None:
    rate = desk.tax("25", inclusive=True)
    desk.policy(default_tax_rates=(rate.id,))
    invoice = desk.invoice(1_000)
    assert (invoice.tax_minor, invoice.tax_inclusive_minor, invoice.total_minor) == (0, 200, 1_000)
    assert desk.shop.account_nano("book/revenue") == 800 * build.cent
    assert desk.shop.wrongs() == []


def test_inclusive_tax_on_usage_is_taken_out_of_what_was_earned(desk: Desk, build: SimpleNamespace) -> None:
    desk.policy(default_tax_rates=(desk.tax("25", inclusive=True).id,))
    desk.shop.use(1_000 * build.cent)
    assert desk.month().total_minor == 1_000
    assert desk.shop.account_nano("book/revenue") == 800 * build.cent
    assert desk.shop.wrongs() == []


def test_two_rates_are_each_rounded_once(desk: Desk) -> None:
    state, city = desk.tax("6.25"), desk.tax("2.375")
    desk.policy(default_tax_rates=(state.id, city.id))
    invoice = desk.invoice(10, 10, 10)
    assert [share.amount_minor for share in invoice.taxes] == [2, 1]  # 1.875 and 0.7125
    assert invoice.total_minor == 33


SCOPES = [
    # scope, rounding → tax on three lines of 10 cents at 6.25 % (0.625 each, 1.875 in all)
    ("invoice", "half_up", 2),
    ("invoice", "down", 1),
    ("line", "half_up", 3),
    ("line", "down", 0),
]


@pytest.mark.parametrize(("scope", "rounding", "tax"), SCOPES)
def test_tax_is_rounded_per_invoice_or_per_line_half_up_or_down(
    desk: Desk, scope: str, rounding: str, tax: int
) -> None:
    desk.policy(default_tax_rates=(desk.tax("6.25").id,), tax_scope=scope, tax_rounding=rounding)
    assert desk.invoice(10, 10, 10).tax_minor == tax
    assert desk.shop.wrongs() == []


def test_an_items_own_rates_come_before_the_invoices_and_those_before_the_accounts(desk: Desk) -> None:
    own, named, default = desk.tax("5"), desk.tax("10"), desk.tax("20")
    desk.policy(default_tax_rates=(default.id,))
    desk.item(100, tax_rates=(own.id,))
    invoice = desk.invoice(100, tax_rates=(named.id,))
    assert [(line.taxes[0].rate, line.taxes[0].amount_minor) for line in invoice.lines] == [
        (own.id, 5),
        (named.id, 10),
    ]
    assert desk.invoice(100).tax_minor == 20


@pytest.mark.parametrize("exempt", ["exempt", "reverse"])
def test_exempt_customers_are_taxed_nothing_and_reverse_charge_says_so(desk: Desk, exempt: str) -> None:
    desk.policy(default_tax_rates=(desk.tax("20").id,))
    desk.profile(tax_exempt=exempt)
    invoice = desk.invoice(100)
    (share,) = invoice.taxes
    reason = {"exempt": "customer_exempt", "reverse": "reverse_charge"}[exempt]
    assert (share.amount_minor, share.taxable_minor, share.reason) == (0, 100, reason)
    assert (invoice.total_minor, invoice.is_reverse_charge) == (100, exempt == "reverse")


def by_address(desk: Desk, build: SimpleNamespace) -> None:
    desk.tax("19", country="DE")
    desk.tax("7.25", country="US", state="CA")
    desk.tax("4", country="US", state="NY")
    desk.tax("16", country="FR", ends_at=desk.shop.at)
    desk.tax("20", country="FR", effective_at=desk.shop.at)
    desk.tax("99", country="DE", active=False)
    desk.policy(tax_by_address=True, default_tax_rates=(desk.tax("1").id,))


ADDRESSES = [
    ("DE", "", 19),
    ("US", "CA", 7),
    ("US", "NY", 4),
    ("US", "TX", 1),  # No rate of its own: the default.
    ("FR", "", 20),  # The one that is in force.
]


@pytest.mark.parametrize(("country", "state", "tax"), ADDRESSES)
def test_the_address_chooses_the_rates_in_force(
    desk: Desk, build: SimpleNamespace, country: str, state: str, tax: int
) -> None:
    by_address(desk, build)
    desk.profile(address={"country": country, "state": state})
    assert desk.invoice(100).tax_minor == tax


def test_without_a_country_an_invoice_cannot_be_made_final_and_a_person_is_told(
    desk: Desk, build: SimpleNamespace
) -> None:
    desk.tax("19", country="DE")
    desk.policy(tax_by_address=True)
    draft = desk.invoice(100, is_final=False)
    with pytest.raises(TaxLocationMissing):
        desk.do(finalize, draft.id)
    desk.shop.use(5 * build.cent)
    failed = desk.month()
    assert (failed.status, failed.number, failed.auto_advance) == ("draft", None, False)
    assert "no country" in failed.finalization_error
    assert desk.shop.announced("invoice.finalization_failed") == ["invoice.finalization_failed"]
    desk.profile(address={"country": "DE"})
    final = desk.do(finalize, failed.id)
    assert (final.number, final.finalization_error) == ("CP-000001", "")
    assert desk.shop.wrongs() == []


CREDITS = [(True, 12, 72), (False, 20, 80)]  # Tax on 60 of 100 cents, or on all of them.


@pytest.mark.parametrize(("before_tax", "tax", "total"), CREDITS)
def test_what_credit_paid_is_taxed_or_not_by_policy(
    desk: Desk, build: SimpleNamespace, before_tax: bool, tax: int, total: int
) -> None:
    desk.policy(default_tax_rates=(desk.tax("20").id,), credit_before_tax=before_tax)
    desk.shop.give(40 * build.cent)
    desk.shop.use(100 * build.cent)
    invoice = desk.month()
    assert (invoice.credit_minor, invoice.tax_minor, invoice.total_minor) == (40, tax, total)
    assert desk.shop.wrongs() == []


def test_a_coupon_comes_off_before_tax(desk: Desk, build: SimpleNamespace) -> None:
    desk.policy(default_tax_rates=(desk.tax("20").id,))
    desk.coupon(percent="25")
    invoice = desk.invoice(100, 100)
    assert (invoice.discount_minor, invoice.tax_minor, invoice.total_minor) == (50, 30, 180)
    assert desk.shop.account_nano("book/revenue") == 150 * build.cent
    assert desk.shop.wrongs() == []


def test_a_coupon_takes_off_only_what_credit_has_left(desk: Desk, build: SimpleNamespace) -> None:
    desk.coupon(amount=90)
    desk.shop.give(40 * build.cent)
    desk.shop.use(100 * build.cent)
    invoice = desk.month()
    assert (invoice.credit_minor, invoice.discount_minor, invoice.total_minor) == (40, 60, 0)
    assert desk.shop.wrongs() == []


def test_a_coupon_for_one_invoice_is_used_up_by_the_first_that_it_lowers(desk: Desk) -> None:
    desk.coupon(percent="50", duration="once")
    assert [desk.invoice(100).total_minor for _ in range(2)] == [50, 100]
    assert desk.shop.wrongs() == []
