"""What all tests share.

Rule 1: an inexact decimal operation is an error everywhere; only the two rounding functions round.
Hypothesis' `decimals()` divides, so give it `places=` (or draw integers and shift them).
Rule 2: property tests are the same on every run, so a red build can be repeated.
Rule 3: absent shared data skips a test with its reason; it never passes it.
Rule 4: no test reaches the internet: what a test starts follows no public price list.
"""

from __future__ import annotations

import asyncio
import contextlib
import decimal
import os
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import asyncpg
import pytest
from hypothesis import settings
from postgres_server import ABSENT, PostgresServer, postgres_programs

from costplus.storage.postgres import PostgresStore

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
Listen = Callable[[Handler], Awaitable[str]]

ROOT = Path(__file__).resolve().parent.parent

os.environ["COSTPLUS_PRICES__SYNC"] = "false"

# New threads copy DefaultContext; this thread, and the event loops it starts, use the current context.
decimal.DefaultContext.traps[decimal.Inexact] = True
decimal.getcontext().traps[decimal.Inexact] = True

settings.register_profile("ci", deadline=None, derandomize=True, max_examples=100)
settings.load_profile("ci")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Return the directory of recorded test data: `$COSTPLUS_SHARED/data`, or beside the repository."""
    directory = Path(os.environ.get("COSTPLUS_SHARED", ROOT.parent / "shared")) / "data"
    if not directory.is_dir():
        pytest.skip(f"shared data absent: {directory} is not a directory (set COSTPLUS_SHARED)")
    return directory


def _postgres_programs() -> Path:
    """Return where PostgreSQL's programs are, or skip; in continuous integration they must be there."""
    programs = postgres_programs()
    if programs is not None:
        return programs
    if os.environ.get("CI") == "true":
        pytest.fail(ABSENT)
    pytest.skip(ABSENT)


@pytest.fixture(scope="session")
def new_postgres_server() -> Iterator[Callable[..., PostgresServer]]:
    """Return what starts a server; all of them end with the session."""
    programs, servers = _postgres_programs(), []

    def start(*, durable: bool = True) -> PostgresServer:
        shm = Path("/dev/shm")  # In memory, where a crash of the machine is not what is tested.
        place = shm if not durable and os.access(shm, os.W_OK) else None
        folder = Path(tempfile.mkdtemp(prefix="costplus-pg-", dir=place))  # A socket's path must be short.
        servers.append(server := PostgresServer(programs, folder))
        server.make()
        server.start(durable=durable)
        return server

    yield start
    for server in servers:
        with contextlib.suppress(subprocess.CalledProcessError):  # A test stopped it.
            server.stop()
        shutil.rmtree(server.folder)


@pytest.fixture(scope="session")
def postgres_server(new_postgres_server: Callable[..., PostgresServer]) -> PostgresServer:
    """Return a server that lives as long as the test process, and does not wait for its disk."""
    return new_postgres_server(durable=False)


ROWS_OF_ALL = """
SELECT string_agg(format('DELETE FROM %I', relname), ';') FROM pg_class
WHERE relkind IN ('r', 'p') AND NOT relispartition
    AND relnamespace = 'public'::regnamespace AND relname <> 'schema_migrations'
"""


@pytest.fixture(scope="session")
def spare_databases() -> list[str]:
    """Return the databases that tests are done with: they have the schema and no rows."""
    return []


@pytest.fixture
async def new_postgres_url(
    request: pytest.FixtureRequest, spare_databases: list[str]
) -> AsyncIterator[Callable[[], Awaitable[str]]]:
    """Return what finds a database of its own, for whoever opens a store there; it has no rows yet."""
    taken: list[str] = []

    async def take() -> str:
        server: PostgresServer = request.getfixturevalue("postgres_server")
        taken.append(spare_databases.pop() if spare_databases else await server.make_database())
        return taken[-1]

    yield take
    for url in taken:
        connection = await asyncpg.connect(url)
        await connection.execute(await connection.fetchval(ROWS_OF_ALL))
        await connection.close()
    spare_databases += taken


@pytest.fixture
def new_postgres(
    new_postgres_url: Callable[[], Awaitable[str]],
) -> Callable[[], Awaitable[PostgresStore]]:
    """Return what opens a store in a database of its own; whoever opens it closes it."""

    async def open_store() -> PostgresStore:
        return await PostgresStore.open(await new_postgres_url(), writers=2, readers=1)

    return open_store


@pytest.fixture
async def postgres(new_postgres: Callable[[], Awaitable[PostgresStore]]) -> AsyncIterator[PostgresStore]:
    """Return an empty store on PostgreSQL."""
    store = await new_postgres()
    yield store
    await store.close()


@pytest.fixture
async def listen() -> AsyncIterator[Listen]:
    """Return what serves a handler on a socket of its own and tells its URL; all of it ends with the test."""
    tasks: set[asyncio.Future[None]] = set()
    servers: list[asyncio.Server] = []
    pause = asyncio.sleep  # As it is now: a test may put another one in its place.

    async def start(handler: Handler) -> str:
        def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            tasks.add(asyncio.ensure_future(handler(reader, writer)))

        servers.append(await asyncio.start_server(connected, "127.0.0.1", 0))
        return f"http://127.0.0.1:{servers[-1].sockets[0].getsockname()[1]}"

    yield start
    for server in servers:
        server.close()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await pause(0)  # The transports close in the next round of the loop.


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave a parametrised test's turn on PostgreSQL to `make test`: its databases take their time."""
    for item in items:
        if "postgres" in getattr(item, "callspec", SimpleNamespace(id="")).id:
            item.add_marker(pytest.mark.slow)
