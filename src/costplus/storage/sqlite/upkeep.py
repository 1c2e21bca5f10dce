"""What an operator asks of a database file: its schema, a copy of it while it is in use, its soundness."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from costplus.storage.errors import SchemaTooNew
from costplus.storage.queries import load_migrations
from costplus.storage.sqlite.connection import BUSY_TIMEOUT_MS, connect_writer


def schema_in(path: Path) -> int:
    """Return the number of the file's schema; 0 where it has none. Raises `sqlite3.DatabaseError`."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        tables = "SELECT count(*) FROM sqlite_schema WHERE name = 'schema_migrations'"
        if connection.execute(tables).fetchone() == (0,):
            return 0
        ((number,),) = connection.execute("SELECT coalesce(max(number), 0) FROM schema_migrations")
        return int(number)


def migrate_file(path: Path) -> tuple[int, int]:
    """Bring the file's schema up to date, or make the file; return the number before and after."""
    before = schema_in(path) if path.is_file() else 0
    connect_writer(path).close()
    return before, schema_in(path)


def has_content(path: Path) -> bool:
    """Whether the file holds anything that a copy over it would destroy."""
    if not path.is_file() or path.stat().st_size == 0:
        return False
    if not schema_in(path):
        return True
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        ((rows,),) = connection.execute("SELECT EXISTS (SELECT 1 FROM records)")
        return bool(rows)


def verify_file(path: Path) -> int:
    """Return the schema's number of a sound file of this program's.

    Raises `SchemaTooNew`, and `sqlite3.DatabaseError` where it is damaged or something else.
    """
    number = schema_in(path)
    newest = load_migrations("costplus.storage.sqlite")[-1][0]
    if number == 0:
        raise sqlite3.DatabaseError("it is no database of costplus")
    if number > newest:
        raise SchemaTooNew(f"The file has schema {number}; this program knows {newest}.")
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        found = connection.execute("PRAGMA integrity_check(1)").fetchone()[0]
    if found != "ok":
        raise sqlite3.DatabaseError(found)
    return number


def copy_file(source: Path, target: Path) -> None:
    """Copy a database as of one instant, also while it is being written to; what was in `target` is gone."""
    with (
        closing(sqlite3.connect(f"file:{source}?mode=ro", uri=True, timeout=BUSY_TIMEOUT_MS / 1000)) as old,
        closing(sqlite3.connect(target, timeout=BUSY_TIMEOUT_MS / 1000)) as new,
    ):
        new.execute("PRAGMA synchronous = FULL")
        old.backup(new)
