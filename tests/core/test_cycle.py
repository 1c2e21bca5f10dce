"""Billing periods by a customer's own clocks: they tile time across all leaps of calendar and clock."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costplus.core.cycle import (
    INTERVAL_COUNT_MAX,
    INTERVALS,
    Cycle,
    InvalidInterval,
    UnknownTimeZone,
    check_interval,
    days_of,
    days_passed,
    zone_of,
)
from costplus.core.period import Period, monthly_period

ZONES = ["UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe", "Pacific/Chatham"]
START = datetime(2020, 1, 1, tzinfo=UTC)
anchors = st.integers(0, 15 * 365 * 86_400).map(lambda s: START + timedelta(seconds=s))
cycles = st.builds(Cycle, anchors, st.sampled_from(INTERVALS), st.integers(1, 12), st.sampled_from(ZONES))


def local(zone: str, *clock: int) -> datetime:
    return datetime(*clock, tzinfo=ZoneInfo(zone)).astimezone(UTC)  # type: ignore[arg-type]  # Fields in order.


@given(cycles, st.integers(-40, 120))
def test_periods_tile_time_without_gap_or_overlap(cycle: Cycle, ordinal: int) -> None:
    one, following = cycle.period(ordinal), cycle.period(ordinal + 1)
    assert one.start < one.end == following.start
    assert cycle.ordinal_at(one.start) == ordinal
    assert cycle.ordinal_at(one.end - timedelta(microseconds=1)) == ordinal


@given(cycles, st.integers(-(10**8), 10**8))
def test_every_instant_lies_in_the_period_that_is_found_for_it(cycle: Cycle, seconds: int) -> None:
    at = cycle.anchor + timedelta(seconds=seconds)
    assert at in cycle.period(cycle.ordinal_at(at))


@given(anchors, st.integers(-30, 60))
def test_months_in_utc_are_the_plain_months(anchor: datetime, ordinal: int) -> None:
    assert Cycle(anchor).period(ordinal) == monthly_period(anchor, ordinal)


def test_a_customers_midnight_stays_midnight_across_daylight_saving() -> None:
    cycle = Cycle(local("Europe/Berlin", 2026, 3, 1), "month", 1, "Europe/Berlin")
    starts = [cycle.start(n) for n in range(9)]
    assert [start.astimezone(ZoneInfo("Europe/Berlin")).hour for start in starts] == [0] * 9
    assert [start.hour for start in starts] == [23, 22, 22, 22, 22, 22, 22, 22, 23]


def test_the_day_of_the_leap_is_a_day_of_23_hours_and_later_one_of_25() -> None:
    for month, day, hours in ((3, 29, 23), (10, 25, 25)):
        cycle = Cycle(local("Europe/Berlin", 2026, month, day), "day", 1, "Europe/Berlin")
        assert cycle.period(0).end - cycle.period(0).start == timedelta(hours=hours)


def test_a_time_that_is_skipped_comes_after_the_leap_and_a_doubled_one_is_its_first() -> None:
    skipped = Cycle(local("Europe/Berlin", 2026, 3, 28, 2, 30), "day", 1, "Europe/Berlin")
    assert skipped.start(1) == datetime(2026, 3, 29, 1, 30, tzinfo=UTC)
    doubled = Cycle(local("Europe/Berlin", 2026, 10, 24, 2, 30), "day", 1, "Europe/Berlin")
    assert doubled.start(1) == datetime(2026, 10, 25, 0, 30, tzinfo=UTC)


def test_an_anchor_on_29_february_is_the_28th_until_the_next_leap_year() -> None:
    cycle = Cycle(datetime(2024, 2, 29, tzinfo=UTC), "year")
    assert [cycle.start(n).day for n in range(5)] == [29, 28, 28, 28, 29]


def test_months_by_threes_from_the_31st() -> None:
    cycle = Cycle(datetime(2026, 1, 31, tzinfo=UTC), "month", 3)
    assert [(cycle.start(n).month, cycle.start(n).day) for n in range(5)] == [
        (1, 31), (4, 30), (7, 31), (10, 31), (1, 31)
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["Mars/Base", "", "../etc/passwd", "/etc/localtime"])
def test_a_name_that_is_no_zone_is_refused(name: str) -> None:
    with pytest.raises(UnknownTimeZone):
        zone_of(name)


@pytest.mark.parametrize("interval", INTERVALS)
def test_an_interval_is_one_step_to_three_years(interval: str) -> None:
    most = INTERVAL_COUNT_MAX[interval]
    check_interval(interval, 1)  # type: ignore[arg-type]  # One of them.
    check_interval(interval, most)  # type: ignore[arg-type]  # One of them.
    for count in (0, most + 1):
        with pytest.raises(InvalidInterval):
            check_interval(interval, count)  # type: ignore[arg-type]  # One of them.


def test_days_are_counted_from_the_periods_start_and_a_begun_one_counts() -> None:
    period = Period(datetime(2026, 1, 1, 12, tzinfo=UTC), datetime(2026, 2, 1, tzinfo=UTC))
    assert days_of(period, timezone="UTC") == 31
    noon = period.start + timedelta(days=3)
    tick = timedelta(microseconds=1)
    assert [days_passed(period, at, timezone="UTC") for at in (noon - tick, noon)] == [2, 3]
    assert days_passed(period, period.start - timedelta(days=9), timezone="UTC") == 0
