"""Conditions: tests that a whole request must pass for a price to apply, and their text.

Rule 1: the text form is canonical: the same test has one text, which ids are made of.
Rule 2: windows of the week are half-open, in UTC, and may run past midnight; the day is that of their start.
Rule 3: a context that does not say what a condition asks about does not pass it.
Source: spec "prices", §5 (condition fields).
"""

from __future__ import annotations

import operator
import re
from bisect import bisect_left
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Literal, get_args

from costplus.catalog.context import RequestContext

Field = Literal[
    "prompt_tokens",
    "media_seconds",
    "request_time",
    "service_tier",
    "processing",
    "speed",
    "region",
    "endpoint_scope",
    "route",
    "search_context_size",
    "search_type",
    "reasoning_mode",
    "resolution",
]
Op = Literal["eq", "in", "gt", "gte", "lt", "lte"]

COUNTED: tuple[Field, ...] = ("prompt_tokens", "media_seconds")
WORDED: tuple[Field, ...] = tuple(f for f in get_args(Field) if f not in (*COUNTED, "request_time"))
_COMPARE: Mapping[str, Callable[[int, int], bool]] = {
    "gt": operator.gt,
    "gte": operator.ge,
    "lt": operator.lt,
    "lte": operator.le,
}
_SIGNS: Mapping[str, Op] = {">": "gt", ">=": "gte", "<": "lt", "<=": "lte"}
_SIGN_OF: Mapping[str, str] = {op: sign for sign, op in _SIGNS.items()}
_TEXT = re.compile(r"(?P<field>[a-z_]+)(?P<sign>>=|<=|=|>|<)(?P<value>[^&]+)")
_WORD = re.compile(r"[\w.:/-]+")
_WINDOW = re.compile(r"(?P<days>[1-7]+) (\d\d):(\d\d)-(\d\d):(\d\d)")
EVERY_DAY = "1234567"
COUNT_DIGITS_MAX = 15
DAY_MINUTES, WEEK_MINUTES = 1440, 7 * 1440


@dataclass(frozen=True, slots=True)
class Condition:
    """A test such as `prompt_tokens gt 272000`, `region in (eu, us)` or `request_time in (6 01:00-04:00,)`.

    Numbers compare; words are equal or among several (`in`); `request_time` is within one of its windows.
    """

    field: Field
    op: Op
    value: int | str | tuple[str, ...]

    def holds(self, *, prompt_tokens: int, context: RequestContext) -> bool:
        """Return whether a request of that many input tokens passes."""
        field, value = self.field, self.value
        if field == "prompt_tokens":
            assert isinstance(value, int)
            return _COMPARE[self.op](prompt_tokens, value)
        if field == "request_time":
            assert isinstance(value, tuple)
            return context.at is not None and any(is_within(window, context.at) for window in value)
        actual = getattr(context, field)
        if isinstance(value, int):
            return bool(_COMPARE[self.op](actual, value))
        return actual in value if isinstance(value, tuple) else bool(actual == value)

    @property
    def text(self) -> str:
        """The condition as the snapshot writes it."""
        if isinstance(self.value, int):
            return f"{self.field}{_SIGN_OF[self.op]}{self.value}"
        words = self.value if isinstance(self.value, tuple) else (self.value,)
        return f"{self.field}={'|'.join(words)}"


def among(field: Field, words: Iterable[str]) -> Condition:
    """Return the condition that a field is one of `words`; their order does not matter."""
    known = tuple(sorted(set(words)))
    assert known and not any(set(word) & set("&|") or not word for word in known), known
    if len(known) == 1 and field != "request_time":
        return Condition(field, "eq", known[0])
    return Condition(field, "in", known)


def when_text(when: Iterable[Condition]) -> str:
    """Return conditions as one text, in an order of their own."""
    return "&".join(sorted(condition.text for condition in when))


@cache
def when_of(text: str) -> tuple[Condition, ...]:
    """Read back what `when_text` wrote."""
    return tuple(_condition(part) for part in text.split("&")) if text else ()


def is_when_text(text: str) -> bool:
    """Return whether `when_of` can read a text that people wrote; the empty one is no condition."""
    return not text or all(_is_readable(part) for part in text.split("&"))


def _is_readable(text: str) -> bool:
    match = _TEXT.fullmatch(text)
    if match is None or not text.isascii():
        return False
    field, sign, value = match["field"], match["sign"], match["value"]
    if field in COUNTED:
        return sign != "=" and value.isdecimal() and len(value) <= COUNT_DIGITS_MAX
    if sign != "=":
        return False
    words = value.split("|")
    if field == "request_time":
        return all(_is_window(word) for word in words)
    return field in WORDED and all(_WORD.fullmatch(word) for word in words)


def _is_window(text: str) -> bool:
    match = _WINDOW.fullmatch(text)
    if match is None:
        return False
    days, *numbers = match.groups()
    hours, minutes = numbers[::2], numbers[1::2]
    in_day = all(int(hour) < 24 for hour in hours) and all(int(minute) < 60 for minute in minutes)
    return in_day and "".join(sorted(set(days))) == days


def _condition(text: str) -> Condition:
    match = _TEXT.fullmatch(text)
    assert match is not None, text
    field, sign, value = match["field"], match["sign"], match["value"]
    for counted in COUNTED:
        if field == counted:
            return Condition(counted, _SIGNS[sign], int(value))
    assert sign == "=", text
    if field == "request_time":
        assert all(_WINDOW.fullmatch(window) for window in value.split("|")), text
        return among("request_time", value.split("|"))
    return among(next(worded for worded in WORDED if worded == field), value.split("|"))


def selector(conditions: Iterable[Condition]) -> Callable[[int, RequestContext], Hashable]:
    """Return a function of (prompt tokens, context): where it gives the same, the same conditions hold.

    It costs a fraction of asking each condition. Different results do not mean different conditions.
    """
    listed = tuple(conditions)
    sizes = [(c.op, c.value) for c in listed if c.field == "prompt_tokens" and isinstance(c.value, int)]
    edges = sorted({size - (op in ("gte", "lt")) for op, size in sizes})  # Each condition turns above one.
    asked = tuple(c for c in listed if c.field in ("media_seconds", "request_time"))
    fields = sorted({c.field for c in listed if c.field in WORDED})
    words: Callable[[RequestContext], Hashable] = operator.attrgetter(*fields) if fields else _nothing

    def key(prompt_tokens: int, context: RequestContext) -> Hashable:
        at = bisect_left(edges, prompt_tokens)
        if asked:
            holding = [c.holds(prompt_tokens=prompt_tokens, context=context) for c in asked]
            return at, words(context), *holding
        return at, words(context)

    return key


def _nothing(context: RequestContext) -> None:
    """Stand in for the words of conditions that ask for none."""


def window(days: str, *, start: int, end: int) -> str:
    """Return a weekly window's text: ISO days, minutes of the day; an end at or before the start wraps."""
    assert 0 <= start < DAY_MINUTES and 0 <= end <= DAY_MINUTES, (start, end)
    return f"{days} {start // 60:02}:{start % 60:02}-{end % DAY_MINUTES // 60:02}:{end % 60:02}"


@cache
def _spans(text: str) -> tuple[tuple[int, int], ...]:
    """Return (first minute of the week, length in minutes) per day of a window."""
    match = _WINDOW.fullmatch(text)
    assert match is not None, text
    days, *numbers = match.groups()
    first_hour, first_minute, last_hour, last_minute = map(int, numbers)
    start = first_hour * 60 + first_minute
    length = (last_hour * 60 + last_minute - start) % DAY_MINUTES or DAY_MINUTES
    return tuple(((int(day) - 1) * DAY_MINUTES + start, length) for day in days)


def is_within(text: str, at: datetime) -> bool:
    """Return whether an aware UTC instant lies in a weekly window."""
    minute = at.weekday() * DAY_MINUTES + at.hour * 60 + at.minute
    return any((minute - start) % WEEK_MINUTES < length for start, length in _spans(text))
