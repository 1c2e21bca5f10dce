"""What the tests of translations share: a released SDK that reads a stream off a real socket."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest
from anthropic import Anthropic
from anthropic.types import Message


@pytest.fixture(scope="module")
def accumulated() -> Iterator[Callable[[bytes], Message]]:
    """Return what tells the message that Anthropic's SDK makes of a stream."""
    answer = b""

    class Answering(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(200)
            self.send_header("content-type", "text/event-stream")
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answering)
    Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    client = Anthropic(base_url=f"http://127.0.0.1:{server.server_address[1]}", api_key="k", max_retries=0)

    def accumulate(body: bytes) -> Message:
        nonlocal answer
        answer = body
        turns: list[Any] = [{"role": "user", "content": "Hi"}]
        with client.messages.stream(model="m", max_tokens=9, messages=turns) as stream:
            return stream.get_final_message()

    yield accumulate
    client.close()
    server.shutdown()
    server.server_close()
