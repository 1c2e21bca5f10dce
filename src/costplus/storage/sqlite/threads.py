"""The threads that own the connections: one writes in batches, the others read snapshots.

Rule 1: a verb of a batch runs inside a savepoint and succeeds or fails alone; where the commit itself fails,
everybody who was in the batch is told that nothing was kept.
"""

from __future__ import annotations

import sqlite3
from abc import abstractmethod
from collections.abc import Callable, Iterable
from pathlib import Path
from queue import Empty

from costplus.billing.store import Topic
from costplus.storage.outcome import Attempt, Outcome, Reported, hand_over
from costplus.storage.sqlite.connection import connect_reader, connect_writer
from costplus.storage.sqlite.transaction import SqliteTx
from costplus.storage.threads import Queue, QueueWorker

BATCH_MAX = 256


class SqliteWorker(QueueWorker):
    """A thread with a connection of its own to the file."""

    def __init__(self, *, path: Path, queue: Queue, busy_timeout_ms: int, opened: Outcome) -> None:
        super().__init__(queue=queue, opened=opened)
        self._path = path
        self._busy_timeout_ms = busy_timeout_ms

    def open(self) -> None:
        self.tx = SqliteTx(self.connect())

    @abstractmethod
    def connect(self) -> sqlite3.Connection:
        """Open this thread's own connection."""

    def close(self) -> None:
        self.tx.connection.close()


class Reader(SqliteWorker):
    """Runs each verb on a consistent snapshot."""

    def connect(self) -> sqlite3.Connection:
        return connect_reader(self._path, busy_timeout_ms=self._busy_timeout_ms)

    def serve(self, first: Attempt) -> bool:
        tx = self.tx
        try:
            tx.connection.execute("BEGIN")
            _run(tx, first)
            tx.connection.execute("ROLLBACK")
        except sqlite3.Error as error:
            first.fail(error)
        tx.touched.clear()
        hand_over([first])
        return True


class Writer(SqliteWorker):
    """Runs waiting verbs together in one transaction: they share its fsync."""

    def __init__(
        self,
        *,
        path: Path,
        queue: Queue,
        busy_timeout_ms: int,
        opened: Outcome,
        notify: Callable[[Iterable[Topic]], None],
    ) -> None:
        super().__init__(path=path, queue=queue, busy_timeout_ms=busy_timeout_ms, opened=opened)
        self._notify = notify

    def connect(self) -> sqlite3.Connection:
        return connect_writer(self._path, busy_timeout_ms=self._busy_timeout_ms)

    def serve(self, first: Attempt) -> bool:
        batch, more = [first], True
        while len(batch) < BATCH_MAX and more:
            try:
                attempt = self.queue.get_nowait()
            except Empty:
                break
            if attempt is None:
                more = False
            else:
                batch.append(attempt)
        touched = commit_batch(self.tx, batch)
        if touched:
            with Reported():
                self._notify(touched)
        hand_over(batch)
        return more


def _run(tx: SqliteTx, attempt: Attempt) -> None:
    """Run the verb; where the database did not take what it did, say so instead of the driver."""
    with attempt:
        attempt.result = tx.run(attempt.verb, customers=attempt.customers)
    if isinstance(attempt.error, sqlite3.OperationalError):
        attempt.fail(attempt.error)


def commit_batch(tx: SqliteTx, batch: Iterable[Attempt]) -> set[Topic]:
    """Run the verbs and commit them together; return the topics that those kept have touched."""
    db = tx.connection
    touched: set[Topic] = set()
    try:
        db.execute("BEGIN IMMEDIATE")
        for attempt in batch:
            touched |= _run_alone(tx, attempt)
        db.execute("COMMIT")
    except sqlite3.Error as error:
        if db.in_transaction:
            db.execute("ROLLBACK")
        tx.batch_lost()
        for attempt in batch:
            attempt.fail(error)
        return set()
    tx.committed()
    return touched


def _run_alone(tx: SqliteTx, attempt: Attempt) -> set[Topic]:
    """Run one verb in a savepoint; return the topics it touched, none where it was rolled back."""
    db = tx.connection
    db.execute("SAVEPOINT verb")
    _run(tx, attempt)
    if attempt.error is not None:
        if not db.in_transaction:  # A full disk and its like roll back everything at once.
            cause = attempt.error.__cause__ or attempt.error
            raise sqlite3.OperationalError(str(cause)) from cause
        db.execute("ROLLBACK TO verb")
        tx.rolled_back()
    db.execute("RELEASE verb")
    touched, tx.touched = tx.touched, set()
    return touched
