"""OpenAI's images, transcriptions and speech, and the costs that providers report."""

from __future__ import annotations

import json
from typing import Any

import pytest

from costplus.gateway.wire import READERS, Reading


def read_json(wire: str, body: Any) -> Reading:
    reader = READERS[wire].json()
    reader.feed(json.dumps(body).encode())
    return reader.finish()


def read_events(wire: str, *events: Any) -> Reading:
    reader = READERS[wire].stream()
    for one in events:
        reader.feed(b"data: " + json.dumps(one).encode() + b"\n\n")
    return reader.finish()


def block(taken: Any = 10, made: Any = 50, /, **other: Any) -> dict[str, Any]:
    return {"input_tokens": taken, "output_tokens": made, "total_tokens": taken + made, **other}


def case(id: str, wire: str, usage: dict[str, Any], **leaves: int) -> Any:
    return pytest.param(wire, usage, leaves, id=id)


LEAVES = [
    case(
        "images from text and a picture",
        "openai_images",
        block(150, 8_000, input_tokens_details={"text_tokens": 50, "image_tokens": 100}),
        input=50,
        input_image=100,
        output_image=8_000,
    ),
    case(
        "images with some text",
        "openai_images",
        block(output_tokens_details={"image_tokens": 45, "text_tokens": 5}),
        input=10,
        output=5,
        output_image=45,
    ),
    case(
        "transcribed tokens",
        "openai_transcription",
        block(14, 45, type="tokens", input_token_details={"text_tokens": 4, "audio_tokens": 10}),
        input=4,
        input_audio=10,
        output=45,
    ),
    case("transcribed seconds", "openai_transcription", {"type": "duration", "seconds": 10}, audio_second=10),
    case(
        "a part of a second", "openai_transcription", {"type": "duration", "seconds": 9.01}, audio_second=10
    ),
    case("silence", "openai_transcription", {"type": "duration", "seconds": 0}),
    case("speech", "openai_speech", block(), input=10, output_audio=50),
]


@pytest.mark.parametrize(("wire", "usage", "leaves"), LEAVES)
def test_a_usage_block_becomes_disjoint_leaves(
    wire: str, usage: dict[str, Any], leaves: dict[str, int]
) -> None:
    done = {"type": "x.completed" if wire == "openai_images" else "x.done", "usage": usage}
    for reading in (read_json(wire, {"usage": usage}), read_events(wire, {"type": "x", "delta": "ab"}, done)):
        assert reading.usage is not None
        assert reading.usage.quantities == leaves
        assert (reading.usage.flags, reading.complete, reading.error) == ((), True, False)
        assert json.loads(reading.raw_usage) == usage


@pytest.mark.parametrize("seconds", ["10", None, True, -1, 1e13], ids=str)
def test_a_duration_that_is_no_number_of_seconds_is_no_usage(seconds: Any) -> None:
    reading = read_json(
        "openai_transcription", {"text": "hi", "usage": {"type": "duration", "seconds": seconds}}
    )
    assert (reading.usage, reading.output_chars, reading.complete) == (None, 2, True)


def test_pictures_billed_one_by_one_and_bare_audio_say_nothing() -> None:
    pictures = read_json("openai_images", {"created": 1, "data": [{"url": "u"}]})
    assert (pictures.usage, pictures.complete) == (None, True)
    reader = READERS["openai_speech"].json()
    assert reader.feed(b"\xff\xfbaudio") == b"\xff\xfbaudio"
    assert (reader.finish().usage, reader.finish().error) == (None, False)


def test_a_media_stream_that_breaks_off_or_fails_is_not_complete() -> None:
    broken = read_events("openai_speech", {"type": "speech.audio.delta", "audio": "xx"})
    assert (broken.usage, broken.complete, broken.error) == (None, False, False)
    failed = read_events("openai_images", {"type": "error", "error": {"code": "x"}})
    assert (failed.complete, failed.error) == (False, True)


COSTS = [
    ('{"prompt_tokens":1,"cost":0.0076509169000000005}', "0.0076509169000000005"),
    ('{"prompt_tokens":1,"cost":4e-05}', "4e-05"),
    ('{"prompt_tokens":1,"cost":0,"is_byok":true}', "0"),
    ('{"prompt_tokens":1,"cost":null}', ""),
    ('{"prompt_tokens":1,"cost":"0.1"}', ""),
    ('{"prompt_tokens":1}', ""),
    ('{"prompt_tokens":1,"cost":{"total_cost":0.0061,"request_cost":0.005}}', "0.0061"),
    ('{"prompt_tokens":1,"cost":[0.1]}', ""),
    ('{"prompt_tokens":1,"cost_in_usd_ticks":37756000}', "0.0037756"),
    ('{"prompt_tokens":1,"cost_in_usd_ticks":1}', "0.0000000001"),
    ('{"prompt_tokens":1,"cost_in_usd_ticks":-1}', ""),
]


@pytest.mark.parametrize(("usage", "cost"), COSTS)
def test_a_reported_cost_is_kept_to_the_last_digit(usage: str, cost: str) -> None:
    for wire in ("openai_chat", "openai_responses", "openai_embeddings"):
        reader = READERS[wire].json()
        reader.feed(f'{{"model":"m","usage":{usage}}}'.encode())
        assert reader.finish().reported_cost == cost
    chat = READERS["openai_chat"].stream()
    chat.feed(f'data: {{"model":"m","choices":[],"usage":{usage}}}\n\n'.encode())
    assert chat.finish().reported_cost == cost
    responses = READERS["openai_responses"].stream()
    responses.feed(f'data: {{"type":"response.completed","response":{{"usage":{usage}}}}}\n\n'.encode())
    assert responses.finish().reported_cost == cost
