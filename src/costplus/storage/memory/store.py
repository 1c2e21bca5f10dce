"""The store itself: one transaction at a time, run where it is called."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Collection

from costplus.billing.store import T, Topic, Tx
from costplus.storage.errors import StorageUnavailable
from costplus.storage.memory.agenda import MemoryAgenda
from costplus.storage.memory.ledger import MemoryLedger
from costplus.storage.memory.metering import MemoryCharges, MemoryEvents
from costplus.storage.memory.records import MemoryOutbox, MemoryRecords
from costplus.storage.memory.tables import Tables


class MemoryTx(MemoryRecords, MemoryEvents, MemoryLedger, MemoryCharges, MemoryOutbox, MemoryAgenda):
    """Satisfies `billing.store.Tx`."""


class MemoryStore:
    """Satisfies `billing.store.Store`."""

    def __init__(self) -> None:
        self._tx = MemoryTx(Tables())
        self._lock = threading.RLock()  # For callers in several threads.
        self._is_open = False
        self._listeners: dict[Topic, list[Callable[[], None]]] = defaultdict(list)
        self._closed = False

    async def write(self, verb: Callable[[Tx], T], *, customers: Collection[str] | None = None) -> T:
        """Run `verb` in a transaction; where it raises, nothing of it is kept."""
        with self._lock:
            self._begin()
            try:
                result = verb(self._tx)
            except BaseException:
                self._tx.rollback()
                raise
            finally:
                self._is_open = False
            touched = self._tx.commit()
        for topic in touched:
            for callback in self._listeners[topic]:
                callback()
        return result

    async def read(self, verb: Callable[[Tx], T]) -> T:
        """Run `verb`, which must not write."""
        with self._lock:
            self._begin()
            try:
                result = verb(self._tx)
                assert not self._tx.changed, "a read verb wrote"
                return result
            finally:
                self._is_open = False
                self._tx.rollback()

    def _begin(self) -> None:
        self._check_open()
        assert not self._is_open, "a verb opened a transaction inside its own"
        self._is_open = True

    def listen(self, topic: Topic, callback: Callable[[], None]) -> None:
        """Call back after each commit that touched the topic."""
        self._listeners[topic].append(callback)

    async def close(self) -> None:
        """Refuse everything from now on."""
        self._closed = True

    def _check_open(self) -> None:
        if self._closed:
            raise StorageUnavailable("The store is closed.")
