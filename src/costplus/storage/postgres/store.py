"""The store on a PostgreSQL database: some threads write, some read, one listens."""

from __future__ import annotations

import secrets

from costplus.storage.postgres.listener import Listener
from costplus.storage.postgres.threads import Reader, Shared, Writer
from costplus.storage.threads import ThreadedStore

WRITERS = 4
READERS = 3


class PostgresStore(ThreadedStore):
    """Satisfies `billing.store.Store`. Made by `open`.

    A writer that names its customers runs beside those of other customers, in this and in other processes.
    """

    @classmethod
    async def open(cls, url: str, *, writers: int = WRITERS, readers: int = READERS) -> PostgresStore:
        """Connect to the database, its schema brought up to date.

        Raises `StorageUnavailable` where it cannot be reached and `SchemaTooNew` where a newer program has
        written.
        """
        store = cls()
        shared = Shared(url=url, sender=secrets.token_hex(8))
        writing = {"shared": shared, "queue": store._writes, "notify": store._notify}
        try:
            for number in range(writers):
                await store._start(Writer, migrates=number == 0, **writing)
            for _ in range(readers):
                await store._start(Reader, shared=shared, queue=store._reads)
            await store._start(Listener, shared=shared, notify=store._notify)
        except BaseException:
            await store.close()
            raise
        return store
