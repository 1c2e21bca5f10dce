"""Where the rows of the failure table take place, and what its books show."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx2
import pytest

from costplus.billing.store import Tx
from costplus.billing.subscription import Subscription
from costplus.rating.rate_card import RateCardVersion
from costplus.storage.sqlite import SqliteStore

CHAT, DOLLAR = "/v1/chat/completions", 10**9
COUNTED = "[[input=100]] [[tokens=30]]"


def ask(text: str = COUNTED, **more: Any) -> dict[str, Any]:
    """Return the body of a call."""
    messages = [{"role": "user", "content": text}]
    return {"model": "gpt-4o-mini", "max_tokens": 500, "messages": messages, **more}


class Picky(ThreadingHTTPServer):
    """A provider with an opinion about some keys; `asked` are the keys that came, in order."""

    def __init__(self, behind: str, said: Mapping[str, bytes]) -> None:
        self.asked: list[str] = []
        self.said = dict(said)
        self.behind = behind
        super().__init__(("127.0.0.1", 0), Passing)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"


class Passing(BaseHTTPRequestHandler):
    """One request to it."""

    server: Picky

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        key = self.headers["authorization"].removeprefix("Bearer ")
        self.server.asked.append(key)
        if key in self.server.said:
            self.wfile.write(self.server.said[key])
            return
        headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
        answer = httpx2.post(self.server.behind + self.path, content=body, headers=headers, trust_env=False)
        self.send_response(answer.status_code)
        self.send_header("content-type", answer.headers["content-type"])
        self.send_header("content-length", str(len(answer.content)))
        self.end_headers()
        self.wfile.write(answer.content)

    def log_message(self, *_: object) -> None:
        """Stay silent."""


@dataclass
class World:
    """Where a row takes place: at first a shared gateway, or one of its own."""

    calls: Any
    provider: Any
    gateway: Any
    customer: str
    folder: Path
    is_shared: bool = True

    def send(self, text: str = COUNTED, **more: Any) -> httpx2.Response:
        answer: httpx2.Response = self.gateway.post(CHAT, ask(text, **more), self.customer)
        return answer

    @contextmanager
    def own(
        self,
        *,
        url: str = "",
        extra: Mapping[str, str] | None = None,
        credit_nano: int = DOLLAR,
        **settings: object,
    ) -> Iterator[Any]:
        """Run a gateway of the row's own; a second time it goes on where the first one ended."""
        self.customer, self.is_shared = "cus_own", False
        if not (self.folder / "costplus.db").exists():
            self.calls.seed(self.folder, {self.customer: credit_nano})
        environ = self.calls.environment(url or self.provider.url, **settings) | (extra or {})
        with self.calls.gateway_on(self.folder, environ) as self.gateway:
            yield self.gateway

    @contextmanager
    def whole_server(self) -> Iterator[httpx2.Client]:
        """Run the API too, on the data of the row's own gateway."""
        environ, arguments = self.calls.environment(self.provider.url), ("serve", "--port", "0", "--data-dir")
        headers = {"authorization": f"Bearer {self.calls.merchant_key}"}
        with (
            self.calls.started(*arguments, str(self.folder), folder=self.folder, environ=environ) as process,
            httpx2.Client(base_url=process.url, headers=headers, timeout=30, trust_env=False) as http,
        ):
            yield http

    def locked(self) -> AbstractContextManager[sqlite3.Connection]:
        """Lock the database, as a store that is down looks to the gateway."""
        database = sqlite3.connect(self.folder / "costplus.db", isolation_level=None)
        database.execute("BEGIN IMMEDIATE")
        return contextlib.closing(database)

    def set_card(self, *, credit_nano: int = DOLLAR, **changes: Any) -> None:
        """Put the row's customers on another version of their card."""

        def verb(tx: Tx) -> None:
            (version,) = tx.page(RateCardVersion)
            tx.save(replace(version, id="rcv_other", **changes))
            for subscription in tx.page(Subscription):
                tx.save(replace(subscription, rate_card_version="rcv_other"))

        async def change() -> None:
            store = await SqliteStore.open(self.folder / "costplus.db")
            await store.write(verb)
            await store.close()

        self.calls.seed(self.folder, {"cus_own": credit_nano})
        asyncio.run(change())

    def socket_of(self, body: dict[str, Any]) -> socket.socket:
        """Send a call on a socket of its own, and return that."""
        content = json.dumps(body)
        host, _, port = self.gateway.url.removeprefix("http://").partition(":")
        client = socket.create_connection((host, int(port)))
        client.settimeout(10)
        client.sendall(
            f"POST {CHAT} HTTP/1.1\r\nhost: gateway\r\nauthorization: Bearer {self.calls.merchant_key}\r\n"
            f"x-stripe-customer-id: {self.customer}\r\n"
            f"content-length: {len(content)}\r\n\r\n{content}".encode()
        )
        return client

    def routed(self, *urls: str, name: str = "smart", models: Sequence[str] = ()) -> dict[str, str]:
        """Return the settings of providers at these addresses that serve one name in this order."""
        models = models or ["gpt-4o-mini"] * len(urls)
        route = [
            {"provider": f"p{number}", "model": model, "priority": number}
            for number, model in enumerate(models)
        ]
        settings = {"COSTPLUS_ROUTES": json.dumps({name: route})}
        for number, url in enumerate(urls):
            named = {"BASE_URL": url, "API_KEY": f"sk-{number}", "CATALOG": "openai"}
            settings |= {f"COSTPLUS_PROVIDERS__P{number}__{key}": value for key, value in named.items()}
        return settings

    @contextmanager
    def picky(self, said: Mapping[str, bytes]) -> Iterator[Picky]:
        """Run a server that answers the calls of some keys with these bytes, and passes on all others."""
        with Picky(self.provider.url, said) as server:
            thread = threading.Thread(target=server.serve_forever)
            thread.start()
            yield server
            server.shutdown()
            thread.join()

    @staticmethod
    @contextmanager
    def one_that_hangs_up() -> Iterator[str]:
        """Run a server that takes a request and closes the connection without a word."""
        with socket.create_server(("127.0.0.1", 0)) as server:

            def serve() -> None:
                with contextlib.suppress(OSError):
                    while True:
                        connection, _ = server.accept()
                        with connection:
                            connection.recv(100_000)

            thread = threading.Thread(target=serve)
            thread.start()
            yield f"http://127.0.0.1:{server.getsockname()[1]}"
            server.shutdown(socket.SHUT_RDWR)
        thread.join()

    def rows(self) -> list[tuple[int, int, set[str]]]:
        """Return price, cost and flags of everything that the books have of the customer, in order."""
        found = self.gateway.books.rows(
            "SELECT c.price_nano, c.cost_nano, e.usage, r.body FROM usage_events e JOIN charges c"
            " ON e.bucket = c.bucket AND e.customer = c.customer AND e.id = c.event_id"
            " LEFT JOIN records r ON r.kind = 'unpriced_usage' AND r.id = e.id"
            " WHERE e.customer = ? ORDER BY e.at, e.key LIKE '%:%', e.key",
            self.customer,
        )
        return [
            (price, cost, {*json.loads(usage)["flags"], *(["unpriced"] if queued else [])})
            for price, cost, usage, queued in found
        ]


@pytest.fixture
def world(calls: Any, provider: Any, gateway: Any, customer: str, tmp_path: Path) -> World:
    """Return the shared gateway with a customer of the test's own, and room for a gateway of its own."""
    return World(calls, provider, gateway, customer, tmp_path / "own")
