"""Endings: now or later, taken back or not; whatever was used is invoiced."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from costplus.billing.amend import SubscriptionState
from costplus.billing.order import InvalidStart
from costplus.billing.subscription import NotSubscribed
from costplus.core.period import Period

Life = Any  # The life of conftest.
Make = SimpleNamespace


def test_cancelling_now_invoices_what_was_used_after_the_grace(make: Make, build: SimpleNamespace) -> None:
    life = make.life(grace_s=3600)
    made = life.start(life.plan(3100))
    life.shop.use(5 * build.cent)
    life.to(make.day(11))
    ended = life.cancel(made.id)
    assert (ended.status, ended.ended_at, life.amounts()) == ("canceled", make.day(11), [])
    draft = life.shop.invoices()[-1]
    assert (draft.status, draft.period, draft.total_minor) == ("draft", Period(make.day(1), make.day(11)), 5)
    life.shop.use(2 * build.cent, at=make.day(11) - make.tick)
    life.to(make.day(11, hour=1))
    assert life.totals()[-1] == ("subscription_cycle", "open", 7)
    assert life.told() == ["created", "deleted"]
    life.to(make.day(1, 6))
    assert len(life.totals()) == 2
    assert life.shop.wrongs() == []


def test_cancelling_with_prorations_gives_back_what_is_unused(life: Life, make: Make) -> None:
    made = life.start((life.plan(1000), 3))
    life.to(make.day(11))
    life.cancel(made.id, prorates=True)
    assert life.amounts() == [-2032]  # 21 of 31 days of 3000.


def test_cancelling_with_an_invoice_now_has_it_final_at_once(make: Make, build: SimpleNamespace) -> None:
    life = make.life(grace_s=3600)
    made = life.start(life.plan(0))
    life.shop.use(5 * build.cent)
    life.to(make.day(11))
    life.cancel(made.id, invoice_now=True)
    assert life.totals() == [("subscription_cycle", "open", 5)]


def test_usage_that_comes_after_the_last_invoice_has_one_of_its_own(
    life: Life, make: Make, build: SimpleNamespace
) -> None:
    made = life.start(life.plan(0))
    life.to(make.day(11))
    life.cancel(made.id, invoice_now=True)
    life.shop.use(4 * build.cent, at=make.day(10))
    assert life.shop.close(make.day(12)) == 2
    assert life.totals()[-1] == ("subscription_cycle", "open", 4)
    assert life.shop.owed() == []
    assert life.shop.wrongs() == []


def test_usage_at_the_very_instant_of_the_end_is_invoiced_too(
    life: Life, make: Make, build: SimpleNamespace
) -> None:
    made = life.start(life.plan(0))
    life.to(make.day(11))
    life.shop.use(4 * build.cent)
    life.shop.use(2 * build.cent, at=make.day(11) + 3 * make.tick)  # Clocks differ a little.
    life.cancel(made.id, invoice_now=True)
    assert life.totals() == [("subscription_cycle", "open", 6)]
    life.start(life.plan(0))
    life.shop.use(1 * build.cent, at=make.day(12))
    life.to(make.day(12, 2))
    assert life.totals()[-1] == ("subscription_cycle", "open", 1)
    assert life.shop.wrongs() == []


def test_it_ends_with_its_period_where_that_was_asked_for(life: Life, make: Make) -> None:
    made = life.start(life.plan(3100))
    life.to(make.day(11))
    going = life.cancel_later(made.id, at_period_end=True)
    assert (going.status, going.cancel_at_period_end, going.canceled_at) == ("active", True, make.day(11))
    life.to(make.day(1, 3))
    ended = life.get(made.id)
    assert (ended.status, ended.ended_at, life.fees()) == ("canceled", make.day(1, 2), [3100])


def test_that_can_be_taken_back(life: Life, make: Make) -> None:
    made = life.start(life.plan(3100))
    life.cancel_later(made.id, at_period_end=True)
    life.cancel_later(made.id)
    life.to(make.day(1, 2))
    assert (life.get(made.id).status, life.fees()) == ("active", [3100, 3100])
    assert life.get(made.id).canceled_at is None


def test_it_ends_at_an_instant_where_that_was_asked_for(life: Life, make: Make) -> None:
    made = life.start(life.plan(3100))
    life.cancel_later(made.id, cancel_at=make.day(11), prorates=True)
    life.to(make.day(20))
    ended = life.get(made.id)
    assert (ended.status, ended.ended_at, life.amounts()) == ("canceled", make.day(11), [-2100])


def test_it_does_not_end_in_the_past_and_not_twice(life: Life, make: Make) -> None:
    made = life.start(life.plan())
    with pytest.raises(InvalidStart):
        life.cancel_later(made.id, cancel_at=make.day(1))
    life.cancel(made.id)
    for again in (life.cancel, life.cancel_later):
        with pytest.raises(SubscriptionState):
            again(made.id)


def test_usage_is_refused_once_it_has_ended_even_before_that_was_closed(life: Life, make: Make) -> None:
    made = life.start(life.plan())
    life.cancel_later(made.id, cancel_at=make.day(11))
    assert life.terms().card_at(make.day(11) - make.tick)
    with pytest.raises(NotSubscribed):
        life.terms().card_at(make.day(11))


def test_one_that_never_began_ends_without_an_invoice(life: Life, make: Make) -> None:
    made = life.start(life.plan(), starts=make.day(20))
    life.to(make.day(10))
    assert life.cancel(made.id).status == "canceled"
    life.to(make.day(1, 3))
    assert life.shop.invoices() == []


def test_late_usage_is_billed_by_the_subscription_of_its_time(make: Make, build: SimpleNamespace) -> None:
    life = make.life(grace_s=3600)
    first = life.start(life.plan(0, card=life.card("10")))
    life.to(make.day(11))
    life.cancel(first.id)
    second = life.start(life.plan(0, card=life.card("50")))
    terms = life.terms()
    assert [terms.card_at(at).default.percent for at in (make.day(10), make.day(11))] == [10, 50]
    life.shop.use(2 * build.cent, at=make.day(10))
    life.shop.use(3 * build.cent, at=make.day(11))
    life.to(make.day(11, 2, hour=1))
    found = [(i.subscription, i.total_minor) for i in life.shop.invoices()]
    assert found == [(first.id, 2), (second.id, 3)]
    assert life.shop.wrongs() == []


def test_a_trial_that_is_cancelled_costs_nothing(life: Life, make: Make) -> None:
    made = life.start(life.plan(), trial_end=make.day(15))
    life.to(make.day(3))
    life.cancel(made.id, prorates=True)
    life.to(make.day(1, 3))
    assert (life.fees(), life.amounts()) == ([], [])
