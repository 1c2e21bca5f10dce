"""Pausing: no fee, usage blocked or free, unused time given back; resuming anew or within the old cycle."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from costplus.billing.amend import SubscriptionState, keep
from costplus.billing.subscription import PauseCollection, Subscription, SubscriptionPaused
from costplus.core.period import Period

Life = Any  # The life of conftest.
Make = SimpleNamespace


def test_a_pause_gives_back_unused_time_and_invoices_what_was_used(
    life: Life, make: Make, build: SimpleNamespace
) -> None:
    made = life.start(life.plan(3100))
    life.shop.use(5 * build.cent)
    life.to(make.day(11))
    paused = life.pause(made.id)
    assert (paused.status, paused.paused_at, life.amounts()) == ("paused", make.day(11), [-2100])
    draft = life.shop.invoices()[-1]
    assert (draft.period, draft.usage_due_minor) == (Period(make.day(1), make.day(11)), 5)
    assert draft.total_minor == 0  # What the fee gives back is more, and stays the customer's.
    assert life.told() == ["created", "paused", "updated"]


def test_a_paused_subscription_asks_for_nothing_however_long(life: Life, make: Make) -> None:
    made = life.start(life.plan(3100))
    life.to(make.day(11))
    life.pause(made.id)
    life.to(make.day(11, 9))
    assert (life.fees(), len(life.shop.invoices())) == ([3100], 2)


def test_usage_is_blocked_in_a_pause_and_open_before_and_after(life: Life, make: Make) -> None:
    made = life.start(life.plan())
    life.to(make.day(11))
    life.pause(made.id)
    with pytest.raises(SubscriptionPaused):
        life.terms().card_at(make.day(11))
    assert life.terms().card_at(make.day(11) - make.tick)
    life.to(make.day(20))
    life.resume(made.id)
    assert life.terms().card_at(make.day(20))
    with pytest.raises(SubscriptionPaused):
        life.terms().card_at(make.day(20) - make.tick)


def test_usage_is_free_in_a_pause_where_the_plan_says_so(life: Life, make: Make) -> None:
    made = life.start(life.plan(pause_usage="free"))
    life.to(make.day(11))
    life.pause(made.id)
    card = life.terms().card_at(make.day(12))
    assert card.fixed_for(provider="openai", model="m", leaf="output").unit_price == 0
    assert card.floor_margin_percent is None and not card.items


def test_resuming_begins_a_new_cycle_that_is_asked_for_in_full_at_once(life: Life, make: Make) -> None:
    made = life.start(life.plan(3100))
    life.to(make.day(11))
    life.pause(made.id, unused_from="none")
    life.to(make.day(20, 3))
    resumed = life.resume(made.id)
    assert (resumed.status, resumed.period.end) == ("active", make.day(20, 4))
    assert life.totals()[-1] == ("subscription_update", "open", 3100)
    life.to(make.day(20, 4))
    assert life.fees() == [3100, 3100, 3100]


def test_the_period_after_a_pause_begins_where_the_last_one_ended(
    life: Life, make: Make, build: SimpleNamespace
) -> None:
    made = life.start(life.plan(0))
    life.to(make.day(11))
    life.pause(made.id)
    life.shop.use(
        2 * build.cent, at=make.day(11) - make.tick
    )  # A call that was under way; its invoice is final
    life.to(make.day(20))
    life.resume(made.id)
    life.shop.use(3 * build.cent)
    life.to(make.day(20, 2))
    cycle = [i for i in life.shop.invoices() if i.billing_reason == "subscription_cycle"]
    assert [(i.period.start, i.period.end) for i in cycle] == [
        (make.day(1), make.day(11)),
        (make.day(11), make.day(20, 2)),
    ]
    assert sum(i.total_minor for i in cycle) == 5
    assert life.shop.wrongs() == []


def test_resuming_within_the_old_cycle_asks_for_what_is_left(life: Life, make: Make) -> None:
    made = life.start(life.plan(3100))
    life.to(make.day(11))
    life.pause(made.id)
    life.to(make.day(21))
    resumed = life.resume(made.id, anchor="unchanged")
    assert life.amounts() == [-2100, 1100]
    assert resumed.period.end == make.day(1, 2)
    life.to(make.day(1, 2))
    assert life.fees() == [3100, 3100]


def test_resuming_in_a_later_period_asks_for_its_rest_only(life: Life, make: Make) -> None:
    made = life.start(life.plan(3100))
    life.to(make.day(11))
    life.pause(made.id)
    life.to(make.day(17, 3))
    resumed = life.resume(made.id, anchor="unchanged")
    assert life.amounts() == [-2100, 1500]
    assert resumed.period == Period(make.day(11), make.day(1, 4))


def test_a_pause_that_gave_nothing_back_asks_for_nothing_on_resuming_in_the_same_period(
    life: Life, make: Make
) -> None:
    made = life.start(life.plan(3100))
    life.to(make.day(11))
    life.pause(made.id, unused_from="none")
    life.to(make.day(21))
    life.resume(made.id, anchor="unchanged")
    assert life.amounts() == []
    life.to(make.day(1, 2))
    assert life.fees() == [3100, 3100]


def test_the_whole_period_can_be_given_back_and_no_more_than_that(life: Life, make: Make) -> None:
    made = life.start(life.plan(3100))
    life.to(make.day(11))
    life.change(made.id, life.plan(6200))  # 3100 + 4200 − 2100 were asked for so far.
    life.pause(made.id, unused_from="item_current_period_start")
    assert life.amounts() == [-2100, 4200, -5200]


def test_a_pause_can_end_by_itself(life: Life, make: Make) -> None:
    made = life.start(life.plan(3100))
    life.to(make.day(11))
    life.pause(made.id, resumes_at=make.day(1, 3))
    life.to(make.day(1, 3))
    assert life.get(made.id).status == "active"
    assert life.fees() == [3100, 3100]
    assert life.told() == ["created", "paused", "updated", "resumed", "updated"]


def test_only_what_runs_is_paused_and_only_what_is_paused_resumed(life: Life) -> None:
    made = life.start(life.plan())
    with pytest.raises(SubscriptionState):
        life.resume(made.id)
    life.pause(made.id)
    with pytest.raises(SubscriptionState):
        life.pause(made.id)
    with pytest.raises(SubscriptionState):
        life.change(made.id, life.plan())


@pytest.mark.parametrize(
    ("behavior", "status"),
    [("keep_as_draft", "draft"), ("mark_uncollectible", "uncollectible"), ("void", "void")],
)
def test_paused_collection_goes_on_invoicing_and_nobody_is_asked_to_pay(
    life: Life, make: Make, behavior: Any, status: str
) -> None:
    made = life.start(life.plan(3100))

    def stop(tx: Any, customer: Any, subscription: Subscription, *, at: Any) -> Subscription:
        paused = replace(subscription, pause_collection=PauseCollection(behavior, make.day(2, 3)))
        return keep(tx, customer, paused, at=at)

    life.do(stop, made.id)
    life.to(make.day(1, 4))
    statuses = [i.status for i in life.shop.invoices()]
    assert statuses == ["open", status, status, "open"]
    assert life.get(made.id).status == "active"
    assert life.get(made.id).pause_collection is None
