"""Anthropic's streams, both ways: however they are cut, and as the released SDK accumulates them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import pytest
from anthropic.types import Message
from hypothesis import given
from hypothesis import strategies as st

from costplus.core.usage import Usage
from costplus.gateway.translate.conversation import Conversation
from costplus.gateway.translate.messages_events import MessagesWriter
from costplus.gateway.translate.messages_stream import MessagesReader
from costplus.gateway.translate.reply import (
    AnswerFailed,
    AnswerUnreadable,
    Began,
    CallBegan,
    CallPiece,
    Ended,
    Piece,
    ReasoningPiece,
    TextPiece,
)

Accumulate = Callable[[bytes], Message]

NOBODY = Conversation(messages=())
USED = Usage({"input": 7, "cached_input": 5, "cache_write_1h": 2, "output": 3, "reasoning": 1})


def written(*pieces: Piece, usage: Usage | None = USED) -> bytes:
    """Return the stream of an answer, written piece by piece."""
    writer = MessagesWriter(NOBODY)
    whole = (Began("msg_1", "m"), *pieces)
    return b"".join(writer.write([piece]) for piece in whole) + writer.end(usage)


def events(body: bytes) -> list[dict[str, Any]]:
    found = []
    for raw in body.decode().removesuffix("\n\n").split("\n\n"):
        name, text = raw.split("\n")
        event: dict[str, Any] = json.loads(text.removeprefix("data: "))
        assert name == f"event: {event['type']}"
        found.append(event)
    return found


def read(body: bytes, *, cuts: Sequence[int] = ()) -> list[Piece]:
    reader = MessagesReader()
    edges = [0, *sorted(cuts), len(body)]
    pieces = [piece for start, end in pairwise(edges) for piece in reader.feed(body[start:end])]
    return pieces + reader.flush()


SPOKEN: tuple[Piece, ...] = (
    ReasoningPiece(text="let me "),
    ReasoningPiece(text="see"),
    ReasoningPiece(signature="sig=="),
    ReasoningPiece(redacted="blob"),
    TextPiece("Grüße"),
    TextPiece(" 🦊\n\n"),
    CallBegan(0, "c0", "look"),
    CallPiece(0, '{"a": '),
    CallPiece(0, "1}"),
    CallBegan(1, "c1", "find"),
    CallPiece(1, '{"b":"ü"}'),
    Ended("tools"),
)


def test_an_answer_is_what_the_sdk_makes_of_it(accumulated: Accumulate) -> None:
    message = accumulated(written(*SPOKEN))
    assert [block.model_dump(exclude_none=True) for block in message.content] == [
        {"type": "thinking", "thinking": "let me see", "signature": "sig=="},
        {"type": "redacted_thinking", "data": "blob"},
        {"type": "text", "text": "Grüße 🦊\n\n"},
        {"type": "tool_use", "id": "c0", "name": "look", "input": {"a": 1}},
        {"type": "tool_use", "id": "c1", "name": "find", "input": {"b": "ü"}},
    ]
    assert (message.id, message.model, message.stop_reason) == ("msg_1", "m", "tool_use")
    usage = message.usage
    assert (usage.input_tokens, usage.cache_read_input_tokens, usage.cache_creation_input_tokens) == (7, 5, 2)
    assert usage.output_tokens == 4
    assert usage.output_tokens_details is not None and usage.output_tokens_details.thinking_tokens == 1


def test_what_is_written_is_read_back_as_it_was() -> None:
    assert read(written(*SPOKEN)) == [Began("msg_1", "m"), *SPOKEN]


def test_blocks_begin_and_stop_one_after_the_other_with_indexes_that_count() -> None:
    begun = [event for event in events(written(*SPOKEN)) if event["type"].startswith("content_block")]
    place = -1
    for before, event in zip([{"type": "content_block_stop"}, *begun], begun, strict=False):
        if event["type"] == "content_block_start":
            assert before["type"] == "content_block_stop"
            place += 1
        assert event["index"] == place
    assert begun[-1]["type"] == "content_block_stop"


@given(st.lists(st.integers(0, len(written(*SPOKEN))), max_size=20))
def test_cuts_change_nothing(cuts: list[int]) -> None:
    assert read(written(*SPOKEN), cuts=cuts) == [Began("msg_1", "m"), *SPOKEN]


def test_every_byte_alone_changes_nothing() -> None:
    body = written(*SPOKEN)
    assert read(body, cuts=range(len(body))) == read(body)
    crlf = body.replace(b"\n", b"\r\n")
    assert read(crlf, cuts=range(len(crlf))) == read(body)


@given(st.lists(st.sampled_from([0, 1, 2]), max_size=30), st.booleans())
def test_calls_that_are_told_in_turns_come_one_after_the_other(order: list[int], begin_first: bool) -> None:
    arguments = {index: json.dumps({f"n{index}": [index] * 3}) for index in range(3)}
    left = {index: [text[i : i + 3] for i in range(0, len(text), 3)] for index, text in arguments.items()}
    begun: list[int] = []
    pieces: list[Piece] = []

    def begin(index: int) -> None:
        if index not in begun:
            begun.append(index)
            pieces.append(CallBegan(index, f"c{index}", f"tool{index}"))

    for index in range(3) if begin_first else ():
        begin(index)
    for index in (*order, *(rest for rest in range(3) for _ in left[rest])):
        begin(index)
        if left[index]:
            pieces.append(CallPiece(index, left[index].pop(0)))
    found: dict[int, str] = {}
    names = []
    for event in events(written(*pieces, Ended("tools"))):
        if event["type"] == "content_block_start":
            names.append(event["content_block"]["name"])
        elif event["type"] == "content_block_delta":
            assert event["index"] == len(names) - 1  # The block that began last.
            found[event["index"]] = found.get(event["index"], "") + event["delta"]["partial_json"]
    assert names == [f"tool{index}" for index in begun]
    assert [found[place] for place in range(3)] == [arguments[index] for index in begun]


def test_a_call_streams_while_it_is_the_only_one() -> None:
    writer = MessagesWriter(NOBODY)
    writer.write([Began("msg_1", "m"), CallBegan(0, "c0", "look")])
    assert b'"partial_json":"{"' in writer.write([CallPiece(0, "{")])
    assert writer.write([CallBegan(1, "c1", "find"), CallPiece(1, "{}")]) == b""  # The first is not whole.
    assert writer.write([CallPiece(0, "}")]).count(b"content_block_start\n") == 1


def test_a_call_without_arguments_is_an_empty_object_for_the_sdk(accumulated: Accumulate) -> None:
    message = accumulated(written(CallBegan(0, "c", "look"), CallPiece(0, ""), Ended("tools")))
    assert message.content[0].model_dump()["input"] == {}


def test_a_signature_of_a_call_stands_before_it(accumulated: Accumulate) -> None:
    message = accumulated(written(CallBegan(0, "c", "look", "AbC"), CallPiece(0, "{}"), Ended("tools")))
    thought, call = [block.model_dump(exclude_none=True) for block in message.content]
    assert thought == {"type": "thinking", "thinking": "", "signature": "of-the-next-call:AbC"}
    assert call["id"] == "c"


def test_thinking_that_nobody_signed_ends_where_the_answer_begins(accumulated: Accumulate) -> None:
    pieces = (ReasoningPiece(text="hm"), TextPiece("a"), ReasoningPiece(signature="late"), Ended("end"))
    message = accumulated(written(*pieces))
    assert [block.model_dump(exclude_none=True) for block in message.content] == [
        {"type": "thinking", "thinking": "hm", "signature": ""},
        {"type": "text", "text": "a"},
        {"type": "thinking", "thinking": "", "signature": "late"},
    ]


def test_an_answer_without_a_word_is_one(accumulated: Accumulate) -> None:
    message = accumulated(written(TextPiece(""), Ended("stop_sequence", "END"), usage=None))
    assert (message.content, message.stop_reason, message.stop_sequence) == ([], "stop_sequence", "END")
    assert (message.usage.output_tokens, message.usage.cache_read_input_tokens) == (0, None)


def test_a_piece_of_a_call_that_is_over_is_an_error() -> None:
    with pytest.raises(AnswerUnreadable):
        written(CallBegan(0, "c", "look"), CallPiece(0, "{}"), TextPiece("a"), CallPiece(0, "{}"))


START = b'data: {"type":"message_start","message":{"id":"i","model":"m"}}\n\n'
TEXT = b'data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"a"}}\n\n'
STOP = b'data: {"type":"message_delta","delta":{"stop_reason":"end_turn"}}\n\n'
FAILED = (
    b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}\n\n'
)


def block(index: int, **fields: Any) -> bytes:
    return (
        b"data: %b\n\n"
        % json.dumps({"type": "content_block_start", "index": index, "content_block": fields}).encode()
    )


def test_a_call_told_whole_at_its_beginning_is_heard() -> None:
    begun = block(2, type="tool_use", id="c", name="look", input={"a": 1})
    ended = b'data: {"type":"content_block_stop","index":2}\n\n'
    pieces = [CallBegan(0, "c", "look"), CallPiece(0, '{"a": 1}')]
    assert read(START + begun + ended + STOP) == [Began("i", "m"), *pieces, Ended("end")]


def test_an_unfinished_last_event_is_read() -> None:
    assert read(START + TEXT + STOP.rstrip()) == [Began("i", "m"), TextPiece("a"), Ended("end")]


def test_pings_and_events_yet_unknown_are_passed_over() -> None:
    other = (
        b': comment\n\nevent: ping\ndata: {"type": "ping"}\n\ndata: {"type":"new","delta":{"type":"x"}}\n\n'
    )
    cited = (
        b'data: {"type":"content_block_delta","index":0,"delta":{"type":"citations_delta","citation":{}}}\n\n'
    )
    assert read(other + START + cited + TEXT + STOP) == [Began("i", "m"), TextPiece("a"), Ended("end")]


FAULTS = [
    (FAILED, AnswerFailed),
    (b"data: {\n\n", AnswerUnreadable),
    (b"data: \xff\n\n", AnswerUnreadable),
    (block(1, type="server_tool_use", id="s", name="web_search", input={}), AnswerUnreadable),
    (TEXT.replace(b'"text":', b'"partial_json":'), AnswerUnreadable),
]


@pytest.mark.parametrize(("fault", "kind"), FAULTS)
def test_what_came_before_a_fault_is_heard_first(fault: bytes, kind: type[Exception]) -> None:
    reader = MessagesReader()
    assert reader.feed(START + TEXT + fault + TEXT) == [Began("i", "m"), TextPiece("a")]
    with pytest.raises(kind):
        reader.feed(b"")
    with pytest.raises(kind):
        reader.flush()


def test_a_stream_that_breaks_off_is_a_fault() -> None:
    reader = MessagesReader()
    assert reader.feed(START + TEXT)
    with pytest.raises(AnswerUnreadable):
        reader.flush()
