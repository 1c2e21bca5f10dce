"""Late usage burns the credit of its own time, and is shown and asked for as the account says."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from costplus.billing.invoice import CreditShare
from costplus.core.period import monthly_period

Desk = Any  # The desk of conftest.


def end(build: SimpleNamespace, ordinal: int = 0) -> Any:
    return monthly_period(build.at, ordinal).end


@pytest.fixture
def desk(new_desk: Callable[..., Desk]) -> Desk:
    """Return the desk of a shop whose plan includes 500 cents of credit a month."""
    return new_desk(credit_minor=500)


def late(desk: Desk, build: SimpleNamespace, cents: int) -> None:
    """Use something in the first period, and tell of it a minute after its end."""
    desk.shop.use(cents * build.cent, at=end(build) - build.tick)


def test_within_the_grace_it_burns_what_its_own_period_included_though_that_has_lapsed(
    desk: Desk, build: SimpleNamespace
) -> None:
    desk.shop.use(100 * build.cent)
    desk.shop.close(end(build))
    assert desk.shop.account_nano("book/breakage") == 400 * build.cent
    late(desk, build, 300)
    assert desk.shop.account_nano("book/breakage") == 100 * build.cent
    assert (desk.shop.credit(), desk.shop.owed()) == (500 * build.cent, [])
    invoice = desk.month()
    assert (invoice.subtotal_minor, invoice.credit_minor, invoice.total_minor) == (400, 400, 0)
    assert desk.shop.wrongs() == []


def test_what_its_own_credit_does_not_cover_is_owed_and_the_new_periods_credit_stays(
    desk: Desk, build: SimpleNamespace
) -> None:
    desk.shop.close(end(build))
    late(desk, build, 700)
    assert desk.shop.credit() == 500 * build.cent
    assert desk.shop.owed() == [200 * build.cent]
    assert desk.month().total_minor == 200
    assert desk.shop.wrongs() == []


def test_prepaid_credit_that_was_there_pays_after_what_was_included(
    desk: Desk, build: SimpleNamespace
) -> None:
    pack = desk.shop.give(1_000 * build.cent)
    desk.shop.close(end(build))
    late(desk, build, 700)
    left = desk.shop.write(lambda tx: tx.grant(pack.id))
    assert left.remaining_nano == 800 * build.cent
    assert desk.month().total_minor == 0


def test_credit_bought_within_the_grace_pays_it_too_as_it_pays_any_debt(
    desk: Desk, build: SimpleNamespace
) -> None:
    desk.shop.close(end(build))
    desk.shop.give(1_000 * build.cent)
    late(desk, build, 700)
    assert (desk.shop.credit(), desk.shop.owed()) == (1_300 * build.cent, [])


def test_the_new_periods_usage_does_not_burn_what_has_lapsed(desk: Desk, build: SimpleNamespace) -> None:
    desk.shop.close(end(build))
    desk.shop.use(700 * build.cent)
    assert desk.shop.account_nano("book/breakage") == 500 * build.cent
    assert desk.shop.owed() == [200 * build.cent]


def test_a_batch_of_both_periods_burns_each_ones_credit(desk: Desk, build: SimpleNamespace) -> None:
    desk.shop.close(end(build))
    desk.shop.settle(
        desk.shop.settlement(500 * build.cent, at=end(build) - build.tick),
        desk.shop.settlement(500 * build.cent),
    )
    assert (desk.shop.credit(), desk.shop.owed()) == (0, [])
    assert desk.shop.account_nano("book/breakage") == 0
    assert desk.shop.wrongs() == []


def test_once_the_invoice_is_final_it_is_asked_for_by_the_next_one_on_a_line_that_names_its_period(
    new_desk: Callable[..., Desk], build: SimpleNamespace
) -> None:
    desk = new_desk()
    desk.shop.use(100 * build.cent)
    desk.month()
    late(desk, build, 30)
    desk.shop.use(50 * build.cent)
    invoice = desk.month(1)
    shown = [(line.amount_minor, line.is_late, line.period) for line in invoice.lines]
    assert shown == [
        (50, False, monthly_period(build.at, 1)),
        (30, True, monthly_period(build.at, 0)),
    ]
    assert invoice.lines[1].description.endswith("late usage of 2026-01-31 to 2026-02-28")
    assert desk.shop.wrongs() == []


@pytest.mark.parametrize("by", ["account", "subscription"])
def test_it_can_be_written_off_and_is_shown_all_the_same(
    new_desk: Callable[..., Desk], build: SimpleNamespace, by: str
) -> None:
    desk = new_desk()
    desk.policy(late_usage="write_off") if by == "account" else desk.terms(late_usage="write_off")
    desk.month()
    late(desk, build, 30)
    desk.shop.use(50 * build.cent)
    invoice = desk.month(1)
    assert [line.amount_minor for line in invoice.lines] == [50, 30, -30]
    assert (invoice.total_minor, invoice.written_off_nano) == (50, 30 * build.cent)
    assert desk.shop.account_nano("book/write_offs") == -30 * build.cent
    assert desk.shop.wrongs() == []


def test_credit_is_shown_by_the_grant_that_paid_on_the_invoice_and_on_its_lines(
    desk: Desk, build: SimpleNamespace
) -> None:
    pack = desk.shop.give(1_000 * build.cent)
    dear = build.sheet(usd_per_million="0.002", model="dear")
    desk.shop.use(400 * build.cent)
    desk.shop.use(100 * build.cent, rates=dear)
    invoice = desk.month()
    included = next(g for g in desk.shop.write(lambda tx: tx.grants_of("cus_1")) if g.source == "plan")
    assert invoice.credits == (CreditShare(included.id, 500), CreditShare(pack.id, 100))
    assert [line.credit_minor for line in invoice.lines] == [200, 400]
    assert desk.shop.balance().paid_nano == {}


GRACES = [
    # account, plan, subscription (s) → hours that the draft waits
    (3_600, None, None, 1),
    (3_600, 7_200, None, 2),
    (3_600, 7_200, 0, 0),
    (3_600, None, 10**9, 72),
]


@pytest.mark.parametrize(("account", "plan", "subscription", "hours"), GRACES)
def test_the_grace_is_the_nearest_ones_that_names_one_and_at_most_three_days(
    new_desk: Callable[..., Desk],
    build: SimpleNamespace,
    account: int,
    plan: int | None,
    subscription: int | None,
    hours: int,
) -> None:
    desk = new_desk(grace_s=account)
    desk.plan(invoice_grace_s=plan)
    desk.terms(invoice_grace_s=subscription)
    desk.shop.close(end(build) + hours * build.hour)
    (invoice,) = desk.shop.invoices()
    assert invoice.finalized_at == end(build) + hours * build.hour
