"""What happens when connections break and the server goes away: nothing is lost, nothing is kept twice."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
import tempfile
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import asyncpg
import pytest

from costplus.billing.customer import Customer
from costplus.billing.store import Store, Tx
from costplus.storage.errors import StorageUnavailable
from costplus.storage.postgres import PostgresStore

WAIT_S = 20
SOCKET = ".s.PGSQL.5432"

pytestmark = pytest.mark.slow

COUNT_UNTIL_TOLD = """
import asyncio, sys
from costplus.core.errors import Unavailable
from costplus.storage.postgres import PostgresStore

async def count(store, kept):
    while True:
        try:
            kept.append(await store.write(lambda tx: tx.next_number("inv")))
        except Unavailable:
            await asyncio.sleep(0.02)

async def main():
    store, kept = await PostgresStore.open(sys.argv[1]), []
    tasks = [asyncio.create_task(count(store, kept)) for _ in range(8)]
    print("begun", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    print(len(kept), len(set(kept)), max(kept), flush=True)
    await store.close()

asyncio.run(main())
"""


async def end_all(store: PostgresStore) -> None:
    """End every connection of the store's, as an administrator does."""
    connection = await asyncpg.connect(store._workers[0].shared.url)
    await connection.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE application_name LIKE 'costplus%' AND datname = current_database()"
    )
    await connection.close()


async def test_a_verb_whose_connection_ends_runs_again_on_a_new_one(
    postgres: PostgresStore, build: SimpleNamespace
) -> None:
    reached, go_on, tries = threading.Event(), threading.Event(), []

    def verb(tx: Tx) -> int:
        tries.append(tx.next_number("inv"))
        if len(tries) == 1:
            reached.set()
            assert go_on.wait(WAIT_S)
        tx.save(build.customer())
        return tx.next_number("inv")

    future = asyncio.ensure_future(postgres.write(verb))
    assert await asyncio.to_thread(reached.wait, WAIT_S)
    await end_all(postgres)
    go_on.set()
    assert await future == 2
    assert tries == [1, 1]  # The first try's number was given back.
    assert await postgres.read(lambda tx: tx.find(Customer, "cus_1")) == build.customer()


async def test_idle_connections_that_ended_are_made_again(postgres: PostgresStore) -> None:
    for number in (1, 2):
        await end_all(postgres)
        writes = [postgres.write(lambda tx: tx.next_number("inv")) for _ in range(3)]
        assert sorted(await asyncio.gather(*writes)) == [3 * number - 2, 3 * number - 1, 3 * number]
        assert await postgres.read(lambda tx: tx.page(Customer)) == []


async def test_a_listener_that_was_cut_off_hears_of_everything_once(postgres: PostgresStore) -> None:
    loop, heard = asyncio.get_running_loop(), asyncio.Queue[str]()
    for topic in ("config", "outbox"):
        postgres.listen(topic, lambda topic=topic: loop.call_soon_threadsafe(heard.put_nowait, topic))
    await end_all(postgres)
    async with asyncio.timeout(WAIT_S):
        assert {await heard.get(), await heard.get()} == {"config", "outbox"}


class CutAtCommit:
    """Stands between a store and its server, and cuts a connection before or after a COMMIT is sent."""

    def __init__(self, server: Path) -> None:
        self.server = server
        self.cuts = ""  # "before" or "after"
        self.serving: set[asyncio.Task[None] | None] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.serving.add(asyncio.current_task())
        server_reader, server_writer = await asyncio.open_unix_connection(self.server / SOCKET)

        async def answers() -> None:
            while chunk := await server_reader.read(65536):
                writer.write(chunk)

        answering = asyncio.create_task(answers())
        with contextlib.suppress(OSError):
            while chunk := await reader.read(65536):
                if self.cuts and b"COMMIT" in chunk:
                    if self.cuts == "after":
                        answering.cancel()
                        await asyncio.wait([answering])
                        server_writer.write(chunk)
                        await server_reader.read(65536)
                    self.cuts = ""
                    break
                server_writer.write(chunk)
        answering.cancel()
        for one in (server_writer, writer):
            one.close()
            with contextlib.suppress(OSError):
                await one.wait_closed()


@pytest.fixture
async def cutting(postgres_server: Any) -> AsyncIterator[tuple[PostgresStore, CutAtCommit]]:
    url = await postgres_server.make_database()
    cut = CutAtCommit(postgres_server.folder)
    with tempfile.TemporaryDirectory(prefix="costplus-cut-") as folder:
        listening = await asyncio.start_unix_server(cut.serve, Path(folder) / SOCKET)
        store = await PostgresStore.open(url.replace(str(cut.server), folder), writers=1, readers=1)
        yield store, cut
        await store.close()
        await asyncio.wait(cut.serving)
        listening.close()
        await listening.wait_closed()


@pytest.mark.parametrize(("moment", "next_number"), [("before", 1), ("after", 2)])
async def test_a_connection_lost_in_a_commit_leaves_the_outcome_open_and_says_so(
    cutting: tuple[PostgresStore, CutAtCommit], moment: str, next_number: int
) -> None:
    store, cut = cutting
    heard: list[str] = []
    store.listen("config", lambda: heard.append("config"))
    cut.cuts = moment
    with pytest.raises(StorageUnavailable) as lost:
        await store.write(lambda tx: [tx.touch("config"), tx.next_number("inv")])
    assert "may have been kept" in lost.value.remedy
    assert heard == []
    assert await store.write(lambda tx: tx.next_number("inv")) == next_number


async def test_while_the_server_is_away_everything_is_refused_at_once_and_then_goes_on(
    new_postgres_server: Callable[..., Any],
) -> None:
    server = await asyncio.to_thread(new_postgres_server)
    store = await PostgresStore.open(await server.make_database(), writers=2, readers=1)
    assert await store.write(lambda tx: tx.next_number("inv")) == 1
    await asyncio.to_thread(server.stop)
    for _ in range(3):
        for run in (store.write, store.read):
            async with asyncio.timeout(2):
                with pytest.raises(StorageUnavailable) as away:
                    await run(lambda tx: tx.unit_rate("ur_1"))
            assert away.value.remedy == "Nothing was kept; try again."
    with pytest.raises(StorageUnavailable, match="cannot be reached"):
        await PostgresStore.open(server.url("postgres"))
    await asyncio.to_thread(server.start)
    async with asyncio.timeout(WAIT_S):
        while True:
            with contextlib.suppress(StorageUnavailable):
                assert await store.write(lambda tx: tx.next_number("inv")) == 2
                break
    await store.close()
    await asyncio.to_thread(server.stop)


@pytest.mark.slow
async def test_a_server_that_crashes_and_pauses_under_load_loses_nothing_it_acknowledged(
    new_postgres_server: Callable[..., Any],
) -> None:
    server = await asyncio.to_thread(new_postgres_server)
    url = await server.make_database()
    await (await PostgresStore.open(url)).close()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", COUNT_UNTIL_TOLD, url), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdin and process.stdout
    assert await process.stdout.readline() == b"begun\n"
    for _ in range(3):
        await asyncio.sleep(1)
        await asyncio.to_thread(server.stop)  # As `kill -9` does it: recovery follows.
        await asyncio.sleep(1)
        await asyncio.to_thread(server.start)
    await asyncio.sleep(2)
    out, _ = await process.communicate(b"enough\n")
    count, distinct, highest = map(int, out.split())
    assert count == distinct > 100  # No number was given twice,
    store = await PostgresStore.open(url, writers=1, readers=1)
    last = await store.write(lambda tx: tx.next_number("inv"))
    assert last > highest  # and none that was acknowledged is forgotten.
    await store.close()
    await asyncio.to_thread(server.stop)


async def test_a_wrong_password_or_database_is_told_when_the_store_is_opened(postgres_server: Any) -> None:
    with pytest.raises(StorageUnavailable, match="no_such_database"):
        await PostgresStore.open(postgres_server.url("no_such_database"))


async def test_a_store_serves_several_loops(new_postgres: Callable[[], Awaitable[Store]]) -> None:
    store = await new_postgres()

    async def in_another() -> int:
        return await store.write(lambda tx: tx.next_number("inv"))

    assert await in_another() == 1
    assert await asyncio.to_thread(asyncio.run, in_another()) == 2
    await store.close()


async def test_what_takes_too_long_is_refused_and_not_tried_again(
    postgres: PostgresStore,
) -> None:
    tries = []

    def slow(tx: Any) -> None:
        tries.append(1)
        tx._session.script("SET LOCAL statement_timeout = 20")
        tx._all("SELECT pg_sleep(20)")

    with pytest.raises(StorageUnavailable, match="timeout"):
        await postgres.write(slow)
    assert len(tries) == 1
    assert await postgres.write(lambda tx: tx.next_number("inv")) == 1
