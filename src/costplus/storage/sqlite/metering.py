"""Usage events: appended in bulk, each once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime

from costplus.core.ids import bucket_of, milliseconds
from costplus.metering.event import UsageEvent
from costplus.storage.codec import KEY_WINDOW_US, Row, event_from_row, event_row, micros
from costplus.storage.queries import load_queries
from costplus.storage.sqlite.tables import Tables, as_json, is_plain

SQL = load_queries("costplus.storage.sqlite", "metering.sql")


class SqliteEvents(Tables):
    """Satisfies `MeteringStore`."""

    def append_events(self, events: Sequence[UsageEvent]) -> set[str]:
        by_customer: dict[str, list[UsageEvent]] = defaultdict(list)
        for event in events:
            by_customer[event.customer].append(event)
        self.know(by_customer)
        times = self._known_times(by_customer)
        rows: list[Row] = []
        for customer, batch in by_customer.items():
            bucket = bucket_of(customer)
            for event in batch:
                at_us, seen = micros(event.at), times[customer, event.key]
                if any(abs(at_us - other) <= KEY_WINDOW_US for other in seen):
                    continue
                seen.append(at_us)
                rows.append(event_row(event, bucket=bucket, at_us=at_us))
        self._insert(SQL.append_event, rows)
        return {row[2] for row in rows}

    def _known_times(
        self, by_customer: Mapping[str, Sequence[UsageEvent]]
    ) -> dict[tuple[str, str], list[int]]:
        """Return when each customer's keys were used before."""
        asked = {(customer, event.key): None for customer, batch in by_customer.items() for event in batch}
        plain = [(customer, key) for customer, key in asked if is_plain(customer) and is_plain(key)]
        if len(by_customer) == 1:
            (customer,) = by_customer
            keys = as_json(key for _, key in plain)
            found = self._all(SQL.known_keys, (bucket_of(customer), customer, keys))
        else:
            keys = as_json((bucket_of(customer), customer, key) for customer, key in plain)
            found = self._all(SQL.known_keys_of, (keys,))
        for customer, key in asked.keys() - plain:
            found += self._all(SQL.times_of_key, (bucket_of(customer), customer, key))
        times: dict[tuple[str, str], list[int]] = defaultdict(list)
        for customer, key, at_us in found:
            times[customer, key].append(at_us)
        return times

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
