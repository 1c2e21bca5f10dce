"""What a gateway writes down of calls: by default failures only, words only on demand, credentials never."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.e2e

DOLLAR = 10**9
SECRET = "sk-proj-abcdefghijklmnop1234"


@pytest.fixture
def logging(calls: Any, provider: Any, tmp_path: Path) -> Callable[..., AbstractContextManager[Any]]:
    """Return how to start a gateway that logs so."""
    calls.seed(tmp_path, {"cus_1": DOLLAR})
    level = {"COSTPLUS_LOG_LEVEL": "info"}
    return lambda **settings: calls.gateway_on(tmp_path, calls.environment(provider.url, **settings) | level)


def lines(gateway: Any) -> list[dict[str, Any]]:
    """Return the calls that were written down, once the process has ended."""
    assert gateway.process.end() == 0
    text = (gateway.folder / "stderr.log").read_text()
    entries = [json.loads(line) for line in text.splitlines()]
    return [entry for entry in entries if entry["event"] == "call"]


def test_by_default_only_failures_are_written_and_nobodys_words(logging: Callable[..., Any]) -> None:
    with logging() as gateway:
        gateway.chat("my name is Alice", "cus_1")
        gateway.chat("[[error=500]] my name is Alice", "cus_1")
        (line,) = lines(gateway)
    assert (line["level"], line["status"], line["customer"]) == ("warning", 500, "cus_1")
    assert (line["provider"], line["model"], line["endpoint"]) == ("openai", "gpt-4o-mini", "openai_chat")
    assert "Alice" not in (gateway.folder / "stderr.log").read_text()


def test_a_line_has_what_was_used_and_charged_and_never_the_cost(
    logging: Callable[..., Any],
) -> None:
    with logging(log_calls="all") as gateway:
        answer = gateway.chat("[[tokens=7]] [[input=11]]", "cus_1")
        booked = gateway.books.wait_for(answer.headers["costplus-request-id"])
        gateway.chat("hello", "cus_none")
        gateway.chat("[[tokens=7]] [[latency=60]]", "cus_1", stream=True)
        made, refused, stream = lines(gateway)
    assert (made["request"], made["charged"]) == (booked.id, answer.headers["costplus-charged"])
    assert (made["input_tokens"], made["output_tokens"]) == (11, 7)
    assert 0 < made["own_ms"] <= made["ms"]
    assert (refused["status"], refused["code"]) == (404, "resource_missing")
    assert stream["first_piece_ms"] >= 60
    assert not [name for line in (made, refused, stream) for name in line if "cost" in name or "body" in name]


def test_metadata_is_the_shape_of_what_was_said(logging: Callable[..., Any]) -> None:
    with logging(log_bodies="metadata") as gateway:
        gateway.chat(f"my name is Alice, my key {SECRET}", "cus_1")
        (line,) = lines(gateway)
    assert line["request_shape"]["messages"][0] == {"role": "user", "content": "[53 chars]"}
    assert line["answer_shape"]["usage"]["prompt_tokens"] > 0
    written = (gateway.folder / "stderr.log").read_text()
    assert not any(word in written for word in ("Alice", SECRET, "sk_test_merchant", "sk-provider-secret"))


def test_full_is_every_word_but_no_credential(logging: Callable[..., Any]) -> None:
    with logging(log_bodies="full") as gateway:
        gateway.chat(f"my name is Alice, my key {SECRET}", "cus_1", stream=True)
        (line,) = lines(gateway)
    assert "my name is Alice, my key [redacted]" in line["request_body"]
    assert line["answer_body"].startswith("data: {") and "[DONE]" in line["answer_body"]
    written = (gateway.folder / "stderr.log").read_text()
    assert not any(word in written for word in (SECRET, "sk_test_merchant", "sk-provider-secret"))
