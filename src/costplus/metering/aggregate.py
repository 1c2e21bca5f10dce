"""What a meter's formula makes of a customer's events: Stripe's sum, count and last, and our own.

Rule 1: `avg`, `min`, `max` are over the values, `unique` counts different ones (texts, such as user ids).
Rule 2: events count in the order of their time, ties in that of their coming. Where a meter is pre-aggregated
by hour or day, the latest event of a window stands for the window; only `sum`, `count` and `last` know it.
Rule 3: of nothing every formula makes 0. What is billed of an average is whole, rounded half up.
Source: spec "Stripe's wire", §5.3.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import Literal

Formula = Literal["sum", "count", "last", "avg", "min", "max", "unique"]
TimeWindow = Literal["day", "hour"]

FORMULAS: tuple[Formula, ...] = ("sum", "count", "last", "avg", "min", "max", "unique")
WINDOWED: tuple[Formula, ...] = ("sum", "count", "last")
HALF = Fraction(1, 2)
_LENGTHS: dict[TimeWindow, timedelta] = {"day": timedelta(days=1), "hour": timedelta(hours=1)}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Reading:
    """One event on a meter: when, how many, and as what it was written."""

    at: datetime
    value: int
    text: str = ""


def window_start(at: datetime, window: TimeWindow) -> datetime:
    """Return the start of the UTC hour or day that holds an instant."""
    return _EPOCH + (at - _EPOCH) // _LENGTHS[window] * _LENGTHS[window]


def aggregate(formula: Formula, readings: Sequence[Reading], *, window: TimeWindow | None = None) -> Fraction:
    """Return the formula's value of readings in the order of their coming, exact."""
    in_time = sorted(readings, key=lambda reading: reading.at)
    if window is not None:
        assert formula in WINDOWED
        in_time = list({window_start(reading.at, window): reading for reading in in_time}.values())
    values = [reading.value for reading in in_time]
    if formula == "count":
        return Fraction(len(values))
    if formula == "unique":
        return Fraction(len({reading.text or str(reading.value) for reading in in_time}))
    if not values:
        return Fraction(0)
    if formula == "sum":
        return Fraction(sum(values))
    if formula == "avg":
        return Fraction(sum(values), len(values))
    if formula == "last":
        return Fraction(values[-1])
    return Fraction(min(values) if formula == "min" else max(values))


def whole(exact: Fraction) -> int:
    """Return the units that are billed of an average: rounded half up."""
    return int((exact + HALF) // 1)
