"""When customers are due."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from costplus.core.ids import bucket_of
from costplus.storage.codec import from_micros, micros
from costplus.storage.queries import load_queries
from costplus.storage.sqlite.tables import Tables

SQL = load_queries("costplus.storage.sqlite", "agenda.sql")


class SqliteAgenda(Tables):
    """Satisfies `AgendaStore`."""

    def due_of(self, customer: str) -> datetime | None:
        row = self._one(SQL.due_of, (bucket_of(customer), customer))
        return None if row is None else from_micros(row[0])

    def set_due(self, customer: str, at: datetime | None) -> None:
        if at is None:
            self._db.execute(SQL.forget_due, (bucket_of(customer), customer))
        else:
            self._db.execute(SQL.save_due, (bucket_of(customer), customer, micros(at)))

    def customers_due(self, at: datetime, *, limit: int) -> Sequence[str]:
        return [row[0] for row in self._all(SQL.customers_due, (micros(at), limit))]
