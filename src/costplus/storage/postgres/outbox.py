"""Webhook deliveries, idempotency replies and numbers."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from datetime import datetime
from typing import Any

from costplus.billing.event import Delivery
from costplus.billing.store import StoredReply
from costplus.storage.codec import (
    Row,
    delivery_from_row,
    delivery_row,
    from_micros_or_none,
    micros,
    reply_from_row,
    reply_row,
)
from costplus.storage.postgres.session import Session
from costplus.storage.postgres.tables import Tables, Write
from costplus.storage.postgres.text import columns_of
from costplus.storage.queries import load_queries

SQL = load_queries("costplus.storage.postgres", "outbox.sql")


class PostgresOutbox(Tables):
    """Satisfies `OutboxStore` and `ReplyStore`, and numbers invoices."""

    def __init__(self, session: Session, customers: Collection[str] | None, *, reads_only: bool) -> None:
        super().__init__(session, customers, reads_only=reads_only)
        self._deliveries: dict[str, Row] = {}

    def save_delivery(self, delivery: Delivery) -> None:
        self.changing()
        self._deliveries[delivery.id] = delivery_row(delivery)

    def _deliveries_by(self, sql: str, *arguments: Any) -> list[Delivery]:
        if self._deliveries:
            self.flush()
        return [delivery_from_row(row) for row in self._all(sql, *arguments)]

    def due_deliveries(self, at: datetime, *, limit: int = 100) -> Sequence[Delivery]:
        return self._deliveries_by(SQL.due_deliveries, micros(at), limit)

    def claim_deliveries(
        self, at: datetime, until: datetime, limit: int = 100, *, but_of: Collection[str] = ()
    ) -> Sequence[Delivery]:
        self.changing()
        return self._deliveries_by(SQL.claim_deliveries, micros(at), micros(until), limit, sorted(but_of))

    def delivery(self, id: str) -> Delivery | None:
        found = self._deliveries_by(
            SQL.find_delivery if self._reads_only else SQL.find_delivery_for_update, id
        )
        return found[0] if found else None

    def delivery_ahead(self, delivery: Delivery, *, attempts_below: int) -> Delivery | None:
        if not delivery.object:
            return None
        key = (delivery.endpoint, delivery.object, delivery.id)
        found = self._deliveries_by(SQL.delivery_ahead, *key, attempts_below)
        return found[0] if found else None

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
        if self._deliveries:
            self.flush()
        named = SQL.deliveries_latest, SQL.deliveries_after
        filters: tuple[str | None, ...] = (status,)
        if event is not None:
            named = SQL.deliveries_latest_of_event, SQL.deliveries_after_of_event
            filters = (status, event, endpoint)
        elif endpoint is not None:
            named = SQL.deliveries_latest_of_endpoint, SQL.deliveries_after_of_endpoint
            filters = (status, endpoint)
        rows = self._page(
            *named,
            SQL.seq_of_delivery,
            *filters,
            cursor_key=(),
            limit=limit,
            older_than=older_than,
            newer_than=newer_than,
        )
        return [delivery_from_row(row) for row in rows]

    def deliveries_of(self, event: str) -> Sequence[Delivery]:
        return self._deliveries_by(SQL.deliveries_of, event)

    def count_pending_deliveries(self) -> int:
        if self._deliveries:
            self.flush()
        ((count,),) = self._all(SQL.count_pending_deliveries)
        return int(count)

    def next_delivery_at(self) -> datetime | None:
        if self._deliveries:
            self.flush()
        row = self._one(SQL.next_delivery_at)
        return None if row is None else from_micros_or_none(row[0])

    def reply(self, key: str) -> StoredReply | None:
        row = self._one(SQL.find_reply, key)
        return None if row is None else reply_from_row(row)

    def save_reply(self, reply: StoredReply) -> None:
        self.changing()
        self._all(SQL.save_reply, *reply_row(reply))

    def forget_replies(self, before: datetime) -> int:
        self.changing()
        ((count,),) = self._all(SQL.forget_replies, micros(before))
        return int(count)

    def next_number(self, series: str) -> int:
        self.changing()
        ((number,),) = self._all(SQL.next_number, series)
        return int(number)

    def outbox_writes(self) -> Iterator[Write]:
        """Yield what waits, and forget that it does."""
        if self._deliveries:
            yield Write("save_deliveries", SQL.save_deliveries, columns_of(self._deliveries.values()))
        self._deliveries = {}
