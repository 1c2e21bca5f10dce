"""Plans and quantities change: the unused comes back, the begun is asked for, usage keeps its price."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from costplus.billing.amend import SubscriptionState
from costplus.billing.issue import void
from costplus.core.period import Period

Life = Any  # The life of conftest.
Make = SimpleNamespace


def test_an_upgrade_gives_back_the_rest_of_the_old_and_asks_for_the_rest_of_the_new(
    life: Life, make: Make
) -> None:
    made = life.start(life.plan(3100))
    life.to(make.day(11))
    changed = life.change(made.id, life.plan(6200))
    assert life.items() == [(-2100, True), (4200, True)]
    assert changed.period == made.period
    life.to(make.day(1, 2))
    assert life.fees() == [3100, 6200]


def test_a_quantity_is_changed_likewise(life: Life, make: Make) -> None:
    plan = life.plan(1000)
    made = life.start((plan, 5))
    life.to(make.day(15))
    life.change(made.id, (plan, 10))
    assert life.amounts() == [-2742, 5484]  # 17 of 31 days of 5000 and of 10000.


def test_by_day_the_running_day_counts_as_left(life: Life, make: Make) -> None:
    for by, amounts in (("day", [-1700, 3400]), ("second", [-1650, 3300])):
        other = make.life()
        made = other.start(other.plan(3100, proration_by=by))
        other.to(make.day(15, hour=12))
        other.change(made.id, other.plan(6200, proration_by=by))
        assert other.amounts() == amounts


def test_without_prorations_the_new_fee_begins_with_the_next_period(life: Life, make: Make) -> None:
    made = life.start(life.plan(3100))
    life.to(make.day(11))
    life.change(made.id, life.plan(6200), behavior="none")
    assert life.amounts() == []
    life.to(make.day(1, 2))
    assert life.fees() == [3100, 6200]


def test_nothing_is_given_back_that_was_never_asked_for(life: Life, make: Make) -> None:
    made = life.start(life.plan(3100))
    life.to(make.day(11))
    life.change(made.id, life.plan(31_000), behavior="none")
    life.change(made.id, life.plan(0))
    assert life.amounts() == [-2100]


def test_nothing_is_given_back_of_an_invoice_that_was_withdrawn(life: Life, make: Make) -> None:

    made = life.start(life.plan(3100))
    life.shop.change(void, life.shop.invoices()[0])
    life.to(make.day(11))
    life.change(made.id, life.plan(6200))
    assert life.amounts() == [4200]


def test_an_invoice_at_once_asks_for_the_difference(life: Life, make: Make) -> None:
    made = life.start(life.plan(3100))
    life.to(make.day(11))
    changed = life.change(made.id, life.plan(6200), behavior="always_invoice")
    assert life.totals()[1:] == [("subscription_update", "open", 2100)]
    assert changed.latest_invoice == life.shop.invoices()[-1].id
    life.change(made.id, life.plan(3100), behavior="always_invoice")
    assert life.amounts() == [-2100, 4200, -4200, 2100]
    assert len(life.totals()) == 2  # A credit waits for an invoice that it fits on.


def test_a_change_of_interval_restarts_the_cycle(life: Life, make: Make, build: SimpleNamespace) -> None:
    made = life.start(life.plan(3100))
    life.shop.use(5 * build.cent)
    life.to(make.day(11))
    changed = life.change(made.id, life.plan(36_500, interval="year"))
    assert changed.period == Period(make.day(11), make.day(11, year=2027))
    assert life.amounts() == [-2100]
    draft = life.shop.invoices()[-1]
    assert (draft.period, draft.total_minor) == (Period(make.day(1), make.day(11)), 5 + 36_500 - 2100)
    life.to(make.day(11))
    assert life.get(made.id).finalized_until == make.day(11)
    assert life.shop.wrongs() == []


def test_late_usage_of_a_period_that_was_cut_is_on_its_own_invoice(
    make: Make, build: SimpleNamespace
) -> None:
    life = make.life(grace_s=3600)
    made = life.start(life.plan(0))
    life.to(make.day(11))
    life.change(made.id, life.plan(0, interval="week"))
    life.shop.use(2 * build.cent, at=make.day(10))
    life.shop.use(3 * build.cent, at=make.day(11))
    life.to(make.day(18, hour=1))
    cycle = life.shop.invoices()
    assert [(i.period.start, i.total_minor) for i in cycle] == [(make.day(1), 2), (make.day(11), 3)]
    assert life.shop.wrongs() == []


def test_a_change_at_the_periods_end_waits_for_it(life: Life, make: Make) -> None:
    made = life.start(life.plan(3100))
    life.to(make.day(11))
    plan = life.plan(900, interval="week")
    waiting = life.schedule(made.id, plan)
    assert (waiting.plan, [item.plan for item in waiting.scheduled]) == (made.plan, [plan.id])
    life.to(make.day(1, 2))
    changed = life.get(made.id)
    assert (changed.plan, changed.period) == (plan.id, Period(make.day(1, 2), make.day(8, 2)))
    assert (life.fees(), life.amounts(), changed.scheduled) == ([3100, 900], [], ())


def test_a_scheduled_change_can_be_taken_back(life: Life, make: Make) -> None:
    made = life.start(life.plan(3100))
    life.schedule(made.id, life.plan(900))
    life.schedule(made.id)
    life.to(make.day(1, 2))
    assert (life.get(made.id).plan, life.fees()) == (made.plan, [3100, 3100])


def test_a_plan_that_includes_more_adds_the_difference_for_the_rest(life: Life, make: Make) -> None:
    made = life.start(life.plan(3100, credit_minor=100))
    life.to(make.day(11))
    life.change(made.id, life.plan(3100, credit_minor=410))
    assert life.shop.credit() == (100 + 210) * 10_000_000
    life.change(made.id, life.plan(3100, credit_minor=100))
    assert life.shop.credit() == (100 + 210) * 10_000_000
    life.to(make.day(1, 2))
    assert life.shop.credit() == 100 * 10_000_000


def test_a_restart_ends_the_old_credit_so_that_it_cannot_be_had_twice(life: Life, make: Make) -> None:
    made = life.start(life.plan(3100, credit_minor=100))
    life.to(make.day(11))
    life.change(made.id, life.plan(3100, credit_minor=100, interval="year"))
    assert life.shop.credit() == 100 * 10_000_000
    assert life.shop.account_nano("book/breakage") == 100 * 10_000_000


def test_usage_before_a_change_is_priced_by_the_old_card_and_after_it_by_the_new_one(
    life: Life, make: Make
) -> None:
    old, new = life.plan(card=life.card("10")), life.plan(card=life.card("50"))
    made = life.start(old)
    life.to(make.day(11))
    life.change(made.id, new)
    terms = life.terms()
    found = [
        terms.card_at(at).default.percent for at in (make.day(1), make.day(11) - make.tick, make.day(11))
    ]
    assert found == [10, 10, 50]


def test_a_scheduled_plan_prices_usage_from_the_periods_end_even_before_that_was_closed(
    life: Life, make: Make
) -> None:
    made = life.start(life.plan(card=life.card("10")))
    life.schedule(made.id, life.plan(card=life.card("50")))
    terms = life.terms()
    end = make.day(1, 2)
    assert [terms.card_at(at).default.percent for at in (end - make.tick, end)] == [10, 50]


def test_an_ended_subscription_does_not_change(life: Life) -> None:
    made = life.start(life.plan())
    life.cancel(made.id)
    with pytest.raises(SubscriptionState):
        life.change(made.id, life.plan())


def test_items_are_added_and_taken_away_with_their_share(life: Life, make: Make) -> None:
    base, seats = life.plan(3100), life.plan(620, priced=False)
    made = life.start(base)
    life.to(make.day(11))
    life.change(made.id, base, (seats, 2))
    assert life.amounts() == [840]
    life.to(make.day(21))
    life.change(made.id, base)
    assert life.amounts() == [840, -440]
    life.to(make.day(1, 2))
    assert life.fees() == [3100, 3100]


def test_usage_at_the_instant_of_a_restart_is_the_new_periods(
    life: Life, make: Make, build: SimpleNamespace
) -> None:
    made = life.start(life.plan(0))
    life.shop.use(2 * build.cent)
    life.to(make.day(11))
    life.shop.use(3 * build.cent)
    life.change(made.id, life.plan(0, interval="week"))
    life.shop.use(4 * build.cent)
    life.to(make.day(18))
    assert [i.total_minor for i in life.shop.invoices()] == [2, 7]
    assert life.shop.wrongs() == []
