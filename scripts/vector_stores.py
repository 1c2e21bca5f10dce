"""Where cases about money are run: fresh books on real stores, one store after the other.

Rule 1: every case gets books of its own: a new file of SQLite, a new database of PostgreSQL.
Rule 2: the PostgreSQL server is started here, in a folder that goes with it, and speaks on a Unix socket only.
"""

from __future__ import annotations

import asyncio
import contextlib
import getpass
import itertools
import os
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import asyncpg

from costplus.billing.store import Store, Tx
from costplus.storage.memory import MemoryStore
from costplus.storage.postgres import PostgresStore
from costplus.storage.sqlite import SqliteStore

T = TypeVar("T")
WAIT_S = 60
TEMPLATE = "costplus_template"
ABSENT = "no PostgreSQL here: install Debian's package `postgresql`, or put initdb on PATH"


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


class PostgresServer:
    """A PostgreSQL server of our own; as root it runs as the user `postgres`, which Debian's package makes."""

    def __init__(self, programs: Path, folder: Path) -> None:
        self.programs = programs
        self.folder = folder
        self._user = "postgres" if os.geteuid() == 0 else None
        self._owner = self._user or getpass.getuser()
        if self._user:
            shutil.chown(folder, self._user)

    def _run(self, program: str, *arguments: str) -> None:
        subprocess.run(
            [self.programs / program, *arguments],
            user=self._user,
            cwd=self.folder,
            check=True,
            stdout=subprocess.DEVNULL,
            env={"PATH": os.environ["PATH"], "LC_ALL": "C"},
            timeout=WAIT_S,
        )

    def start(self) -> None:
        """Make a cluster and start it; it need not outlive a crash, so it does not wait for its disk."""
        self._run("initdb", "-D", "cluster", "-A", "trust", "-N", "--locale=C", "-E", "UTF8")
        options = f"-c listen_addresses='' -k {self.folder} -c fsync=off -c synchronous_commit=off"
        self._run("pg_ctl", "-D", "cluster", "-w", "-s", "-l", "log", "-o", options, "start")

    def stop(self) -> None:
        self._run("pg_ctl", "-D", "cluster", "-w", "-s", "-m", "immediate", "stop")

    def url(self, database: str) -> str:
        return f"postgresql://{self._owner}@/{database}?host={self.folder}"

    async def make_database(self, name: str, *, template: str = "template0") -> str:
        """Make a database and return where it is."""
        admin = await asyncpg.connect(self.url("postgres"))
        try:
            await admin.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        finally:
            await admin.close()
        return self.url(name)


def postgres_programs() -> Path | None:
    """Return where PostgreSQL's programs are, or None where none are installed."""
    found = shutil.which("initdb")
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[4]))
    return (Path(found) if found else debian[-1]).parent if found or debian else None


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
    programs, numbers = postgres_programs(), itertools.count(1)
    if programs is None:
        if os.environ.get("CI") == "true":
            raise NoPostgres(ABSENT)
        return None
    server = PostgresServer(programs, _folder(after))
    server.start()
    after.callback(server.stop)

    async def make_template() -> None:
        store = await PostgresStore.open(await server.make_database(TEMPLATE), writers=1, readers=1)
        await store.close()

    async def open_copy() -> PostgresStore:
        url = await server.make_database(f"books_{next(numbers)}", template=TEMPLATE)
        return await PostgresStore.open(url, writers=2, readers=1)

    loop.run(make_template())
    return lambda: Books(loop, loop.run(open_copy()))
