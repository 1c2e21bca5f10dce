"""OpenAI-shaped chat and embeddings: bodies, streams, and what is stripped."""

from __future__ import annotations

import json
from typing import Any

import pytest

from costplus.gateway.wire import READERS, Reading


def block(prompt: Any = 100, completion: Any = 50, total: Any = None, /, **other: Any) -> dict[str, Any]:
    found = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": total, **other}
    return {key: value for key, value in found.items() if value is not None}


def read_json(body: Any, wire: str = "openai_chat") -> Reading:
    reader = READERS[wire].json()
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    assert reader.feed(raw) == raw
    return reader.finish()


@pytest.mark.parametrize("body", [{"model": "m"}, {"model": "m", "usage": None}])
def test_missing_usage_is_none_and_complete(body: dict[str, Any]) -> None:
    reading = read_json(body)
    assert (reading.usage, reading.raw_usage, reading.complete) == (None, b"", True)


def test_a_json_body_tells_model_tier_id_and_length() -> None:
    message = {"role": "assistant", "content": 'häl"lo', "tool_calls": [{"function": {"arguments": "{}"}}]}
    reading = read_json(
        {
            "id": "c1",
            "model": "served",
            "service_tier": "flex",
            "choices": [{"message": message}],
            "usage": block(),
        }
    )
    assert (reading.response_id, reading.model, reading.service_tier) == ("c1", "served", "flex")
    assert reading.output_chars == 8
    assert (reading.complete, reading.error) == (True, False)


@pytest.mark.parametrize("body", [b'{"error":{"message":"no"}}', b'[{"error":{"code":429}}]'])
def test_an_error_body_is_an_error(body: bytes) -> None:
    reading = read_json(body)
    assert (reading.error, reading.usage, reading.complete) == (True, None, True)


@pytest.mark.parametrize("body", [b"", b"<html>", b'{"usage":', b'{"a":' * 5000])
@pytest.mark.parametrize("wire", list(READERS))
def test_a_body_that_is_no_answer_is_incomplete(body: bytes, wire: str) -> None:
    reading = read_json(body, wire)
    assert (reading.complete, reading.usage, reading.model) == (False, None, None)


@pytest.mark.parametrize("body", [b"[]", b"7", b"\xff"])
@pytest.mark.parametrize("wire", list(READERS))
def test_a_body_without_an_object_is_an_answer_where_audio_or_text_is_bare(body: bytes, wire: str) -> None:
    reading = read_json(body, wire)
    is_bare = wire in ("openai_transcription", "openai_speech")
    assert (reading.complete, reading.usage, reading.model) == (is_bare, None, None)


def test_numbers_in_the_raw_block_keep_their_digits() -> None:
    usage = b'{"prompt_tokens": 1, "completion_tokens": 1, "cost": 0.00765091690000000050001}'
    reading = read_json(b'{"usage": ' + usage + b"}")
    assert b"0.00765091690000000050001" in reading.raw_usage
    assert b" " not in reading.raw_usage


def test_embeddings_are_all_input() -> None:
    reading = read_json(
        {"model": "e", "data": [], "usage": {"prompt_tokens": 4, "total_tokens": 4}}, "openai_embeddings"
    )
    assert reading.usage is not None
    assert (reading.usage.quantities, reading.usage.flags) == ({"input": 4}, ())


def test_voyage_states_the_total_only() -> None:
    reading = read_json({"model": "v", "usage": {"total_tokens": 4}}, "openai_embeddings")
    assert reading.usage is not None
    assert (reading.usage.quantities, reading.usage.flags) == ({"input": 4}, ())


def event(body: Any) -> bytes:
    return b"data: " + (body if isinstance(body, bytes) else json.dumps(body).encode()) + b"\n\n"


def chunk(content: str = "x", **other: Any) -> bytes:
    return event(
        {"id": "c1", "model": "m-1", "choices": [{"index": 0, "delta": {"content": content}}], **other}
    )


USAGE_ONLY = event(
    {"id": "c1", "model": "m-1", "service_tier": "default", "choices": [], "usage": block(9, 2)}
)
DONE = event(b"[DONE]")


def stream_reading(stream: bytes, *, strip_usage: bool = False) -> tuple[bytes, Reading]:
    reader = READERS["openai_chat"].stream(strip_usage=strip_usage)
    forwarded = reader.feed(stream) + reader.flush()
    return forwarded, reader.finish()


def test_a_stream_is_read_to_its_end() -> None:
    stream = chunk("he", usage=None) + b": keep-alive\n\n" + chunk('l"ö', usage=None) + USAGE_ONLY + DONE
    forwarded, reading = stream_reading(stream)
    assert forwarded == stream
    assert reading.usage is not None
    assert reading.usage.quantities == {"input": 9, "output": 2}
    assert (reading.model, reading.service_tier, reading.response_id) == ("m-1", "default", "c1")
    assert (reading.output_chars, reading.complete, reading.error) == (5, True, False)


def test_stripping_removes_the_usage_chunk_and_nothing_else() -> None:
    around = chunk("a", usage=None) + b": c\n\n", DONE
    forwarded, reading = stream_reading(around[0] + USAGE_ONLY + around[1], strip_usage=True)
    assert forwarded == b"".join(around)
    assert reading.usage is not None


KEPT = [
    pytest.param(chunk("", usage=block()), id="usage beside choices (OpenRouter)"),
    pytest.param(event({"choices": [], "prompt_filter_results": []}), id="no usage (Azure)"),
    pytest.param(event({"choices": [], "usage": None}), id="null usage"),
    pytest.param(event({"choices": [], "usage": block(), "error": {"message": "no"}}), id="an error"),
    pytest.param(event({"usage": block()}), id="no choices at all"),
    pytest.param(b": comment\n\n", id="a comment"),
    pytest.param(event(b"not json"), id="not JSON"),
    pytest.param(DONE, id="the end"),
    pytest.param(b"data: [DONE]", id="an unfinished end"),
]


@pytest.mark.parametrize("kept", KEPT)
def test_stripping_keeps_everything_that_is_not_usage_alone(kept: bytes) -> None:
    assert stream_reading(chunk() + kept, strip_usage=True)[0] == chunk() + kept


def test_an_unfinished_usage_chunk_is_read_and_stripped() -> None:
    forwarded, reading = stream_reading(chunk() + USAGE_ONLY[:-2], strip_usage=True)
    assert forwarded == chunk()
    assert reading.usage is not None


def test_only_the_bytes_of_an_unfinished_event_are_held_back() -> None:
    reader = READERS["openai_chat"].stream(strip_usage=True)
    assert reader.feed(chunk("a") + b"data: {") == chunk("a")
    assert reader.feed(b'"choices":[]}\n\n') == b'data: {"choices":[]}\n\n'
    passing = READERS["openai_chat"].stream()
    assert passing.feed(b"data: {") == b"data: {"


def test_the_last_usage_wins() -> None:
    reading = stream_reading(chunk("a", usage=block(9, 1)) + chunk("b", usage=block(9, 2)) + DONE)[1]
    assert reading.usage is not None
    assert reading.usage.quantities == {"input": 9, "output": 2}


def test_groq_puts_usage_into_its_own_object() -> None:
    reading = stream_reading(
        chunk("a", x_groq={"id": "r"}) + chunk("", x_groq={"usage": block(9, 2)}) + DONE
    )[1]
    assert reading.usage is not None
    assert reading.usage.quantities == {"input": 9, "output": 2}


def test_a_call_shared_by_several_models_is_flagged() -> None:
    shared = {"usage": block(9, 2), "usage_breakdown": {"models": [{"model": "a"}]}}
    reading = stream_reading(chunk("", x_groq=shared) + DONE)[1]
    assert reading.usage is not None
    assert reading.usage.flags == ("usage_breakdown",)


@pytest.mark.parametrize("breakdown", [None, {"models": None}, {"models": []}, {}, 7])
def test_a_call_of_one_model_is_not_flagged(breakdown: Any) -> None:
    reading = read_json({"model": "m", "usage": block(), "usage_breakdown": breakdown})
    assert reading.usage is not None
    assert reading.usage.flags == ()


def test_an_azure_stream_names_its_model_late() -> None:
    reading = stream_reading(event({"model": "", "choices": []}) + chunk() + DONE)[1]
    assert reading.model == "m-1"


def test_a_broken_stream_has_no_usage_and_the_length_so_far() -> None:
    reading = stream_reading(chunk("hello") + chunk(" world")[:-20])[1]
    assert (reading.usage, reading.complete, reading.output_chars) == (None, False, 5)


def test_an_error_in_a_stream_is_an_error() -> None:
    failure = b'event: error\ndata: {"error":{"message":"tool_use_failed"}}\n\n'
    reading = stream_reading(chunk("hello") + failure)[1]
    assert (reading.error, reading.complete, reading.usage, reading.model) == (True, False, None, "m-1")


def test_text_that_looks_like_the_protocol_is_only_text() -> None:
    text = '"usage":{"prompt_tokens":1},"error":1 data: [DONE]'
    reading = stream_reading(chunk(text))[1]
    assert (reading.usage, reading.error, reading.complete) == (None, False, False)
    assert reading.output_chars == len(text)


DELTAS: list[tuple[dict[str, Any], int]] = [
    ({"content": None, "reasoning_content": "abc"}, 3),
    ({"content": "", "reasoning": "ab", "reasoning_details": [{"text": "ab"}]}, 2),
    ({"tool_calls": [{"index": 0, "function": {"name": "f", "arguments": '{"a'}}]}, 3),
    ({"refusal": "no"}, 2),
    ({"content": [{"type": "thinking", "thinking": [{"text": "abc"}]}, {"type": "text", "text": "d"}]}, 4),
]


@pytest.mark.parametrize(("delta", "chars"), DELTAS)
def test_every_kind_of_generated_text_counts(delta: dict[str, Any], chars: int) -> None:
    assert stream_reading(event({"model": "m", "choices": [{"delta": delta}]}))[1].output_chars == chars


def test_a_legacy_completion_stream_is_read() -> None:
    stream = event({"id": "t", "model": "i", "choices": [{"text": "abc", "index": 0}]})
    forwarded, reading = stream_reading(stream + USAGE_ONLY + DONE, strip_usage=True)
    assert forwarded == stream + DONE
    assert reading.output_chars == 3


def test_a_chunk_of_an_unusual_shape_still_gives_its_usage() -> None:
    reading = stream_reading(event({"model": "m", "choices": {"text": "abc"}, "usage": block(9, 2)}))[1]
    assert reading.usage is not None
    assert reading.output_chars == 3
