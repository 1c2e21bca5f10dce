"""Records, webhook deliveries, idempotency replies and numbers."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import datetime

from costplus.billing.event import Delivery
from costplus.billing.store import StoredReply, Topic
from costplus.core.records import R, Record, check_removable, check_unchanged
from costplus.storage.codec import decode_record, encode_record
from costplus.storage.errors import LookupTaken
from costplus.storage.memory.tables import Cursors, RecordRow, Undoable


class MemoryRecords(Undoable):
    """Satisfies `RecordStore`."""

    def save(self, record: Record) -> None:
        kind, lookup = record.KIND, record.lookup
        if record.IMMUTABLE:
            check_unchanged(self.find(type(record), record.id), record, name=f"{kind} '{record.id}'")
        rows = self.tables.records[kind]
        known = rows.get(record.id)
        if lookup and self.tables.lookups.get((kind, lookup), record.id) != record.id:
            raise LookupTaken(f"Another {kind} has the key '{lookup}'.")
        if known and known.lookup and known.lookup != lookup:
            self.drop(self.tables.lookups, (kind, known.lookup))
        if lookup:
            self.put(self.tables.lookups, (kind, lookup), record.id)
        seq = known.seq if known else self.next_seq()
        row = RecordRow(seq, record.id, record.parent, lookup, encode_record(record))
        self.put(rows, record.id, row)

    def find(self, kind: type[R], id: str) -> R | None:
        row = self.tables.records[kind.KIND].get(id)
        return None if row is None else decode_record(kind, row.body)

    def find_by_lookup(self, kind: type[R], lookup: str) -> R | None:
        id = self.tables.lookups.get((kind.KIND, lookup))
        return None if id is None else self.find(kind, id)

    def remove(self, kind: type[R], id: str) -> None:
        check_removable(kind, id)
        row = self.tables.records[kind.KIND].get(id)
        if row is None:
            return
        if row.lookup:
            self.drop(self.tables.lookups, (kind.KIND, row.lookup))
        self.drop(self.tables.records[kind.KIND], id)

    def page(
        self,
        kind: type[R],
        *,
        parent: str | None = None,
        limit: int = 100,
        older_than: str | None = None,
        newer_than: str | None = None,
    ) -> Sequence[R]:
        rows = self.tables.records[kind.KIND]
        cursors = Cursors(older_than, newer_than)
        if not cursors.known_in(rows):
            return []
        matching = [(row.seq, row) for row in rows.values() if parent is None or row.parent == parent]
        found = cursors.cut(matching, limit=limit, seq_of=lambda cursor: rows[cursor].seq)
        return [decode_record(kind, row.body) for row in found]


class MemoryOutbox(Undoable):
    """Satisfies `OutboxStore` and `ReplyStore`, and numbers invoices."""

    def save_delivery(self, delivery: Delivery) -> None:
        known = self.tables.deliveries.get(delivery.id)
        seq = known[0] if known else self.next_seq()
        self.put(self.tables.deliveries, delivery.id, (seq, delivery))

    def _pending(self) -> list[tuple[datetime, int, Delivery]]:
        rows = self.tables.deliveries.values()
        return [(row.due_at, seq, row) for seq, row in rows if row.status == "pending"]

    def due_deliveries(self, at: datetime, *, limit: int = 100) -> Sequence[Delivery]:
        due = sorted((due_at, seq, row) for due_at, seq, row in self._pending() if due_at <= at)
        return [row for _, _, row in due[:limit]]

    def claim_deliveries(
        self, at: datetime, until: datetime, limit: int = 100, *, but_of: Collection[str] = ()
    ) -> Sequence[Delivery]:
        due = sorted(
            (due_at, seq, row)
            for due_at, seq, row in self._pending()
            if due_at <= at and row.endpoint not in but_of
        )
        claimed = [replace(row, due_at=until) for _, _, row in due[:limit]]
        for row in claimed:
            self.save_delivery(row)
        return claimed

    def delivery(self, id: str) -> Delivery | None:
        found = self.tables.deliveries.get(id)
        return None if found is None else found[1]

    def delivery_ahead(self, delivery: Delivery, *, attempts_below: int) -> Delivery | None:
        known = self.tables.deliveries.get(delivery.id)
        if known is None or not delivery.object:
            return None
        ahead = (
            (seq, row)
            for _, seq, row in self._pending()
            if (row.endpoint, row.object) == (delivery.endpoint, delivery.object)
            and seq < known[0]
            and row.attempts < attempts_below
        )
        first = min(ahead, default=None)
        return None if first is None else first[1]

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
        rows = self.tables.deliveries
        cursors = Cursors(older_than, newer_than)
        if not cursors.known_in(rows):
            return []
        matching = (
            (seq, row)
            for seq, row in rows.values()
            if endpoint in (None, row.endpoint)
            and event in (None, row.event)
            and status in (None, row.status)
        )
        return cursors.cut(matching, limit=limit, seq_of=lambda cursor: rows[cursor][0])

    def deliveries_of(self, event: str) -> Sequence[Delivery]:
        rows = sorted((seq, row) for seq, row in self.tables.deliveries.values() if row.event == event)
        return [row for _, row in rows]

    def count_pending_deliveries(self) -> int:
        return sum(1 for _ in self._pending())

    def next_delivery_at(self) -> datetime | None:
        return min((due_at for due_at, _, _ in self._pending()), default=None)

    def reply(self, key: str) -> StoredReply | None:
        return self.tables.replies.get(key)

    def save_reply(self, reply: StoredReply) -> None:
        self.put(self.tables.replies, reply.key, reply)

    def forget_replies(self, before: datetime) -> int:
        old = [key for key, reply in self.tables.replies.items() if reply.created < before]
        for key in old:
            self.drop(self.tables.replies, key)
        return len(old)

    def next_number(self, series: str) -> int:
        number = self.tables.numbers.get(series, 0) + 1
        self.put(self.tables.numbers, series, number)
        return number

    def lock(self, name: str) -> None:
        """One transaction at a time: nobody else holds anything."""

    def touch(self, topic: Topic) -> None:
        self.touched.add(topic)
