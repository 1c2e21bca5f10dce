"""The open transaction of one connection."""

from __future__ import annotations

import sqlite3

from costplus.billing.store import Topic
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

    def lock(self, name: str) -> None:
        """One writer at a time: nobody else holds anything."""

    def touch(self, topic: Topic) -> None:
        self.touched.add(topic)

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
