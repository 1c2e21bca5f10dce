"""A minimum spend: what usage lacks to it is asked for once, exactly, when the committed periods end."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costplus.billing.allowance import InvalidAllowance, MinimumSpend
from costplus.billing.close import close_account
from costplus.billing.customer import Customer
from costplus.billing.preview import preview
from costplus.billing.shadow import Switch
from costplus.core.money import NANO
from costplus.core.period import monthly_period

Shop = Any
USD = NANO
TITLE = "Minimum commitment · true-up"


def shop_with(build: SimpleNamespace, usd: int, *, periods: int = 1, **request: Any) -> Shop:
    """Return a shop whose plan commits to so much a period (or over several), with its customer."""
    shop = build.shop(minimum=MinimumSpend(amount_minor=usd * 100, periods=periods), **request)
    shop.customer()
    return shop


def closed(shop: Shop, build: SimpleNamespace, ordinal: int = 0) -> Any:
    shop.close(monthly_period(build.at, ordinal).end + build.hour)
    assert shop.wrongs() == []
    return shop.invoices()[-1]


USED = [(0, 10_000), (USD // 3, 10_000), (100 * USD - 1, 10_000), (100 * USD, 10_000), (101 * USD, 10_100)]


@pytest.mark.parametrize(("used", "total"), USED)
def test_a_period_is_billed_its_minimum_to_the_nano(build: SimpleNamespace, used: int, total: int) -> None:
    shop = shop_with(build, 100)
    shop.use(used)
    invoice = closed(shop, build)
    assert (invoice.total_minor, invoice.carried_out_nano) == (total, 0)
    lacking = [line for line in invoice.lines if line.description == TITLE]
    assert sum(line.amount_nano for line in lacking) == max(100 * USD - used, 0)
    assert shop.account_nano("book/revenue") == max(100 * USD, used)


def test_credit_counts_as_what_it_paid_and_does_not_pay_what_is_lacking(build: SimpleNamespace) -> None:
    shop = shop_with(build, 100)
    shop.give(500 * USD)
    shop.use(30 * USD)
    invoice = closed(shop, build)
    assert (invoice.total_minor, invoice.credit_minor) == (7000, 3000)
    assert shop.credit() == 470 * USD


def test_previews_and_drafts_show_the_whole_minimum_and_book_nothing(build: SimpleNamespace) -> None:
    shop = shop_with(build, 100)
    shop.use(30 * USD)
    customer = shop.write(lambda tx: tx.find(Customer, "cus_1"))
    seen = shop.write(lambda tx: preview(tx, customer, at=build.at + build.day))
    assert [(line.description, line.amount_minor) for line in seen.lines] == [
        (TITLE, 7000),
        ("openai/m · input", 3000),
    ]
    shop.close(monthly_period(build.at, 0).end)
    assert shop.invoices()[-1].total_minor == 10_000
    assert shop.balance().owed_total_nano == 30 * USD


def test_over_several_periods_the_last_is_asked_for_what_all_lack(build: SimpleNamespace) -> None:
    shop = shop_with(build, 100, periods=3)
    totals = []
    for ordinal, used in enumerate((10, 20, 30, 40, 0, 70)):
        shop.use(used * USD)
        totals.append(closed(shop, build, ordinal).total_minor)
    assert totals == [1000, 2000, 3000 + 4000, 4000, 0, 7000]


def test_a_period_that_is_cut_short_owes_its_share(build: SimpleNamespace) -> None:
    shop = shop_with(build, 280)  # The first period has 28 days.
    shop.use(20 * USD)
    shop.at += 7 * build.day
    customer = shop.write(lambda tx: tx.find(Customer, "cus_1"))
    shop.write(lambda tx: close_account(tx, customer, at=shop.at))
    assert shop.invoices()[-1].total_minor == 7000
    assert shop.wrongs() == []


def test_late_usage_before_the_invoice_is_final_counts(build: SimpleNamespace) -> None:
    shop = shop_with(build, 100)
    end = monthly_period(build.at, 0).end
    shop.close(end)
    shop.use(60 * USD, at=end - build.hour)
    invoice = closed(shop, build)
    assert [line.amount_minor for line in invoice.lines] == [4000, 6000]


def test_the_minimum_is_that_of_the_periods_beginning(build: SimpleNamespace) -> None:
    shop = shop_with(build, 100)
    shop.set_up(minimum=MinimumSpend(amount_minor=500))
    assert closed(shop, build).total_minor == 10_000
    assert closed(shop, build, 1).total_minor == 500


def test_nothing_is_committed_where_usage_is_only_tracked(build: SimpleNamespace) -> None:
    shop = shop_with(build, 100)
    customer = Customer(id="cus_1", created=build.at, shadow=(Switch(build.at, True),))
    shop.write(lambda tx: tx.save(customer))
    shop.use(30 * USD)
    assert closed(shop, build).total_minor == 0


@pytest.mark.parametrize("minimum", [MinimumSpend(amount_minor=-1), MinimumSpend(amount_minor=1, periods=0)])
def test_a_minimum_that_cannot_be_billed_is_refused(minimum: MinimumSpend) -> None:
    with pytest.raises(InvalidAllowance):
        minimum.check()


@given(st.lists(st.integers(0, 60 * USD), max_size=4), st.integers(0, 100))
def test_whatever_was_used_the_larger_of_both_is_billed(
    build: SimpleNamespace, uses: list[int], usd: int
) -> None:
    shop = shop_with(build, usd)
    for used in uses:
        shop.use(used)
    invoice = closed(shop, build)
    billed = invoice.total_minor * build.cent + invoice.carried_out_nano
    assert billed == max(sum(uses), usd * USD)
