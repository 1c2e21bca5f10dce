"""When customers are due."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from datetime import datetime

from costplus.core.ids import bucket_of
from costplus.storage.codec import from_micros, micros
from costplus.storage.postgres.session import Session
from costplus.storage.postgres.tables import Tables, Write
from costplus.storage.postgres.text import columns_of
from costplus.storage.queries import load_queries

SQL = load_queries("costplus.storage.postgres", "agenda.sql")


class PostgresAgenda(Tables):
    """Satisfies `AgendaStore`. When a customer is due is its own affair, and covered by its lock."""

    def __init__(self, session: Session, customers: Collection[str] | None, *, reads_only: bool) -> None:
        super().__init__(session, customers, reads_only=reads_only)
        self._changed_dues: dict[str, datetime | None] = {}

    def due_of(self, customer: str) -> datetime | None:
        if customer in self._changed_dues:
            return self._changed_dues[customer]
        row = self._one(SQL.due_of, bucket_of(customer), customer)
        return None if row is None else from_micros(row[0])

    def set_due(self, customer: str, at: datetime | None) -> None:
        self.changing()
        self.know([customer])
        self._changed_dues[customer] = at

    def customers_due(self, at: datetime, *, limit: int) -> Sequence[str]:
        if self._changed_dues:
            self.flush()
        return [row[0] for row in self._all(SQL.customers_due, micros(at), limit)]

    def agenda_writes(self) -> Iterator[Write]:
        """Yield what waits, and forget that it does."""
        dues, self._changed_dues = self._changed_dues, {}
        kept = [
            (bucket_of(customer), customer, micros(at)) for customer, at in dues.items() if at is not None
        ]
        gone = [(bucket_of(customer), customer) for customer, at in dues.items() if at is None]
        if kept:
            yield Write("save_dues", SQL.save_dues, columns_of(kept))
        if gone:
            yield Write("forget_dues", SQL.forget_dues, columns_of(gone))
