"""Every named query of the PostgreSQL adapter is valid, used, and its schema is as it says."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from importlib import resources
from types import SimpleNamespace
from typing import Any

import asyncpg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from costplus.billing.store import Store
from costplus.storage.errors import SchemaTooNew
from costplus.storage.postgres import PostgresStore, migrate
from costplus.storage.postgres.partitions import month_of, name_of
from costplus.storage.postgres.tables import joined
from costplus.storage.postgres.text import array_text, kept_text, plain_row, plain_text
from costplus.storage.queries import load_migrations, parse_queries

PACKAGE = resources.files("costplus.storage.postgres")
QUERIES = {
    f"{file.name}:{name}": sql
    for file in PACKAGE.joinpath("queries").iterdir()
    for name, sql in parse_queries(file.read_text("utf-8")).items()
}
TOGETHER = {"append_postings", "move_accounts"}  # They refer to the statements that they are sent with.


@pytest.fixture
async def connection(postgres_server: Any) -> AsyncIterator[asyncpg.Connection]:
    """Return a connection to a database with the schema and nothing in it."""
    url = await postgres_server.make_database()
    await (await PostgresStore.open(url, writers=1, readers=1)).close()
    opened = await asyncpg.connect(url)
    yield opened
    await opened.close()


async def test_every_query_prepares(connection: asyncpg.Connection) -> None:
    for key, sql in QUERIES.items():
        if key.partition(":")[2] not in TOGETHER:
            await connection.prepare(sql)


async def test_writes_are_joined_into_one_statement(connection: asyncpg.Connection) -> None:
    names = ("save_balances", "posted", "append_transactions", "append_postings", "move_accounts")
    parts = []
    for name in names:
        sql = QUERIES[f"ledger.sql:{name}"]
        parts.append((name, sql, len(set(re.findall(r"\$\d+", sql)))))
    prepared = await connection.prepare(joined(tuple(parts)))
    assert len(prepared.get_parameters()) == sum(count for _, _, count in parts)


def test_every_query_is_used_and_every_used_one_exists() -> None:
    code = "".join(
        file.read_text("utf-8") for file in PACKAGE.iterdir() if file.is_file() and file.name.endswith(".py")
    )
    used = set(re.findall(r"\bSQL\.(\w+)", code)) | {"add_to_units", "add_to_totals", "add_to_metered"}
    assert used == {key.partition(":")[2] for key in QUERIES}


async def test_primary_keys_of_customers_tables_begin_with_the_bucket(
    connection: asyncpg.Connection,
) -> None:
    rows = await connection.fetch(
        "SELECT c.relname, (SELECT attname FROM pg_attribute WHERE attrelid = c.oid AND attnum = i.indkey[0])"
        " FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid"
        " WHERE i.indisprimary AND NOT c.relispartition AND c.relnamespace = 'public'::regnamespace"
    )
    first = dict(map(tuple, rows))
    shared = {"records", "unit_rates", "deliveries", "replies", "numbers", "schema_migrations"}
    assert {table for table, column in first.items() if column != "bucket"} == shared


async def test_a_database_of_a_newer_program_is_refused_untouched(
    connection: asyncpg.Connection, postgres_server: Any
) -> None:
    await connection.execute("INSERT INTO schema_migrations VALUES (9999, 0)")
    url = postgres_server.url(connection._params.database)
    with pytest.raises(SchemaTooNew, match="9999"):
        await PostgresStore.open(url)
    assert await connection.fetchval("SELECT max(number) FROM schema_migrations") == 9999


async def test_a_failing_migration_leaves_the_schema_as_it_was(
    connection: asyncpg.Connection, postgres_server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    twice = "CREATE TABLE extra (id text); CREATE TABLE extra (id text);"
    newest = load_migrations("costplus.storage.postgres")
    monkeypatch.setattr(migrate, "_MIGRATIONS", [*newest, (len(newest) + 1, twice)])
    with pytest.raises(asyncpg.DuplicateTableError):
        await PostgresStore.open(postgres_server.url(connection._params.database))
    assert await connection.fetchval("SELECT max(number) FROM schema_migrations") == len(newest)
    assert await connection.fetchval("SELECT to_regclass('extra')") is None


async def test_events_lie_in_the_partition_of_their_month(
    new_postgres: Callable[[], Awaitable[Store]], build: SimpleNamespace
) -> None:
    store = await new_postgres()
    times = [build.at.replace(year=year, month=month) for year, month in ((2021, 12), (2022, 1), (2031, 5))]
    far = [build.at.replace(year=year) for year in (1969, 1999, 2150)]
    entries = [build.charged(f"call-{i}", at=at) for i, at in enumerate([*times, *far])]
    await store.write(lambda tx: build.keep(tx, entries), customers=["cus_1"])

    def tables(tx: Any) -> set[tuple[str, int]]:
        found = tx._all("SELECT tableoid::regclass::text, count(*) FROM usage_events GROUP BY 1")
        return set(map(tuple, found))

    assert await store.read(tables) == {
        ("usage_events_2021_12", 1),
        ("usage_events_2022_01", 1),
        ("usage_events_2031_05", 1),
        ("usage_events_early", 1),  # 1999.
        ("usage_events_late", 2),  # 2150, and 1969, whose id is the highest there is.
    }
    for entry in entries:
        assert await store.read(lambda tx, one=entry.event: tx.charge_of("cus_1", one.id)) == entry
    again = [entry.event for entry in entries]
    assert await store.write(lambda tx: tx.append_events(again), customers=["cus_1"]) == set()
    await store.close()


def test_a_month_is_told_by_an_id_at_its_very_edge() -> None:
    assert name_of("charges", 0) == "charges_2020_01"
    assert month_of("016f5e66e7ff" + "f" * 20) is None
    assert month_of("016f5e66e800" + "0" * 20) == 0
    assert month_of("03bb2cc3d7ff" + "f" * 20) == 80 * 12 - 1
    assert month_of("03bb2cc3d800" + "0" * 20) is None


texts = st.text(alphabet=st.characters(exclude_categories=["Cs"]) | st.sampled_from('\x00\x01\x02"\\,{}'))


@given(texts, texts)
def test_any_text_comes_back_from_its_kept_form_and_keeps_its_order(one: str, other: str) -> None:
    for text in (one, other):
        assert "\x00" not in kept_text(text)
        assert plain_text(kept_text(text)) == text
        assert plain_row((text, 1, None)) == (text, 1, None) or "\x01" in text
    assert (one < other) == (kept_text(one) < kept_text(other))


async def test_arrays_are_written_as_the_server_reads_them(connection: asyncpg.Connection) -> None:
    strange = ["", "NULL", 'a"b\\c', "{,}", " x ", "é\u2028😀", "\n\t"]
    assert await connection.fetchval("SELECT $1::text::text[]", array_text(strange)) == strange
    some_bytes = [b"", None, b"\x00\xff", b'{"a":"\\\\"}']
    assert await connection.fetchval("SELECT $1::text::bytea[]", array_text(some_bytes)) == some_bytes
    numbers = [None, -(2**63), 2**63 - 1, 0]
    assert await connection.fetchval("SELECT $1::text::bigint[]", array_text(numbers)) == numbers
    assert await connection.fetchval("SELECT $1::text::bigint[]", array_text([])) == []
