"""Durations are counted once each, within the first limit that holds them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costplus.gateway.tally import Spread


@pytest.mark.parametrize(("duration_s", "place"), [(0.0, 0), (0.1, 0), (0.10001, 1), (1.0, 1), (1.1, 2)])
def test_a_duration_at_a_limit_is_within_it(duration_s: float, place: int) -> None:
    spread = Spread((0.1, 1.0))
    spread.note(duration_s)
    assert [index for index, count in enumerate(spread.counts) if count] == [place]


@given(st.lists(st.floats(min_value=0, max_value=1000)))
def test_every_duration_is_counted_once(durations_s: list[float]) -> None:
    spread = Spread((0.1, 1.0, 10.0))
    for duration_s in durations_s:
        spread.note(duration_s)
    assert sum(spread.counts) == len(durations_s)
    assert spread.sum_s == pytest.approx(sum(durations_s))
