"""Usage is disjoint leaves without zeros; impossible blocks are flagged."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costplus.core.usage import (
    ESTIMATED,
    INPUT_LEAVES,
    LEAVES,
    OUTPUT_LEAVES,
    Usage,
    ancestors,
    usage_of,
)


def test_zero_leaves_are_left_out_and_that_is_not_a_fault() -> None:
    assert usage_of({"input": 0, "output": 1}) == Usage({"output": 1})


def test_no_usage_at_all_is_a_usage_without_quantities() -> None:
    assert usage_of({}) == Usage({}, ())


def test_a_negative_leaf_is_left_out_and_flagged_and_the_rest_is_kept() -> None:
    usage = usage_of({"input": -1, "output": 2}, flags=["odd"])
    assert usage == Usage({"output": 2}, ("odd", "negative_input"))


def test_an_unknown_leaf_is_a_broken_invariant() -> None:
    with pytest.raises(AssertionError):
        usage_of({"smell": 1})


def test_the_prompt_is_every_input_leaf_and_calls_are_in_neither_direction() -> None:
    usage = usage_of({"input": 1, "cached_input": 2, "cache_write_1h": 4, "output": 8, "web_search": 16})
    assert (usage.input_tokens, usage.output_tokens) == (7, 8)


def test_reasoning_counts_as_output() -> None:
    assert usage_of({"output": 1, "reasoning": 2}).output_tokens == 3


def test_estimated_usage_says_so() -> None:
    assert usage_of({"input": 1}, flags=[ESTIMATED]).is_estimated
    assert not usage_of({"input": 1}, flags=["other"]).is_estimated


@pytest.mark.parametrize("leaf", LEAVES)
def test_ancestors_begin_with_the_leaf_itself_stay_in_its_direction_and_end(leaf: str) -> None:
    chain = list(ancestors(leaf))
    assert chain[0] == leaf
    assert len(chain) == len(set(chain)) <= len(LEAVES)
    assert {LEAVES[name].direction for name in chain} == {LEAVES[leaf].direction}


def test_the_hour_cache_write_falls_back_to_the_five_minute_one_and_then_to_input() -> None:
    assert list(ancestors("cache_write_1h")) == ["cache_write_1h", "cache_write_5m", "input"]


def test_no_leaf_is_both_input_and_output() -> None:
    assert not INPUT_LEAVES & OUTPUT_LEAVES


@given(st.dictionaries(st.sampled_from(sorted(LEAVES)), st.integers(-5, 10**12)))
def test_every_quantity_is_kept_flagged_or_zero(quantities: dict[str, int]) -> None:
    usage = usage_of(quantities)
    assert usage.quantities == {leaf: n for leaf, n in quantities.items() if n > 0}
    assert set(usage.flags) == {f"negative_{leaf}" for leaf, n in quantities.items() if n < 0}
    tokens = sum(n for leaf, n in usage.quantities.items() if LEAVES[leaf].direction != "call")
    assert usage.input_tokens + usage.output_tokens == tokens
