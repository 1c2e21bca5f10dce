"""The thread that hears what other processes committed.

Rule 1: what may have been missed counts as heard: after a lost connection every listener is called once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any, get_args

import asyncpg
import uvloop

from costplus.billing.store import Topic
from costplus.storage.outcome import Outcome, Reported
from costplus.storage.postgres.session import PAUSES_S, connect
from costplus.storage.postgres.threads import Shared
from costplus.storage.postgres.transaction import CHANNEL
from costplus.storage.threads import Worker

TOPICS: tuple[Topic, ...] = get_args(Topic)
ALIVE_S = 15  # How often the connection shows that it still lives.

_BROKEN = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError)


class Listener(Worker):
    """Calls the store's listeners when another process touched their topic."""

    def __init__(self, *, shared: Shared, opened: Outcome, notify: Callable[[Iterable[Topic]], None]) -> None:
        super().__init__(opened=opened)
        self._shared = shared
        self._notify = notify
        self._loop = uvloop.new_event_loop()
        self._changed = asyncio.Event()  # The connection ended, or the thread is to stop.
        self._stopping = False
        self._connection: asyncpg.Connection[asyncpg.Record] | None = None

    def open(self) -> None:
        try:
            self._loop.run_until_complete(self._connect())
        except BaseException:
            self.close()
            raise

    def work(self) -> None:
        self._loop.run_until_complete(self._listen())

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._end)

    def _end(self) -> None:
        self._stopping = True
        self._changed.set()

    def close(self) -> None:
        if self._connection is not None and not self._connection.is_closed():
            self._connection.terminate()
        self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.close()

    async def _connect(self) -> None:
        if not self._stopping:
            self._changed.clear()
        connection = self._connection = await connect(self._shared.url, name="costplus listener")
        connection.add_termination_listener(lambda _: self._changed.set())
        for topic in TOPICS:
            await connection.add_listener(f"{CHANNEL}{topic}", self._heard)

    def _heard(self, _connection: Any, _pid: int, channel: str, sender: object) -> None:
        if sender != self._shared.sender:  # Its own commits were told already.
            self._tell([topic for topic in TOPICS if channel == f"{CHANNEL}{topic}"])

    def _tell(self, topics: Iterable[Topic]) -> None:
        with Reported():
            self._notify(topics)

    async def _listen(self) -> None:
        failures = 0
        while not self._stopping:
            try:
                if self._connection is None:
                    await self._connect()
                    self._tell(TOPICS)
                failures = 0
                await self._until_changed()
            except _BROKEN:
                failures += 1
            if not self._stopping:
                if self._connection is not None:
                    self._connection.terminate()
                self._connection = None
                await self._pause(PAUSES_S[min(failures, len(PAUSES_S) - 1)])

    async def _until_changed(self) -> None:
        """Return when the connection has ended or the thread is to stop."""
        connection = self._connection
        assert connection is not None
        while not (self._stopping or self._changed.is_set() or connection.is_closed()):
            await self._pause(ALIVE_S)
            if not self._changed.is_set():
                await connection.execute("SELECT 1", timeout=ALIVE_S)

    async def _pause(self, pause_s: float) -> None:
        """Wait, but not after `stop`."""
        try:
            async with asyncio.timeout(pause_s):
                await self._changed.wait()
        except TimeoutError:
            return
