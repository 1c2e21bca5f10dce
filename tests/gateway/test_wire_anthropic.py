"""Anthropic messages: exclusive leaves, cumulative streams, iterations."""

from __future__ import annotations

import json
from typing import Any

import pytest

from costplus.gateway.wire import READERS, Reading
from costplus.gateway.wire.anthropic import iteration_usages


def block(plain: Any = 10, output: Any = 5, /, **other: Any) -> dict[str, Any]:
    found = {"input_tokens": plain, "output_tokens": output, **other}
    return {key: value for key, value in found.items() if value is not None}


def written(total: Any, five_minutes: Any = None, one_hour: Any = None) -> dict[str, Any]:
    split = {"ephemeral_5m_input_tokens": five_minutes, "ephemeral_1h_input_tokens": one_hour}
    return {"cache_creation_input_tokens": total, "cache_creation": split}


def case(id: str, usage: dict[str, Any], *flags: str, **leaves: int) -> Any:
    return pytest.param(usage, leaves, flags, id=id)


COMPACTION = [block(100, 82, type="compaction", **written(55_096, 55_096)), block(180, 8, type="message")]
ADVISED = [block(1_128, 110), block(2_518, 22, model="claude-opus-4-8"), block(1_262, 11)]

LEAVES = [
    case("plain", block(), input=10, output=5),
    case("zero", block(0, 0)),
    case(
        "reads stand beside",
        block(3, 5, cache_read_input_tokens=9_511),
        input=3,
        cached_input=9_511,
        output=5,
    ),
    case("more cached than plain", block(0, 5, cache_read_input_tokens=7), cached_input=7, output=5),
    case("writes without a split", block(**written(8)), input=10, cache_write_5m=8, output=5),
    case("writes for an hour", block(**written(8, 0, 8)), input=10, cache_write_1h=8, output=5),
    case("both lifetimes", block(**written(8, 3, 5)), input=10, cache_write_5m=3, cache_write_1h=5, output=5),
    case(
        "a split that explains less",
        block(**written(8, 3, 4)),
        input=10,
        cache_write_5m=4,
        cache_write_1h=4,
        output=5,
    ),
    case(
        "a split that explains more",
        block(**written(8, 4, 5)),
        "cache_write_split_exceeds_total",
        input=10,
        cache_write_5m=8,
        output=5,
    ),
    case(
        "a split without a total",
        block(**written(None, 50, 1)),
        input=10,
        cache_write_5m=50,
        cache_write_1h=1,
        output=5,
    ),
    case(
        "thinking is inside",
        block(10, 5, output_tokens_details={"thinking_tokens": 4}),
        input=10,
        output=1,
        reasoning=4,
    ),
    case(
        "thinking exceeds",
        block(10, 5, output_tokens_details={"thinking_tokens": 6}),
        "reasoning_exceeds_output",
        input=10,
        output=5,
    ),
    case(
        "searches",
        block(server_tool_use={"web_search_requests": 2, "web_fetch_requests": 1}),
        input=10,
        output=5,
        web_search=2,
    ),
    case(
        "text for searches",
        block(server_tool_use={"web_search_requests": "2"}),
        "malformed_usage",
        input=10,
        output=5,
    ),
    case("one iteration counts once", block(iterations=[block(type="message")]), input=10, output=5),
    case("no iterations", block(iterations=[]), input=10, output=5),
    case("null iterations", {**block(), "iterations": None}, input=10, output=5),
    case(
        "compaction is outside the top level",
        block(180, 8, iterations=COMPACTION),
        "iterations",
        input=280,
        cache_write_5m=55_096,
        output=90,
    ),
    case(
        "an advisor is another model",
        block(2_390, 121, iterations=ADVISED, output_tokens_details={"thinking_tokens": 28}),
        "iterations",
        "iterations_other_model",
        input=4_908,
        output=115,
        reasoning=28,
    ),
    case(
        "iterations below the top level",
        block(30, 12, iterations=[block(), block()]),
        "iterations",
        "iterations_below_total",
        input=30,
        output=12,
    ),
    case("unreadable iteration", block(iterations=[block("1")]), "malformed_usage", input=10, output=5),
    case("iteration that is no object", block(iterations=[7]), "malformed_usage", input=10, output=5),
]


def read_json(body: Any) -> Reading:
    reader = READERS["anthropic_messages"].json()
    reader.feed(json.dumps(body).encode())
    return reader.finish()


@pytest.mark.parametrize(("usage", "leaves", "flags"), LEAVES)
def test_a_usage_block_becomes_disjoint_leaves(
    usage: dict[str, Any], leaves: dict[str, int], flags: tuple[str, ...]
) -> None:
    reading = read_json({"type": "message", "usage": usage})
    assert reading.usage is not None
    assert reading.usage.quantities == leaves
    assert reading.usage.flags == flags


UNREADABLE = [block("1"), block(1, -1), block(**written(True)), block(cache_read_input_tokens=1.5), {}, [1]]


@pytest.mark.parametrize("usage", UNREADABLE, ids=str)
def test_unreadable_totals_give_no_usage_but_keep_the_block(usage: Any) -> None:
    reading = read_json({"type": "message", "usage": usage})
    assert reading.usage is None
    assert json.loads(reading.raw_usage) == usage


def test_a_json_body_tells_model_tier_id_and_length() -> None:
    content = [
        {"type": "thinking", "thinking": "abc", "signature": "xxxx"},
        {"type": "text", "text": "de", "citations": [{"cited_text": "f", "text": "g"}]},
        {"type": "tool_use", "id": "t", "name": "n", "input": {"a": 1}},
        {"type": "web_search_tool_result", "content": [{"text": "not generated"}]},
    ]
    usage = block(service_tier="priority")
    reading = read_json({"id": "m1", "type": "message", "model": "c", "content": content, "usage": usage})
    assert (reading.response_id, reading.model, reading.service_tier) == ("m1", "c", "priority")
    assert reading.output_chars == 3 + 2 + len('{"a":1}')
    assert (reading.complete, reading.error) == (True, False)


def test_an_error_body_is_an_error() -> None:
    reading = read_json({"type": "error", "error": {"type": "not_found_error"}})
    assert (reading.error, reading.usage, reading.complete) == (True, None, True)


def test_each_iteration_can_be_priced_by_its_own_model() -> None:
    raw = json.dumps(block(2_390, 121, iterations=ADVISED)).encode()
    priced = [(model, dict(usage.quantities)) for model, usage in iteration_usages(raw)]
    assert priced == [
        (None, {"input": 1_128, "output": 110}),
        ("claude-opus-4-8", {"input": 2_518, "output": 22}),
        (None, {"input": 1_262, "output": 11}),
    ]


@pytest.mark.parametrize("raw", [b"", b"{}", b'{"iterations":[7]}', b'{"iterations":[{}]}', b"no"])
def test_without_readable_iterations_there_is_nothing_to_price_apart(raw: bytes) -> None:
    assert iteration_usages(raw) == ()


def event(kind: str, **fields: Any) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}   \n\n".encode()


def delta(**fields: str) -> bytes:
    return event("content_block_delta", index=0, delta=fields)


START = event(
    "message_start",
    message={"id": "m1", "model": "c", "usage": block(9, 1, service_tier="standard", **written(8, 0, 8))},
)
STOP = event("message_stop")


def stream_reading(stream: bytes) -> Reading:
    reader = READERS["anthropic_messages"].stream()
    assert reader.feed(stream) == stream
    assert reader.flush() == b""
    return reader.finish()


def test_a_stream_merges_its_counts_and_the_later_ones_win() -> None:
    stream = (
        START
        + event("ping")
        + delta(type="text_delta", text='h"i')
        + delta(type="thinking_delta", thinking="ab")
        + delta(type="input_json_delta", partial_json="{}")
        + delta(type="signature_delta", signature="xxxx")
        + event("message_delta", delta={}, usage={"output_tokens": 30})
        + event("message_delta", delta={}, usage={"input_tokens": None, "output_tokens": 59})
        + STOP
    )
    reading = stream_reading(stream)
    assert reading.usage is not None
    assert reading.usage.quantities == {"input": 9, "cache_write_1h": 8, "output": 59}
    assert (reading.model, reading.service_tier, reading.response_id) == ("c", "standard", "m1")
    assert (reading.output_chars, reading.complete, reading.error) == (7, True, False)


def test_a_stream_whose_cache_writes_grow_keeps_the_growth() -> None:
    grown = event("message_delta", delta={}, usage={"cache_creation_input_tokens": 11, "output_tokens": 2})
    reading = stream_reading(START + grown + STOP)
    assert reading.usage is not None
    assert reading.usage.quantities == {"input": 9, "cache_write_5m": 3, "cache_write_1h": 8, "output": 2}


def test_a_stream_reports_iterations_in_its_last_counts() -> None:
    last = event("message_delta", delta={}, usage=block(180, 8, iterations=COMPACTION))
    reading = stream_reading(event("message_start", message={"usage": block(180, 1)}) + last + STOP)
    assert reading.usage is not None
    assert reading.usage.quantities == {"input": 280, "cache_write_5m": 55_096, "output": 90}


def test_a_broken_stream_keeps_what_its_start_said() -> None:
    reading = stream_reading(START + delta(type="text_delta", text="hello"))
    assert reading.usage is not None
    assert reading.usage.quantities == {"input": 9, "cache_write_1h": 8, "output": 1}
    assert reading.usage.flags == ("output_incomplete",)
    assert (reading.complete, reading.output_chars) == (False, 5)


def test_an_error_in_a_stream_is_an_error() -> None:
    reading = stream_reading(START + event("error", error={"type": "overloaded_error"}))
    assert (reading.error, reading.complete) == (True, False)
