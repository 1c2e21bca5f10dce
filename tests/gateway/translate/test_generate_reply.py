"""Answers of Gemini at their edges: why they stop, calls without ids, errors, and what cannot be read."""

from __future__ import annotations

import json
from typing import Any

import pytest
from google.genai import types

from costplus.gateway.translate.conversation import Reasoning, Text, ToolCall
from costplus.gateway.translate.generate_reply import read_reply
from costplus.gateway.translate.generate_stream import GenerateReader
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
CALL = {"functionCall": {"name": "f", "args": {"a": 1}}}


def answer(*parts: Row, finish: str | None = "STOP", **more: Any) -> Row:
    candidate: Row = {"content": {"role": "model", "parts": list(parts)}}
    if finish is not None:
        candidate["finishReason"] = finish
    return {"responseId": "r1", "modelVersion": "gemini-2.5-flash", "candidates": [candidate], **more}


def read(*parts: Row, **more: Any) -> Reply:
    return read_reply(json.dumps(answer(*parts, **more)).encode())


def stream(*chunks: Row) -> list[Piece]:
    reader = GenerateReader()
    pieces = reader.feed(b"".join(b"data: " + json.dumps(chunk).encode() + b"\r\n\r\n" for chunk in chunks))
    return [*pieces, *reader.flush()]


def test_an_answer_names_itself_and_joins_its_text() -> None:
    reply = read({"text": "Hel"}, {"text": ""}, {"text": "lo"})
    assert reply == Reply(id="r1", model="gemini-2.5-flash", parts=(Text(text="Hello"),), stop="end")


def test_thoughts_signatures_and_calls_keep_their_order() -> None:
    reply = read(
        {"text": "Hm", "thought": True},
        {"text": "m.", "thought": True, "thoughtSignature": "s0"},
        {"text": "", "thought": True},
        {"text": "Yes", "thought": False, "thoughtSignature": "s1"},
        {**CALL, "thoughtSignature": "s2"},
        {"thoughtSignature": "s3"},
        {},
    )
    reasoning, text, signature, call, last = reply.parts
    assert reasoning == Reasoning(text="Hmm.", signature="s0")
    assert (text, signature, last) == (Text(text="Yes"), Reasoning(signature="s1"), Reasoning(signature="s3"))
    assert isinstance(call, ToolCall)
    assert (call.name, call.arguments, call.signature) == ("f", '{"a":1}', "s2")
    assert reply.stop == "tools"


REFUSALS = {
    "SAFETY",
    "RECITATION",
    "LANGUAGE",
    "OTHER",
    "BLOCKLIST",
    "PROHIBITED_CONTENT",
    "SPII",
    "MODEL_ARMOR",
    "ESCALATION",
    "PUP_LIMITED_DISABLED",
    "IMAGE_SAFETY",
    "IMAGE_PROHIBITED_CONTENT",
    "IMAGE_RECITATION",
}
FAILURES = {
    "MALFORMED_FUNCTION_CALL",
    "MALFORMED_RESPONSE",
    "UNEXPECTED_TOOL_CALL",
    "TOO_MANY_TOOL_CALLS",
    "MISSING_THOUGHT_SIGNATURE",
    "IMAGE_OTHER",
    "NO_IMAGE",
}


@pytest.mark.parametrize("reason", [reason.value for reason in types.FinishReason])
def test_every_reason_that_google_names_is_a_stop_or_an_error(reason: str) -> None:
    if reason in FAILURES:
        with pytest.raises(AnswerUnreadable, match=reason):
            read({"text": "x"}, finish=reason)
        with pytest.raises(AnswerFailed, match=reason):
            stream(answer({"text": "x"}, finish=reason))
    elif reason == "FINISH_REASON_UNSPECIFIED":
        with pytest.raises(AnswerUnreadable, match=reason):
            read({"text": "x"}, finish=reason)
    else:
        stops = {"STOP": "end", "MAX_TOKENS": "length", "CONTINUATION": "length"}
        expected = "refusal" if reason in REFUSALS else stops[reason]
        assert read({"text": "x"}, finish=reason).stop == expected


def test_an_answer_with_calls_stops_for_them_unless_it_was_cut_short() -> None:
    assert read(CALL).stop == "tools"
    assert read(CALL, finish="UNEXPECTED_TOOL_CALL").stop == "tools"
    assert read(CALL, finish="MAX_TOKENS").stop == "length"
    assert read(CALL, finish="SAFETY").stop == "refusal"


def test_a_refused_prompt_is_a_refusal_without_words() -> None:
    blocked = {"responseId": "r1", "promptFeedback": {"blockReason": "SAFETY"}}
    assert read_reply(json.dumps(blocked).encode()) == Reply(id="r1", model="", parts=(), stop="refusal")
    assert stream(blocked) == [Began("r1", ""), Ended("refusal")]


def test_calls_without_ids_get_ones_that_are_their_own_and_the_same_each_time() -> None:
    first, second = (part.id for part in read(CALL, CALL).parts if isinstance(part, ToolCall))
    assert first != second
    assert first.startswith("call_")
    assert len(first) <= 40  # OpenAI's limit.
    again = [piece.id for piece in stream(answer(CALL), answer(CALL)) if isinstance(piece, CallBegan)]
    assert again == [first, second]
    other = read_reply(json.dumps({**answer(CALL), "responseId": "r2"}).encode()).parts[0]
    assert isinstance(other, ToolCall)
    assert other.id not in (first, second)


def test_a_calls_own_id_is_kept() -> None:
    (call,) = read({"functionCall": {"name": "f", "id": "own"}}).parts
    assert call == ToolCall(id="own", name="f", arguments="{}")


def test_arguments_keep_their_digits_and_lose_their_whitespace() -> None:
    arguments = '{ "z": 1.10000000000000000001,\n "a": 12345678901234567890123, "e": "é\\u00e9" }'
    body = json.dumps(answer({"functionCall": {"name": "f", "args": "HERE"}})).replace('"HERE"', arguments)
    (call,) = read_reply(body.encode()).parts
    assert isinstance(call, ToolCall)
    assert call.arguments == '{"z":1.10000000000000000001,"a":12345678901234567890123,"e":"é\\u00e9"}'


def test_a_stream_begins_once_and_ends_once_though_every_part_says_stop() -> None:
    usage = {"usageMetadata": {"totalTokenCount": 3}}
    assert stream(
        answer({"text": "a"}),
        answer({"text": "b", "thoughtSignature": "s"}),
        answer(CALL),
        {"responseId": "r1", **usage},
    ) == [
        Began("r1", "gemini-2.5-flash"),
        TextPiece("a"),
        TextPiece("b"),
        ReasoningPiece(signature="s"),
        CallBegan(0, read(CALL).parts[0].id, "f"),  # type: ignore[union-attr]  # It is the call.
        CallPiece(0, '{"a":1}'),
        Ended("tools"),
    ]


def test_the_last_event_needs_no_blank_line() -> None:
    reader = GenerateReader()
    assert reader.feed(b": hello\n\ndata: " + json.dumps(answer({"text": "a"})).encode()) == []
    assert reader.flush() == [Began("r1", "gemini-2.5-flash"), TextPiece("a"), Ended("end")]


@pytest.mark.parametrize("parts", [(), ({"text": "a"},)])
def test_a_stream_that_breaks_off_is_not_an_end(parts: tuple[Row, ...]) -> None:
    with pytest.raises(AnswerUnreadable, match="broke off"):
        stream(*[answer(part, finish=None) for part in parts])


ERROR = {"error": {"code": 503, "message": "The model is overloaded.", "status": "UNAVAILABLE"}}


@pytest.mark.parametrize("prefix", [b"data: ", b""])
def test_an_error_in_a_stream_fails_it_as_an_event_or_bare(prefix: bytes) -> None:
    reader = GenerateReader()
    reader.feed(b"data: " + json.dumps(answer({"text": "a"}, finish=None)).encode() + b"\n\n")
    with pytest.raises(AnswerFailed, match="UNAVAILABLE The model is overloaded"):
        reader.feed(prefix + json.dumps(ERROR, indent=None if prefix else 2).encode() + b"\n\n")


@pytest.mark.parametrize(
    ("part", "named"),
    [
        ({"inlineData": {"mimeType": "image/png", "data": ""}}, "inlineData"),
        ({"executableCode": {"code": "1"}, "thoughtSignature": "s"}, "executableCode"),
        ({"somethingNew": {}}, "somethingNew"),
        ({"functionCall": {"name": "f", "partialArgs": [], "willContinue": True}}, "partialArgs"),
        ({"functionCall": {"name": "f", "willContinue": True}}, "partialArgs"),
        ({"functionCall": {}}, "functionCall"),
        ({"functionCall": {"name": "f", "args": [1]}}, "'f'"),
        ({"text": 1}, "text"),
        ({"text": "x", "thoughtSignature": 1}, "thoughtSignature"),
    ],
)
def test_a_part_that_cannot_be_translated_is_named(part: Row, named: str) -> None:
    with pytest.raises(AnswerUnreadable, match=named):
        read(part)
    with pytest.raises(AnswerUnreadable, match=named):
        stream(answer(part))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"[]",
        b'"x"',
        b"\xff",
        b'{"candidates": 1}',
        b'{"candidates": [{"content": {"parts": ["x"]}}]}',
        b'{"candidates": [{"index": 1}]}',
        b"{}",
        b'{"candidates": []}',
        b'{"candidates": ' + b"[" * 5_000,
    ],
)
def test_what_is_no_answer_is_unreadable(body: bytes) -> None:
    with pytest.raises(AnswerUnreadable):
        read_reply(body)
