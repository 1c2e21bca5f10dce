"""Where cases about money are run: fresh books on real stores, one store after the other.

Rule 1: every case gets books of its own: a new file of SQLite, a new database of PostgreSQL.
Rule 2: the PostgreSQL server is our own: it starts with the first case that asks for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import itertools
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from postgres_server import ABSENT, PostgresServer, postgres_programs

from costplus.billing.store import Store, Tx
from costplus.storage.memory import MemoryStore
from costplus.storage.postgres import PostgresStore
from costplus.storage.sqlite import SqliteStore

T = TypeVar("T")
WAIT_S = 60


class Loop:
    """An event loop in a thread of its own, on which stores live."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="stores", daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine to its end and return its result."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(WAIT_S)

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(WAIT_S)
        self._loop.close()


class Books:
    """A store of one case, used from outside its loop."""

    def __init__(self, loop: Loop, store: Store) -> None:
        self.store = store
        self.loop = loop

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine that uses the store."""
        return self.loop.run(work)

    def write(self, verb: Callable[[Tx], T]) -> T:
        """Run a verb in a transaction of its own."""
        return self.run(self.store.write(verb))

    def write_at_once(self, verbs: Sequence[Callable[[Tx], T]], *, customer: str) -> list[T]:
        """Run verbs of a customer side by side, each in a transaction of its own."""

        async def all_of_them() -> list[T]:
            return await asyncio.gather(*(self.store.write(verb, customers=[customer]) for verb in verbs))

        return self.run(all_of_them())

    def close(self) -> None:
        self.run(self.store.close())


Place = Callable[[], Books]  # Opens fresh books.


class NoPostgres(Exception):
    """No PostgreSQL is installed where there has to be one."""


@contextlib.contextmanager
def places(*names: str) -> Iterator[Mapping[str, Place]]:
    """Open these stores (`memory`, `sqlite`, `postgres`); yield for each what opens fresh books in it.

    PostgreSQL is left out where it is not installed; in continuous integration that raises `NoPostgres`.
    """
    with contextlib.ExitStack() as after:
        loop = Loop()
        after.callback(loop.close)
        openers: Mapping[str, Callable[[], Place | None]] = {
            "memory": lambda: lambda: Books(loop, MemoryStore()),
            "sqlite": lambda: _sqlite(loop, after),
            "postgres": lambda: _postgres(loop, after),
        }
        opened = {name: openers[name]() for name in names}
        yield {name: place for name, place in opened.items() if place is not None}


def _folder(after: contextlib.ExitStack) -> Path:
    folder = Path(tempfile.mkdtemp(prefix="costplus-vectors-"))  # A socket's path must be short.
    after.callback(shutil.rmtree, folder)
    return folder


def _sqlite(loop: Loop, after: contextlib.ExitStack) -> Place:
    folder, numbers = _folder(after), itertools.count(1)
    return lambda: Books(loop, loop.run(SqliteStore.open(folder / f"{next(numbers)}.db")))


def _postgres(loop: Loop, after: contextlib.ExitStack) -> Place | None:
    programs = postgres_programs()
    if programs is None:
        if os.environ.get("CI") == "true":
            raise NoPostgres(ABSENT)
        return None

    @functools.cache
    def started() -> tuple[PostgresServer, str]:
        """Start the server with the first case that asks for it; return it with a database to copy."""
        server = PostgresServer(programs, _folder(after))
        server.make()
        server.start(durable=False)
        after.callback(server.stop)
        return server, loop.run(_empty_books(server))

    async def open_copy(server: PostgresServer, template: str) -> PostgresStore:
        url = await server.make_database(template=template)
        return await PostgresStore.open(url, writers=2, readers=1)

    return lambda: Books(loop, loop.run(open_copy(*started())))


async def _empty_books(server: PostgresServer) -> str:
    """Return the name of a database with our schema and no rows."""
    url = await server.make_database()
    store = await PostgresStore.open(url, writers=1, readers=1)
    await store.close()
    return urlsplit(url).path.removeprefix("/")
