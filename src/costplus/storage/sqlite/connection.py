"""Open a database file and bring its schema up to date.

Rule 1: migrations are applied in order, each in a transaction, and are never changed once released.
Rule 2: a file with more migrations than this program knows is refused, untouched.
"""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path

from costplus.storage.errors import DatabaseLocked, SchemaTooNew
from costplus.storage.queries import load_migrations

STATEMENTS_CACHED = 512
BUSY_TIMEOUT_MS = 5_000

_LOCKED = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
_MIGRATIONS = load_migrations("costplus.storage.sqlite")
_PRAGMAS = (
    "PRAGMA foreign_keys = ON",
    "PRAGMA temp_store = MEMORY",
    "PRAGMA cache_size = -65536",  # 64 MiB.
)


def connect(path: Path, *, busy_timeout_ms: int) -> sqlite3.Connection:
    """Return a connection that starts no transaction by itself, for use in the calling thread."""
    connection = sqlite3.connect(path, isolation_level=None, cached_statements=STATEMENTS_CACHED)
    connection.execute(f"PRAGMA busy_timeout = {busy_timeout_ms}")
    for pragma in _PRAGMAS:
        connection.execute(pragma)
    return connection


def connect_writer(path: Path, *, busy_timeout_ms: int = BUSY_TIMEOUT_MS) -> sqlite3.Connection:
    """Return the connection that writes, its schema current."""
    connection = connect(path, busy_timeout_ms=busy_timeout_ms)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")  # A commit returns after the WAL's fsync.
        # 64 MiB: usage of many customers changes the same pages again and again before they are copied back.
        connection.execute("PRAGMA wal_autocheckpoint = 16384")
        migrate(connection, _MIGRATIONS)
    except sqlite3.OperationalError as error:
        connection.close()
        if error.sqlite_errorcode & 0xFF in _LOCKED:  # The low byte is the code without its detail.
            raise DatabaseLocked(f"Another process is writing to {path}.") from error
        raise
    except BaseException:
        connection.close()
        raise
    return connection


def connect_reader(path: Path, *, busy_timeout_ms: int = BUSY_TIMEOUT_MS) -> sqlite3.Connection:
    """Return a connection that refuses to write."""
    connection = connect(path, busy_timeout_ms=busy_timeout_ms)
    connection.execute("PRAGMA query_only = ON")
    return connection


def migrate(connection: sqlite3.Connection, migrations: list[tuple[int, str]]) -> None:
    """Apply the migrations that the database lacks."""
    connection.execute("BEGIN IMMEDIATE")
    connection.execute(
        "CREATE TABLE IF NOT EXISTS schema_migrations"
        " (number INTEGER PRIMARY KEY, applied_at INTEGER NOT NULL) STRICT"
    )
    (applied,) = connection.execute("SELECT coalesce(max(number), 0) FROM schema_migrations").fetchone()
    newest = migrations[-1][0]
    if applied > newest:
        connection.execute("ROLLBACK")
        raise SchemaTooNew(f"The database has schema {applied}; this program knows {newest}.")
    connection.execute("COMMIT")
    for number, script in migrations[applied:]:
        _apply(connection, number, script)


def _apply(connection: sqlite3.Connection, number: int, script: str) -> None:
    connection.execute("BEGIN IMMEDIATE")
    try:
        for statement in statements_of(script):
            connection.execute(statement)
        connection.execute("INSERT INTO schema_migrations VALUES (?, ?)", (number, time.time_ns() // 1000))
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise


def statements_of(script: str) -> list[str]:
    """Split a script at the ends of its statements: `executescript` would commit before it."""
    statements: list[str] = []
    pending = ""
    for part in script.split(";"):
        pending += part
        if sqlite3.complete_statement(pending + ";"):  # Not so within a comment or a text.
            statements.append(pending)
            pending = ""
        else:
            pending += ";"
    assert not pending.strip(" \n;"), pending  # The last statement ends with a semicolon, too.
    return [statement for statement in statements if statement.strip()]
