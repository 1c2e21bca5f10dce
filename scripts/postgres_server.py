"""Starts PostgreSQL servers of our own, for tests and for what runs cases on real stores.

Rule 1: everything of a server is in its directory, and goes with it.
"""

from __future__ import annotations

import getpass
import os
import shutil
import subprocess
from pathlib import Path
from uuid import uuid4

import asyncpg

ABSENT = "no PostgreSQL here: install Debian's package `postgresql`, or put initdb on PATH"


def postgres_programs() -> Path | None:
    """Return where PostgreSQL's programs are, or None where none are installed."""
    found = shutil.which("initdb")
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[4]))
    return (Path(found) if found else debian[-1]).parent if found or debian else None


class PostgresServer:
    """A PostgreSQL server of our own, in a directory that goes with it; it speaks on a Unix socket.

    It may not run as root: then it runs as the user `postgres`, which Debian's package makes.
    """

    def __init__(self, programs: Path, folder: Path) -> None:
        self.programs = programs
        self.folder = folder
        self._template = ""
        self._user = "postgres" if os.geteuid() == 0 else None
        self.owner = self._user or getpass.getuser()
        if self._user:
            shutil.chown(folder, self._user)

    def run(self, program: str, *arguments: str) -> None:
        """Run one of PostgreSQL's programs to its end, in the C locale: its output does not matter here."""
        subprocess.run(
            [self.programs / program, *arguments],
            user=self._user,
            cwd=self.folder,
            check=True,
            stdout=subprocess.DEVNULL,
            env={"PATH": os.environ["PATH"], "LC_ALL": "C"},
            timeout=60,
        )

    def make(self) -> None:
        """Make the cluster."""
        self.run("initdb", "-D", "cluster", "-A", "trust", "-N", "--locale=C", "-E", "UTF8")

    def start(self, *, durable: bool = True) -> None:
        """Start the server and wait until it answers."""
        options = f"-c listen_addresses='' -k {self.folder} -c max_connections=200"
        if not durable:
            options += " -c fsync=off -c synchronous_commit=off -c full_page_writes=off"
        self.run("pg_ctl", "-D", "cluster", "-w", "-s", "-l", "log", "-o", options, "start")

    def stop(self, *, mode: str = "immediate") -> None:
        """Stop the server: `immediate` is a crash, `fast` is not."""
        self.run("pg_ctl", "-D", "cluster", "-w", "-s", "-m", mode, "stop")

    def url(self, database: str) -> str:
        """Return where a database is."""
        return f"postgresql://{self.owner}@/{database}?host={self.folder}"

    async def make_database(self, *, template: str = "template0") -> str:
        """Return the URL of a new database that is as the template is, by default empty."""
        name = f"costplus_{uuid4().hex}"
        admin = await asyncpg.connect(self.url("postgres"))
        try:
            await admin.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        finally:
            await admin.close()
        return self.url(name)
