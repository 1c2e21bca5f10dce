"""What is measured: the provider itself, nginx in front of it, and our gateway in front of it.

Rule 1: the gateway has a simulated provider of its own, whose tally is what its bill is held against.
"""

from __future__ import annotations

import json
import shutil
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import urlopen

from machine import LOAD_CORE, TARGET_CORE, BenchFailed, Running, pinned, start
from seed import seed

MERCHANT_KEY = "sk_test_bench"
PATH = "/v1/chat/completions"
PROVIDER_KEY = "simulated"

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


@dataclass(slots=True)
class Target:
    """One thing to measure; `process` has its CPU time and memory, None where it is the provider itself."""

    name: str
    url: str
    key: str
    process: Running | None


def start_provider() -> Running:
    """Start a simulated provider beside the load generator."""
    return start("dev-provider", [sys.executable, "-m", "costplus", "dev-provider", "--json"], core=LOAD_CORE)


def start_nginx(folder: Path, provider: Running) -> Running | None:
    """Start nginx with one worker in front of the provider; None where nginx is not installed."""
    program = shutil.which("nginx")
    if program is None:
        return None
    folder.mkdir()
    address = urlsplit(provider.url).netloc
    port = _free_port()
    config = folder / "nginx.conf"
    config.write_text(_NGINX.format(folder=folder, address=address, port=port))
    began = time.perf_counter()
    command = pinned([program, "-p", str(folder), "-c", str(config)], TARGET_CORE)
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, text=True)
    running = Running("nginx", process, f"http://127.0.0.1:{port}", 0)
    _until(lambda: answers(running.url + "/_sim/stats"), running)
    running.ready_s = time.perf_counter() - began
    return running


def start_gateway(folder: Path, provider: Running, *, role: str) -> tuple[Running, str]:
    """Start our gateway with a customer set up; return it and the customer's key."""
    env = {
        "COSTPLUS_SECRET_KEY": MERCHANT_KEY,
        "COSTPLUS_LOG_LEVEL": "warning",
        "COSTPLUS_PRICES__SYNC": "false",
        "COSTPLUS_PROVIDERS__OPENAI__BASE_URL": provider.url,
        "COSTPLUS_PROVIDERS__OPENAI__API_KEY": PROVIDER_KEY,
    }
    serve = [sys.executable, "-m", "costplus", "serve", "--data-dir", str(folder), "--port", "0", "--json"]
    api = start("costplus (API)", [*serve, "--role", "api"], core=TARGET_CORE, env=env)
    try:
        key = seed(api.url, MERCHANT_KEY)
    finally:
        api.stop()
    return start("costplus", [*serve, "--role", role], core=TARGET_CORE, env=env), key


@dataclass(frozen=True, slots=True)
class Tally:
    """How many calls there were, and how many tokens in and out."""

    calls: int
    tokens: int


def answered(provider: Running) -> Tally:
    """Return what the provider answered and reported."""
    with urlopen(provider.url + "/_sim/stats") as answer:
        stats = json.load(answer)
    return Tally(stats["answered"], sum(stats["tokens"].values()))


def billed(folder: Path) -> Tally:
    """Return what the gateway's store holds charges for."""
    with sqlite3.connect(folder / "costplus.db") as db:
        (calls,) = db.execute(
            "SELECT count(*) FROM usage_events e JOIN charges c"
            " ON c.bucket = e.bucket AND c.customer = e.customer AND c.event_id = e.id"
            " WHERE c.price_nano > 0 AND c.unpriced = CAST('[]' AS BLOB)"
        ).fetchone()
        (tokens,) = db.execute("SELECT coalesce(sum(quantity), 0) FROM rollup_units").fetchone()
    return Tally(calls, tokens)


def answers(url: str) -> bool:
    """Return whether a GET of `url` is answered."""
    try:
        with urlopen(url, timeout=1):
            return True
    except OSError:
        return False


def _until(ready: Callable[[], bool], running: Running) -> None:
    until = time.perf_counter() + 10
    while not ready():
        if running.process.poll() is not None or time.perf_counter() > until:
            raise BenchFailed(f"{running.name} did not start.")
        time.sleep(0.01)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
