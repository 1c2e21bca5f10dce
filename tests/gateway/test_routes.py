"""Who is asked first: by priority, by weight, and the same one for calls that share a prompt's beginning."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costplus.gateway.health import FAILURES_MAX, REST_S, Health, RetryBudget
from costplus.gateway.routes import Rank, affinity_of, ordered
from costplus.gateway.wire.request import parse_request


def ranks(*weights: int, priority: int = 0) -> list[Rank]:
    return [Rank(lane=f"p{n}", weight=weight, priority=priority) for n, weight in enumerate(weights)]


def first_of(places: list[Rank], calls: int = 4000) -> Counter[str]:
    return Counter(places[ordered(places, affinity=b"%d" % n)[0]].lane for n in range(calls))


def test_weights_share_the_calls() -> None:
    shares = first_of(ranks(3, 1))
    assert 0.70 < shares["p0"] / 4000 < 0.80


def test_a_higher_priority_number_is_asked_only_after_all_lower_ones() -> None:
    places = [*ranks(1, 1), Rank(lane="last", weight=1000, priority=1)]
    assert all(ordered(places, affinity=b"%d" % n)[-1] == 2 for n in range(200))


@given(st.binary(max_size=40), st.lists(st.integers(1, 9), min_size=2, max_size=6), st.integers(0, 5))
def test_a_lane_that_leaves_moves_nobody_but_its_own_calls(affinity: bytes, weights: Any, gone: int) -> None:
    places = ranks(*weights)
    kept = [each for each in places if each.lane != f"p{gone}"]
    before = [places[n].lane for n in ordered(places, affinity=affinity)]
    after = [kept[n].lane for n in ordered(kept, affinity=affinity)]
    assert after == [lane for lane in before if lane != f"p{gone}"]


def affinity(customer: str = "cus_1", **fields: Any) -> bytes:
    return affinity_of(parse_request(json.dumps({"model": "m", **fields}).encode()), customer=customer)


def said(*contents: str, role: str = "user") -> list[dict[str, str]]:
    return [{"role": role, "content": content} for content in contents]


def test_a_conversation_stays_where_it_began() -> None:
    instructions = said("Be brief.", role="system")
    began = affinity(messages=[*instructions, *said("Hello")])
    assert affinity(messages=[*instructions, *said("Hello", "And now?")]) == began
    assert affinity(messages=[*instructions, *said("Good morning")]) != began
    assert affinity("cus_2", messages=[*instructions, *said("Hello")]) != began


def test_the_callers_own_word_for_it_wins() -> None:
    one, other = (affinity(prompt_cache_key="docs", messages=said(text)) for text in ("a", "b"))
    assert one == other != b""


@pytest.mark.parametrize("fields", [{"messages": "text"}, {"input": ["a", "b"]}, {"messages": []}, {}])
def test_odd_requests_have_an_affinity_too(fields: dict[str, Any]) -> None:
    assert isinstance(affinity(**fields), bytes)


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def fails(health: Health, times: int, **why: Any) -> None:
    for _ in range(times):
        health.asked("p0")
        health.failed("p0", **why)


def test_three_failures_in_a_row_let_a_lane_rest_and_two_do_not() -> None:
    health = Health(clock=Clock())
    fails(health, FAILURES_MAX - 1)
    assert health.is_ready("p0")
    health.asked("p0")
    health.answered("p0")
    fails(health, FAILURES_MAX)
    assert not health.is_ready("p0") and health.states() == {"p0": "resting"}


def test_after_its_rest_one_call_sees_how_the_lane_is() -> None:
    clock = Clock()
    health = Health(clock=clock)
    fails(health, 1, rest_s=30)
    clock.now_s = 29.9
    assert not health.is_ready("p0")
    clock.now_s = 30
    assert health.is_ready("p0")
    health.asked("p0")
    assert not health.is_ready("p0") and health.states() == {"p0": "probing"}
    health.failed("p0")
    clock.now_s += REST_S * 2 - 0.1
    assert not health.is_ready("p0")
    clock.now_s += 0.1
    health.asked("p0")
    health.left("p0")  # Its client went away: the next call may see.
    assert health.is_ready("p0")
    health.asked("p0")
    health.answered("p0")
    health.asked("p0")
    assert health.is_ready("p0") and health.states() == {"p0": "well"}


def test_retries_are_a_fifth_of_the_calls() -> None:
    budget, retries = RetryBudget(), 0
    for _ in range(1000):
        budget.earn()
        retries += budget.spend()
    assert 200 <= retries <= 212
