"""The store: hands verbs to the threads and waits for their outcome."""

from __future__ import annotations

import asyncio
import threading
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import Any

from costplus.billing.store import T, Topic, Tx
from costplus.storage.errors import StorageUnavailable
from costplus.storage.sqlite.connection import BUSY_TIMEOUT_MS
from costplus.storage.sqlite.outcome import Attempt, Outcome
from costplus.storage.sqlite.threads import Queue, Reader, Worker, Writer

READERS = 2


class SqliteStore:
    """Satisfies `billing.store.Store`. Made by `open`."""

    def __init__(self) -> None:
        self._writes: Queue = Queue()
        self._reads: Queue = Queue()
        self._workers: list[Worker] = []
        self._listeners: dict[Topic, list[Callable[[], None]]] = defaultdict(list)
        self._lock = threading.Lock()  # Nothing enters a queue once it has been told to end.
        self._closed = False

    @classmethod
    async def open(cls, path: Path, *, busy_timeout_ms: int = BUSY_TIMEOUT_MS) -> SqliteStore:
        """Open or create the database file, its schema brought up to date.

        Raises `DatabaseLocked` where another process is writing and `SchemaTooNew` where a newer program has
        written.
        """
        store = cls()
        settings = {"path": path, "busy_timeout_ms": busy_timeout_ms}
        try:
            await store._start(Writer, queue=store._writes, notify=store._notify, **settings)
            for _ in range(READERS):
                await store._start(Reader, queue=store._reads, **settings)
        except BaseException:
            await store.close()
            raise
        return store

    async def _start(self, kind: type[Worker], **arguments: Any) -> None:
        """Start a worker and wait until its connection is open."""
        opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        worker = kind(opened=Outcome(opened), **arguments)
        self._workers.append(worker)
        worker.start()
        await opened

    async def write(self, verb: Callable[[Tx], T], *, customers: Collection[str] | None = None) -> T:
        """Run `verb` in the next batch; its result is durable when it is returned.

        There is one writer, so every verb is alone, whatever `customers` it names.
        """
        return await self._submit(self._writes, verb)

    async def read(self, verb: Callable[[Tx], T]) -> T:
        """Run `verb` on a snapshot of everything committed; it must not write."""
        return await self._submit(self._reads, verb)

    def _submit(self, queue: Queue, verb: Callable[[Tx], T]) -> asyncio.Future[T]:
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        with self._lock:
            if self._closed:
                raise StorageUnavailable("The store is closed.")
            queue.put(Attempt(verb, future))
        return future

    def listen(self, topic: Topic, callback: Callable[[], None]) -> None:
        """Call back, in the writer's thread, after each commit that touched the topic."""
        self._listeners[topic].append(callback)

    def _notify(self, topics: Iterable[Topic]) -> None:
        for topic in topics:
            for callback in self._listeners[topic]:
                callback()

    async def close(self) -> None:
        """Finish everything that was begun, then close the connections; a second call waits as well."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._writes.put(None)
                for _ in range(READERS):
                    self._reads.put(None)
        for worker in self._workers:
            await asyncio.to_thread(worker.join)
