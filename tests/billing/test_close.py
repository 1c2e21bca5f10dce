"""A period ends into a draft, the draft becomes final after the grace, and nothing falls between."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from costplus.billing.close import due_customers
from costplus.billing.customer import Customer
from costplus.core.period import monthly_period
from costplus.ledger.grant import GRANTS_MAX

Shop = Any  # The shop of conftest.


def end(build: SimpleNamespace, ordinal: int = 0) -> Any:
    return monthly_period(build.at, ordinal).end


def test_a_period_ends_at_its_end_and_not_a_tick_before(shop: Shop, build: SimpleNamespace) -> None:
    shop.use(5 * build.cent)
    assert shop.close(end(build) - build.tick) == 0
    assert shop.close(end(build)) == 1
    draft = shop.invoices()[0]
    assert (draft.status, draft.total_minor, draft.number) == ("draft", 5, None)
    assert draft.finalizes_at == end(build) + build.hour
    assert shop.subscription().period == monthly_period(build.at, 1)


def test_a_draft_becomes_final_after_the_grace_and_not_a_tick_before(
    shop: Shop, build: SimpleNamespace
) -> None:
    shop.use(5 * build.cent)
    shop.close(end(build) + build.hour - build.tick)
    assert shop.invoices()[0].status == "draft"
    assert shop.account_nano("cus_1/accrued") == -5 * build.cent
    shop.close(end(build) + build.hour)
    final = shop.invoices()[0]
    assert (final.status, final.finalized_at, final.finalizes_at) == ("open", end(build) + build.hour, None)
    assert shop.account_nano("cus_1/accrued") == 0
    assert shop.account_nano("cus_1/receivable") == -5 * build.cent
    assert shop.wrongs() == []


def test_closing_again_changes_nothing(shop: Shop, build: SimpleNamespace) -> None:
    shop.use(5 * build.cent)
    assert shop.close(end(build) + build.hour) == 2
    before = shop.invoices()
    assert shop.close(end(build) + build.hour) == 0
    assert shop.invoices() == before
    assert shop.announced("invoice") == ["invoice.created", "invoice.finalized"]


def test_without_a_grace_a_draft_is_final_at_once(build: SimpleNamespace) -> None:
    shop = build.shop(grace_s=0)
    shop.customer()
    shop.use(build.cent)
    assert shop.close(end(build)) == 2
    assert shop.invoices()[0].status == "open"


def test_late_usage_within_the_grace_is_on_its_own_periods_invoice(
    shop: Shop, build: SimpleNamespace
) -> None:
    shop.use(build.cent)
    shop.close(end(build) + build.hour - build.tick)
    shop.use(2 * build.cent, at=end(build) - build.tick)
    shop.close(end(build) + build.hour)
    assert [(i.status, i.total_minor) for i in shop.invoices()] == [("open", 3)]


def test_late_usage_after_the_grace_is_on_the_next_invoice(shop: Shop, build: SimpleNamespace) -> None:
    shop.use(build.cent)
    shop.close(end(build) + build.hour)
    shop.use(2 * build.cent, at=end(build) - build.tick)
    shop.close(end(build, 1) + build.hour)
    assert [i.total_minor for i in shop.invoices()] == [1, 2]
    assert shop.wrongs() == []


def test_usage_at_the_instant_of_the_end_is_in_the_next_period(shop: Shop, build: SimpleNamespace) -> None:
    shop.use(build.cent, at=end(build) - build.tick)
    shop.use(2 * build.cent, at=end(build))
    shop.close(end(build, 1) + build.hour)
    assert [i.total_minor for i in shop.invoices()] == [1, 2]


def test_months_that_nobody_closed_are_closed_in_order_each_at_its_own_instant(
    shop: Shop, build: SimpleNamespace
) -> None:
    for month in range(3):
        shop.use((month + 1) * build.cent, at=monthly_period(build.at, month).start)
    assert shop.close(end(build, 2) + build.hour) == 6
    invoices = shop.invoices()
    assert [i.total_minor for i in invoices] == [1, 2, 3]
    assert [i.period for i in invoices] == [monthly_period(build.at, n) for n in range(3)]
    assert [i.created for i in invoices] == [end(build, n) for n in range(3)]
    assert [i.number for i in invoices] == ["CP-000001", "CP-000002", "CP-000003"]


def test_a_period_without_usage_has_an_empty_invoice_that_is_paid_at_once(
    shop: Shop, build: SimpleNamespace
) -> None:
    shop.close(end(build) + build.hour)
    invoice = shop.invoices()[0]
    assert (invoice.status, invoice.total_minor, invoice.lines) == ("paid", 0, ())
    assert shop.announced("invoice.")[-2:] == ["invoice.finalized", "invoice.paid"]


def test_credit_pays_first_and_is_shown(shop: Shop, build: SimpleNamespace) -> None:
    shop.give(3 * build.cent)
    shop.use(5 * build.cent)
    shop.close(end(build) + build.hour)
    invoice = shop.invoices()[0]
    assert (invoice.subtotal_minor, invoice.credit_minor, invoice.total_minor) == (5, 3, 2)
    assert (invoice.usage_nano, invoice.credit_nano) == (5 * build.cent, 3 * build.cent)
    assert shop.wrongs() == []


def test_usage_that_credit_paid_in_full_asks_for_nothing(shop: Shop, build: SimpleNamespace) -> None:
    shop.give(5 * build.cent)
    shop.use(5 * build.cent)
    shop.close(end(build) + build.hour)
    invoice = shop.invoices()[0]
    assert (invoice.subtotal_minor, invoice.credit_minor, invoice.total_minor) == (5, 5, 0)
    assert invoice.status == "paid"


def test_credit_given_within_the_grace_still_pays_the_ended_period(
    shop: Shop, build: SimpleNamespace
) -> None:
    shop.use(5 * build.cent)
    shop.close(end(build))
    shop.give(2 * build.cent)
    shop.close(end(build) + build.hour)
    assert (shop.invoices()[0].credit_minor, shop.invoices()[0].total_minor) == (2, 3)


@pytest.fixture
def plan_shop(build: SimpleNamespace) -> Shop:
    """Return a shop whose plan costs $10 and includes $5 of credit a month."""
    made = build.shop(fee_minor=1_000, credit_minor=500)
    made.customer()
    return made


def test_a_subscription_begins_with_its_fee_invoice_and_its_credit(plan_shop: Shop) -> None:
    invoice = plan_shop.invoices()[0]
    assert (invoice.billing_reason, invoice.status, invoice.total_minor) == (
        "subscription_create",
        "open",
        1_000,
    )
    assert plan_shop.account_nano("cus_1/receivable") == -1_000 * 10_000_000
    assert plan_shop.credit() == 500 * 10_000_000


def test_included_credit_expires_with_its_period_and_comes_anew(
    plan_shop: Shop, build: SimpleNamespace
) -> None:
    plan_shop.use(100 * build.cent)
    plan_shop.close(end(build))
    assert plan_shop.account_nano("book/breakage") == 400 * build.cent
    assert plan_shop.credit() == 500 * build.cent
    grants = plan_shop.write(lambda tx: tx.grants_of("cus_1"))
    assert [(g.effective_at, g.expires_at) for g in grants] == [
        (monthly_period(build.at, n).start, monthly_period(build.at, n).end) for n in range(2)
    ]


def test_the_cycle_invoice_has_the_past_usage_and_the_coming_fee(
    plan_shop: Shop, build: SimpleNamespace
) -> None:
    plan_shop.use(700 * build.cent)
    plan_shop.close(end(build) + build.hour)
    invoice = plan_shop.invoices()[1]
    assert (invoice.subtotal_minor, invoice.credit_minor, invoice.total_minor) == (1_700, 500, 1_200)
    assert [(line.kind, line.period) for line in invoice.lines] == [
        ("usage", monthly_period(build.at, 0)),
        ("fee", monthly_period(build.at, 1)),
    ]
    assert plan_shop.account_nano("book/revenue") == (700 + 2 * 1_000) * build.cent
    assert plan_shop.wrongs() == []


def test_included_credit_begins_even_for_a_customer_with_the_most_grants_allowed(
    plan_shop: Shop, build: SimpleNamespace
) -> None:
    plan_shop.use(500 * build.cent)
    for _ in range(GRANTS_MAX):
        plan_shop.give(1)
    plan_shop.close(end(build))
    assert plan_shop.credit() == 500 * build.cent + GRANTS_MAX


def test_included_credit_of_the_next_period_does_not_pay_the_last_ones_overage(
    plan_shop: Shop, build: SimpleNamespace
) -> None:
    plan_shop.use(700 * build.cent)
    plan_shop.close(end(build))
    assert plan_shop.credit() == 500 * build.cent
    assert plan_shop.owed() == [200 * build.cent]


def test_included_credit_that_is_booked_late_pays_its_own_periods_usage(
    plan_shop: Shop, build: SimpleNamespace
) -> None:
    plan_shop.at = end(build)
    plan_shop.use(100 * build.cent)  # In the new period, before the old one was closed.
    plan_shop.close(end(build))
    assert (plan_shop.credit(), plan_shop.owed()) == (400 * build.cent, [])


def test_customers_are_due_at_the_instant_and_only_those_in_real_time(
    shop: Shop, build: SimpleNamespace
) -> None:
    shop.clock()
    shop.customer("cus_frozen", clock="clock_1")
    gone = replace(Customer(id="cus_gone", created=shop.at), deleted=True)
    shop.customer("cus_gone")
    shop.write(lambda tx: tx.save(gone))
    assert shop.write(lambda tx: due_customers(tx, at=end(build) - build.tick)) == []
    assert shop.write(lambda tx: due_customers(tx, at=end(build))) == ["cus_1"]


def test_a_customer_with_nothing_left_to_do_is_not_due(shop: Shop, build: SimpleNamespace) -> None:
    shop.close(end(build) + build.hour)
    assert shop.write(lambda tx: due_customers(tx, at=end(build) + build.hour)) == []
