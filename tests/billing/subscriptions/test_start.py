"""How subscriptions begin: at once, ahead, with a stub, with a trial, beside others."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from costplus.billing.order import InvalidStart, SubscriptionItemsInvalid, UsageAmbiguous
from costplus.billing.plan import PlanArchived
from costplus.core.period import Period

Life = Any  # The life of conftest.
Make = SimpleNamespace


def test_a_subscription_asks_for_its_fee_and_gives_its_credit_at_once(life: Life, make: Make) -> None:
    made = life.start(life.plan(3100, credit_minor=500))
    assert (made.status, made.period) == ("active", Period(make.day(1), make.day(1, 2)))
    assert life.totals() == [("subscription_create", "open", 3100)]
    assert life.shop.credit() == 500 * 10_000_000
    assert life.told() == ["created"]


def test_a_quantity_multiplies_the_fee_and_not_the_credit(life: Life) -> None:
    life.start((life.plan(1000, credit_minor=500), 7))
    assert life.fees() == [7000]
    assert life.shop.credit() == 500 * 10_000_000


def test_an_anchor_ahead_makes_a_stub_that_is_asked_for_in_part(life: Life, make: Make) -> None:
    made = life.start(life.plan(3100, credit_minor=310), anchor=make.day(11))
    assert made.period == Period(make.day(1), make.day(11))
    assert life.fees() == [1000]  # 10 of the 31 days from 11 December to 11 January.
    assert life.shop.credit() == 100 * 10_000_000
    life.to(make.day(11))
    assert life.get(made.id).period == Period(make.day(11), make.day(11, 2))
    assert life.fees() == [1000, 3100]


def test_a_stub_without_prorations_costs_nothing(life: Life, make: Make) -> None:
    life.start(life.plan(), anchor=make.day(11), prorates=False)
    assert life.fees() == []
    life.to(make.day(11))
    assert life.fees() == [3100]


def test_an_anchor_beyond_the_first_period_is_refused(life: Life, make: Make) -> None:
    life.start(life.plan(priced=False), anchor=make.day(1, 2))
    with pytest.raises(InvalidStart):
        life.start(life.plan(priced=False), anchor=make.day(2, 2))


def test_a_start_ahead_waits_and_then_begins_by_itself(life: Life, make: Make) -> None:
    made = life.start(life.plan(), starts=make.day(5))
    assert (made.status, life.fees()) == ("pending", [])
    life.to(make.day(5))
    begun = life.get(made.id)
    assert (begun.status, begun.period, life.fees()) == (
        "active",
        Period(make.day(5), make.day(5, 2)),
        [3100],
    )


@pytest.mark.parametrize("interval", [("day", 1), ("week", 2), ("month", 3), ("year", 1)])
def test_every_interval_asks_once_per_period(life: Life, make: Make, interval: tuple[str, int]) -> None:
    made = life.start(life.plan(interval=interval[0], interval_count=interval[1]))
    cycle = made.cycle
    life.to(cycle.start(3))
    assert life.fees() == [3100] * 4
    invoices = life.shop.invoices()[1:]
    assert [i.period for i in invoices] == [cycle.period(n) for n in range(3)]


def test_periods_begin_at_the_customers_own_midnight(make: Make) -> None:
    life = make.life(timezone="America/New_York")
    life.shop.at = make.day(1, hour=5)  # Midnight in New York.
    made = life.start(life.plan())
    life.to(make.day(1, 5, hour=4))
    assert [made.cycle.start(n).hour for n in range(5)] == [5, 5, 5, 4, 4]
    assert len(life.fees()) == 5


def test_a_second_subscription_that_would_price_usage_is_refused_and_a_fee_is_not(life: Life) -> None:
    first = life.start(life.plan())
    with pytest.raises(UsageAmbiguous, match=first.id):
        life.start(life.plan())
    seats = life.start((life.plan(500, priced=False), 3))
    assert not seats.prices_usage
    assert life.fees() == [3100, 1500]


def test_usage_is_on_the_invoice_of_the_subscription_that_prices_it_and_on_no_other(
    life: Life, make: Make, build: SimpleNamespace
) -> None:
    life.start(life.plan(0))
    life.start(life.plan(500, priced=False))
    life.shop.use(7 * build.cent)
    life.to(make.day(1, 2))
    cycle = [i for i in life.shop.invoices() if i.billing_reason == "subscription_cycle"]
    assert sorted((i.usage_nano, i.total_minor) for i in cycle) == [(0, 500), (7 * build.cent, 7)]
    assert life.shop.wrongs() == []


def test_one_that_follows_another_is_no_second_one(life: Life, make: Make) -> None:
    first = life.start(life.plan())
    life.cancel_later(first.id, at_period_end=True)
    life.start(life.plan(), starts=make.day(1, 2))
    with pytest.raises(UsageAmbiguous):
        life.start(life.plan(), starts=make.day(2, 2))


def test_an_archived_plan_takes_no_subscriptions(life: Life) -> None:
    with pytest.raises(PlanArchived):
        life.start(life.plan(active=False))


def test_items_of_different_intervals_or_twice_the_same_plan_are_refused(life: Life) -> None:
    monthly, yearly = life.plan(), life.plan(priced=False, interval="year")
    for plans in ((monthly, yearly), (monthly, monthly), ()):
        with pytest.raises(SubscriptionItemsInvalid):
            life.start(*plans)
    with pytest.raises(UsageAmbiguous):
        life.start(monthly, life.plan())


def test_a_trial_costs_nothing_and_its_end_is_told_three_days_before(life: Life, make: Make) -> None:
    made = life.start(life.plan(credit_minor=500), trial_end=make.day(15))
    assert (made.status, made.period, life.fees()) == ("trialing", Period(make.day(1), make.day(15)), [])
    assert life.shop.credit() == 0
    life.to(make.day(12, hour=0))
    assert life.told() == ["created", "trial_will_end"]
    life.to(make.day(15))
    active = life.get(made.id)
    assert (active.status, active.period) == ("active", Period(make.day(15), make.day(15, 2)))
    assert life.fees() == [3100]
    assert life.told() == ["created", "trial_will_end", "updated"]
    life.to(make.day(15, 2))
    assert life.fees() == [3100, 3100]


def test_a_trial_of_under_three_days_says_so_at_once_and_only_once(life: Life, make: Make) -> None:
    life.start(life.plan(), trial_end=make.day(3))
    life.to(make.day(3))
    assert life.told() == ["created", "trial_will_end", "updated"]


def test_a_trial_longer_than_a_period_is_one_period(life: Life, make: Make) -> None:
    made = life.start(life.plan(), trial_end=make.day(20, 4))
    life.to(make.day(20, 4))
    assert [i.period for i in life.shop.invoices()] == [Period(make.day(1), make.day(20, 4))]
    assert life.get(made.id).period.start == make.day(20, 4)


def test_usage_in_a_trial_is_billed_where_the_plan_says_nothing_else(
    life: Life, make: Make, build: SimpleNamespace
) -> None:
    life.start(life.plan(0), trial_end=make.day(15))
    life.shop.use(4 * build.cent)
    life.to(make.day(15))
    assert life.totals() == [("subscription_cycle", "open", 4)]


def test_a_trial_ended_now_begins_the_first_period_and_asks_for_it_at_once(life: Life, make: Make) -> None:
    made = life.start(life.plan(), trial_end=make.day(15))
    life.to(make.day(10))
    ended = life.end_trial(made.id)
    assert (ended.status, ended.period.start, ended.trial_end) == ("active", make.day(10), make.day(10))
    assert ("subscription_update", "open", 3100) in life.totals()


def test_a_trial_is_longer_where_its_end_is_moved(life: Life, make: Make) -> None:
    made = life.start(life.plan(trial_usage="free"), trial_end=make.day(4))
    moved = life.move_trial_end(made.id, make.day(20))
    assert [moved.pin_at(make.day(d)).usage for d in (1, 4, 19, 20)] == ["free", "free", "free", "billed"]
    life.to(make.day(20))
    assert life.get(made.id).period == Period(make.day(20), make.day(20, 2))
