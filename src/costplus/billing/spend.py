"""What spend is summed over: a span of time and a part of a customer's usage.

Rule 1: an event counts in the day, week or month of its own time, in the customer's time zone; in a billing
period by when it is billed, as the invoice has it. A late event counts where it belongs.
Rule 2: weeks begin on Monday. Windows are half-open, and `all_time` is one window without an end.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, tzinfo
from typing import Literal

from costplus.billing.customer import Customer
from costplus.core.cycle import zone_of as zone_named
from costplus.core.ids import from_milliseconds
from costplus.core.period import Period
from costplus.metering.event import UsageEvent

Span = Literal["day", "week", "month", "billing", "all_time"]
SPANS: tuple[Span, ...] = ("day", "week", "month", "billing", "all_time")
ALL_TIME = Period(from_milliseconds(0), datetime(9999, 1, 1, tzinfo=UTC))


def zone_of(customer: Customer) -> tzinfo:
    """Return the time zone that the customer's days begin in."""
    return UTC if customer.timezone == "UTC" else zone_named(customer.timezone)


def calendar_window(span: Literal["day", "week", "month"], at: datetime, *, zone: tzinfo) -> Period:
    """Return the calendar day, week or month of the zone that holds `at`, as instants in UTC."""
    day = at.astimezone(zone).date()
    if span == "day":
        first, last = day, day + timedelta(days=1)
    elif span == "week":
        first = day - timedelta(days=day.weekday())
        last = first + timedelta(days=7)
    else:
        first = day.replace(day=1)
        last = (first + timedelta(days=31)).replace(day=1)
    return Period(_midnight(first, zone), _midnight(last, zone))


def _midnight(day: date, zone: tzinfo) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=zone).astimezone(UTC)


@dataclass(frozen=True, slots=True)
class Scope:
    """A part of a customer's usage: one key's, one model's, or all of it where both are empty."""

    api_key: str = ""
    model: str = ""  # provider/model, as events have them.

    def covers(self, event: UsageEvent) -> bool:
        """Return whether the event belongs to it."""
        if self.api_key not in ("", event.api_key):
            return False
        return not self.model or self.model == f"{event.provider}/{event.model}"

    @property
    def provider_and_model(self) -> tuple[str, str]:
        provider, _, model = self.model.partition("/")
        return provider, model
