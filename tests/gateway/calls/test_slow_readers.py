"""A client that does not read makes the provider wait; the gateway does not take the answer into memory."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(not hasattr(socket, "AF_NETLINK"), reason="only Linux says what a client has read"),
]

DOLLAR = 10**9
EVENT = b"data: %b\n\n"
PIECE = (
    EVENT
    % json.dumps(
        {"model": "gpt-4o-mini", "choices": [{"index": 0, "delta": {"content": "x" * 16_000}}]}
    ).encode()
)
PIECES = 4_000  # 64 MB.
USAGE = (
    EVENT
    % json.dumps(
        {"model": "gpt-4o-mini", "choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 11}}
    ).encode()
)
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: %d\r\n\r\n"
TAIL = USAGE + b"data: [DONE]\n\n"
ANSWER_BYTES = len(PIECE) * PIECES + len(TAIL)
HELD_BYTES_MAX = 16 << 20  # What sockets' buffers on both sides may hold, and a little.


class LongProvider:
    """A provider whose answers are long, and who counts what it could get rid of."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.sent_bytes = 0
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with connection:
            connection.recv(65_536)
            connection.sendall(HEAD % ANSWER_BYTES)
            for _ in range(PIECES):
                connection.sendall(PIECE)
                self.sent_bytes += len(PIECE)
            connection.sendall(TAIL)

    def close(self) -> None:
        self._listener.close()


@pytest.fixture
def long_provider() -> Iterator[LongProvider]:
    """Run a provider of long answers."""
    provider = LongProvider()
    yield provider
    provider.close()


def rss_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "::"])
def test_a_stream_waits_at_the_provider_until_its_client_reads(
    host: str, calls: Any, long_provider: LongProvider, tmp_path: Path
) -> None:
    calls.seed(tmp_path, {"cus_1": DOLLAR})
    environ = calls.environment(long_provider.url) | {"COSTPLUS_HOST": host}
    with calls.gateway_on(tmp_path, environ) as gateway:
        port = int(gateway.url.rpartition(":")[2])
        before = rss_bytes(gateway.process.popen.pid)
        body = json.dumps(
            {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hi"}], "stream": True}
        )
        with socket.create_connection(("::1" if ":" in host else "127.0.0.1", port)) as client:
            client.settimeout(20)
            client.sendall(
                f"POST /v1/chat/completions HTTP/1.1\r\nhost: gateway\r\nconnection: close\r\n"
                f"authorization: Bearer {calls.merchant_key}\r\nx-stripe-customer-id: cus_1\r\n"
                f"content-length: {len(body)}\r\n\r\n{body}".encode()
            )
            seen = -1

            def has_stopped() -> bool:
                nonlocal seen
                before, seen = seen, long_provider.sent_bytes
                return 0 < seen == before

            for _ in range(10):  # It stays so.
                calls.until(has_stopped, "the provider cannot send any more")
            assert seen < HELD_BYTES_MAX
            assert rss_bytes(gateway.process.popen.pid) - before < HELD_BYTES_MAX
            received, end = 0, b""
            while chunk := client.recv(1 << 20):
                received += len(chunk)
                end = (end + chunk)[-200:]
        assert b"data: [DONE]\n\n" in end
        assert received > len(PIECE) * PIECES
        (booked,) = calls.until(lambda: gateway.books.of("cus_1"), "the call is settled")
        assert (booked.quantities, booked.flags) == ({"input": 7, "output": 11}, [])
