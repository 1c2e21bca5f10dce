"""A store whose verbs run in threads of its own, each with its own connection.

Rule 1: a thread serves a queue until it takes None from it; a queue gets one None for each of its threads.
Rule 2: listeners hear of a commit before its writers do, so that no writer finds what it changed cached.
"""

from __future__ import annotations

import asyncio
import threading
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable
from queue import SimpleQueue
from typing import Any

from costplus.billing.store import T, Topic, Tx
from costplus.storage.errors import StorageUnavailable
from costplus.storage.outcome import Attempt, Outcome, hand_over

Queue = SimpleQueue[Attempt | None]  # None: no more will come.


class Worker(threading.Thread, ABC):
    """A thread that opens a connection, works until it is stopped, and closes the connection."""

    def __init__(self, *, opened: Outcome) -> None:
        super().__init__(name=type(self).__name__, daemon=True)
        self._opened = opened

    def run(self) -> None:
        with self._opened:
            self.open()
        failed = self._opened.error is not None
        hand_over([self._opened])
        if failed:
            return
        try:
            self.work()
        finally:
            self.close()

    @abstractmethod
    def open(self) -> None:
        """Open this thread's own connection; whatever it raises reaches who opens the store."""

    @abstractmethod
    def work(self) -> None:
        """Do what the thread is for, until `stop`."""

    @abstractmethod
    def stop(self) -> None:
        """Let `work` end after what was begun; called once, from another thread."""

    @abstractmethod
    def close(self) -> None:
        """Let go of the connection."""


class QueueWorker(Worker):
    """A worker that serves a queue of verbs."""

    def __init__(self, *, queue: Queue, opened: Outcome) -> None:
        super().__init__(opened=opened)
        self.queue = queue

    def work(self) -> None:
        more = True
        while more and (first := self.take()) is not None:
            more = self.serve(first)

    def stop(self) -> None:
        self.queue.put(None)

    def take(self) -> Attempt | None:
        """Wait for the next attempt, or None at the end."""
        return self.queue.get()

    @abstractmethod
    def serve(self, first: Attempt) -> bool:
        """Do `first`, and perhaps more of the queue; return whether more will come."""


class ThreadedStore:
    """What every store on threads shares: it hands verbs to the threads and waits for their outcome."""

    def __init__(self) -> None:
        self._writes: Queue = SimpleQueue()
        self._reads: Queue = SimpleQueue()
        self._workers: list[Worker] = []
        self._listeners: dict[Topic, list[Callable[[], None]]] = defaultdict(list)
        self._lock = threading.Lock()  # Nothing enters a queue once it has been told to end.
        self._closed = False

    async def _start(self, kind: Callable[..., Worker], **arguments: Any) -> None:
        """Start a worker and wait until its connection is open."""
        opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        worker = kind(opened=Outcome(opened), **arguments)
        self._workers.append(worker)
        worker.start()
        await opened

    async def write(self, verb: Callable[[Tx], T], *, customers: Collection[str] | None = None) -> T:
        """Run `verb` in a read-write transaction; its result is durable when it is returned."""
        return await self._submit(self._writes, verb, customers)

    async def read(self, verb: Callable[[Tx], T]) -> T:
        """Run `verb` on a snapshot of everything committed; it must not write."""
        return await self._submit(self._reads, verb, None)

    def _submit(
        self, queue: Queue, verb: Callable[[Tx], T], customers: Collection[str] | None
    ) -> asyncio.Future[T]:
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        with self._lock:
            if self._closed:
                raise StorageUnavailable("The store is closed.")
            queue.put(Attempt(verb, future, customers=customers))
        return future

    def listen(self, topic: Topic, callback: Callable[[], None]) -> None:
        """Call back, in a thread of the store's, after each commit that touched the topic."""
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
                for worker in self._workers:
                    worker.stop()
        for worker in self._workers:
            await asyncio.to_thread(worker.join)
