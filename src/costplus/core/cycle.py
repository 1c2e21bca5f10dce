"""Cycles: how often something is billed, counted in a customer's own time from an anchor.

Rule 1: start `n` is the anchor's wall-clock time, `n` steps of the calendar later, in the cycle's time zone:
a day that daylight saving makes 23 hours long is one day all the same.
Rule 2: days that a month lacks are its last day, and later months return to the anchor's day (31 January, 29
February): every start is counted from the anchor, never from the start before it.
Rule 3: a wall-clock time that comes twice is its first; one that is skipped is as long after the leap as it
lay behind its beginning. Starts are kept in UTC, and each period ends where the next begins.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from costplus.core.errors import InvalidRequest
from costplus.core.period import Period, add_months

Interval = Literal["day", "week", "month", "year"]
INTERVALS: tuple[Interval, ...] = ("day", "week", "month", "year")
INTERVAL_COUNT_MAX = {"day": 1095, "week": 156, "month": 36, "year": 3}  # Three years, as Stripe has it.
_DAYS = {"day": 1, "week": 7}
_MONTHS = {"month": 1, "year": 12}


class UnknownTimeZone(InvalidRequest):
    """The name is no time zone of the IANA database."""

    code = "timezone_invalid"
    remedy = "Give an IANA name such as Europe/Berlin, or UTC."


class InvalidInterval(InvalidRequest):
    """A billing interval that is shorter than one step or longer than three years."""

    code = "interval_invalid"
    remedy = "Give day, week, month or year, and a count of 1 to three years' worth."


@lru_cache(maxsize=1024)
def zone_of(name: str) -> ZoneInfo:
    """Return the time zone of an IANA name, or raise `UnknownTimeZone`."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise UnknownTimeZone(f"There is no time zone '{name}'.", param="timezone") from None


def check_interval(interval: Interval, count: int) -> None:
    """Raise `InvalidInterval` where the interval cannot be billed by."""
    if not 1 <= count <= INTERVAL_COUNT_MAX[interval]:
        raise InvalidInterval(f"Every {count} {interval}s is no billing interval.", param="interval_count")


@dataclass(frozen=True, slots=True)
class Cycle:
    """Every `count` × `interval` from `anchor` on, by the clocks of `timezone`."""

    anchor: datetime
    interval: Interval = "month"
    count: int = 1
    timezone: str = "UTC"

    def start(self, ordinal: int) -> datetime:
        """Return where period `ordinal` begins; 0 begins at the anchor itself."""
        return _start(self, ordinal)

    def period(self, ordinal: int) -> Period:
        """Return the period number `ordinal`; those before the anchor have negative numbers."""
        return _period(self, ordinal)

    def ordinal_at(self, at: datetime) -> int:
        """Return the number of the period that holds `at`."""
        longest = timedelta(days=_DAYS.get(self.interval, 31 * _MONTHS.get(self.interval, 1)) * self.count)
        ordinal = (at - self.anchor) // longest  # At least so many have passed, or fewer lie between.
        while self.start(ordinal) > at:
            ordinal -= 1
        while self.start(ordinal + 1) <= at:
            ordinal += 1
        return ordinal


# Settling asks for each subscription's few periods with every batch.
@lru_cache(maxsize=16_384)
def _start(cycle: Cycle, ordinal: int) -> datetime:
    if ordinal == 0:
        return cycle.anchor
    steps = ordinal * cycle.count
    zone = UTC if cycle.timezone == "UTC" else zone_of(cycle.timezone)
    wall = cycle.anchor.astimezone(zone).replace(tzinfo=None, fold=0)
    if cycle.interval in _DAYS:
        wall += timedelta(days=steps * _DAYS[cycle.interval])
    else:
        wall = add_months(wall, steps * _MONTHS[cycle.interval])
    return wall.replace(tzinfo=zone).astimezone(UTC)


@lru_cache(maxsize=16_384)
def _period(cycle: Cycle, ordinal: int) -> Period:
    return Period(_start(cycle, ordinal), _start(cycle, ordinal + 1))


def days_passed(period: Period, at: datetime, *, timezone: str) -> int:
    """Return how many whole days, by the zone's clocks, have passed at `at` since the period began."""
    days = Cycle(period.start, "day", 1, timezone)
    return days.ordinal_at(min(max(at, period.start), period.end))


def days_of(period: Period, *, timezone: str) -> int:
    """Return how many days the period has, a begun one at its end counted as a day."""
    days = days_passed(period, period.end, timezone=timezone)
    whole = Cycle(period.start, "day", 1, timezone).start(days) == period.end
    return days if whole else days + 1
