"""Records, webhook deliveries, idempotency replies and numbers."""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from costplus.billing.event import Delivery
from costplus.billing.store import StoredReply
from costplus.core.records import R, Record, check_removable, check_unchanged
from costplus.storage.codec import (
    decode_record,
    delivery_from_row,
    delivery_row,
    encode_json,
    encode_record,
    from_micros_or_none,
    micros,
    reply_from_row,
    reply_row,
)
from costplus.storage.errors import LookupTaken
from costplus.storage.queries import load_queries
from costplus.storage.sqlite.tables import Tables, as_json

SQL = load_queries("costplus.storage.sqlite", "records.sql")
OUTBOX_SQL = load_queries("costplus.storage.sqlite", "outbox.sql")


class SqliteRecords(Tables):
    """Satisfies `RecordStore`. What was found once in a verb is not asked for again."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        super().__init__(connection)
        self._found: dict[str, dict[str, Any]] = defaultdict(dict)  # Kind → id → record, or None.
        self._pages: dict[str, dict[int, dict[str, list[Any]]]] = {}  # Kind → limit → parent → newest first.

    def forget_records(self) -> None:
        """Forget what was found."""
        self._found.clear()
        self._pages.clear()

    def save(self, record: Record) -> None:
        kind, lookup = record.KIND, record.lookup
        if record.IMMUTABLE:
            check_unchanged(self.find(type(record), record.id), record, name=f"{kind} '{record.id}'")
        row = (kind, record.id, record.parent, lookup, micros(record.created), encode_record(record))
        try:
            self._db.execute(SQL.save_record, row)
        except sqlite3.IntegrityError as error:
            raise LookupTaken(f"Another {kind} has the key '{lookup}'.") from error
        self._found[kind][record.id] = record
        self._pages.pop(kind, None)

    def find(self, kind: type[R], id: str) -> R | None:
        known = self._found[kind.KIND]
        if id not in known:
            asked = self._those_of(id, known)
            known.update(dict.fromkeys(asked))
            if len(asked) == 1:
                rows = self._peek(SQL.find_record, (kind.KIND, id))
            else:
                rows = self._peek(SQL.find_records, (as_json(asked), kind.KIND))
            for body, found in rows:
                known[found] = decode_record(kind, body)
        record: R | None = known[id]
        return record

    def find_by_lookup(self, kind: type[R], lookup: str) -> R | None:
        row = self._one(SQL.find_record_by_lookup, (kind.KIND, lookup))
        return None if row is None else decode_record(kind, row[0])

    def remove(self, kind: type[R], id: str) -> None:
        check_removable(kind, id)
        self._db.execute(SQL.remove_record, (kind.KIND, id))
        self._found[kind.KIND][id] = None
        self._pages.pop(kind.KIND, None)

    def page(
        self,
        kind: type[R],
        *,
        parent: str | None = None,
        limit: int = 100,
        older_than: str | None = None,
        newer_than: str | None = None,
    ) -> Sequence[R]:
        if parent is not None and older_than is None and newer_than is None:
            return list(self._newest_of(kind, parent, limit=limit))
        rows = self._page(
            SQL.records_latest if parent is None else SQL.records_latest_of_parent,
            SQL.records_after if parent is None else SQL.records_after_of_parent,
            SQL.seq_of_record,
            {"kind": kind.KIND, "parent": parent},
            cursor_key=(kind.KIND,),
            limit=limit,
            older_than=older_than,
            newer_than=newer_than,
        )
        return [decode_record(kind, row[0]) for row in rows]

    def _newest_of(self, kind: type[R], parent: str, *, limit: int) -> list[R]:
        known = self._pages.setdefault(kind.KIND, {}).setdefault(limit, {})
        if parent not in known:
            asked = self._those_of(parent, known)
            known.update((owner, []) for owner in asked)
            if len(asked) == 1:
                rows = self._peek(SQL.newest_of_parent, (kind.KIND, parent, limit))
            else:
                rows = self._peek(SQL.newest_of_parents, (as_json(asked), kind.KIND, limit))
            for owner, body in rows:
                known[owner].append(decode_record(kind, body))
        return known[parent]


class SqliteOutbox(Tables):
    """Satisfies `OutboxStore` and `ReplyStore`, and numbers invoices."""

    def save_delivery(self, delivery: Delivery) -> None:
        self._db.execute(OUTBOX_SQL.save_delivery, delivery_row(delivery))

    def due_deliveries(self, at: datetime, *, limit: int = 100) -> Sequence[Delivery]:
        return [delivery_from_row(row) for row in self._all(OUTBOX_SQL.due_deliveries, (micros(at), limit))]

    def claim_deliveries(
        self, at: datetime, until: datetime, limit: int = 100, *, but_of: Collection[str] = ()
    ) -> Sequence[Delivery]:
        until_us = micros(until)
        but = encode_json(sorted(but_of)).decode()
        rows = self._all(OUTBOX_SQL.claimable_deliveries, (micros(at), but, limit))
        self._db.executemany(OUTBOX_SQL.claim_delivery, [(until_us, row[0]) for row in rows])
        return [replace(delivery_from_row(row), due_at=until) for row in rows]

    def delivery(self, id: str) -> Delivery | None:
        row = self._one(OUTBOX_SQL.find_delivery, (id,))
        return None if row is None else delivery_from_row(row)

    def delivery_ahead(self, delivery: Delivery, *, attempts_below: int) -> Delivery | None:
        if not delivery.object:
            return None
        parameters = (delivery.endpoint, delivery.object, delivery.id, attempts_below)
        row = self._one(OUTBOX_SQL.delivery_ahead, parameters)
        return None if row is None else delivery_from_row(row)

    def deliveries_page(
        self,
        *,
        endpoint: str | None = None,
        event: str | None = None,
        status: str | None = None,
        limit: int,
        older_than: str | None = None,
        newer_than: str | None = None,
    ) -> Sequence[Delivery]:
        named = OUTBOX_SQL.deliveries_latest, OUTBOX_SQL.deliveries_after
        if event is not None:
            named = OUTBOX_SQL.deliveries_latest_of_event, OUTBOX_SQL.deliveries_after_of_event
        elif endpoint is not None:
            named = OUTBOX_SQL.deliveries_latest_of_endpoint, OUTBOX_SQL.deliveries_after_of_endpoint
        rows = self._page(
            *named,
            OUTBOX_SQL.seq_of_delivery,
            {"endpoint": endpoint, "event": event, "status": status},
            cursor_key=(),
            limit=limit,
            older_than=older_than,
            newer_than=newer_than,
        )
        return [delivery_from_row(row) for row in rows]

    def deliveries_of(self, event: str) -> Sequence[Delivery]:
        return [delivery_from_row(row) for row in self._all(OUTBOX_SQL.deliveries_of, (event,))]

    def count_pending_deliveries(self) -> int:
        return int(self._one(OUTBOX_SQL.count_pending_deliveries, ())[0])

    def next_delivery_at(self) -> datetime | None:
        return from_micros_or_none(self._one(OUTBOX_SQL.next_delivery_at, ())[0])

    def reply(self, key: str) -> StoredReply | None:
        row = self._one(OUTBOX_SQL.find_reply, (key,))
        return None if row is None else reply_from_row(row)

    def save_reply(self, reply: StoredReply) -> None:
        self._db.execute(OUTBOX_SQL.save_reply, reply_row(reply))

    def forget_replies(self, before: datetime) -> int:
        return self._db.execute(OUTBOX_SQL.forget_replies, (micros(before),)).rowcount

    def next_number(self, series: str) -> int:
        (number,) = self._all(OUTBOX_SQL.next_number, (series,))[0]
        return int(number)
