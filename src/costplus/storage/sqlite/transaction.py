"""The open transaction of one connection."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Collection

from costplus.billing.store import T, Topic
from costplus.storage.sqlite.agenda import SqliteAgenda
from costplus.storage.sqlite.charges import SqliteCharges
from costplus.storage.sqlite.ledger import SqliteLedger
from costplus.storage.sqlite.metering import SqliteEvents
from costplus.storage.sqlite.records import SqliteOutbox, SqliteRecords


class SqliteTx(SqliteRecords, SqliteEvents, SqliteLedger, SqliteCharges, SqliteOutbox, SqliteAgenda):
    """Satisfies `billing.store.Tx`."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        super().__init__(connection)
        self.connection = connection
        self.touched: set[Topic] = set()
        self._failure: BaseException | None = None

    def lock(self, name: str) -> None:
        """One writer at a time: nobody else holds anything."""

    def touch(self, topic: Topic) -> None:
        self.touched.add(topic)

    def run(self, verb: Callable[[SqliteTx], T], *, customers: Collection[str] | None = None) -> T:
        """Run a verb that concerns these customers and execute all that it wrote."""
        self.know(customers or ())
        try:
            result = verb(self)
            self.flush()
        finally:
            self._forget()
        return result

    def flush(self) -> None:
        if self._failure is not None:
            raise self._failure  # A part of what waited is lost: such a verb must not be kept.
        try:
            self.flush_ledger()
            self.flush_charges()
        except BaseException as error:
            self._failure = error
            raise

    def _forget(self) -> None:
        """Forget what the verb found: before the next one others may write."""
        self._failure = None
        self._siblings.clear()
        self.forget_records()
        self.forget_books()
        self.forget_sums()

    def committed(self) -> None:
        """Note that everything of the batch is kept."""
        self.fresh_rates.clear()

    def rolled_back(self) -> None:
        """Forget what the verb did that was just undone."""
        self.touched.clear()
        self.forget_fresh_rates()

    def batch_lost(self) -> None:
        """Forget what the whole batch did."""
        self.touched.clear()
        self.forget_all_rates()
