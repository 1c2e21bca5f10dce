"""What a part of a period is worth: exact shares, one rounding an item, a cap on credits."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costplus.billing.proration import (
    ProratedTier,
    capped_credit,
    change,
    prorated,
    prorated_graduated,
    share_left,
    split,
    to_minor,
)
from costplus.core.period import Period

MONTH = Period(datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 2, 1, tzinfo=UTC))
DAY = timedelta(days=1)

EDGES = [("0", 0), ("0.4999", 0), ("0.5", 1), ("-0.5", -1), ("1.5", 2), ("2.5", 3), ("-2.4", -2)]


@pytest.mark.parametrize(("exact", "minor"), EDGES)
def test_a_half_is_rounded_away_from_zero(exact: str, minor: int) -> None:
    assert to_minor(Fraction(exact)) == minor


def test_by_second_every_instant_counts_and_by_day_the_running_day_is_left() -> None:
    at = MONTH.start + 14 * DAY + timedelta(hours=6)
    assert share_left(MONTH, at) == Fraction(31 * 24 - 14 * 24 - 6, 31 * 24)
    assert share_left(MONTH, at, by="day") == share_left(MONTH, MONTH.start + 14 * DAY, by="day")
    assert share_left(MONTH, at, by="day") == Fraction(17, 31)


@pytest.mark.parametrize("by", ["second", "day"])
def test_all_is_left_at_the_start_and_before_and_nothing_at_the_end_and_after(by: str) -> None:
    shares = [
        share_left(MONTH, at, by=by)  # type: ignore[arg-type]  # One of them.
        for at in (MONTH.start - DAY, MONTH.start, MONTH.end, MONTH.end + DAY)
    ]
    assert shares == [1, 1, 0, 0]


def test_a_stub_is_a_share_of_the_whole_period_that_its_price_is_for() -> None:
    stub = Period(MONTH.end - 10 * DAY, MONTH.end)
    for by in ("second", "day"):
        assert share_left(stub, stub.start, whole=MONTH, by=by) == Fraction(10, 31)  # type: ignore[arg-type]  # One of them.


def test_a_day_of_23_hours_is_a_day_by_the_customers_clocks() -> None:
    zone = "Europe/Berlin"
    march = Period(datetime(2026, 2, 28, 23, tzinfo=UTC), datetime(2026, 3, 31, 22, tzinfo=UTC))
    at = datetime(2026, 3, 29, 22, tzinfo=UTC)  # The 30th begins.
    assert share_left(march, at, by="day", timezone=zone) == Fraction(2, 31)
    assert share_left(march, at) == Fraction(48, 31 * 24 - 1)


@given(st.integers(-50, 500), st.integers(0, 400), st.integers(0, 500))
def test_credits_never_exceed_what_was_asked_for(potential: int, paid: int, credited: int) -> None:
    given_back = capped_credit(potential, paid_minor=paid, credited_minor=credited)
    assert 0 <= given_back <= max(potential, 0)
    assert credited + given_back <= max(paid, credited)


@given(st.integers(0, 10**6), st.fractions(0, 1), st.fractions(0, 1))
def test_what_is_given_back_is_at_most_what_was_asked_for_the_longer_rest(
    fee: int, one: Fraction, other: Fraction
) -> None:
    assert prorated(fee, min(one, other)) <= prorated(fee, max(one, other))


@given(st.integers(0, 10**6), st.integers(0, 10**6), st.fractions(0, 1))
def test_a_change_to_the_same_comes_to_nothing(old: int, new: int, share: Fraction) -> None:
    assert change(old_minor=old, new_minor=old, share=share).net_minor == 0
    both = change(old_minor=old, new_minor=new, share=share)
    assert abs(both.net_minor - (new - old) * share) <= 1


@given(st.integers(0, 10**6), st.lists(st.fractions(0, 1), min_size=1, max_size=9))
def test_one_amount_over_several_items_adds_up(amount: int, parts: list[Fraction]) -> None:
    assert sum(split(amount, parts)) == amount


@pytest.mark.parametrize("units_gone", [-1, -5, -6])
def test_units_that_go_before_any_came_leave_the_first_flat_amount_at_most(units_gone: int) -> None:
    tiers = [ProratedTier(5, Fraction(10), Fraction(100)), ProratedTier(None, Fraction(5))]
    assert 0 <= prorated_graduated(tiers, [(units_gone, Fraction(units_gone))]) <= 100
