"""Usage events: appended in bulk, each once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from costplus.core.ids import bucket_of, milliseconds
from costplus.metering.event import UsageEvent
from costplus.storage.codec import KEY_WINDOW_US, encode_json, event_from_row, event_row, micros
from costplus.storage.queries import load_queries
from costplus.storage.sqlite.tables import Tables

SQL = load_queries("costplus.storage.sqlite", "metering.sql")


class SqliteEvents(Tables):
    """Satisfies `MeteringStore`."""

    def append_events(self, events: Sequence[UsageEvent]) -> set[str]:
        by_customer: dict[str, list[UsageEvent]] = defaultdict(list)
        for event in events:
            by_customer[event.customer].append(event)
        rows: list[Any] = []
        for customer, batch in by_customer.items():
            rows += self._new_rows(customer, batch)
        self._db.executemany(SQL.append_event, rows)
        return {row[2] for row in rows}

    def _new_rows(self, customer: str, batch: Sequence[UsageEvent]) -> list[Any]:
        """Return the rows of the customer's events that are neither stored nor earlier in the batch."""
        bucket = bucket_of(customer)
        keys = {event.key for event in batch}
        known_keys: dict[str, list[int]] = defaultdict(list)
        found = self._all(SQL.known_keys, (bucket, customer, encode_json(list(keys))))
        for key in keys:
            if "\x00" in key:  # SQLite's JSON ends a text at its NUL.
                found += self._all(SQL.times_of_key, (bucket, customer, key))
        for key, at_us in found:
            known_keys[key].append(at_us)
        rows = []
        for event in batch:
            at_us = micros(event.at)
            times = known_keys[event.key]
            if any(abs(at_us - other) <= KEY_WINDOW_US for other in times):
                continue
            times.append(at_us)
            rows.append(event_row(event, bucket=bucket, at_us=at_us))
        return rows

    def event(self, customer: str, id: str) -> UsageEvent | None:
        row = self._one(SQL.find_event, (bucket_of(customer), customer, id))
        return None if row is None else event_from_row(row)

    def event_by_key(self, customer: str, key: str) -> UsageEvent | None:
        row = self._one(SQL.find_event_by_key, (bucket_of(customer), customer, key))
        return None if row is None else event_from_row(row)

    def reported_as(self, identifier: str) -> Sequence[UsageEvent]:
        return [event_from_row(row) for row in self._all(SQL.reported_as, (identifier,))]

    def events_between(
        self,
        customer: str,
        start: datetime,
        end: datetime,
        *,
        meter: str | None = None,
        limit: int = 100_000,
    ) -> Sequence[UsageEvent]:
        rows = self._all(
            SQL.events_between,
            {
                "bucket": bucket_of(customer),
                "customer": customer,
                "first_id": f"{max(milliseconds(start), 0):012x}",
                "last_id": f"{max(milliseconds(end), 0) + 1:012x}",
                "start": micros(start),
                "end": micros(end),
                "meter": meter,
                "limit": limit,
            },
        )
        return [event_from_row(row) for row in rows]
