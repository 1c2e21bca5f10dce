"""The threads that own the connections: some write, some read snapshots; each verb is a transaction.

Rule 1: a verb runs again, a bounded number of times, where another transaction was in its way or its
connection was lost before COMMIT was sent. Where that is lost later the outcome is unknown, and who waits is
told so.
Rule 2: listeners hear of a commit before its writer does.
"""

from __future__ import annotations

import random
import time
from abc import abstractmethod
from collections.abc import Callable, Iterable, MutableMapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from queue import Empty

from costplus.billing.store import Topic
from costplus.rating.sheet import UnitRate
from costplus.storage.errors import StorageUnavailable
from costplus.storage.outcome import Attempt, Outcome, Reported, hand_over
from costplus.storage.postgres.faults import is_in_the_way, is_refused
from costplus.storage.postgres.migrate import migrate
from costplus.storage.postgres.partitions import (
    AHEAD,
    PartitionsMissing,
    make_partitions,
    month_at,
)
from costplus.storage.postgres.session import READS, WRITES, Session
from costplus.storage.postgres.transaction import PostgresTx
from costplus.storage.threads import Queue, QueueWorker

TRIES = 12
REST_AFTER_S = 1
PAUSE_MS_MAX = 250


@dataclass(slots=True)
class Shared:
    """What the threads of one store know together. Sets and mappings are only added to."""

    url: str
    sender: str  # Tells this store's notifications from those of others.
    rates: MutableMapping[str, UnitRate] = field(default_factory=dict)
    months: set[int] = field(default_factory=set)


class PostgresWorker(QueueWorker):
    """A thread with a session of its own."""

    def __init__(self, *, shared: Shared, queue: Queue, opened: Outcome) -> None:
        super().__init__(queue=queue, opened=opened)
        self.shared = shared
        self.session = self.new_session()

    @abstractmethod
    def new_session(self) -> Session:
        """Return the session, not connected yet."""

    def open(self) -> None:
        try:
            self.prepare()
        except BaseException:
            self.session.close()
            raise

    def prepare(self) -> None:
        """Connect, and do what must be done before the first verb."""
        self.session.begin()

    def close(self) -> None:
        self.session.close()

    def take(self) -> Attempt | None:
        """Wait for the next attempt; a while without one ends the transaction that was begun ahead."""
        if self.session.has_begun:
            try:
                return self.queue.get(timeout=REST_AFTER_S)
            except Empty:
                self.session.rollback(chain=False)
        return self.queue.get()

    def judge(self, attempt: Attempt) -> Exception | None:
        """Return the error after which the verb runs again, or None; what it means is noted."""
        error = attempt.error
        if not isinstance(error, Exception):
            return None
        lost = self.session.is_lost_by(error)
        if isinstance(error, TimeoutError):
            self.session.drop()  # Nobody knows whether the server is still there.
        self.session.rollback()
        if isinstance(error, PartitionsMissing):
            return error
        if isinstance(error, StorageUnavailable):
            return None
        if is_refused(error):
            attempt.fail(error)
            return None
        return error if lost or is_in_the_way(error) else None


class Reader(PostgresWorker):
    """Runs each verb on a consistent snapshot."""

    def new_session(self) -> Session:
        return Session(self.shared.url, name="costplus reader", mode=READS)

    def serve(self, first: Attempt) -> bool:
        cause = None
        for _ in range(TRIES):
            with first:
                self.session.begin()
                tx = PostgresTx(self.session, None, rates=self.shared.rates, reads_only=True)
                first.result = first.verb(tx)
            cause = self.judge(first)
            if cause is None:
                break
        if cause is not None:
            first.fail(cause)
        hand_over([first])
        if self.session.has_begun:
            self.session.rollback()
        return True


class Writer(PostgresWorker):
    """Runs verbs, each in a transaction."""

    def __init__(
        self,
        *,
        shared: Shared,
        queue: Queue,
        opened: Outcome,
        notify: Callable[[Iterable[Topic]], None],
        migrates: bool,
    ) -> None:
        super().__init__(shared=shared, queue=queue, opened=opened)
        self._notify = notify
        self._migrates = migrates

    def new_session(self) -> Session:
        return Session(self.shared.url, name="costplus writer", mode=WRITES)

    def prepare(self) -> None:
        if self._migrates:
            migrate(self.session)
            month = month_at(datetime.now(UTC))
            self._make(range(month, month + AHEAD + 1))
        super().prepare()

    def _make(self, months: Iterable[int]) -> None:
        self.shared.months |= make_partitions(self.session, months)

    def serve(self, first: Attempt) -> bool:
        for number in range(TRIES):
            cause = self._try(first)
            if cause is None:
                break
            if not isinstance(cause, PartitionsMissing):
                time.sleep(random.uniform(0, min(2**number, PAUSE_MS_MAX)) / 1000)
        else:
            assert cause is not None
            first.fail(cause)
        hand_over([first])
        return True

    def _try(self, attempt: Attempt) -> Exception | None:
        """Run and commit the verb; return the error after which it is to run again, or None."""
        with attempt:
            self.session.begin()
            tx = PostgresTx(
                self.session, attempt.customers, rates=self.shared.rates, months=self.shared.months
            )
            attempt.result = attempt.verb(tx)
            tx.finish(sender=self.shared.sender)
        if attempt.has_failed():
            cause = self.judge(attempt)
            if isinstance(cause, PartitionsMissing):
                with attempt:
                    self._make({month + ahead for month in cause.months for ahead in range(AHEAD)})
                return self.judge(attempt) if attempt.has_failed() else cause
            return cause
        with attempt:
            self.session.commit()
        if attempt.has_failed():
            return self._not_committed(attempt)
        tx.committed()
        if tx.touched:
            with Reported():
                self._notify(tx.touched)
        return None

    def _not_committed(self, attempt: Attempt) -> Exception | None:
        error = attempt.error
        assert error is not None
        if not self.session.is_lost_by(error):
            return self.judge(attempt)
        self.session.drop()
        attempt.fail(error)
        attempt.error = StorageUnavailable(
            "The connection to the database was lost while the transaction was being kept.",
            remedy="It may have been kept: look, or repeat it with the same idempotency key.",
        )
        attempt.error.__cause__ = error
        return None
