"""Cohere: the billed units are the bill, whatever else the answer counts."""

from __future__ import annotations

import json
from typing import Any

import pytest

from costplus.gateway.wire import READERS, Reading


def read_json(body: Any, *, wire: str = "cohere_chat") -> Reading:
    reader = READERS[wire].json()
    reader.feed(json.dumps(body).encode())
    return reader.finish()


def billed(**units: Any) -> dict[str, Any]:
    return {"billed_units": units}


def case(id: str, usage: dict[str, Any], *flags: str, **leaves: int) -> Any:
    return pytest.param(usage, leaves, flags, id=id)


SEEN = {"tokens": {"input_tokens": 2_935, "output_tokens": 4}, "cached_tokens": 2_928}
LEAVES = [
    case("billed, not seen", billed(input_tokens=2_406, output_tokens=2) | SEEN, input=2_406, output=2),
    case("zero", billed(input_tokens=0, output_tokens=0)),
    case("seen only", SEEN, "billed_units_missing", input=2_935, output=4),
    case("integral float", billed(input_tokens=7.0, output_tokens=2.0), input=7, output=2),
    case("search units", billed(search_units=3), search_unit=3),
    case("images in tokens", billed(input_tokens=4, image_tokens=9, images=1), input=4, input_image=9),
    case("images by the piece", billed(images=2), "unmetered_images"),
    case("classified", billed(classifications=1), "unmetered_classifications"),
]


@pytest.mark.parametrize(("usage", "leaves", "flags"), LEAVES)
@pytest.mark.parametrize("key", ["usage", "meta"])
def test_a_usage_block_becomes_disjoint_leaves(
    key: str, usage: dict[str, Any], leaves: dict[str, int], flags: tuple[str, ...]
) -> None:
    reading = read_json({"id": "i", key: usage})
    assert reading.usage is not None
    assert reading.usage.quantities == leaves
    assert reading.usage.flags == flags
    assert json.loads(reading.raw_usage) == usage
    assert (reading.response_id, reading.complete, reading.error) == ("i", True, False)


UNREADABLE = [billed(input_tokens="1"), billed(search_units=-1), billed(), {"api_version": {}}, {}, [1]]


@pytest.mark.parametrize("usage", UNREADABLE, ids=str)
def test_unreadable_units_give_no_usage_but_keep_the_block(usage: Any) -> None:
    reading = read_json({"usage": usage})
    assert reading.usage is None
    assert json.loads(reading.raw_usage) == usage


def test_rerank_and_embed_state_their_units_in_meta() -> None:
    reranked = read_json({"results": [], "meta": billed(search_units=1)}, wire="cohere_rerank")
    embedded = read_json(
        {"embeddings": {}, "meta": billed(input_tokens=4, image_tokens=0)}, wire="cohere_embed"
    )
    assert reranked.usage is not None
    assert embedded.usage is not None
    assert (reranked.usage.quantities, embedded.usage.quantities) == ({"search_unit": 1}, {"input": 4})


def test_a_refusal_is_an_error_and_an_answers_text_is_counted() -> None:
    refused = read_json({"id": "i", "message": "no such model"})
    assert (refused.error, refused.usage, refused.complete) == (True, None, True)
    answered = read_json(
        {"message": {"content": [{"type": "text", "text": "abc"}]}, "usage": billed(input_tokens=1)}
    )
    assert (answered.error, answered.output_chars) == (False, 3)


def event(kind: str, delta: Any = None, **fields: Any) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, 'delta': delta, **fields})}\n\n".encode()


STREAM = (
    event("message-start", {"message": {"role": "assistant"}}, id="m1")
    + event("tool-plan-delta", {"message": {"tool_plan": "ab"}})
    + event("content-delta", {"message": {"content": {"text": "cde"}}})
    + event("tool-call-delta", {"message": {"tool_calls": {"function": {"arguments": "{}"}}}})
    + event("content-delta", 7)
)
END = event(
    "message-end", {"finish_reason": "COMPLETE", "usage": billed(input_tokens=9, output_tokens=4) | SEEN}
)


def test_a_stream_is_counted_by_its_end() -> None:
    reader = READERS["cohere_chat"].stream()
    for at in range(len(STREAM + END)):
        reader.feed((STREAM + END)[at : at + 1])
    reading = reader.finish()
    assert reading.usage is not None
    assert reading.usage.quantities == {"input": 9, "output": 4}
    assert (reading.response_id, reading.output_chars, reading.complete, reading.error) == (
        "m1",
        7,
        True,
        False,
    )


def test_a_broken_stream_has_no_usage_and_a_failed_one_is_an_error() -> None:
    reader = READERS["cohere_chat"].stream()
    reader.feed(STREAM)
    assert (reader.finish().usage, reader.finish().complete, reader.done) == (None, False, False)
    reader.feed(event("message-end", {"finish_reason": "ERROR"}))
    assert (reader.finish().error, reader.finish().usage, reader.done) == (True, None, True)
