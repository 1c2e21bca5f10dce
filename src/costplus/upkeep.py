"""Upkeep of the database, on either engine: bring the schema up to date, make a backup, restore one.

Rule 1: a backup is of one instant and may be made while everything runs; a file with its name is whole.
Rule 2: restoring replaces what the database holds: it refuses where there is something, unless it is forced,
and looks at the backup first.
"""

from __future__ import annotations

import importlib
import os
import shutil
import sqlite3
import subprocess
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from costplus.config import Settings, SettingsInvalid
from costplus.core.errors import Conflict, InvalidRequest, Unavailable
from costplus.database import DatabaseMissing, is_postgres, postgres_adapter
from costplus.storage.sqlite import upkeep as sqlite_upkeep

PG_DUMP, PG_RESTORE, PSQL = "pg_dump", "pg_restore", "psql"
# Parameters of a URL that PostgreSQL's own programs know; others are settings of the server.
LIBPQ_OPTIONS = {"host", "port", "user", "passfile", "sslmode", "sslcert", "sslkey", "sslrootcert"}


class ToolMissing(Unavailable):
    """PostgreSQL's own program for the task is not on PATH."""

    code = "database_tool_missing"
    remedy = "Install PostgreSQL's client programs (Debian: apt install postgresql-client)."


class BackupFailed(Unavailable):
    """The backup could not be made or restored."""

    code = "backup_failed"
    remedy = "Nothing was changed."


class BackupUnusable(InvalidRequest):
    """The file is no backup that this program can restore here."""

    code = "backup_unusable"
    remedy = "Take a file that `costplus backup` made, of the same kind of database."


class DatabaseNotEmpty(Conflict):
    """Restoring would destroy what the database holds."""

    code = "database_not_empty"
    remedy = "Name an empty database, or stop every process and say --force."


@dataclass(frozen=True, slots=True)
class Kept:
    """A backup that was made or restored."""

    file: Path
    size_bytes: int
    schema: int


def migrate(settings: Settings) -> tuple[int, int]:
    """Bring the database's schema up to date; return its number before and after."""
    url = settings.database_url
    if is_postgres(url):
        found: tuple[int, int] = _postgres().migrate_database(url)
        return found
    path = _file_of(url)
    path.parent.mkdir(parents=True, exist_ok=True)
    return sqlite_upkeep.migrate_file(path)


def back_up(settings: Settings, file: Path) -> Kept:
    """Write a backup to a new file."""
    if file.exists():
        raise BackupFailed(
            f"There is a file {file} already.", remedy="Choose another name; nothing was changed."
        )
    url, part = settings.database_url, file.with_name(f"{file.name}.part")
    part.unlink(missing_ok=True)
    try:
        if is_postgres(url):
            schema = int(_postgres().schema_in(url))
            _run(PG_DUMP, "--format=custom", "--no-owner", f"--file={part}", f"--dbname={_libpq(url)}")
        else:
            path = _existing(url)
            sqlite_upkeep.copy_file(path, part)
            schema = sqlite_upkeep.verify_file(part)
        _settle(part)
        part.rename(file)
    except (OSError, sqlite3.Error) as error:
        raise BackupFailed(f"{file} could not be written: {error}.") from error
    finally:
        part.unlink(missing_ok=True)
    return Kept(file, file.stat().st_size, schema)


def restore(settings: Settings, file: Path, *, force: bool) -> Kept:
    """Replace what the database holds by a backup, and look at what came of it."""
    if not file.is_file():
        raise BackupUnusable(f"There is no file {file}.")
    url = settings.database_url
    restored = _restore_postgres if is_postgres(url) else _restore_sqlite
    return Kept(file, file.stat().st_size, restored(url, file, force=force))


def _restore_sqlite(url: str, file: Path, *, force: bool) -> int:
    path = _file_of(url)
    try:
        sqlite_upkeep.verify_file(file)
    except sqlite3.DatabaseError as error:
        raise BackupUnusable(f"{file} cannot be restored: {error}.") from error
    try:
        if not force and sqlite_upkeep.has_content(path):
            raise DatabaseNotEmpty(f"The database {path} holds something.")
        path.parent.mkdir(parents=True, exist_ok=True)
        sqlite_upkeep.copy_file(file, path)
        return sqlite_upkeep.verify_file(path)
    except (OSError, sqlite3.Error) as error:
        raise BackupFailed(f"{path} could not be written: {error}.") from error


def _restore_postgres(url: str, file: Path, *, force: bool) -> int:
    upkeep = _postgres()
    try:
        _run(PG_RESTORE, "--list", str(file))
    except BackupFailed as error:
        raise BackupUnusable(f"{file} cannot be restored: {error.message}") from error
    if not force and upkeep.has_content(url):
        raise DatabaseNotEmpty("The database holds something.")
    with TemporaryDirectory() as folder:
        emptying, filling = Path(folder) / "empty.sql", Path(folder) / "fill.sql"
        emptying.write_text(upkeep.EMPTYING)
        _run(PG_RESTORE, "--no-owner", f"--file={filling}", str(file))
        options = ("--single-transaction", "--set=ON_ERROR_STOP=1", "--quiet", "--no-psqlrc")
        _run(PSQL, *options, f"--file={emptying}", f"--file={filling}", f"--dbname={_libpq(url)}")
    schema: int = upkeep.migrate_database(url)[1]
    return schema


def _postgres() -> Any:
    """Return the adapter's upkeep, which needs its driver."""
    postgres_adapter()
    return importlib.import_module("costplus.storage.postgres.upkeep")


def _file_of(url: str) -> Path:
    path = url.removeprefix("sqlite:///")
    if path == url:
        raise SettingsInvalid(
            "Only a database that lasts has a schema and backups: sqlite:/// or postgresql://."
        )
    return Path(path)


def _existing(url: str) -> Path:
    path = _file_of(url)
    if not path.is_file():
        raise DatabaseMissing(f"There is no database {path}.")
    return path


def _libpq(url: str) -> str:
    """Return the URL as PostgreSQL's own programs take it: settings of the server are not theirs."""
    parts = urlsplit(url)
    kept = [(name, value) for name, value in parse_qsl(parts.query) if name in LIBPQ_OPTIONS]
    return urlunsplit(parts._replace(query=urlencode(kept)))


def _run(program: str, *arguments: str) -> None:
    """Run one of PostgreSQL's programs to its end."""
    path = shutil.which(program)
    if path is None:
        raise ToolMissing(f"The program {program} is not on PATH.")
    done = subprocess.run([path, *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        why = " ".join(done.stderr.split())
        raise BackupFailed(f"{program} failed: {why}")


def _settle(file: Path) -> None:
    """Let a file reach the disk before it gets its name."""
    with file.open("rb") as written:
        os.fsync(written.fileno())
