"""What an operator asks of a database: its schema, what it holds, whether it keeps what it says it kept."""

from __future__ import annotations

import re
from dataclasses import dataclass

from costplus.storage.postgres.migrate import migrate, schema_of
from costplus.storage.postgres.session import READS, WRITES, Session
from costplus.storage.queries import load_migrations

_SCRIPTS = "".join(script for _, script in load_migrations("costplus.storage.postgres"))
_TABLES = re.findall(r"^CREATE TABLE (\w+)", _SCRIPTS, re.MULTILINE)
_FUNCTIONS = re.findall(r"^CREATE FUNCTION (\w+)", _SCRIPTS, re.MULTILINE)
# What takes everything of this program's out of a database, partitions with their tables.
EMPTYING = "\n".join(
    [f"DROP FUNCTION IF EXISTS {name};" for name in _FUNCTIONS]
    + [f"DROP TABLE IF EXISTS {name};" for name in ("schema_migrations", *_TABLES)]
)
OLDEST_SERVER = 140_000  # Version 14; the number is the server's own.


@dataclass(frozen=True, slots=True)
class Server:
    """What matters about a server."""

    version: str
    is_recent: bool
    lossy: tuple[str, ...]  # Settings with which an acknowledged write may be lost in a crash.


def migrate_database(url: str) -> tuple[int, int]:
    """Bring the schema up to date; return its number before and after."""
    session = Session(url, name="costplus migrate", mode=WRITES)
    try:
        return migrate(session)
    finally:
        session.close()


def schema_in(url: str) -> int:
    """Return the number of the database's schema; 0 where it has none."""
    session = Session(url, name="costplus", mode=READS)
    try:
        session.begin()
        return schema_of(session)
    finally:
        session.close()


def has_content(url: str) -> bool:
    """Whether the database holds any table with a row of this program's, or a table of another's."""
    session = Session(url, name="costplus", mode=READS)
    try:
        session.begin()
        ((tables,),) = session.fetch(
            "SELECT count(*) FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"
        )
        if not tables:
            return False
        if not schema_of(session):
            return True
        ((rows,),) = session.fetch("SELECT EXISTS (SELECT FROM records)")
        return bool(rows)
    finally:
        session.close()


def examine_server(url: str) -> Server:
    """Return what matters about the database's server."""
    session = Session(url, name="costplus doctor", mode=READS)
    try:
        session.begin()
        found = session.fetch(
            "SELECT name, setting FROM pg_settings WHERE name IN ('server_version', 'server_version_num',"
            " 'fsync', 'synchronous_commit', 'full_page_writes')"
        )
        settings = dict(map(tuple, found))
    finally:
        session.close()
    lossy = tuple(
        f"{name}=off"
        for name in ("fsync", "synchronous_commit", "full_page_writes")
        if settings[name] == "off"
    )
    return Server(
        version=settings["server_version"],
        is_recent=int(settings["server_version_num"]) >= OLDEST_SERVER,
        lossy=lossy,
    )
