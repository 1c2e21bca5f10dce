"""Half-open periods `[start, end)` and calendar months anchored to a day.

Rule 1: an anchor on the 31st bills on the last day of shorter months and returns to the 31st after them
(Stripe's billing cycle anchor rule).
"""

from __future__ import annotations

import calendar
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache


@dataclass(frozen=True, slots=True)
class Period:
    """All instants `start ≤ at < end`."""

    start: datetime
    end: datetime

    def __contains__(self, at: datetime) -> bool:
        return self.start <= at < self.end


def add_months(anchor: datetime, months: int) -> datetime:
    """Return the instant `months` after `anchor`, clipped to the month's last day."""
    index = anchor.year * 12 + anchor.month - 1 + months
    year, month = divmod(index, 12)
    day = min(anchor.day, calendar.monthrange(year, month + 1)[1])
    return anchor.replace(year=year, month=month + 1, day=day)


# Settling asks for a subscription's few periods once per event. Instants are UTC, so equal anchors are alike.
@lru_cache(maxsize=4096)
def monthly_period(anchor: datetime, ordinal: int) -> Period:
    """Return the period number `ordinal` (0 is the one that begins at the anchor)."""
    return Period(add_months(anchor, ordinal), add_months(anchor, ordinal + 1))


def hour_floor(at: datetime) -> datetime:
    """Return the start of the UTC hour that holds `at`."""
    return at.replace(minute=0, second=0, microsecond=0)


def hour_ceil(at: datetime) -> datetime:
    """Return the first UTC hour start at or after `at`."""
    floor = hour_floor(at)
    return floor if floor == at else floor + timedelta(hours=1)
