"""Usage events: appended by COPY, each once.

Rule 1: an event's customer is locked before its key is looked for, so that two processes that are sent the
same event at once take turns, and the second one finds it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime

from costplus.core.ids import bucket_of, milliseconds
from costplus.metering.event import UsageEvent
from costplus.storage.codec import KEY_WINDOW_US, Row, event_from_row, event_row, micros
from costplus.storage.postgres.partitions import PartitionsMissing, month_of
from costplus.storage.postgres.session import Session
from costplus.storage.postgres.tables import Tables
from costplus.storage.postgres.text import kept_row
from costplus.storage.queries import load_queries

SQL = load_queries("costplus.storage.postgres", "metering.sql")

LAST_ID = "~"  # Above every event id, which is hexadecimal.
COLUMNS = (
    *("bucket", "customer", "id", "at", "key", "meter", "provider", "model", "requested_model", "usage"),
    *("source", "raw_usage", "request_id", "service_tier", "reported_cost", "circumstances", "api_key"),
)


def first_id(us: int) -> str:
    """Return an id below all events of the millisecond and above all earlier ones; before 1970 the lowest."""
    return f"{max(us // 1000, 0):012x}"


class PostgresEvents(Tables):
    """Satisfies `MeteringStore`."""

    def __init__(self, session: Session, customers: Collection[str] | None, *, reads_only: bool) -> None:
        super().__init__(session, customers, reads_only=reads_only)
        self.months: set[int] = set()  # Those that are known to have partitions.
        self._new_events: list[Row] = []

    def append_events(self, events: Sequence[UsageEvent]) -> set[str]:
        self.changing()
        if not events:
            return set()
        self._flush_events()
        self.know({event.customer for event in events})
        instants = [micros(event.at) for event in events]
        known = self._known_keys(events, earliest_us=min(instants), latest_us=max(instants))
        rows = []
        for event, at_us in zip(events, instants, strict=True):
            times = known[event.customer, event.key]
            if any(abs(at_us - other) <= KEY_WINDOW_US for other in times):
                continue
            times.append(at_us)
            rows.append(event_row(event, bucket=bucket_of(event.customer), at_us=at_us))
        self.check_months(row[2] for row in rows)
        self._new_events = rows
        return {row[2] for row in rows}

    def _known_keys(
        self, events: Sequence[UsageEvent], *, earliest_us: int, latest_us: int
    ) -> dict[tuple[str, str], list[int]]:
        """Return when the events' customers used their keys, within what decides about duplicates."""
        keys = list({(event.customer, event.key): None for event in events})
        times: dict[tuple[str, str], list[int]] = defaultdict(list)
        below = LAST_ID if earliest_us - KEY_WINDOW_US < 0 else first_id(latest_us + KEY_WINDOW_US + 1000)
        found = self._all(
            SQL.known_keys,
            [bucket_of(customer) for customer, _ in keys],
            [customer for customer, _ in keys],
            [key for _, key in keys],
            first_id(earliest_us - KEY_WINDOW_US),
            below,
        )
        for customer, key, at_us in found:
            times[customer, key].append(at_us)
        return times

    def check_months(self, ids: Iterable[str]) -> None:
        """Raise `PartitionsMissing` where an id's month has none."""
        months = {month for id in ids if (month := month_of(id)) is not None}
        if not months <= self.months:
            raise PartitionsMissing(months - self.months)

    def _flush_events(self) -> None:
        if self._new_events:
            self.flush()

    def copy_events(self) -> None:
        """Send what waits."""
        rows, self._new_events = self._new_events, []
        if rows:
            self._session.copy("usage_events", COLUMNS, [kept_row(row) for row in rows])

    def event(self, customer: str, id: str) -> UsageEvent | None:
        self._flush_events()
        row = self._one(SQL.find_event, bucket_of(customer), customer, id)
        return None if row is None else event_from_row(row)

    def event_by_key(self, customer: str, key: str) -> UsageEvent | None:
        self._flush_events()
        row = self._one(SQL.find_event_by_key, bucket_of(customer), customer, key)
        return None if row is None else event_from_row(row)

    def reported_as(self, identifier: str) -> Sequence[UsageEvent]:
        self._flush_events()
        return [event_from_row(row) for row in self._all(SQL.reported_as, identifier)]

    def events_between(
        self,
        customer: str,
        start: datetime,
        end: datetime,
        *,
        meter: str | None = None,
        limit: int = 100_000,
    ) -> Sequence[UsageEvent]:
        self._flush_events()
        rows = self._all(
            SQL.events_between,
            bucket_of(customer),
            customer,
            f"{max(milliseconds(start), 0):012x}",
            f"{max(milliseconds(end), 0) + 1:012x}",
            micros(start),
            micros(end),
            meter,
            limit,
        )
        return [event_from_row(row) for row in rows]
