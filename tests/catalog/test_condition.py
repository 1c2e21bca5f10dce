"""Conditions hold exactly where their text says, and their text is one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costplus.catalog.condition import (
    DAY_MINUTES,
    EVERY_DAY,
    WORDED,
    Condition,
    among,
    is_when_text,
    is_within,
    selector,
    when_of,
    when_text,
    window,
)
from costplus.catalog.context import ORDINARY, RequestContext, served

MONDAY = datetime(2026, 8, 17, tzinfo=UTC)
INSTANT = timedelta(microseconds=1)

PROMPTS = [
    ("gt", 200_000, False),
    ("gt", 200_001, True),
    ("gte", 199_999, False),
    ("gte", 200_000, True),
    ("lt", 199_999, True),
    ("lt", 200_000, False),
    ("lte", 200_000, True),
    ("lte", 200_001, False),
]


@pytest.mark.parametrize(("op", "prompt_tokens", "holds"), PROMPTS)
def test_a_threshold_is_strict_or_inclusive_as_it_says(op: str, prompt_tokens: int, holds: bool) -> None:
    condition = Condition("prompt_tokens", op, 200_000)  # type: ignore[arg-type]  # An op of the list above.
    assert condition.holds(prompt_tokens=prompt_tokens, context=ORDINARY) is holds


@pytest.mark.parametrize("field", WORDED)
def test_a_word_is_equal_or_among_several(field: str) -> None:
    one, some = among(field, ["x"]), among(field, ["y", "x"])  # type: ignore[arg-type]  # A worded field.
    for word, equal, listed in (("x", True, True), ("y", False, True), ("z", False, False)):
        context = RequestContext(**{field: word})
        assert one.holds(prompt_tokens=0, context=context) is equal
        assert some.holds(prompt_tokens=0, context=context) is listed


WINDOWS = [
    ("12345 01:00-04:00", MONDAY.replace(hour=1), True),
    ("12345 01:00-04:00", MONDAY.replace(hour=1) - INSTANT, False),
    ("12345 01:00-04:00", MONDAY.replace(hour=4) - INSTANT, True),
    ("12345 01:00-04:00", MONDAY.replace(hour=4), False),
    ("12345 01:00-04:00", MONDAY.replace(day=22, hour=2), False),  # A Saturday.
    ("67 00:00-00:00", MONDAY - INSTANT, True),
    ("67 00:00-00:00", MONDAY, False),
    ("5 22:00-06:00", MONDAY.replace(day=22, hour=5), True),  # Friday's window runs into Saturday.
    ("5 22:00-06:00", MONDAY.replace(day=21, hour=5), False),
    ("7 22:00-06:00", MONDAY.replace(hour=5), True),  # And Sunday's into Monday.
]


@pytest.mark.parametrize(("text", "at", "inside"), WINDOWS)
def test_a_weekly_window_is_half_open_and_may_wrap(text: str, at: datetime, inside: bool) -> None:
    condition = among("request_time", [text])
    assert condition.holds(prompt_tokens=0, context=RequestContext(at=at)) is inside


def test_an_unknown_time_is_in_no_window() -> None:
    always = among("request_time", [window(EVERY_DAY, start=0, end=0)])
    assert not always.holds(prompt_tokens=0, context=ORDINARY)


@given(st.integers(0, DAY_MINUTES - 1), st.integers(0, DAY_MINUTES - 1), st.integers(0, 7 * DAY_MINUTES - 1))
def test_a_window_and_its_complement_share_no_minute_and_leave_none(
    start: int, end: int, minute: int
) -> None:
    at = MONDAY + timedelta(minutes=minute)
    inside = is_within(window(EVERY_DAY, start=start, end=end), at)
    rest = is_within(window(EVERY_DAY, start=end, end=start), at)
    assert inside and rest if start == end else inside is not rest


conditions = st.one_of(
    st.builds(
        Condition,
        st.sampled_from(["prompt_tokens", "media_seconds"]),
        st.sampled_from(["gt", "gte", "lt", "lte"]),
        st.integers(0, 10**7),
    ),
    st.builds(among, st.sampled_from(WORDED), st.lists(st.sampled_from("abcd"), min_size=1)),
    st.builds(
        lambda days, start, end: among("request_time", [window(days, start=start, end=end)]),
        st.sampled_from(["1", "12345", EVERY_DAY]),
        st.integers(0, DAY_MINUTES - 1),
        st.integers(0, DAY_MINUTES),
    ),
)


@given(st.lists(conditions, max_size=4))
def test_conditions_survive_being_written_and_have_one_text_in_any_order(listed: list[Condition]) -> None:
    text = when_text(listed)
    assert text == when_text(reversed(listed))
    assert sorted(c.text for c in when_of(text)) == sorted(c.text for c in listed)
    assert set(when_of(text)) == set(listed)


def asked(
    prompt_tokens: int, seconds: int, tier: str, region: str, hour: int | None
) -> tuple[int, RequestContext]:
    at = None if hour is None else MONDAY + timedelta(hours=hour)
    context = RequestContext(service_tier=tier, region=region, media_seconds=seconds, at=at)
    return prompt_tokens, context


TEXTS = [
    *("prompt_tokens>3", "prompt_tokens>=3", "prompt_tokens<3", "prompt_tokens<=3", "prompt_tokens>0"),
    *("prompt_tokens>=5", "media_seconds>2", "service_tier=flex", "service_tier=fast|flex", "region=eu"),
    *("request_time=1 01:00-02:00", "request_time=1 02:00-03:00|7 23:00-00:00"),
]
requests = st.builds(
    asked,
    st.integers(0, 7),
    st.integers(0, 4),
    st.sampled_from(["standard", "flex", "fast", "unheard-of"]),
    st.sampled_from(["", "eu", "us"]),
    st.sampled_from([None, 0, 1, 2, 3]),
)


@given(st.sets(st.sampled_from(TEXTS)), requests, requests)
def test_where_a_selector_gives_the_same_the_same_conditions_hold(
    texts: set[str], one: tuple[int, RequestContext], other: tuple[int, RequestContext]
) -> None:
    conditions = [condition for text in sorted(texts) for condition in when_of(text)]
    select = selector(conditions)
    held = [
        [condition.holds(prompt_tokens=prompt_tokens, context=context) for condition in conditions]
        for prompt_tokens, context in (one, other)
    ]
    assert select(*one) == select(*one)
    assert select(*one) != select(*other) or held[0] == held[1]


@pytest.mark.parametrize("text", TEXTS[:6])
def test_a_selector_turns_where_its_condition_does_and_nowhere_else(text: str) -> None:
    (condition,) = when_of(text)
    select = selector([condition])
    selected = [select(size, ORDINARY) for size in range(8)]
    held = [condition.holds(prompt_tokens=size, context=ORDINARY) for size in range(8)]
    assert [a == b for a, b in pairwise(selected)] == [a == b for a, b in pairwise(held)]


WORDS = [
    ({"service_tier": ""}, {}),
    ({"service_tier": "default"}, {}),
    ({"service_tier": "auto", "speed": "standard", "region": "global"}, {}),
    ({"service_tier": "ON_DEMAND"}, {}),
    ({"service_tier": "ON_DEMAND_FLEX"}, {"service_tier": "flex"}),
    ({"service_tier": "priority"}, {"service_tier": "priority"}),
    ({"service_tier": "batch"}, {"processing": "batch"}),
    ({"speed": "fast", "region": "us"}, {"speed": "fast", "region": "us"}),
    ({"region": "not_available"}, {}),
]


@pytest.mark.parametrize(("told", "meant"), WORDS)
def test_providers_words_for_nothing_special_are_an_ordinary_call(
    told: dict[str, str], meant: dict[str, str]
) -> None:
    assert served(**told) == RequestContext(**meant)


READABLE = [
    ("", True),
    ("prompt_tokens>200000", True),
    ("processing=batch&prompt_tokens>=1", True),
    ("region=eu|us", True),
    ("request_time=12345 22:00-06:00", True),
    ("prompt_tokens=5", False),
    ("prompt_tokens>x", False),
    ("prompt_tokens>" + "9" * 16, False),
    ("prompt_tokens>٣", False),
    ("colour=red", False),
    ("processing>batch", False),
    ("processing=", False),
    ("processing=batch&", False),
    ("processing=batch#2", False),
    ("region=eu||us", False),
    ("request_time=8 22:00-06:00", False),
    ("request_time=21 22:00-06:00", False),
    ("request_time=1 24:00-06:00", False),
    ("request_time=1 22:60-06:00", False),
    ("request_time=1 22:00", False),
]


@pytest.mark.parametrize(("text", "readable"), READABLE)
def test_what_a_person_writes_is_checked_before_it_is_read(text: str, readable: bool) -> None:
    assert is_when_text(text) is readable
    if readable:
        assert when_text(when_of(text)) == text
