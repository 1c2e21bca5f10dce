"""Bring the schema up to date.

Rule 1: migrations are applied in order, all of them in one transaction, and are never changed once released.
Rule 2: a database with more migrations than this program knows is refused, untouched.
Rule 3: processes that start together take turns.
"""

from __future__ import annotations

import time

from costplus.storage.errors import SchemaTooNew
from costplus.storage.postgres.session import Session
from costplus.storage.queries import load_migrations

_MIGRATIONS = load_migrations("costplus.storage.postgres")
_LOCK = 0x636F7374_73636865  # "costsche"


def schema_of(session: Session) -> int:
    """Return the number of the newest migration that was applied; 0 where there is none."""
    ((table,),) = session.fetch("SELECT to_regclass('schema_migrations')::text")
    if table is None:
        return 0
    ((number,),) = session.fetch("SELECT coalesce(max(number), 0) FROM schema_migrations")
    return int(number)


def migrate(session: Session) -> tuple[int, int]:
    """Apply the migrations that the database lacks; return the schema before and after."""
    session.begin()
    session.fetch("SELECT pg_advisory_xact_lock($1)", _LOCK)
    before, newest = schema_of(session), _MIGRATIONS[-1][0]
    if before > newest:
        session.rollback()
        raise SchemaTooNew(f"The database has schema {before}; this program knows {newest}.")
    if before == 0:
        session.script(
            "CREATE TABLE schema_migrations (number integer PRIMARY KEY, applied_at bigint NOT NULL)"
        )
    for number, script in _MIGRATIONS[before:]:
        session.script(script)
        applied_us = time.time_ns() // 1000
        session.fetch("INSERT INTO schema_migrations VALUES ($1, $2)", number, applied_us)
    session.commit()
    return before, newest
