"""A PostgreSQL server for the benchmark, beside the load generator: its work is not the gateway's.

Rule 1: the server is durable, as in service: a commit waits for the disk.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg
from machine import LOAD_CORE, can_pin, cpu_s
from postgres_server import PostgresServer, postgres_programs
from targets import CHARGED, EVENTS, TOKENS, Tally


class Postgres:
    """A running server."""

    def __init__(self, server: PostgresServer) -> None:
        self._server = server
        self._pid = int((server.folder / "cluster" / "postmaster.pid").read_text().splitlines()[0])

    def make_database(self) -> str:
        """Return the URL of a new, empty database."""
        return asyncio.run(self._server.make_database())

    def cpu_s(self) -> float:
        """Return the CPU seconds that the server has used."""
        return cpu_s(self._pid)


def billed_in_postgres(url: str) -> Tally:
    """Return what a database holds charges for."""

    async def ask() -> Tally:
        connection = await asyncpg.connect(url)
        try:
            charges = await connection.fetchval(CHARGED.format(none="'[]'::bytea"))
            events = await connection.fetchval(EVENTS)
            tokens = await connection.fetchval(TOKENS)
        finally:
            await connection.close()
        return Tally(min(charges, events), int(tokens))

    return asyncio.run(ask())


@contextmanager
def postgres() -> Iterator[Postgres | None]:
    """Yield a server that ends with the block, or None where PostgreSQL is not installed."""
    programs = postgres_programs()
    if programs is None:
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="costplus-pg-") as folder:  # A socket's path must be short.
        server = PostgresServer(programs, Path(folder))
        server.make()
        usual = os.sched_getaffinity(0)
        if can_pin():
            os.sched_setaffinity(0, {LOAD_CORE})  # What is started now stays there.
        try:
            server.start()
        finally:
            os.sched_setaffinity(0, usual)
        try:
            yield Postgres(server)
        finally:
            server.stop()
