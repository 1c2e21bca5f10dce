"""Real processes on real sockets: the simulated provider, the server, a webhook receiver."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

MERCHANT_KEY = "sk_test_e2e_0123456789"


@dataclass
class Running:
    """A costplus command that serves."""

    url: str
    process: subprocess.Popen[str]

    def terminate(self) -> int:
        """Ask it to stop, and return its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=60)


@contextmanager
def _running(*arguments: str, env: dict[str, str] | None = None) -> Iterator[Running]:
    """Run a costplus command until the block ends."""
    process = subprocess.Popen(
        [sys.executable, "-m", "costplus", *arguments, "--json"],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **(env or {})},
    )
    assert process.stdout is not None
    try:
        for line in process.stdout:
            event = json.loads(line)
            if event["event"] == "ready":
                break
        else:
            pytest.fail(f"costplus {arguments[0]} ended with {process.wait()} before it was ready")
        yield Running(event["url"], process)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.fixture(scope="session")
def running() -> Any:
    """Run a costplus command until the block ends."""
    return _running


@pytest.fixture(scope="session")
def provider() -> Iterator[str]:
    """The URL of a simulated provider."""
    with _running("dev-provider", "--port", "0") as server:
        yield server.url


@pytest.fixture
def serve(provider: str, tmp_path: Path) -> Iterator[Callable[..., Running]]:
    """Start the server on this test's data directory, as often as it is called."""
    env = {
        "COSTPLUS_SECRET_KEY": MERCHANT_KEY,
        "COSTPLUS_LOG_LEVEL": "warning",
        "COSTPLUS_PROVIDERS__OPENAI__BASE_URL": provider,
        "COSTPLUS_PROVIDERS__OPENAI__API_KEY": "simulated",
        "COSTPLUS_PROVIDERS__ANTHROPIC__BASE_URL": provider,
        "COSTPLUS_PROVIDERS__ANTHROPIC__API_KEY": "simulated",
    }
    open_blocks: list[Any] = []

    def start(**extra: str) -> Running:
        block = _running("serve", "--port", "0", "--data-dir", str(tmp_path / "data"), env={**env, **extra})
        open_blocks.append(block)
        server: Running = block.__enter__()
        return server

    yield start
    for block in open_blocks:
        block.__exit__(None, None, None)


@dataclass
class Receiver:
    """A webhook endpoint that keeps what it is sent."""

    url: str
    requests: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    arrived: threading.Condition = field(default_factory=threading.Condition)

    def wait_for(self, type: str, *, timeout_s: float = 15) -> tuple[dict[str, str], bytes]:
        """Return the first request that carries an event of this type."""

        def found() -> tuple[dict[str, str], bytes] | None:
            return next((r for r in self.requests if json.loads(r[1])["type"] == type), None)

        with self.arrived:
            self.arrived.wait_for(lambda: found() is not None, timeout=timeout_s)
        request = found()
        seen = [json.loads(body)["type"] for _, body in self.requests]
        assert request is not None, f"no {type} among {seen}"
        return request

    def count(self, type: str) -> int:
        """Return how many events of this type arrived."""
        return sum(json.loads(body)["type"] == type for _, body in self.requests)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A real HTTP server that takes webhooks."""
    box = Receiver("")

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = int(self.headers["content-length"])
            body = self.rfile.read(length)
            if len(body) < length:  # Its sender is gone.
                return
            with box.arrived:
                box.requests.append(({k.lower(): v for k, v in self.headers.items()}, body))
                box.arrived.notify_all()
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Stay silent."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    box.url = f"http://127.0.0.1:{server.server_address[1]}/hook"
    yield box
    server.shutdown()
    thread.join()
    server.server_close()
