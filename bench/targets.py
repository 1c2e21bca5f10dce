"""What is measured: the provider itself, nginx in front of it, and our gateway in front of it.

Rule 1: each target asks the provider with a key of its own, whose tally is what a bill is held against.
Rule 2: our gateway serves as a newcomer would set it up: in one process, with billing, holds and journal on.
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import urlopen

from machine import TARGET_CORE, Running, free_port, start, start_silent
from seed import seed

HERE = Path(__file__).resolve().parent
PATH = "/v1/chat/completions"
MERCHANT_KEY = "sk_test_bench"

# Charges with a price for each of their parts, and the events that they are for.
CHARGED = "SELECT count(*) FROM charges WHERE price_nano > 0 AND unpriced = {none}"
EVENTS = "SELECT count(*) FROM usage_events"
TOKENS = "SELECT coalesce(sum(quantity), 0) FROM rollup_units"

_NGINX = """
daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/error.log error;
events {{ worker_connections 4096; }}
http {{
  access_log off; client_body_temp_path {folder}; proxy_temp_path {folder};
  fastcgi_temp_path {folder}; uwsgi_temp_path {folder}; scgi_temp_path {folder};
  keepalive_requests 1000000000;
  upstream provider {{ server {address}; keepalive 512; keepalive_requests 1000000000; }}
  server {{
    listen 127.0.0.1:{port} backlog=2048;
    location / {{
      proxy_pass http://provider; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_buffering off;
    }}
  }}
}}
"""


@dataclass(frozen=True, slots=True)
class Load:
    """How a target is loaded: so many callers to saturate it, so many calls a second to time them."""

    callers: int
    per_s: int


FAST = {"JSON": Load(32, 500), "SSE": Load(256, 100)}


@dataclass(frozen=True, slots=True)
class Tally:
    """How many calls there were, and how many tokens in and out."""

    calls: int
    tokens: int


@dataclass(slots=True)
class Target:
    """One thing to measure."""

    name: str
    urls: list[str]
    headers: list[str]  # Lines that each call sends.
    provider_key: str
    loads: Mapping[str, Load]
    running: Running | None = None  # None where it is the provider itself.
    billed: Callable[[], Tally] | None = None  # Once it has ended.
    is_peer: bool = False
    streams_held: int = 500  # A gateway has 512 connections to a provider.
    called: int = 0  # Calls answered so far, as the load generator counts them.


def bearer(key: str) -> str:
    """Return the header line that carries a key."""
    return f"authorization: Bearer {key}"


def start_provider(*, core: int | None) -> Running:
    """Start the simulated provider."""
    return start("provider", [sys.executable, str(HERE / "provider.py")], core=core)


def direct(provider: Running) -> Target:
    """Return the provider itself as a target."""
    return Target("direct", [provider.url + PATH], [bearer("direct")], "direct", FAST)


def start_nginx(folder: Path, provider: Running) -> Target | None:
    """Start nginx with one worker in front of the provider; None where nginx is not installed."""
    program = shutil.which("nginx")
    if program is None:
        return None
    folder.mkdir()
    port = free_port()
    config = folder / "nginx.conf"
    config.write_text(_NGINX.format(folder=folder, address=urlsplit(provider.url).netloc, port=port))
    command = [program, "-p", str(folder), "-c", str(config)]
    running = start_silent("nginx", command, port=port, is_ready="/_sim/stats", log=folder / "log")
    return Target("nginx", [running.url + PATH], [bearer("nginx")], "nginx", FAST, running)


class Ours:
    """One database and the gateways on it."""

    def __init__(
        self, name: str, folder: Path, provider: Running, *, database: str = "", fsync: bool = False
    ) -> None:
        self.name = name
        self._provider_key = name.replace(" ", "-")
        self._folder = folder
        self._env = {
            "COSTPLUS_SECRET_KEY": MERCHANT_KEY,
            "COSTPLUS_LOG_LEVEL": "warning",
            "COSTPLUS_PRICES__SYNC": "false",
            "COSTPLUS_PROVIDERS__OPENAI__BASE_URL": provider.url,
            "COSTPLUS_PROVIDERS__OPENAI__API_KEY": self._provider_key,
            "COSTPLUS_GATEWAY__FSYNC": str(fsync).lower(),
            **({"COSTPLUS_DATABASE_URL": database} if database else {}),
        }
        api = self.start("api", core=TARGET_CORE)
        try:
            self._key = seed(api.url, MERCHANT_KEY)
        finally:
            api.stop()

    def start(self, role: str, *, core: int, place: str = "1") -> Running:
        """Start a process; each place has a data directory of its own."""
        command = [sys.executable, "-m", "costplus", "serve", "--port", "0", "--json", "--role", role]
        folder = self._folder / place
        return start(self.name, [*command, "--data-dir", str(folder)], core=core, env=self._env)

    def target(self, *processes: Running, billed: Callable[[], Tally]) -> Target:
        """Return the processes as a target; the first is the one whose CPU and memory is read."""
        urls = [process.url + PATH for process in processes]
        return Target(
            self.name, urls, [bearer(self._key)], self._provider_key, FAST, processes[0], billed=billed
        )


def start_on_sqlite(
    name: str, folder: Path, provider: Running, *, role: str = "all", fsync: bool = False
) -> Target:
    """Start our gateway on a new SQLite database."""
    ours = Ours(name, folder, provider, fsync=fsync)
    return ours.target(ours.start(role, core=TARGET_CORE), billed=lambda: billed_in_sqlite(folder / "1"))


def billed_in_sqlite(folder: Path) -> Tally:
    """Return what the store in a data directory holds charges for."""
    with sqlite3.connect(folder / "costplus.db") as db:
        (charges,) = db.execute(CHARGED.format(none="CAST('[]' AS BLOB)")).fetchone()
        (events,) = db.execute(EVENTS).fetchone()
        (tokens,) = db.execute(TOKENS).fetchone()
    return Tally(min(charges, events), tokens)


def answered(provider: Running, key: str) -> Tally:
    """Return what the provider answered to a key, broken-off answers included."""
    with urlopen(provider.url + "/_sim/stats") as answer:
        tally = json.load(answer).get(key, {"answered": 0, "broken": 0, "tokens": 0})
    return Tally(tally["answered"] + tally["broken"], tally["tokens"])


def release(provider: Running) -> None:
    """Let the provider end the streams that it holds."""
    with urlopen(provider.url + "/_sim/release"):
        pass


def environment(**more: str) -> dict[str, str]:
    """Return what another project's program may see: our own paths are not its business."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "COSTPLUS"))}
    return kept | more
