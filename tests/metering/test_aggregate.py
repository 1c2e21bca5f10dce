"""Formulas make one figure of events, in the order of their time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from fractions import Fraction

import pytest

from costplus.metering.aggregate import Formula, Reading, aggregate, whole, window_start

NOON = datetime(2026, 3, 14, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def readings(*values: int) -> list[Reading]:
    return [Reading(NOON + index * MINUTE, value) for index, value in enumerate(values)]


FIGURES: list[tuple[Formula, str]] = [
    ("sum", "90"),
    ("count", "4"),
    ("last", "30"),
    ("avg", "22.5"),
    ("min", "10"),
    ("max", "30"),
    ("unique", "3"),
]


@pytest.mark.parametrize(("formula", "figure"), FIGURES)
def test_each_formula_makes_its_figure_and_0_of_nothing(formula: Formula, figure: str) -> None:
    assert aggregate(formula, readings(10, 20, 30, 30)) == Fraction(figure)
    assert aggregate(formula, []) == 0


def test_the_last_is_the_latest_in_time_and_of_a_tie_the_later_to_come() -> None:
    late = [Reading(NOON, 1), Reading(NOON - MINUTE, 2)]
    assert aggregate("last", late) == 1
    assert aggregate("last", [*late, Reading(NOON, 3)]) == 3


def test_different_values_are_told_apart_by_their_text() -> None:
    users = [Reading(NOON, 1, text) for text in ("ann", "ben", "ann")]
    assert aggregate("unique", users) == 2


def test_in_a_time_window_the_latest_event_stands_for_the_window() -> None:
    found = [Reading(NOON, 2), Reading(NOON + MINUTE, 3), Reading(NOON + 60 * MINUTE, 7)]
    assert [aggregate(f, found, window="hour") for f in ("sum", "count", "last")] == [10, 2, 7]
    assert aggregate("sum", found, window="day") == 7
    assert window_start(NOON + 59 * MINUTE, "hour") == NOON
    assert window_start(NOON, "day") == NOON - timedelta(hours=12)


@pytest.mark.parametrize(("average", "billed"), [("22.4", 22), ("22.5", 23), ("-0.5", 0), ("0", 0)])
def test_an_average_is_billed_in_whole_units(average: str, billed: int) -> None:
    assert whole(Fraction(average)) == billed
