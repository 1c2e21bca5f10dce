"""Burn rates and run-outs fire as time passes, once, and recover; test clocks look on their way."""

from __future__ import annotations

from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from costplus.billing.customer import TestClock
from costplus.billing.timed import elapse, has_news, look_at, to_look_at

CENT = 10_000_000
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


def burn(alerts: Any, minor: int, *, id: str = "alrt_b", **changes: Any) -> None:
    alerts.add(id, alert_type="burn_rate", threshold_minor=minor, **changes)


def run_out(alerts: Any, days: int, *, id: str = "alrt_r", **changes: Any) -> None:
    fields = {"threshold_minor": 0, "days": days, "lookback_days": 7, **changes}
    alerts.add(id, alert_type="credit_run_out", **fields)


def pass_time(alerts: Any, span: timedelta) -> None:
    """Let real time pass and the worker look, as it does: writing only where there is news."""
    shop = alerts.shop
    shop.at += span
    for customer in shop.write(lambda tx: to_look_at(tx, at=shop.at)):
        if shop.write(lambda tx, customer=customer: has_news(tx, customer, at=shop.at)):
            assert shop.write(lambda tx, customer=customer: look_at(tx, customer, at=shop.at)) > 0


@pytest.mark.parametrize(("per", "span"), [("hour", HOUR), ("day", DAY)])
def test_a_burn_rate_fires_while_the_last_hour_or_day_cost_so_much(
    alerts: Any, per: str, span: timedelta
) -> None:
    burn(alerts, 10, per=per)
    alerts.use(9)
    pass_time(alerts, span / 4)
    assert alerts.news() == []
    alerts.use(1)
    for _ in range(2):
        pass_time(alerts, span / 4)
    assert alerts.news() == ["+b"]
    pass_time(alerts, span)
    pass_time(alerts, span)
    assert alerts.news() == ["+b", "-b"]


def test_credit_that_ends_soon_at_the_present_rate_is_told_until_it_lasts_again(alerts: Any) -> None:
    run_out(alerts, 5)
    alerts.shop.give(100 * CENT)
    for _ in range(4):
        alerts.use(10)
        pass_time(alerts, DAY)
    assert alerts.news() == []  # 60 cents at 10 a day.
    alerts.use(10)
    pass_time(alerts, DAY)
    assert alerts.news() == ["+r"]
    alerts.shop.give(1000 * CENT)
    pass_time(alerts, HOUR)
    assert alerts.news() == ["+r", "-r"]


def test_credit_that_expires_unused_runs_out_too(alerts: Any) -> None:
    run_out(alerts, 5)
    alerts.shop.give(100 * CENT, expires_at=alerts.shop.at + 10 * DAY)
    pass_time(alerts, 4 * DAY)
    assert alerts.news() == []
    pass_time(alerts, DAY)
    assert alerts.news() == ["+r"]


def test_a_customer_that_never_had_credit_is_not_told_that_it_ends(alerts: Any) -> None:
    run_out(alerts, 5)
    alerts.use(10)
    pass_time(alerts, HOUR)
    assert alerts.news() == []


def test_customers_without_usage_are_not_looked_at(alerts: Any) -> None:
    burn(alerts, 10)
    alerts.shop.customer("cus_2")
    alerts.use(1)
    assert alerts.shop.write(lambda tx: to_look_at(tx, at=alerts.shop.at)) == ["cus_1"]


def advance(alerts: Any, *, to: Any) -> None:
    shop = alerts.shop

    def verb(tx: Any) -> None:
        clock = tx.find(TestClock, "clock_1")
        elapse(tx, clock, to=to)

    shop.write(verb)
    shop.at = to


@pytest.mark.parametrize("steps", [1, 4, 30])
def test_a_test_clock_tells_the_same_in_one_step_as_in_many(
    build: SimpleNamespace, alerts_of: Any, steps: int
) -> None:
    shop = build.shop()
    alerts = alerts_of(shop)
    clock = shop.clock()
    shop.customer(clock=clock.id)
    burn(alerts, 10)
    run_out(alerts, 5)
    shop.give(30 * CENT)
    alerts.use(20)
    start = shop.at
    for number in range(1, steps + 1):
        advance(alerts, to=start + number * 20 * DAY / steps)
    assert alerts.news() == ["+r", "+b", "-b", "-r"]


def test_a_worker_leaves_customers_on_a_test_clock_alone(build: SimpleNamespace, alerts_of: Any) -> None:
    shop = build.shop()
    alerts = alerts_of(shop)
    shop.customer(clock=shop.clock().id)
    burn(alerts, 1)
    alerts.use(20)
    pass_time(alerts, HOUR / 2)
    assert alerts.news() == []
