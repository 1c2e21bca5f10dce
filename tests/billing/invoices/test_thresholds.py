"""Billing thresholds: an interim invoice asks for what is owed so far, and the period's own for the rest."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from costplus.billing.threshold import ThresholdReached
from costplus.core.period import Period, monthly_period

Desk = Any  # The desk of conftest.


@pytest.fixture
def desk(new_desk: Callable[..., Desk]) -> Desk:
    """Return a desk whose subscription is invoiced at 100 cents."""
    made = new_desk()
    made.terms(threshold_minor=100)
    return made


def reached(desk: Desk) -> int:
    return len(desk.shop.write(lambda tx: tx.page(ThresholdReached)))


def later(desk: Desk, build: SimpleNamespace, days: int = 5) -> None:
    desk.shop.close(desk.shop.at + days * build.day)


def test_what_is_owed_at_the_threshold_is_invoiced_and_the_rest_at_the_periods_end(
    desk: Desk, build: SimpleNamespace
) -> None:
    later(desk, build)
    desk.shop.use(99 * build.cent)
    assert reached(desk) == 0
    desk.shop.use(2 * build.cent)
    assert reached(desk) == 1
    later(desk, build)
    (interim,) = desk.shop.invoices()
    assert (interim.billing_reason, interim.total_minor, interim.status) == (
        "subscription_threshold",
        101,
        "open",
    )
    assert (interim.threshold_minor, reached(desk), desk.shop.owed()) == (100, 0, [])
    assert interim.period.start == build.at
    assert desk.shop.wrongs() == []
    desk.shop.use(40 * build.cent)
    rest = desk.month()
    assert [(line.amount_minor, line.period) for line in rest.lines] == [
        (40, Period(interim.period.end, monthly_period(build.at, 0).end))
    ]
    assert rest.period == monthly_period(build.at, 0)
    assert desk.shop.wrongs() == []


def test_a_threshold_may_be_reached_again_and_again(desk: Desk, build: SimpleNamespace) -> None:
    for _ in range(3):
        later(desk, build, 3)
        desk.shop.use(150 * build.cent)
    assert desk.month().total_minor == 0
    assert [i.total_minor for i in desk.shop.invoices()] == [150, 150, 150, 0]
    assert desk.shop.wrongs() == []


def test_usage_that_came_between_reaching_and_invoicing_is_asked_for_once(
    desk: Desk, build: SimpleNamespace
) -> None:
    later(desk, build)
    desk.shop.use(150 * build.cent)
    desk.shop.at += build.hour
    desk.shop.use(30 * build.cent)
    later(desk, build)
    assert [i.total_minor for i in desk.shop.invoices()] == [150]
    assert desk.shop.owed() == [30 * build.cent]
    assert desk.month().total_minor == 30
    assert desk.shop.wrongs() == []


def test_usage_from_before_the_interim_invoice_is_late_and_on_the_periods_own(
    desk: Desk, build: SimpleNamespace
) -> None:
    later(desk, build)
    desk.shop.use(150 * build.cent)
    later(desk, build)
    desk.shop.use(7 * build.cent, at=build.at)
    final = desk.month()
    assert [(line.is_late, line.amount_minor) for line in final.lines] == [(True, 7)]
    assert desk.shop.wrongs() == []


def test_what_credit_pays_does_not_reach_it(desk: Desk, build: SimpleNamespace) -> None:
    desk.shop.give(1_000 * build.cent)
    later(desk, build)
    desk.shop.use(500 * build.cent)
    assert reached(desk) == 0


def test_credit_that_came_before_the_invoice_keeps_it_from_being_sent(
    desk: Desk, build: SimpleNamespace
) -> None:
    later(desk, build)
    desk.shop.use(150 * build.cent)
    desk.shop.give(120 * build.cent)
    later(desk, build)
    assert (desk.shop.invoices(), reached(desk)) == ([], 0)


def test_not_within_the_last_day_of_a_period(desk: Desk, build: SimpleNamespace) -> None:
    desk.shop.close(monthly_period(build.at, 0).end - build.day)
    desk.shop.use(150 * build.cent)
    assert reached(desk) == 0
    assert desk.month().total_minor == 150


def test_not_while_the_ended_periods_draft_waits(desk: Desk, build: SimpleNamespace) -> None:
    desk.shop.close(monthly_period(build.at, 0).end)
    desk.shop.use(150 * build.cent)
    desk.shop.use(10 * build.cent, at=build.at)
    assert [i.status for i in desk.shop.invoices()] == ["draft"]
    desk.shop.close(desk.shop.at + build.day)
    assert [(i.billing_reason, i.total_minor) for i in desk.shop.invoices()] == [
        ("subscription_cycle", 10),
        ("subscription_threshold", 150),
    ]
    assert desk.shop.wrongs() == []


def test_an_anchor_that_is_reset_begins_a_new_period_with_its_fee_and_credit(
    new_desk: Callable[..., Desk], build: SimpleNamespace
) -> None:
    desk = new_desk(fee_minor=1_000, credit_minor=50)
    desk.terms(threshold_minor=100, threshold_resets_anchor=True)
    later(desk, build)
    desk.shop.use(200 * build.cent)
    later(desk, build)
    interim = desk.shop.invoices()[-1]
    assert (interim.subtotal_minor, interim.credit_minor, interim.total_minor) == (1_200, 50, 1_150)
    assert desk.shop.subscription().period.start == interim.period.end
    assert desk.shop.credit() == 50 * build.cent
    desk.shop.use(70 * build.cent)
    final = desk.month()
    assert (final.period, final.total_minor) == (monthly_period(interim.period.end, 0), 1_020)
    assert desk.shop.wrongs() == []
