"""OpenAI's Responses API: bodies, streams, and calls with a fee."""

from __future__ import annotations

import json
from typing import Any

import pytest

from costplus.gateway.wire import READERS, Reading

USAGE = {
    "input_tokens": 142,
    "input_tokens_details": {"cached_tokens": 15, "cache_write_tokens": 27},
    "output_tokens": 33,
    "output_tokens_details": {"reasoning_tokens": 11},
    "total_tokens": 175,
}
TOKENS = {"input": 100, "cached_input": 15, "cache_write_5m": 27, "output": 22, "reasoning": 11}


def response(**fields: Any) -> dict[str, Any]:
    return {"id": "r1", "model": "m-1", "service_tier": "default", "error": None, "usage": USAGE, **fields}


def read_json(body: dict[str, Any]) -> Reading:
    reader = READERS["openai_responses"].json()
    reader.feed(json.dumps(body).encode())
    return reader.finish()


def event(kind: str, *, event_last: bool = False, **fields: Any) -> bytes:
    name, data = f"event: {kind}\n", f"data: {json.dumps({**fields, 'type': kind})}\n"
    return (data + name if event_last else name + data).encode() + b"\n"


def stream_reading(stream: bytes) -> Reading:
    reader = READERS["openai_responses"].stream()
    assert reader.feed(stream) == stream
    return reader.finish()


def test_a_json_body_is_read() -> None:
    output = [
        {"type": "reasoning", "summary": [{"type": "summary_text", "text": "ab"}]},
        {
            "type": "message",
            "content": [{"type": "output_text", "text": "cde", "annotations": [{"text": "x"}]}],
        },
        {"type": "function_call", "arguments": "{}", "name": "f"},
    ]
    reading = read_json(response(output=output))
    assert reading.usage is not None
    assert (reading.usage.quantities, reading.usage.flags) == (TOKENS, ())
    assert (reading.model, reading.service_tier, reading.response_id) == ("m-1", "default", "r1")
    assert (reading.output_chars, reading.complete, reading.error) == (7, True, False)


def search(action: str | None) -> dict[str, Any]:
    return {"type": "web_search_call", "action": {"type": action} if action else None}


SEARCHES: list[tuple[list[dict[str, Any]], Any, int]] = [
    ([], None, 0),
    ([search("search"), search("search"), search("open_page"), search("find_in_page")], None, 2),
    ([search(None)], None, 1),
    ([search("search")], {"web_search": {"num_requests": 3}}, 3),
    ([search("search")], {"web_search": {"num_requests": 0}}, 0),
    ([search("search")], {"image_gen": {}}, 1),
]


@pytest.mark.parametrize(("output", "tool_usage", "count"), SEARCHES)
def test_searches_are_counted_as_the_provider_counts_them(
    output: list[dict[str, Any]], tool_usage: Any, count: int
) -> None:
    reading = read_json(response(output=output, tool_usage=tool_usage))
    assert reading.usage is not None
    assert reading.usage.quantities.get("web_search", 0) == count


@pytest.mark.parametrize("tool", ["image_generation", "code_interpreter", "file_search"])
def test_a_tool_whose_fee_has_no_leaf_is_flagged_once(tool: str) -> None:
    reading = read_json(response(output=[{"type": f"{tool}_call"}, {"type": f"{tool}_call"}, 7]))
    assert reading.usage is not None
    assert reading.usage.flags == (f"unmetered_{tool}",)


def test_a_queued_response_has_no_usage_yet() -> None:
    reading = read_json(response(status="queued", usage=None, output=[]))
    assert (reading.usage, reading.raw_usage, reading.complete) == (None, b"", True)


def test_a_failed_response_is_an_error_that_may_still_have_usage() -> None:
    reading = read_json(response(status="failed", error={"code": "server_error"}))
    assert reading.error
    assert reading.usage is not None


TERMINAL = ["response.completed", "response.incomplete", "response.failed"]


@pytest.mark.parametrize("kind", TERMINAL)
@pytest.mark.parametrize("event_last", [False, True])
def test_a_stream_ends_with_its_usage(kind: str, event_last: bool) -> None:
    stream = (
        event("response.created", event_last=event_last, response=response(usage=None, output=[]))
        + event("response.output_text.delta", event_last=event_last, delta="he")
        + event("response.function_call_arguments.delta", event_last=event_last, delta="{}")
        + event(kind, event_last=event_last, response=response(output=[]))
    )
    reading = stream_reading(stream)
    assert reading.usage is not None
    assert reading.usage.quantities == TOKENS
    assert (reading.model, reading.complete, reading.output_chars) == ("m-1", True, 4)


def test_a_broken_stream_knows_its_model_and_length() -> None:
    stream = event("response.created", response=response(usage=None)) + event("x.delta", delta="hello")
    reading = stream_reading(stream)
    assert (reading.usage, reading.model, reading.complete, reading.output_chars) == (None, "m-1", False, 5)


def test_an_error_event_is_an_error() -> None:
    reading = stream_reading(event("x.delta", delta="hi") + event("error", code="server_error", message="no"))
    assert (reading.error, reading.complete, reading.output_chars) == (True, False, 2)
