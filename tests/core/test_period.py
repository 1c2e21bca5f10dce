"""Months are counted from an anchor, half-open, without gaps and without overlaps."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costplus.core.period import Period, add_months, hour_ceil, hour_floor, monthly_period

SECONDS = 90 * 365 * 86_400
anchors = st.integers(0, SECONDS).map(lambda s: datetime(2000, 1, 1, tzinfo=UTC) + timedelta(seconds=s))
TICK = timedelta(microseconds=1)


def day(year: int, month: int, of_month: int) -> datetime:
    return datetime(year, month, of_month, 10, 30, tzinfo=UTC)


MONTHS = [
    (day(2026, 1, 31), 0, day(2026, 1, 31)),
    (day(2026, 1, 31), 1, day(2026, 2, 28)),
    (day(2026, 1, 31), 2, day(2026, 3, 31)),
    (day(2026, 1, 31), 3, day(2026, 4, 30)),
    (day(2026, 1, 31), 11, day(2026, 12, 31)),
    (day(2026, 1, 31), 12, day(2027, 1, 31)),
    (day(2024, 1, 31), 1, day(2024, 2, 29)),
    (day(2024, 2, 29), 12, day(2025, 2, 28)),
    (day(2024, 2, 29), 48, day(2028, 2, 29)),
    (day(2000, 1, 30), 1, day(2000, 2, 29)),
    (day(2026, 12, 15), 1, day(2027, 1, 15)),
    (day(2026, 3, 31), -1, day(2026, 2, 28)),
    (day(2026, 1, 15), -1, day(2025, 12, 15)),
]


@pytest.mark.parametrize(("anchor", "months", "then"), MONTHS)
def test_a_month_later_is_clipped_to_the_last_day_and_returns_to_the_anchors_day(
    anchor: datetime, months: int, then: datetime
) -> None:
    assert add_months(anchor, months) == then


@given(anchors, st.integers(0, 120))
def test_monthly_periods_follow_each_other_without_gap_or_overlap(anchor: datetime, ordinal: int) -> None:
    one, next_one = monthly_period(anchor, ordinal), monthly_period(anchor, ordinal + 1)
    assert one.end == next_one.start
    assert timedelta(days=28) <= one.end - one.start <= timedelta(days=31)


@given(anchors, st.integers(0, 120))
def test_each_instant_lies_in_exactly_one_period(anchor: datetime, ordinal: int) -> None:
    start = monthly_period(anchor, ordinal).start
    holding = [n for n in range(ordinal - 1, ordinal + 2) if start in monthly_period(anchor, n)]
    assert holding == [ordinal]


def test_the_first_period_begins_at_the_anchor_itself() -> None:
    assert monthly_period(day(2026, 1, 31), 0) == Period(day(2026, 1, 31), day(2026, 2, 28))


def test_a_period_holds_its_start_and_not_its_end() -> None:
    period = Period(day(2026, 1, 1), day(2026, 2, 1))
    assert period.start in period
    assert period.end - TICK in period
    assert period.end not in period
    assert period.start - TICK not in period


def test_an_hours_start_is_its_own_floor_and_ceiling() -> None:
    start = datetime(2026, 1, 1, 23, tzinfo=UTC)
    assert hour_floor(start) == hour_ceil(start) == start
    assert hour_ceil(start + TICK) == datetime(2026, 1, 2, tzinfo=UTC)
    assert hour_floor(start + timedelta(hours=1) - TICK) == start


@given(anchors)
def test_an_instant_lies_between_its_hours_floor_and_ceiling(at: datetime) -> None:
    assert hour_floor(at) <= at <= hour_ceil(at)
    assert hour_ceil(at) - hour_floor(at) in (timedelta(0), timedelta(hours=1))
