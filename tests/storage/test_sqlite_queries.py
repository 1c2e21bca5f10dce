"""Every named query is valid, is used, and finds its rows by an index."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from importlib import resources
from pathlib import Path

import pytest

from costplus.storage.queries import load_migrations, load_queries, parse_queries
from costplus.storage.sqlite.connection import connect_writer

PACKAGE = resources.files("costplus.storage.sqlite")
QUERIES = {
    f"{file.name}:{name}": sql
    for file in PACKAGE.joinpath("queries").iterdir()
    for name, sql in parse_queries(file.read_text("utf-8")).items()
}


class Nulls(dict[str, None]):
    """Gives every named parameter no value."""

    def __missing__(self, name: str) -> None:
        return None


@pytest.fixture
def database(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    with closing(connect_writer(tmp_path / "costplus.db")) as connection:
        yield connection


@pytest.mark.parametrize("sql", QUERIES.values(), ids=QUERIES.keys())
def test_a_query_prepares_and_reads_no_table_from_end_to_end(database: sqlite3.Connection, sql: str) -> None:
    parameters = (None,) * sql.count("?") or Nulls()
    plan = database.execute(f"EXPLAIN QUERY PLAN {sql}", parameters).fetchall()
    scans = [step for *_, step in plan if step.startswith("SCAN") and "INDEX" not in step]
    assert scans in ([], ["SCAN json_each VIRTUAL TABLE INDEX 1:"]), plan


def test_every_query_is_used_and_every_used_one_exists() -> None:
    code = "".join(
        file.read_text("utf-8") for file in PACKAGE.iterdir() if file.is_file() and file.name.endswith(".py")
    )
    used = set(re.findall(r"\b(?:OUTBOX_)?SQL\.(\w+)", code))
    assert used == {key.partition(":")[2] for key in QUERIES}


def test_a_query_ends_where_the_next_name_begins() -> None:
    text = "-- A comment.\n-- :name one\nSELECT 1\n\n-- :name two\n-- Says why.\nSELECT 2\n"
    assert parse_queries(text) == {"one": "SELECT 1", "two": "-- Says why.\nSELECT 2"}
    assert parse_queries("") == {}


def test_a_doubled_name_is_a_mistake() -> None:
    with pytest.raises(AssertionError):
        parse_queries("-- :name one\nSELECT 1\n-- :name one\nSELECT 2\n")


def test_queries_and_migrations_come_with_the_package() -> None:
    assert load_queries("costplus.storage.sqlite", "records.sql").find_record.startswith("SELECT body")
    numbers = [number for number, _ in load_migrations("costplus.storage.sqlite")]
    assert numbers == [index + 1 for index in range(len(numbers))] and len(numbers) >= 4
