"""A gateway that is asked to stop finishes its calls, takes no new ones, and forgets nothing."""

from __future__ import annotations

import json
import signal
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import pytest

pytestmark = pytest.mark.e2e

CHAT, MESSAGES = "/v1/chat/completions", "/v1/messages"
CREDIT_NANO = 10**9


def ask(text: str, **more: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": text}]
    return {"model": "gpt-4o-mini", "max_tokens": 500, "messages": messages, **more}


@pytest.fixture
def stopping(calls: Any, provider: Any, tmp_path: Path) -> Callable[..., Any]:
    """Return how to start a gateway, again and again, on this test's data with so many seconds to drain."""
    calls.seed(tmp_path, {"cus_1": CREDIT_NANO})
    return lambda drain_s: calls.gateway_on(tmp_path, calls.environment(provider.url, drain_s=drain_s))


def in_flight(
    gateway: Any, calls: Any, provider_calls: Callable[[], int], body: dict[str, Any]
) -> socket.socket:
    """Send a call on a socket of its own; return that once the provider has the call."""
    asked, content = provider_calls(), json.dumps(body)
    host, _, port = gateway.url.removeprefix("http://").partition(":")
    client = socket.create_connection((host, int(port)))
    client.settimeout(10)
    client.sendall(
        f"POST {CHAT} HTTP/1.1\r\nhost: gateway\r\nauthorization: Bearer {calls.merchant_key}\r\n"
        f"x-stripe-customer-id: cus_1\r\ncontent-length: {len(content)}\r\n\r\n{content}".encode()
    )
    calls.until(lambda: provider_calls() > asked, "the provider has the call")
    return client


def test_all_that_was_answered_is_settled_when_the_process_ends(
    stopping: Callable[..., Any], tmp_path: Path
) -> None:
    with stopping(5) as served:
        answers = [served.chat("[[tokens=5]]", "cus_1") for _ in range(5)]
        assert served.process.end() == 0
    assert {answer.headers["costplus-request-id"] for answer in answers} == served.books.booked().keys()
    assert served.books.held_nano() == 0
    assert served.books.unbalanced() == []
    assert list((tmp_path / "journal").glob("*.journal")) == []


def test_a_call_under_way_is_finished_and_new_ones_are_refused(
    stopping: Callable[..., Any], calls: Any, provider_calls: Callable[[], int]
) -> None:
    with stopping(20) as served, ThreadPoolExecutor() as threads:
        asked = provider_calls()
        slow = threads.submit(served.chat, "[[tokens=5]] [[latency=1500]]", "cus_1")
        calls.until(lambda: provider_calls() > asked, "the provider has the call")
        served.process.popen.send_signal(signal.SIGTERM)
        health = f"{served.url}/readyz"
        with httpx2.Client(trust_env=False) as http:
            calls.until(lambda: http.get(health).status_code == 503, "it says that it is draining")
        for path, model in ((CHAT, "gpt-4o-mini"), (MESSAGES, "claude-sonnet-4-5")):
            refused = served.post(path, ask("hello", model=model), "cus_1")
            assert (refused.status_code, refused.json()["error"]["code"]) == (503, "gateway_draining")
            assert refused.headers["retry-after"] == "1"
        answer = slow.result()
        assert served.process.popen.wait(20) == 0
    assert answer.status_code == 200
    (booked,) = served.books.of("cus_1")
    assert booked.id == answer.headers["costplus-request-id"] and booked.quantities["output"] == 5
    assert served.books.held_nano() == 0


def test_a_stream_under_way_comes_to_its_end_while_the_process_drains(
    stopping: Callable[..., Any], calls: Any, provider_calls: Callable[[], int]
) -> None:
    body = ask("[[tokens=40]] [[chunk_ms=50]]", stream=True)
    with stopping(20) as served, in_flight(served, calls, provider_calls, body) as client:
        seen = b""
        while seen.count(b"data:") < 5:
            seen += client.recv(10_000)
        served.process.popen.send_signal(signal.SIGTERM)
        with httpx2.Client(trust_env=False) as http:
            headers = {"authorization": f"Bearer {calls.merchant_key}"}
            calls.until(
                lambda: "costplus_draining 1.0" in http.get(f"{served.url}/metrics", headers=headers).text,
                "it says that it is draining",
            )
        assert b"[DONE]" not in seen
        while not seen.endswith(b"0\r\n\r\n"):
            piece = client.recv(10_000)
            assert piece, "the stream broke off"
            seen += piece
        assert seen.count(b"data: [DONE]") == 1
        assert served.process.popen.wait(20) == 0
    (booked,) = served.books.of("cus_1")
    assert (booked.flags, booked.quantities["output"]) == ([], 40)
    assert served.books.held_nano() == 0


def test_a_call_that_hangs_does_not_keep_the_process_from_stopping(
    stopping: Callable[..., Any], calls: Any, provider_calls: Callable[[], int]
) -> None:
    with stopping(0) as served, in_flight(served, calls, provider_calls, ask("[[hang]]")):
        assert served.process.end() == 0
    with stopping(0) as served:  # Nothing was answered, so nothing is charged; it may have cost something.
        (attempt,) = served.books.of("cus_1")
        assert (attempt.price_nano, attempt.flags) == (0, ["estimated", "failed_attempt"])
        assert served.books.open_intents() == []
        assert (served.books.held_nano(), served.books.credit_nano("cus_1")) == (0, CREDIT_NANO)


def test_a_stream_cut_by_the_stop_is_billed_by_what_was_seen(
    stopping: Callable[..., Any], calls: Any, provider_calls: Callable[[], int]
) -> None:
    body = ask("[[tokens=400]] [[chunk_ms=50]]", stream=True)
    with stopping(0) as served, in_flight(served, calls, provider_calls, body) as client:
        seen = b""
        while seen.count(b"data:") < 5:
            seen += client.recv(10_000)
        assert served.process.end() == 0
    with stopping(0) as served:
        (booked,) = served.books.of("cus_1")
        assert booked.flags == ["estimated"]
        assert 1 <= booked.quantities["output"] < 100
        assert booked.price_nano == calls.price_nano("openai/gpt-4o-mini", booked.quantities)
        assert served.books.held_nano() == 0
        assert served.books.credit_nano("cus_1") == CREDIT_NANO - booked.price_nano
