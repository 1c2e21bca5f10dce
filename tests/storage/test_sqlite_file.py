"""What only a file can promise: it lasts, it refuses what it cannot read, it fails whole or not at all."""

from __future__ import annotations

import asyncio
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import pytest

from costplus.billing.customer import Customer
from costplus.billing.store import Tx
from costplus.core.errors import Conflict
from costplus.ledger.post import grant_credit
from costplus.storage.errors import DatabaseLocked, SchemaTooNew, StorageUnavailable
from costplus.storage.sqlite import SqliteStore
from costplus.storage.sqlite.connection import connect_writer, migrate, statements_of

WRITE_THEN_DIE = """
import asyncio, os, signal, sys
from pathlib import Path
from costplus.storage.sqlite import SqliteStore

async def main():
    store = await SqliteStore.open(Path(sys.argv[1]))
    numbers = await asyncio.gather(*(store.write(lambda tx: tx.next_number("inv")) for _ in range(300)))
    print(max(numbers), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "costplus.db"


@pytest.fixture
def other(path: Path) -> Iterator[sqlite3.Connection]:
    """Return a connection of somebody else to the same file."""
    with closing(connect_writer(path)) as connection:
        yield connection


async def test_what_was_written_is_there_after_reopening(path: Path, build: SimpleNamespace) -> None:
    entry = build.charged()
    store = await SqliteStore.open(path)
    await store.write(lambda tx: build.enrol(tx, "cus_1"))
    await store.write(lambda tx: grant_credit(tx, build.grant(), at=build.at))
    await store.write(lambda tx: build.keep(tx, [entry]))
    await store.close()
    again = await SqliteStore.open(path)
    assert await again.read(lambda tx: tx.charge_of("cus_1", entry.event.id)) == entry
    assert await again.read(lambda tx: tx.grants_of("cus_1")) == [build.grant(begun_at=build.at)]
    assert await again.read(lambda tx: tx.find(Customer, "cus_1")) == build.customer()
    await again.close()


@pytest.mark.slow
async def test_an_acknowledged_write_survives_kill_9(path: Path) -> None:
    died = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", WRITE_THEN_DIE, str(path)],
        stdout=subprocess.PIPE,
        text=True,
        timeout=60,
        check=False,
    )
    assert (died.returncode, died.stdout) == (-signal.SIGKILL, "300\n")
    store = await SqliteStore.open(path)
    assert await store.write(lambda tx: tx.next_number("inv")) == 301
    await store.close()


async def test_a_database_of_a_newer_program_is_refused_untouched(
    path: Path, other: sqlite3.Connection
) -> None:
    other.execute("INSERT INTO schema_migrations VALUES (9999, 0)")
    with pytest.raises(SchemaTooNew, match="9999"):
        await SqliteStore.open(path)
    other.execute("DELETE FROM schema_migrations WHERE number = 9999")
    await (await SqliteStore.open(path)).close()


async def test_a_database_that_another_process_is_writing_to_is_refused(
    path: Path, other: sqlite3.Connection
) -> None:
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(DatabaseLocked, match=r"costplus\.db"):
        await SqliteStore.open(path, busy_timeout_ms=0)
    other.execute("ROLLBACK")
    await (await SqliteStore.open(path, busy_timeout_ms=0)).close()


async def test_a_file_that_is_no_database_is_refused(path: Path) -> None:
    await asyncio.to_thread(path.write_text, "This is no database. " * 1000, "utf-8")
    with pytest.raises(sqlite3.DatabaseError, match="not a database"):
        await SqliteStore.open(path)


async def test_a_write_that_meets_a_lock_fails_and_the_next_one_works(
    path: Path, other: sqlite3.Connection
) -> None:
    store = await SqliteStore.open(path, busy_timeout_ms=0)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StorageUnavailable, match="locked"):
        await store.write(lambda tx: tx.next_number("inv"))
    assert await store.read(lambda tx: tx.find(Customer, "cus_1")) is None  # Readers go on.
    other.execute("ROLLBACK")
    assert await store.write(lambda tx: tx.next_number("inv")) == 1
    await store.close()


def test_migrations_are_applied_once_and_in_order(path: Path, other: sqlite3.Connection) -> None:
    before = other.execute("SELECT number FROM schema_migrations").fetchall()
    connect_writer(path).close()
    after = other.execute("SELECT number FROM schema_migrations").fetchall()
    assert after == before == [(number,) for number in range(1, len(before) + 1)]
    tables = "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND sql NOT LIKE '%STRICT%'"
    (lax,) = other.execute(tables + " AND name NOT LIKE 'sqlite_%'").fetchone()
    assert lax == 0


def test_a_failing_migration_leaves_the_schema_as_it_was(other: sqlite3.Connection) -> None:
    twice = "CREATE TABLE extra (id TEXT) STRICT; CREATE TABLE extra (id TEXT) STRICT;"
    (last,) = other.execute("SELECT max(number) FROM schema_migrations").fetchone()
    migrations = [*((number, "") for number in range(1, last + 1)), (last + 1, twice)]
    with pytest.raises(sqlite3.OperationalError, match="already exists"):
        migrate(other, migrations)
    assert not other.in_transaction
    assert other.execute("SELECT max(number) FROM schema_migrations").fetchone() == (last,)
    assert other.execute("SELECT count(*) FROM sqlite_schema WHERE name = 'extra'").fetchone() == (0,)


def test_a_script_is_split_between_its_statements() -> None:
    script = "-- One; or two?\nCREATE TABLE a (x TEXT); -- Done.\nINSERT INTO a VALUES (';\n;');\n"
    assert [statement.strip() for statement in statements_of(script)] == [
        "-- One; or two?\nCREATE TABLE a (x TEXT)",
        "-- Done.\nINSERT INTO a VALUES (';\n;')",
    ]


def break_the_commit(tx: Tx) -> None:
    """Leave a posting without its transaction, which SQLite finds when it commits."""
    tx.connection.execute("PRAGMA defer_foreign_keys = ON")
    tx.connection.execute("INSERT INTO postings VALUES (0, 'cus_1', 1, 0, 'a', 1)")


async def test_a_failing_commit_fails_its_whole_batch_and_keeps_nothing(
    sqlite: SqliteStore, build: SimpleNamespace
) -> None:
    entry, heard = build.charged(), []
    sqlite.listen("config", lambda: heard.append("config"))
    has_begun, may_go_on = threading.Event(), threading.Event()

    def blocking(tx: Tx) -> None:
        has_begun.set()
        assert may_go_on.wait(10)

    def refusing(tx: Tx) -> None:
        raise Conflict("decided on writes that are lost")

    verbs = [
        lambda tx: build.keep(tx, [entry]),
        lambda tx: tx.touch("config"),
        break_the_commit,
        refusing,
    ]
    first = asyncio.ensure_future(sqlite.write(blocking))  # The others gather behind it, in one batch.
    await asyncio.to_thread(has_begun.wait, 10)
    batch = [asyncio.ensure_future(sqlite.write(verb)) for verb in verbs]
    await asyncio.sleep(0)
    may_go_on.set()
    await first
    outcomes = await asyncio.gather(*batch, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [StorageUnavailable] * len(verbs)
    assert heard == []
    assert await sqlite.read(lambda tx: tx.charge_of("cus_1", entry.event.id)) is None
    await sqlite.write(lambda tx: build.keep(tx, [entry]))  # Its rates are stored again.
    assert await sqlite.read(lambda tx: tx.charge_of("cus_1", entry.event.id)) == entry


async def test_a_full_disk_fails_the_write_and_no_later_one(
    sqlite: SqliteStore, build: SimpleNamespace
) -> None:
    def limit(tx: Tx, pages: int) -> None:
        tx.connection.execute(f"PRAGMA max_page_count = {pages}")

    big = build.customer(description="x" * 10_000_000)
    await sqlite.write(lambda tx: limit(tx, 100))
    with pytest.raises(StorageUnavailable, match="full"):
        await sqlite.write(lambda tx: tx.save(big))
    await sqlite.write(lambda tx: limit(tx, 1_000_000))
    await sqlite.write(lambda tx: tx.save(big))
    assert await sqlite.read(lambda tx: tx.find(Customer, "cus_1")) == big


async def test_a_read_sees_one_instant_whatever_is_written_meanwhile(
    sqlite: SqliteStore, build: SimpleNamespace
) -> None:
    has_read, may_go_on = threading.Event(), threading.Event()

    def twice(tx: Tx) -> list[object]:
        first = tx.find(Customer, "cus_1")
        has_read.set()
        assert may_go_on.wait(10)
        return [first, tx.find(Customer, "cus_1")]

    reading = asyncio.ensure_future(sqlite.read(twice))
    await asyncio.to_thread(has_read.wait, 10)
    await sqlite.write(lambda tx: tx.save(build.customer()))
    may_go_on.set()
    assert await reading == [None, None]
    assert await sqlite.read(lambda tx: tx.find(Customer, "cus_1")) is not None


async def test_a_cancelled_waiter_does_not_disturb_the_others(sqlite: SqliteStore) -> None:
    hold_the_thread = threading.Event()
    first = asyncio.ensure_future(sqlite.write(lambda tx: hold_the_thread.wait(10)))
    waiting = [asyncio.ensure_future(sqlite.write(lambda tx: tx.next_number("inv"))) for _ in range(3)]
    await asyncio.sleep(0)
    waiting[1].cancel()
    hold_the_thread.set()
    assert await first
    outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    assert [outcomes[0], outcomes[2]] == [1, 3]  # What was begun is finished, whoever still waits.
    assert isinstance(outcomes[1], asyncio.CancelledError)


async def test_a_listener_that_fails_is_reported_and_the_store_goes_on(
    sqlite: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    reported: list[BaseException] = []
    monkeypatch.setattr(threading, "excepthook", lambda args: reported.append(args.exc_value))

    def failing() -> None:
        raise KeyError("listener")

    sqlite.listen("config", failing)
    await sqlite.write(lambda tx: tx.touch("config"))
    assert [str(error) for error in reported] == ["'listener'"]
    assert await sqlite.write(lambda tx: tx.next_number("inv")) == 1


def test_a_store_serves_several_loops_one_after_the_other(path: Path) -> None:
    async def in_one_loop() -> SqliteStore:
        store = await SqliteStore.open(path)
        await store.write(lambda tx: tx.next_number("inv"))
        return store

    async def in_another(store: SqliteStore) -> int:
        try:
            return await store.write(lambda tx: tx.next_number("inv"))
        finally:
            await store.close()

    store = asyncio.run(in_one_loop())
    assert asyncio.run(in_another(store)) == 2
