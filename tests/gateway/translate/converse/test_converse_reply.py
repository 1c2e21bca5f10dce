"""Answers of Bedrock's converse at their edges: how they stop, exceptions, damage, what cannot be read."""

from __future__ import annotations

import json
import struct
from typing import Any
from zlib import crc32

import boto3
import pytest

from costplus.gateway.translate.conversation import Reasoning, Text, ToolCall
from costplus.gateway.translate.converse_reply import read_reply
from costplus.gateway.translate.converse_stream import ConverseReader
from costplus.gateway.translate.reply import (
    AnswerFailed,
    AnswerUnreadable,
    Began,
    CallBegan,
    CallPiece,
    Ended,
    Piece,
    ReasoningPiece,
    Reply,
    TextPiece,
)

Row = dict[str, Any]
USE = {"toolUse": {"toolUseId": "t1", "name": "f", "input": {"a": 1}}}


def read(*content: Row, stop: str = "end_turn") -> Reply:
    answer = {"output": {"message": {"role": "assistant", "content": list(content)}}, "stopReason": stop}
    return read_reply(json.dumps(answer).encode())


def frame(payload: Row, **headers: str) -> bytes:
    """Return one frame as Amazon's encoding has it; `_` in a header's name stands for `-`."""
    packed = b""
    for name, value in headers.items():
        key, text = b":" + name.replace("_", "-").encode(), value.encode()
        packed += bytes([len(key)]) + key + b"\x07" + struct.pack(">H", len(text)) + text
    body = json.dumps(payload).encode()
    prelude = struct.pack(">II", 16 + len(packed) + len(body), len(packed))
    raw = prelude + struct.pack(">I", crc32(prelude)) + packed + body
    return raw + struct.pack(">I", crc32(raw))


def event(kind: str, **payload: Any) -> bytes:
    return frame(payload, message_type="event", event_type=kind)


def delta(index: int, **what: Any) -> bytes:
    return event("contentBlockDelta", contentBlockIndex=index, delta=what)


def begun(index: int, id: str) -> bytes:
    start = {"toolUse": {"toolUseId": id, "name": "f"}}
    return event("contentBlockStart", contentBlockIndex=index, start=start)


def stopped(index: int) -> bytes:
    return event("contentBlockStop", contentBlockIndex=index)


START = event("messageStart", role="assistant")
STOP = event("messageStop", stopReason="end_turn")


def stream(*frames: bytes) -> list[Piece]:
    reader = ConverseReader()
    pieces = reader.feed(b"".join(frames))
    return [*pieces, *reader.flush()]


def test_blocks_keep_their_order_and_numbers_their_digits() -> None:
    body = json.dumps(
        {
            "output": {
                "message": {
                    "content": [
                        {"reasoningContent": {"reasoningText": {"text": "Hm", "signature": "s"}}},
                        {"reasoningContent": {"redactedContent": "AAEC"}},
                        {"text": "Yes"},
                        {"toolUse": {"toolUseId": "t1", "name": "f", "input": "HERE", "type": "tool_use"}},
                    ]
                }
            },
            "stopReason": "tool_use",
        }
    ).replace('"HERE"', '{ "z": 1.10000000000000000001, "a": {} }')
    assert read_reply(body.encode()) == Reply(
        id="",
        model="",
        parts=(
            Reasoning(text="Hm", signature="s"),
            Reasoning(redacted="AAEC"),
            Text(text="Yes"),
            ToolCall(id="t1", name="f", arguments='{"z":1.10000000000000000001,"a":{}}'),
        ),
        stop="tools",
    )


def stop_reasons() -> list[str]:
    client = boto3.client(
        "bedrock-runtime", region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="x"
    )
    return list(client.meta.service_model.shape_for("StopReason").enum)


STOPS = {
    "end_turn": "end",
    "tool_use": "tools",
    "max_tokens": "length",
    "stop_sequence": "stop_sequence",
    "guardrail_intervened": "refusal",
    "content_filtered": "refusal",
    "model_context_window_exceeded": "context",
}


@pytest.mark.parametrize("reason", stop_reasons())
def test_every_reason_that_amazon_names_is_a_stop_or_an_error(reason: str) -> None:
    if reason.startswith("malformed"):
        with pytest.raises(AnswerUnreadable, match=reason):
            read({"text": "x"}, stop=reason)
        with pytest.raises(AnswerFailed, match=reason):
            stream(START, event("messageStop", stopReason=reason))
    else:
        assert read({"text": "x"}, stop=reason).stop == STOPS[reason]


@pytest.mark.parametrize(
    ("block", "named"),
    [
        ({"image": {"format": "png", "source": {"bytes": ""}}}, "image"),
        ({"citationsContent": {"content": [{"text": "x"}]}}, "citationsContent"),
        (
            {"toolUse": {"toolUseId": "t1", "name": "f", "input": {}, "type": "server_tool_use"}},
            "server_tool",
        ),
        ({"toolUse": {"name": "f"}}, "toolUse"),
        ({"toolUse": {"toolUseId": "t1", "name": "f", "input": [1]}}, "'f'"),
        ({"toolUse": {"toolUseId": "t1", "name": "f"}}, "'f'"),
        ({"reasoningContent": 1}, "reasoningContent"),
        ({"text": 1}, "text"),
        ({}, "without content"),
    ],
)
def test_a_block_that_cannot_be_translated_is_named(block: Row, named: str) -> None:
    with pytest.raises(AnswerUnreadable, match=named):
        read(block)


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[]", b"\xff", b"{}", b'{"message": "no"}', b'{"output": ' + b"[" * 5_000]
)
def test_what_is_no_answer_is_unreadable(body: bytes) -> None:
    with pytest.raises(AnswerUnreadable):
        read_reply(body)


def test_an_unknown_reason_is_unreadable() -> None:
    with pytest.raises(AnswerUnreadable, match="tired"):
        read({"text": "x"}, stop="tired")


def test_a_stream_says_its_blocks_one_after_the_other() -> None:
    reasoning = [{"text": "Hm"}, {"text": ""}, {"signature": "a"}, {"signature": "b"}]
    redacted = [{"redactedContent": "AA=="}, {"redactedContent": "AQI="}]
    assert stream(
        START,
        *(delta(0, reasoningContent=part) for part in reasoning),
        stopped(0),
        *(delta(1, reasoningContent=part) for part in redacted),
        delta(2, text="Ye"),  # That block 1 has stopped was never said.
        delta(2, text=""),
        delta(2, text="s"),
        stopped(2),
        begun(3, "t1"),
        begun(4, "t2"),
        delta(4, toolUse={"input": ""}),
        stopped(4),
        delta(3, toolUse={"input": '{"a"'}),
        delta(3, toolUse={"input": ":1}"}),
        stopped(3),
        begun(5, "t3"),
        event("messageStop", stopReason="tool_use"),
        event("metadata", usage={}),
        event("somethingNew"),
    ) == [
        Began("", ""),
        ReasoningPiece("Hm"),
        ReasoningPiece(signature="ab"),
        ReasoningPiece(redacted="AAEC"),
        TextPiece("Ye"),
        TextPiece("s"),
        CallBegan(0, "t1", "f"),
        CallBegan(1, "t2", "f"),
        CallPiece(1, "{}"),
        CallPiece(0, '{"a"'),
        CallPiece(0, ":1}"),
        CallBegan(2, "t3", "f"),
        CallPiece(2, "{}"),
        Ended("tools"),
    ]


def test_an_exception_among_the_frames_fails_the_answer() -> None:
    reader = ConverseReader()
    assert reader.feed(START) == [Began("", "")]
    exception = frame(
        {"message": "Too many."}, message_type="exception", exception_type="throttlingException"
    )
    with pytest.raises(AnswerFailed, match="throttlingException Too many"):
        reader.feed(exception)
    error = frame({}, message_type="error", error_code="InternalError", error_message="Sorry.")
    with pytest.raises(AnswerFailed, match="InternalError Sorry"):
        ConverseReader().feed(error)


@pytest.mark.parametrize(
    ("frames", "named"),
    [
        ([event("contentBlockStart", start={"image": {"format": "png"}})], "image"),
        ([event("contentBlockStart", start={"toolResult": {"toolUseId": "t"}})], "toolResult"),
        ([event("contentBlockStart", start={"toolUse": {"toolUseId": "t"}})], "toolUse"),
        ([delta(0, citation={})], "citation"),
        ([delta(0, text=1)], "text"),
        ([delta(0, toolUse={"input": "{}"})], "never began"),
        ([begun(0, "t"), delta(0, toolUse={"input": {}})], "no text"),
        ([delta(0, reasoningContent=1)], "reasoningContent"),
        ([delta(0, reasoningContent={"redactedContent": "?"})], "base64"),
        ([event("contentBlockDelta", delta=1)], "contentBlockDelta"),
        ([event("messageStop")], "no translation"),
        ([START], "`messageStart` of the answer comes where"),
        ([STOP, delta(0, text="x")], "`contentBlockDelta` of the answer comes where"),
        ([STOP, STOP], "`messageStop` of the answer comes where"),
        ([delta(0, text="x")], "broke off"),
        ([], "broke off"),
        ([STOP[:-1]], "broke off"),
        ([STOP[:-1] + b"?"], "event stream"),
        ([b'{"message": "I am no event stream"}'], "event stream"),
    ],
)
def test_a_stream_that_cannot_be_translated_says_why(frames: list[bytes], named: str) -> None:
    with pytest.raises(AnswerUnreadable, match=named):
        stream(START, *frames)


def test_a_start_and_a_delta_without_content_say_nothing() -> None:
    empty = [event("contentBlockStart", contentBlockIndex=0, start={}), delta(0)]
    assert stream(START, *empty, STOP) == [Began("", ""), Ended("end")]


def test_a_stream_without_a_beginning_is_unreadable() -> None:
    with pytest.raises(AnswerUnreadable, match="comes where"):
        stream(delta(0, text="x"), STOP)
