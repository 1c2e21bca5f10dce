"""The store on one SQLite file: one thread writes, two read."""

from __future__ import annotations

from pathlib import Path

from costplus.storage.sqlite.connection import BUSY_TIMEOUT_MS
from costplus.storage.sqlite.threads import Reader, Writer
from costplus.storage.threads import ThreadedStore

READERS = 2


class SqliteStore(ThreadedStore):
    """Satisfies `billing.store.Store`. Made by `open`.

    There is one writer, so every verb is alone, whatever customers it names.
    """

    @classmethod
    async def open(cls, path: Path, *, busy_timeout_ms: int = BUSY_TIMEOUT_MS) -> SqliteStore:
        """Open or create the database file, its schema brought up to date.

        Raises `DatabaseLocked` where another process is writing and `SchemaTooNew` where a newer program has
        written.
        """
        store = cls()
        settings = {"path": path, "busy_timeout_ms": busy_timeout_ms}
        try:
            await store._start(Writer, queue=store._writes, notify=store._notify, **settings)
            for _ in range(READERS):
                await store._start(Reader, queue=store._reads, **settings)
        except BaseException:
            await store.close()
            raise
        return store
