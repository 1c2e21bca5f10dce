"""Find and open the database that the settings name, of whichever kind it is."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from costplus.billing.store import Store, Tx
from costplus.config import Settings, SettingsInvalid
from costplus.core.errors import Unavailable
from costplus.storage.errors import DriverMissing
from costplus.storage.memory import MemoryStore
from costplus.storage.sqlite import SqliteStore

T = TypeVar("T")


async def open_store(settings: Settings) -> Store:
    """Open the database that the settings name."""
    url = settings.database_url
    if url == "memory:":
        return MemoryStore()
    if url.startswith("sqlite:///"):
        path = Path(url.removeprefix("sqlite:///"))
        path.parent.mkdir(parents=True, exist_ok=True)
        return await SqliteStore.open(path)
    if is_postgres(url):
        return await postgres_adapter().PostgresStore.open(url)  # type: ignore[no-any-return]  # A lazy import.
    raise SettingsInvalid(
        f"The database '{hidden(url)}' is not supported: use sqlite:///PATH, postgresql://… or memory:."
    )


def is_postgres(url: str) -> bool:
    """Whether the URL names a PostgreSQL database."""
    return url.startswith(("postgresql://", "postgres://"))


def postgres_adapter() -> Any:
    """Return the adapter's package, which only those who use it need a driver for. Raises `DriverMissing`."""
    try:
        return importlib.import_module("costplus.storage.postgres")
    except ModuleNotFoundError as error:
        if error.name != "asyncpg":
            raise
        raise DriverMissing("PostgreSQL's driver, asyncpg, is not installed.") from error


def hidden(url: str) -> str:
    """Return a database's URL without its password."""
    return re.sub(r"(://[^:/@]*:)[^@/]*@", r"\1***@", url)


class DatabaseMissing(Unavailable):
    """There is no database yet where the settings say."""

    code = "database_missing"
    remedy = "Start `costplus serve` once, or name another one with --database."


async def open_existing(settings: Settings) -> Store:
    """Open the database without making one. Raises `DatabaseMissing`."""
    _check_there(settings.database_url)
    return await open_store(settings)


async def look_at(settings: Settings, look: Callable[[Tx], T]) -> T:
    """Return what `look` sees in the database; where there is none it sees an empty one, and none is made."""
    try:
        store = await open_existing(settings)
    except DatabaseMissing:
        store = MemoryStore()
    try:
        return await store.read(look)
    finally:
        await store.close()


def _check_there(url: str) -> None:
    path = url.removeprefix("sqlite:///")
    if path != url and not Path(path).is_file():
        raise DatabaseMissing(f"There is no database {path}.")
