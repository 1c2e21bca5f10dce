"""Calls by real routes: the same lane for a conversation, its share for each key, and rest for a busy one."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.e2e

ANSWER = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "model": "gpt-4o-mini",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Yes."}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11},
}


class Provider(ThreadingHTTPServer):
    """A provider that notes whose key came, and is busy for some."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.busy: set[str] = set()
        super().__init__(("127.0.0.1", 0), Answering)


class Answering(BaseHTTPRequestHandler):
    """One request to it."""

    server: Provider

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        key = self.headers["authorization"].removeprefix("Bearer ")
        self.server.asked.append(key)
        body = b"{}" if key in self.server.busy else json.dumps(ANSWER).encode()
        self.send_response(429 if key in self.server.busy else 200)
        self.send_header("content-type", "application/json")
        self.send_header("retry-after", "30")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Stay silent."""


@contextmanager
def serving() -> Iterator[Provider]:
    with Provider() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def keyed(calls: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Any, Provider]]:
    """Run a gateway with three keys of one provider, the first of which has half of the calls."""
    folder: Path = tmp_path_factory.mktemp("keyed")
    calls.seed(folder, {"cus_1": 10**9})
    keys = [{"api_key": "sk-a", "weight": 2}, {"api_key": "sk-b"}, {"api_key": "sk-c"}]
    with serving() as provider:
        url = f"http://127.0.0.1:{provider.server_address[1]}"
        settings = calls.environment(url) | {
            "COSTPLUS_PROVIDERS__OPENAI__API_KEY": "",
            "COSTPLUS_PROVIDERS__OPENAI__API_KEYS": json.dumps(keys),
        }
        with calls.gateway_on(folder, settings) as served:
            yield served, provider


def test_keys_share_conversations_by_their_weights_and_each_conversation_stays(keyed: Any) -> None:
    gateway, provider = keyed
    for number in range(80):
        assert gateway.chat(f"Conversation {number}", "cus_1").status_code == 200
    first = list(provider.asked)
    assert 25 <= Counter(first)["sk-a"] <= 55 and len(set(first)) == 3
    provider.asked.clear()
    for number in range(80):
        said = [("user", f"Conversation {number}"), ("assistant", "Yes."), ("user", "And then?")]
        body = {"model": "gpt-4o-mini", "messages": [{"role": r, "content": c} for r, c in said]}
        assert gateway.post("/v1/chat/completions", body, "cus_1").status_code == 200
    assert provider.asked == first


def test_a_busy_key_is_left_alone_for_as_long_as_it_asks(keyed: Any) -> None:
    gateway, provider = keyed
    provider.busy.add("sk-a")
    provider.asked.clear()
    answers = [gateway.chat(f"Talk {number}", "cus_1").status_code for number in range(20)]
    assert set(answers) == {200}
    assert Counter(provider.asked)["sk-a"] == 1
    assert len(provider.asked) == 21
