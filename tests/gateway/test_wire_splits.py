"""However the bytes are cut, the reading and the forwarded bytes are the same."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costplus.gateway.wire import READERS, Reading, WireReader

pytestmark = pytest.mark.slow

CHAT = (
    b": processing\n\n"
    b'data: {"id":"c","model":"m","choices":[{"delta":{"content":"\\u00e9 \xe2\x82\xac\\"x"}}],'
    b'"usage":null}\n\n'
    b'data: {"id":"c","model":"m","choices":[{"delta":{"reasoning_content":"why"}}]}\n\n'
    b'data: {"id":"c","model":"m","choices":[],'
    b'"usage":{"prompt_tokens":9,"completion_tokens":4,"total_tokens":13}}\n\n'
    b"data: [DONE]\n\n"
)
RESPONSES = (
    b"event: response.created\n"
    b'data: {"type":"response.created","response":{"id":"r","model":"m","usage":null}}\n\n'
    b'data: {"type":"response.output_text.delta","delta":"hi"}\nevent: response.output_text.delta\n\n'
    b'event: response.completed\ndata: {"type":"response.completed","response":{"id":"r","model":"m",'
    b'"usage":{"input_tokens":9,"output_tokens":4}}}\n\n'
)
ANTHROPIC = (
    b'event: message_start\ndata: {"type":"message_start","message":{"id":"m1","model":"c",'
    b'"usage":{"input_tokens":9,"output_tokens":1}}}   \n\n'
    b'event: content_block_delta\ndata: {"type":"content_block_delta","delta":{"text":"\xe2\x82\xac"}}\n\n'
    b'event: message_delta\ndata: {"type":"message_delta","usage":{"output_tokens":4}}\n\n'
    b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
)
GEMINI = (
    b'data: {"candidates":[{"content":{"parts":[{"text":"\xe2\x82\xac {[\\""}]}}],'
    b'"usageMetadata":{"promptTokenCount":9,"candidatesTokenCount":1}}\n\n'
    b'data: {"candidates":[{"finishReason":"STOP"}],"modelVersion":"gemini-3",'
    b'"usageMetadata":{"promptTokenCount":9,"candidatesTokenCount":4}}\n\n'
)
COHERE = (
    b'event: content-delta\ndata: {"type":"content-delta","delta":{"message":{"content":{"text":"hi"}}}}\n\n'
    b'event: message-end\ndata: {"type":"message-end","delta":{"usage":'
    b'{"billed_units":{"input_tokens":9,"output_tokens":4},"tokens":{"input_tokens":90}}}}\n\n'
)
SPEECH = (
    b'data: {"type":"transcript.text.delta","delta":"hi"}\n\n'
    b'data: {"type":"transcript.text.done","usage":{"input_tokens":9,"output_tokens":4}}\n\n'
)
STREAMS = {
    "openai_chat": CHAT,
    "openai_responses": RESPONSES,
    "anthropic_messages": ANTHROPIC,
    "gemini_generate": GEMINI,
    "cohere_chat": COHERE,
    "openai_transcription": SPEECH,
}
LINE_ENDS = {"LF": b"\n", "CRLF": b"\r\n", "CR": b"\r"}


def run(reader: WireReader, pieces: list[bytes]) -> tuple[bytes, Reading]:
    forwarded = b"".join([reader.feed(piece) for piece in pieces]) + reader.flush()
    return forwarded, reader.finish()


@pytest.mark.parametrize("line_end", LINE_ENDS)
@pytest.mark.parametrize("strip_usage", [False, True])
@pytest.mark.parametrize("wire", STREAMS)
@given(cuts=st.lists(st.integers(0, 700), max_size=30))
def test_any_cut_gives_the_same_reading_and_the_same_bytes(
    wire: str, strip_usage: bool, line_end: str, cuts: list[int]
) -> None:
    stream = STREAMS[wire].replace(b"\n", LINE_ENDS[line_end])
    make = READERS[wire].stream
    whole = run(make(strip_usage=strip_usage), [stream])
    bounds = [0, *sorted(cuts), len(stream)]
    assert run(make(strip_usage=strip_usage), [stream[a:b] for a, b in pairwise(bounds)]) == whole
    assert whole[1].usage is not None
    assert whole[1].usage.quantities == {"input": 9, "output": 4}
    is_shorter = strip_usage and wire == "openai_chat"
    assert (whole[0] != stream) == is_shorter


@pytest.mark.parametrize("line_end", LINE_ENDS.values(), ids=LINE_ENDS)
@pytest.mark.parametrize("wire", STREAMS)
def test_byte_by_byte_is_like_all_at_once(wire: str, line_end: bytes) -> None:
    stream = STREAMS[wire].replace(b"\n", line_end)
    pieces = [stream[at : at + 1] for at in range(len(stream))]
    for strip_usage in (False, True):
        make = READERS[wire].stream
        assert run(make(strip_usage=strip_usage), pieces) == run(make(strip_usage=strip_usage), [stream])


ARRAY = b"[" + b",\n".join(line[6:] for line in GEMINI.split(b"\n\n") if line) + b"]\n"


@pytest.mark.parametrize("body", [ARRAY, ARRAY.splitlines()[1].rstrip(b"]")], ids=["array", "object"])
@given(cuts=st.lists(st.integers(0, len(ARRAY)), max_size=30))
def test_any_cut_of_objects_gives_the_same_reading(body: bytes, cuts: list[int]) -> None:
    bounds = [0, *sorted(cuts), len(ARRAY)]
    pieces = [body[a:b] for a, b in pairwise(bounds)]
    forwarded, reading = run(READERS["gemini_generate"].json(), pieces)
    assert (forwarded, reading) == run(READERS["gemini_generate"].json(), [body])
    assert reading.usage is not None
    assert reading.usage.quantities == {"input": 9, "output": 4}
    assert reading.complete


@given(junk=st.lists(st.binary(max_size=40) | st.sampled_from([b"data: ", b"\n\n", b'{"usage":', b"[DONE]"])))
@pytest.mark.parametrize("wire", READERS)
def test_no_bytes_break_a_reader_or_are_lost(wire: str, junk: list[bytes]) -> None:
    for strip_usage in (False, True):
        forwarded, reading = run(READERS[wire].stream(strip_usage=strip_usage), junk)
        assert forwarded == b"".join(junk)
        assert reading.usage is None
    assert run(READERS[wire].json(), junk)[0] == b"".join(junk)


def test_finish_may_be_called_again() -> None:
    reader = READERS["openai_chat"].stream()
    reader.feed(CHAT)
    assert reader.finish() == reader.finish()
    body = READERS["openai_chat"].json()
    body.feed(b'{"usage":')
    body.feed(b'{"prompt_tokens":1}}')
    assert body.finish() == body.finish()
