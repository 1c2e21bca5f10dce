"""Fronts: what stands where a provider would, checks what the gateway shows it, and passes it on.

Rule 1: a front judges by the provider's own library or by a token that it gave; what it is content with
goes on to the simulated provider.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx2
import pytest

KEY = "sk_test_credentials"


@dataclass
class Asked:
    """A request as the front got it."""

    path: str  # With its query, as it stood in the request line: a whole URL where a proxy is asked.
    headers: dict[str, str]
    body: bytes


@dataclass
class Front:
    """What stands in front of the simulated provider."""

    url: str = ""
    asked: list[Asked] = field(default_factory=list)
    judge: Callable[[Asked], tuple[int, dict[str, Any]] | None] = lambda _: None


@contextmanager
def front(provider_url: str) -> Iterator[Front]:
    """Serve a front: where `judge` says something, that is its answer, else the provider's."""
    told = Front()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            asked = Asked(self.path, {name.lower(): value for name, value in self.headers.items()}, body)
            told.asked.append(asked)
            found = told.judge(asked)
            if found is None:
                kept = {k: v for k, v in asked.headers.items() if k in ("content-type", "x-capture-id")}
                kept["authorization"] = "Bearer sk-any"
                path = self.path if self.path.startswith("/") else f"/{self.path.split('/', 3)[3]}"
                answer = httpx2.post(provider_url + path, content=body, headers=kept, trust_env=False)
                status, kind, said = answer.status_code, answer.headers["content-type"], answer.content
            else:
                status, kind, said = found[0], "application/json", json.dumps(found[1]).encode()
            self.send_response(status)
            self.send_header("content-type", kind)
            self.send_header("content-length", str(len(said)))
            self.end_headers()
            self.wfile.write(said)

        def log_message(self, *_: object) -> None: ...

    class Server(ThreadingHTTPServer):
        daemon_threads = True

    server = Server(("127.0.0.1", 0), Handler)
    told.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield told
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def only(gateway: Any, calls: Any) -> Any:
    """Return the one call that is booked."""
    (booked,) = calls.until(lambda: gateway.books.of("cus_own"), "the call is settled")
    return booked


def new_call(gateway: Any, calls: Any, before: int) -> Any:
    """Return the call that was booked after the `before` first ones."""
    found = calls.until(
        lambda: len(b := gateway.books.of("cus_own")) > before and sorted(b, key=lambda call: call.id),
        "the call is settled",
    )
    return found[-1]


@pytest.fixture(scope="session")
def fronts() -> SimpleNamespace:
    """Return how to serve a front, the key of the customer behind it, and how to find what is booked."""
    return SimpleNamespace(front=front, key=KEY, only=only, new_call=new_call)


@pytest.fixture
def fronted(calls: Any, provider: Any, tmp_path: Path) -> Iterator[Callable[..., tuple[Any, Front]]]:
    """Return how to start a gateway whose provider is behind a front."""
    with ExitStack() as stack:

        def start(
            environ: Callable[[str], dict[str, str]], *, provider_url: str = provider.url
        ) -> tuple[Any, Front]:
            told = stack.enter_context(front(provider_url))
            calls.seed(tmp_path, {"cus_own": None}, keys={KEY: "cus_own"})
            own = {"COSTPLUS_SECRET_KEY": calls.merchant_key, **environ(told.url)}
            return stack.enter_context(calls.gateway_on(tmp_path, own)), told

        yield start
