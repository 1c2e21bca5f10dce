"""Bedrock: exclusive counts, frames with checksums, and bodies in their makers' own shapes."""

from __future__ import annotations

import base64
import json
import struct
from itertools import pairwise
from typing import Any
from zlib import crc32

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costplus.gateway.wire import READERS, Reading
from costplus.gateway.wire.aws_frames import FRAME_BYTES_MAX, FrameSplitter
from costplus.gateway.wire.bedrock_invoke import with_header_counts


def text_header(name: str, value: str) -> bytes:
    return bytes([len(name)]) + name.encode() + b"\x07" + struct.pack(">H", len(value)) + value.encode()


def frame_of(headers: bytes, payload: bytes) -> bytes:
    prelude = struct.pack(">II", 16 + len(headers) + len(payload), len(headers))
    body = prelude + struct.pack(">I", crc32(prelude)) + headers + payload
    return body + struct.pack(">I", crc32(body))


def event(kind: str, payload: Any, *, message: str = "event") -> bytes:
    headers = text_header(":event-type", kind) + text_header(":message-type", message)
    return frame_of(headers, json.dumps(payload).encode())


def chunk(payload: Any) -> bytes:
    return event("chunk", {"bytes": base64.b64encode(json.dumps(payload).encode()).decode(), "p": "abc"})


def block(plain: Any = 10, output: Any = 5, total: Any = None, /, **other: Any) -> dict[str, Any]:
    found = {"inputTokens": plain, "outputTokens": output, "totalTokens": total, **other}
    return {key: value for key, value in found.items() if value is not None}


def cached(read: int, written: int) -> dict[str, int]:
    return {
        "cacheReadInputTokens": read,
        "cacheReadInputTokenCount": read,
        "cacheWriteInputTokens": written,
        "cacheWriteInputTokenCount": written,
    }


def lifetimes(**counts: Any) -> dict[str, Any]:
    return {
        "cacheDetails": [{"ttl": ttl.removeprefix("ttl_"), "inputTokens": n} for ttl, n in counts.items()]
    }


def case(id: str, usage: dict[str, Any], *flags: str, **leaves: int) -> Any:
    return pytest.param(usage, leaves, flags, id=id)


LEAVES = [
    case("plain", block(10, 5, 15), input=10, output=5),
    case("zero", block(0, 0, 0)),
    case(
        "cache stands beside, under two spellings",
        block(3, 61, 2_435, **cached(2_074, 297), **lifetimes(ttl_5m=297)),
        input=3,
        cached_input=2_074,
        cache_write_5m=297,
        output=61,
    ),
    case("one spelling is enough", block(cacheReadInputTokenCount=7), input=10, cached_input=7, output=5),
    case(
        "writes for an hour",
        block(**cached(0, 9), **lifetimes(ttl_5m=4, ttl_1h=5)),
        input=10,
        cache_write_5m=4,
        cache_write_1h=5,
        output=5,
    ),
    case(
        "a split that explains less",
        block(**cached(0, 9), **lifetimes(ttl_1h=5)),
        input=10,
        cache_write_5m=4,
        cache_write_1h=5,
        output=5,
    ),
    case(
        "a split that explains more",
        block(**cached(0, 9), **lifetimes(ttl_5m=5, ttl_1h=5)),
        "cache_write_split_exceeds_total",
        input=10,
        cache_write_5m=9,
        output=5,
    ),
    case(
        "an unknown lifetime",
        block(**cached(0, 9), **lifetimes(ttl_2d=9)),
        "malformed_usage",
        input=10,
        cache_write_5m=9,
        output=5,
    ),
    case("the total knows more", block(10, 5, 17), "unattributed_tokens", input=10, output=7),
    case("the total knows less", block(10, 5, 14), "total_mismatch", input=10, output=5),
    case("tools ran", block(serverToolUsage={"x": 1}), "unmetered_server_tools", input=10, output=5),
    case("no tools ran", block(serverToolUsage={}), input=10, output=5),
]


def read_json(body: Any, *, wire: str = "bedrock_converse") -> Reading:
    reader = READERS[wire].json()
    reader.feed(json.dumps(body).encode())
    return reader.finish()


def read_frames(stream: bytes, *, wire: str = "bedrock_converse") -> Reading:
    reader = READERS[wire].stream()
    assert reader.feed(stream) + reader.flush() == stream
    return reader.finish()


@pytest.mark.parametrize(("usage", "leaves", "flags"), LEAVES)
def test_a_usage_block_becomes_disjoint_leaves(
    usage: dict[str, Any], leaves: dict[str, int], flags: tuple[str, ...]
) -> None:
    for reading in (read_json({"usage": usage}), read_frames(event("metadata", {"usage": usage}))):
        assert reading.usage is not None
        assert reading.usage.quantities == leaves
        assert reading.usage.flags == flags
        assert json.loads(reading.raw_usage) == usage


@pytest.mark.parametrize(
    "usage", [block("1"), block(1, -1), block(cacheReadInputTokens=True), {}, [1]], ids=str
)
def test_unreadable_totals_give_no_usage_but_keep_the_block(usage: Any) -> None:
    reading = read_json({"usage": usage})
    assert reading.usage is None
    assert json.loads(reading.raw_usage) == usage


def guarded(**units: int) -> dict[str, Any]:
    return {"guardrail": {"inputAssessment": {"g1": {"invocationMetrics": {"usage": units}}}}}


def test_a_guardrail_with_a_fee_is_flagged_and_a_free_one_is_not() -> None:
    billed = read_json({"usage": block(), "trace": guarded(topicPolicyUnits=1)})
    free = read_json(
        {"usage": block(), "trace": guarded(topicPolicyUnits=0, sensitiveInformationPolicyFreeUnits=3)}
    )
    assert billed.usage is not None
    assert free.usage is not None
    assert (billed.usage.flags, free.usage.flags) == (("unmetered_guardrail",), ())


def test_the_tier_that_served_is_told() -> None:
    assert read_json({"usage": block(), "serviceTier": {"type": "flex"}}).service_tier == "flex"
    assert (
        read_json({"usage": block(), "performanceConfig": {"latency": "optimized"}}).service_tier
        == "optimized"
    )
    assert read_json({"usage": block(), "performanceConfig": {"latency": "standard"}}).service_tier is None


def test_a_refusal_is_an_error() -> None:
    for wire in ("bedrock_converse", "bedrock_invoke"):
        reading = read_json({"message": "The model is unknown."}, wire=wire)
        assert (reading.error, reading.usage, reading.complete) == (True, None, True)


CONVERSED = [
    event("messageStart", {"role": "assistant"}),
    event("contentBlockDelta", {"delta": {"text": "hé"}}),
    event("contentBlockDelta", {"delta": {"reasoningContent": {"text": "abc"}}}),
    event("contentBlockDelta", {"delta": {"toolUse": {"input": "{}"}}}),
    event("contentBlockDelta", {"delta": {"reasoningContent": {"signature": "xxxx"}}}),
    event("messageStop", {"stopReason": "end_turn"}),
    event("metadata", {"usage": block(10, 5, 15), "metrics": {"latencyMs": 1}}),
]


def test_a_stream_is_complete_with_its_metadata() -> None:
    reader = READERS["bedrock_converse"].stream()
    for frame in CONVERSED[:-1]:
        reader.feed(frame)
    assert (reader.done, reader.finish().usage) == (False, None)
    reader.feed(CONVERSED[-1])
    reading = reader.finish()
    assert reading.usage is not None
    assert reading.usage.quantities == {"input": 10, "output": 5}
    assert (reader.done, reading.complete, reading.output_chars) == (True, True, 7)


def test_an_exception_in_a_stream_is_an_error() -> None:
    stream = CONVERSED[1] + event("throttlingException", {"message": "slow"}, message="exception")
    reading = read_frames(stream)
    assert (reading.error, reading.complete, reading.output_chars) == (True, False, 2)


@given(cuts=st.lists(st.integers(0, 900), max_size=30))
def test_any_cut_of_frames_gives_the_same_reading_and_the_same_bytes(cuts: list[int]) -> None:
    stream = b"".join(CONVERSED)
    bounds = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    reader = READERS["bedrock_converse"].stream()
    assert b"".join([reader.feed(stream[a:b]) for a, b in pairwise(bounds)]) == stream
    assert reader.finish() == read_frames(stream)


@given(at=st.integers(0, len(CONVERSED[-1]) - 1), bit=st.integers(0, 7))
def test_a_flipped_bit_is_never_read_as_usage(at: int, bit: int) -> None:
    damaged = bytearray(CONVERSED[-1])
    damaged[at] ^= 1 << bit
    reading = read_frames(bytes(damaged))
    assert (reading.usage, reading.complete) == (None, False)


def test_frames_before_the_damage_are_read_and_those_after_it_are_not() -> None:
    first, last = event("a", 1), event("b", 2)
    splitter = FrameSplitter()
    frames = splitter.feed(first + b"\x00" * 12 + last)
    assert [frame.headers[":event-type"] for frame in frames] == ["a"]
    assert (splitter.broken, splitter.feed(last), splitter.pending) == (True, [], False)


def test_headers_of_every_type_are_passed_over() -> None:
    others = b"".join(
        bytes([1]) + b"x" + bytes([kind]) + value
        for kind, value in (
            *((0, b""), (1, b""), (2, b"\x01"), (3, b"\x00\x01"), (4, b"\x00" * 4), (5, b"\x00" * 8)),
            *((6, b"\x00\x02ab"), (8, b"\x00" * 8), (9, b"\x00" * 16)),
        )
    )
    (frame,) = FrameSplitter().feed(frame_of(others + text_header("y", "z"), b"p"))
    assert (dict(frame.headers), frame.payload) == ({"y": "z"}, b"p")


@pytest.mark.parametrize("headers", [b"\x01x\x0a", b"\x05x", b"\x01x\x07\x00\x09a", b"\x01x\x07\x00\x01\xff"])
def test_headers_that_do_not_hold_break_the_stream(headers: bytes) -> None:
    splitter = FrameSplitter()
    assert (splitter.feed(frame_of(headers, b"")), splitter.broken) == ([], True)


@pytest.mark.parametrize(("size", "headers_size"), [(15, 0), (16, 1), (FRAME_BYTES_MAX + 1, 0)])
def test_lengths_that_cannot_be_break_the_stream(size: int, headers_size: int) -> None:
    prelude = struct.pack(">II", size, headers_size)
    splitter = FrameSplitter()
    splitter.feed(prelude + struct.pack(">I", crc32(prelude)))
    assert splitter.broken


def test_a_frame_of_nothing_is_the_smallest() -> None:
    (frame,) = FrameSplitter().feed(frame_of(b"", b""))
    assert (dict(frame.headers), frame.payload) == ({}, b"")


CLAUDE = {"input_tokens": 3, "output_tokens": 44, "cache_read_input_tokens": 9}
INVOKED = [
    case("Anthropic", {"id": "m", "type": "message", "usage": CLAUDE}, input=3, cached_input=9, output=44),
    case("OpenAI", {"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 4}}, input=9, output=4),
    case("Nova", {"output": {}, "usage": block(5, 2, 7, cacheReadInputTokenCount=0)}, input=5, output=2),
    case("Titan embeddings", {"embedding": [0.1], "inputTextTokenCount": 5}, input=5),
    case(
        "Titan text",
        {"inputTextTokenCount": 5, "results": [{"tokenCount": 3}, {"tokenCount": 4}]},
        input=5,
        output=7,
    ),
    case(
        "Llama", {"generation": "hi", "prompt_token_count": 5, "generation_token_count": 2}, input=5, output=2
    ),
]


@pytest.mark.parametrize(("body", "leaves", "flags"), INVOKED)
def test_an_invoked_body_is_read_as_its_makers(
    body: dict[str, Any], leaves: dict[str, int], flags: tuple[str, ...]
) -> None:
    reading = read_json(body, wire="bedrock_invoke")
    assert reading.usage is not None
    assert reading.usage.quantities == leaves
    assert (reading.usage.flags, reading.complete, reading.model) == (flags, True, None)
    assert reading.raw_usage


def test_unreadable_flat_counts_give_no_usage() -> None:
    assert read_json({"inputTextTokenCount": "5"}, wire="bedrock_invoke").usage is None
    results = [{"tokenCount": -3}]
    assert read_json({"inputTextTokenCount": 5, "results": results}, wire="bedrock_invoke").usage is None


def test_counts_that_stand_in_the_headers_only_are_taken_from_there() -> None:
    silent = read_json({"id": "e", "embeddings": [[0.1]]}, wire="bedrock_invoke")
    assert (silent.usage, silent.complete, silent.response_id) == (None, True, "e")
    counted = with_header_counts(silent, {"x-amzn-bedrock-input-token-count": "12", "date": "today"})
    assert counted.usage is not None
    assert counted.usage.quantities == {"input": 12}
    assert json.loads(counted.raw_usage) == {"x-amzn-bedrock-input-token-count": "12"}
    assert with_header_counts(silent, {"x-amzn-bedrock-input-token-count": "12x"}) == silent
    assert with_header_counts(silent, {}) == silent
    assert with_header_counts(counted, {"x-amzn-bedrock-input-token-count": "99"}) == counted


METRICS = {"amazon-bedrock-invocationMetrics": {"inputTokenCount": 9, "outputTokenCount": 6}}
CLAUDE_EVENTS = [
    {
        "type": "message_start",
        "message": {"id": "m", "model": "claude", "usage": CLAUDE | {"output_tokens": 1}},
    },
    {"type": "content_block_delta", "delta": {"type": "text_delta", "text": "hey"}},
    {"type": "message_delta", "delta": {}, "usage": {"output_tokens": 44}},
    {"type": "message_stop"} | METRICS,
]
OPENAI_EVENTS = [
    {"choices": [{"delta": {"content": "hey"}}]},
    {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 44}} | METRICS,
]
NOVA_EVENTS = [
    {"messageStart": {"role": "assistant"}},
    {"contentBlockDelta": {"delta": {"text": "hey"}}},
    {"metadata": {"usage": block(3, 44)}} | METRICS,
]
TITAN_EVENTS = [
    {"outputText": "hey", "inputTextTokenCount": 3, "totalOutputTextTokenCount": None},
    {"outputText": "", "totalOutputTextTokenCount": 44} | METRICS,
]
INVOKED_STREAMS = {
    "Anthropic": (CLAUDE_EVENTS, {"input": 3, "cached_input": 9, "output": 44}),
    "OpenAI": (OPENAI_EVENTS, {"input": 3, "output": 44}),
    "Nova": (NOVA_EVENTS, {"input": 3, "output": 44}),
    "Titan": (TITAN_EVENTS, {"input": 3, "output": 44}),
    "another maker": ([{"outputs": [{"text": "hey"}]}, METRICS], {"input": 9, "output": 6}),
}


@pytest.mark.parametrize("maker", INVOKED_STREAMS)
def test_an_invoked_stream_is_read_as_its_makers_and_else_by_bedrocks_metrics(maker: str) -> None:
    events, leaves = INVOKED_STREAMS[maker]
    reading = read_frames(b"".join(chunk(one) for one in events), wire="bedrock_invoke")
    assert reading.usage is not None
    assert reading.usage.quantities == leaves
    assert (reading.complete, reading.model, reading.error) == (True, None, False)
    assert reading.output_chars == (0 if maker == "another maker" else 3)


def test_chunks_that_hold_no_event_are_passed_over() -> None:
    junk = (
        event("chunk", {"bytes": "%%"}) + event("chunk", {"bytes": None}) + event("chunk", [1]) + chunk([1])
    )
    reading = read_frames(junk + chunk(METRICS), wire="bedrock_invoke")
    assert reading.usage is not None
    assert reading.usage.quantities == {"input": 9, "output": 6}
