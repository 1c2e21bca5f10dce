"""The port through which usage events are kept."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from costplus.metering.event import UsageEvent


class MeteringStore(Protocol):
    """The metering part of one open transaction."""

    def append_events(self, events: Sequence[UsageEvent]) -> set[str]:
        """Keep the events that are new and return their ids.

        An event is a duplicate, and left as it is, where its id is known or where its customer has
        reported under the same key within 35 days around its time (a retry that moved the timestamp).
        """

    def event(self, customer: str, id: str) -> UsageEvent | None:
        """Return the event, or None."""

    def reported_as(self, identifier: str) -> Sequence[UsageEvent]:
        """Return the meter events that were reported under the identifier, of any customer, newest first."""

    def event_by_key(self, customer: str, key: str) -> UsageEvent | None:
        """Return the customer's event with this idempotency key, or None."""

    def events_between(
        self,
        customer: str,
        start: datetime,
        end: datetime,
        *,
        meter: str | None = None,
        limit: int = 100_000,
    ) -> Sequence[UsageEvent]:
        """Return the customer's events with `start ≤ at < end` in time order."""
