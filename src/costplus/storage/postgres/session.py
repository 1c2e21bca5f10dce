"""One thread's connection: statements run on an event loop of the thread's own, one after the other.

Rule 1: a transaction is begun ahead, together with the end of the last one: that saves a round trip.
Until its first statement it sees nothing and holds nothing; a session that rests ends it.
Rule 2: a lost connection is made again when it is needed next. While the server is away that fails at once,
and is tried again after a pause.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Iterable, Sequence
from typing import Any, TypeVar

import asyncpg
import uvloop

from costplus.storage.codec import Row
from costplus.storage.errors import StorageUnavailable
from costplus.storage.postgres.faults import is_lost

T = TypeVar("T")

CONNECT_S = 5
STATEMENT_S = 60  # A statement that takes longer has lost its server.
LOCK_WAIT_MS = 30_000
STATEMENTS_CACHED = 1000
PAUSES_S = (0.05, 0.1, 0.2, 0.5, 1)  # Between attempts to connect; the last repeats.

WRITES = "ISOLATION LEVEL READ COMMITTED"
READS = "ISOLATION LEVEL REPEATABLE READ READ ONLY"

_SETTINGS = {
    "jit": "off",
    "lock_timeout": str(LOCK_WAIT_MS),
    "idle_in_transaction_session_timeout": "0",
    "plan_cache_mode": "force_generic_plan",  # Planning over partitions costs more than the statements.
}


async def connect(url: str, *, name: str) -> asyncpg.Connection[asyncpg.Record]:
    """Return a connection whose statements stay prepared."""
    return await asyncpg.connect(
        url,
        timeout=CONNECT_S,
        command_timeout=STATEMENT_S,
        statement_cache_size=STATEMENTS_CACHED,
        max_cached_statement_lifetime=0,
        server_settings={**_SETTINGS, "application_name": name},
    )


class Session:
    """The connection of one thread."""

    def __init__(self, url: str, *, name: str, mode: str) -> None:
        self._url = url
        self._name = name
        self._mode = mode
        self._loop = uvloop.new_event_loop()
        self._connection: asyncpg.Connection[asyncpg.Record] | None = None
        self._failures = 0
        self._next_try_at = 0.0
        self.has_begun = False

    def _wait(self, work: Awaitable[T]) -> T:
        return self._loop.run_until_complete(work)

    @property
    def connection(self) -> asyncpg.Connection[asyncpg.Record]:
        """The open connection, made anew where it was lost. Raises `StorageUnavailable`."""
        if self._connection is not None and not self._connection.is_closed():
            return self._connection
        self.has_begun = False
        if time.monotonic() < self._next_try_at:
            raise StorageUnavailable("The database does not answer.")
        try:
            self._connection = self._wait(connect(self._url, name=self._name))
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            self._next_try_at = time.monotonic() + PAUSES_S[min(self._failures, len(PAUSES_S) - 1)]
            self._failures += 1
            raise StorageUnavailable(f"The database cannot be reached: {error}.") from error
        self._failures = 0
        return self._connection

    def begin(self) -> None:
        """Be in a transaction."""
        connection = self.connection
        if not self.has_begun:
            self._wait(connection.execute(f"BEGIN {self._mode}"))
            self.has_begun = True

    def fetch(self, sql: str, *arguments: Any) -> list[Row]:
        """Run a statement in the open transaction and return its rows."""
        connection = self._connection
        assert connection is not None and self.has_begun
        return self._wait(connection.fetch(sql, *arguments))

    def copy(self, table: str, columns: Iterable[str], rows: Iterable[Sequence[Any]]) -> None:
        """Append rows to a table in the open transaction."""
        connection = self._connection
        assert connection is not None and self.has_begun
        self._wait(connection.copy_records_to_table(table, records=rows, columns=list(columns)))

    def script(self, sql: str) -> None:
        """Run statements without arguments in the open transaction."""
        connection = self._connection
        assert connection is not None and self.has_begun
        self._wait(connection.execute(sql))

    def commit(self, *, chain: bool = True) -> None:
        """Keep the transaction; where this raises for a lost connection, nobody knows whether it was kept."""
        connection = self._connection
        assert connection is not None and self.has_begun
        self.has_begun = False
        status = self._wait(connection.execute("COMMIT AND CHAIN" if chain else "COMMIT"))
        assert status == "COMMIT", status  # Else a verb swallowed an error, and this rolled it back.
        self.has_begun = chain

    def rollback(self, *, chain: bool = True) -> None:
        """Undo the transaction, be it lost with its connection or not."""
        connection = self._connection
        was_begun, self.has_begun = self.has_begun, False
        if connection is None or connection.is_closed() or not was_begun:
            return self.drop()
        try:
            self._wait(connection.execute("ROLLBACK AND CHAIN" if chain else "ROLLBACK"))
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
            return self.drop()
        self.has_begun = chain
        return None

    def drop(self) -> None:
        """Let go of the connection without a word: the server rolls back what is open."""
        self.has_begun = False
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None

    def is_lost_by(self, error: BaseException) -> bool:
        """Whether the error is, or came with, the loss of the connection."""
        return is_lost(error) or (self._connection is not None and self._connection.is_closed())

    def close(self) -> None:
        """End the connection and its loop."""
        if self._connection is not None and not self._connection.is_closed():
            try:
                self._wait(self._connection.close(timeout=1))
            except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
                self.drop()
        self._wait(asyncio.sleep(0))  # The transport closes in the next round of the loop.
        self._loop.close()
