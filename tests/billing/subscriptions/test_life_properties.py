"""Whatever happens to a subscription: fees are the integral of price × time, periods tile it, and it does not
matter in how many steps time passes.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from fractions import Fraction
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from costplus.billing.close import advance
from costplus.billing.customer import TestClock
from costplus.billing.invoice import Invoice
from costplus.core.period import Period

Make = SimpleNamespace
HOUR = timedelta(hours=1)
FEES = st.sampled_from([0, 1, 999, 3100, 10_007])
hours = st.integers(0, 31 * 24 - 1)
changes = st.lists(st.tuples(hours, FEES, st.integers(0, 5)), max_size=7).map(
    lambda made: sorted(made, key=lambda change: change[0])
)


@given(first=st.tuples(FEES, st.integers(0, 5)), made=changes)
@settings(max_examples=100, deadline=None)
def test_fees_and_prorations_are_the_integral_of_price_and_time(
    make: Make, first: tuple[int, int], made: list[tuple[int, int, int]]
) -> None:
    life, whole = make.life(), 31 * 24
    subscription = life.start((life.plan(first[0]), first[1]))
    rate_minor, since, exact = first[0] * first[1], 0, Fraction(0)
    for hour, fee, quantity in made:
        exact += Fraction(rate_minor * (hour - since), whole)
        life.to(make.day(1) + hour * HOUR)
        life.change(subscription.id, (life.plan(fee), quantity))
        rate_minor, since = fee * quantity, hour
    exact += Fraction(rate_minor * (whole - since), whole)
    asked = sum(life.fees()) + sum(life.amounts())
    assert abs(asked - exact) <= len(made)  # Two items a change, each half a minor unit off at most.
    assert asked >= 0
    life.to(make.day(1, 2))
    if rate_minor:
        assert life.fees()[-1] == rate_minor


@dataclass(frozen=True)
class Deed:
    """Something done to a subscription after so many hours."""

    hour: int
    kind: str
    fee: int
    interval: str


deeds = st.lists(
    st.builds(
        Deed,
        st.integers(1, 24 * 80),
        st.sampled_from(
            ["change", "now", "schedule", "pause", "resume", "unchanged", "later", "keep", "cancel"]
        ),
        FEES,
        st.sampled_from(["week", "month", "month"]),
    ),
    max_size=8,
).map(lambda made: sorted(made, key=lambda deed: deed.hour))


def do(life: Any, id: str, deed: Deed) -> None:
    """Do it where the subscription's state allows it."""
    status = life.get(id).status
    plan = life.plan(deed.fee, interval=deed.interval, credit_minor=7)
    if status == "paused" and deed.kind in ("resume", "unchanged"):
        life.resume(id, anchor="now" if deed.kind == "resume" else "unchanged")
    if status not in ("active", "trialing"):
        return
    if deed.kind in ("change", "now"):
        life.change(id, plan, behavior="always_invoice" if deed.kind == "now" else "create_prorations")
    elif deed.kind == "schedule":
        life.schedule(id, plan)
    elif deed.kind == "pause" and status == "active":
        life.pause(id)
    elif deed.kind in ("later", "keep"):
        life.cancel_later(id, at_period_end=deed.kind == "later")
    elif deed.kind == "cancel":
        life.cancel(id, prorates=True)


@given(made=deeds, tokens=st.lists(st.integers(0, 24 * 90), max_size=12), trial=st.booleans())
@settings(max_examples=100, deadline=None)
def test_periods_tile_time_and_all_usage_is_invoiced_once(
    make: Make, build: SimpleNamespace, made: list[Deed], tokens: list[int], trial: bool
) -> None:
    life = make.life()
    trial_end = make.day(9) if trial else None
    id = life.start(life.plan(500, pause_usage="free"), trial_end=trial_end).id
    used = 0
    steps = sorted([(hour, None) for hour in tokens] + [(d.hour, d) for d in made], key=lambda step: step[0])
    for hour, deed in steps:
        life.to(make.day(1) + hour * HOUR)
        if deed is not None:
            do(life, id, deed)
        elif life.get(id).status in ("active", "trialing"):
            life.shop.use(3 * build.cent)
            used += 3 * build.cent
    if life.get(id).status == "paused":
        life.resume(id)
    if life.get(id).status != "canceled":
        life.cancel(id)
    life.to(make.day(1, 9))
    cycle = [i for i in life.shop.invoices() if i.billing_reason == "subscription_cycle"]
    periods = sorted((i.period for i in cycle), key=lambda period: period.start)
    assert all(one.end == other.start for one, other in pairwise(periods))
    assert sum(i.usage_nano for i in cycle) == used
    assert life.shop.owed() == []
    assert not life.get(id).unfinal()
    assert life.shop.wrongs() == []


def story(make: Make, build: SimpleNamespace, steps: list[int], *, trial: bool) -> Any:
    """Return everything that was invoiced and told in 90 days that pass in these steps."""
    life = make.life(grace_s=3600, clock="clock_1")
    clock = TestClock(id="clock_1", created=make.day(1), frozen_time=make.day(1))
    life.shop.write(lambda tx: tx.save(clock))
    made = life.start(
        life.plan(3100, credit_minor=50, interval="week"),
        (life.plan(100, priced=False, interval="week"), 3),
        trial_end=make.day(9) if trial else None,
    )
    life.schedule(made.id, life.plan(900, interval="month"))
    life.shop.use(77 * build.cent)
    for step in sorted({*steps, 90 * 24}):
        to = make.day(1) + step * HOUR
        life.shop.write(lambda tx, to=to: advance(tx, tx.find(TestClock, "clock_1"), to=to))
    invoices = [
        (i.number, i.period, i.status, i.created, i.finalized_at, i.total_minor, i.credit_minor)
        for i in life.shop.invoices()
    ]
    return invoices, life.told(), life.shop.credit(), life.get(made.id).period


@pytest.mark.parametrize("trial", [False, True])
def test_one_step_or_many_make_the_same_invoices(make: Make, build: SimpleNamespace, trial: bool) -> None:
    at_once = story(make, build, [], trial=trial)
    assert len(at_once[0]) >= 3

    @given(st.lists(st.integers(1, 90 * 24 - 1), max_size=12))
    @settings(max_examples=15, deadline=None)
    def holds(steps: list[int]) -> None:
        assert story(make, build, steps, trial=trial) == at_once

    holds()


def test_a_year_in_one_go_makes_every_invoice_of_it(make: Make, build: SimpleNamespace) -> None:
    life = make.life(clock="clock_1")
    clock = TestClock(id="clock_1", created=make.day(1), frozen_time=make.day(1))
    life.shop.write(lambda tx: tx.save(clock))
    made = life.start(life.plan(10, interval="day"))
    life.shop.write(lambda tx: advance(tx, clock, to=datetime(2027, 1, 1, tzinfo=clock.created.tzinfo)))
    invoices = life.shop.write(lambda tx: tx.page(Invoice, parent="cus_1", limit=1000))
    assert len(invoices) == 1 + 365
    assert life.get(made.id).period == Period(make.day(1, year=2027), make.day(2, year=2027))
    assert {i.status for i in invoices} == {"open"}
