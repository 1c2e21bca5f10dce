"""Usage belongs to the period of its own time, or to the first one whose invoice is still to come."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costplus.billing.subscription import Subscription
from costplus.core.period import monthly_period


def subscription(build: SimpleNamespace, *, ordinal: int = 0, finalized: int = 0) -> Subscription:
    return Subscription(
        id="sub_1",
        created=build.at,
        customer="cus_1",
        plan="bpp_1",
        rate_card_version="rcv_1",
        anchor=build.at,
        ordinal=ordinal,
        finalized_until=monthly_period(build.at, finalized).start,
    )


@pytest.mark.parametrize("ordinal", [0, 1, 5])
def test_usage_at_a_periods_start_and_just_before_its_end_is_billed_in_it(
    build: SimpleNamespace, ordinal: int
) -> None:
    made = subscription(build, ordinal=ordinal)
    assert made.billed_in(made.period.start) == made.period
    assert made.billed_in(made.period.end - build.tick) == made.period
    assert made.billed_in(made.period.end) == monthly_period(build.at, ordinal + 1)


def test_usage_from_before_the_anchor_is_billed_in_the_first_period(build: SimpleNamespace) -> None:
    made = subscription(build)
    assert made.billed_in(build.at - build.tick) == made.billed_in(build.at - 900 * build.day) == made.period


def test_late_usage_belongs_to_its_own_period_while_that_is_not_final(build: SimpleNamespace) -> None:
    made = subscription(build, ordinal=1)
    assert made.billed_in(build.at) == monthly_period(build.at, 0)
    assert made.billed_in(made.period.start - build.tick) == monthly_period(build.at, 0)


def test_usage_of_a_final_period_falls_to_the_next_one(build: SimpleNamespace) -> None:
    made = subscription(build, ordinal=1, finalized=1)
    assert made.billed_in(build.at) == made.period
    assert made.billed_in(made.period.start - build.tick) == made.period


def test_usage_of_the_future_belongs_to_its_future_period(build: SimpleNamespace) -> None:
    assert subscription(build).billed_in(build.at + 400 * build.day) == monthly_period(build.at, 13)


@given(st.integers(0, 14), st.integers(0, 14), st.integers(-(10**8), 10**8))
def test_the_period_found_holds_the_usage_or_is_the_first_not_final(
    build: SimpleNamespace, ordinal: int, finalized: int, seconds: int
) -> None:
    made = subscription(build, ordinal=max(ordinal, finalized), finalized=min(ordinal, finalized))
    at = build.at + timedelta(seconds=seconds)
    found = made.billed_in(at)
    assert found.start >= made.finalized_until
    assert at in found or found.start == made.finalized_until


@given(st.integers(0, 14), st.integers(-(10**7), 10**8))
def test_where_a_period_is_found_does_not_depend_on_which_one_is_open(
    build: SimpleNamespace, ordinal: int, seconds: int
) -> None:
    made, at = subscription(build, ordinal=ordinal), build.at + timedelta(seconds=seconds)
    assert made.billed_in(at) == replace(made, ordinal=0).billed_in(at)
