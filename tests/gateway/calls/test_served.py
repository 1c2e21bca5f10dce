"""What served is priced, not what was asked for; what the provider says of its own cost is kept."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.e2e

USAGE = {"prompt_tokens": 1000, "completion_tokens": 10, "total_tokens": 1010, "cost": 0.00012345}


class Upstream(BaseHTTPRequestHandler):
    """Answers every chat as the model named in the user's message, with a cost of its own."""

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        message = {"role": "assistant", "content": "well"}
        answer = {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 1,
            "model": body["messages"][-1]["content"],
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": USAGE,
        }
        payload = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)

    def log_message(self, *_: object) -> None:
        """Stay silent."""


@pytest.fixture(scope="module")
def served(calls: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A gateway in front of the scripted upstream, and a customer with credit."""
    upstream = ThreadingHTTPServer(("127.0.0.1", 0), Upstream)
    thread = threading.Thread(target=upstream.serve_forever)
    thread.start()
    folder: Path = tmp_path_factory.mktemp("served")
    calls.seed(folder, {"cus_1": 10**10})
    try:
        with calls.gateway_on(folder, calls.environment(f"http://127.0.0.1:{upstream.server_port}")) as one:
            yield one
    finally:
        upstream.shutdown()
        thread.join()
        upstream.server_close()


@pytest.mark.parametrize(
    ("asked", "answered", "priced", "flags"),
    [
        ("gpt-4o-mini", "gpt-4o-mini-2024-07-18", "openai/gpt-4o-mini", []),
        ("gpt-4o-mini", "gpt-4.1", "openai/gpt-4.1", []),
        ("gpt-4.1", "gpt-9-nobody-knows", "openai/gpt-4.1", ["served_model_unpriced"]),
    ],
)
def test_what_served_is_priced(
    served: Any, calls: Any, asked: str, answered: str, priced: str, flags: list[str]
) -> None:
    answer = served.chat(answered, "cus_1", model=asked)
    assert answer.status_code == 200, answer.text
    booked = served.books.wait_for(answer.headers["costplus-request-id"])
    assert (booked.model, booked.flags) == (answered, flags)
    assert booked.price_nano == calls.price_nano(priced, {"input": 1000, "output": 10})


def test_what_the_provider_says_a_call_cost_is_kept_in_its_own_words(served: Any) -> None:
    answer = served.chat("gpt-4o-mini", "cus_1")
    served.books.wait_for(answer.headers["costplus-request-id"])
    ((said,),) = served.books.rows(
        "SELECT reported_cost FROM usage_events WHERE request_id = ?", answer.headers["costplus-request-id"]
    )
    assert said == "0.00012345"
