"""Currencies of 0, 2 and 3 decimals all the way: credit, usage, fee, tax, payment, credit note."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from costplus.core.money import nano_per_minor

Desk = Any  # The desk of conftest.


@pytest.mark.parametrize("currency", ["jpy", "usd", "kwd"])
def test_a_period_is_billed_in_whole_minor_units_of_its_currency(
    new_desk: Callable[..., Desk], build: SimpleNamespace, currency: str
) -> None:
    desk = new_desk(currency=currency, fee_minor=1_000, credit_minor=200)
    minor = nano_per_minor(currency)
    assert desk.shop.credit() == 200 * minor
    desk.shop.give(100 * minor, currency=currency)
    desk.policy(default_tax_rates=(desk.tax("10").id,))
    desk.item(55)
    desk.shop.use(1_000 * minor + minor * 4 // 10)
    invoice = desk.month()
    assert invoice.currency == currency
    assert (invoice.subtotal_minor, invoice.credit_minor) == (2_055, 300)
    assert (invoice.tax_minor, invoice.total_minor) == (176, 1_931)  # 175.5 of 1755.
    assert invoice.carried_out_nano == minor * 4 // 10
    assert [share.amount_minor for share in invoice.credits] == [200, 100]
    assert desk.shop.account_nano("cus_1/receivable") == -(1_931 + 1_000) * minor
    desk.pay(invoice.id, 2_000)
    note = desk.note(invoice.id, 193, refund_minor=193)
    assert (note.total_minor, note.currency) == (193, currency)
    assert desk.shop.account_nano("cus_1/surplus") == 69 * minor
    assert desk.shop.wrongs() == []


def test_a_threshold_is_reached_in_the_customers_currency(
    new_desk: Callable[..., Desk], build: SimpleNamespace
) -> None:
    desk = new_desk(currency="jpy")
    desk.terms(threshold_minor=100)
    desk.shop.close(desk.shop.at + build.day)
    desk.shop.use(99 * nano_per_minor("jpy"))
    desk.shop.close(desk.shop.at + build.day)
    assert desk.shop.invoices() == []
    desk.shop.use(nano_per_minor("jpy"))
    desk.shop.close(desk.shop.at + build.day)
    assert [i.total_minor for i in desk.shop.invoices()] == [100]
    assert desk.shop.wrongs() == []
