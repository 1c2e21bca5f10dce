"""Chat completions answers are read however they are cut, and written so that OpenAI's SDK reads them."""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest

from costplus.core.usage import Usage
from costplus.gateway.translate.chat_reply import read_reply, write_reply
from costplus.gateway.translate.chat_stream import ChatReader, ChatWriter
from costplus.gateway.translate.conversation import Conversation, Reasoning, Text, ToolCall
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

ASKED = Conversation(
    messages=(), model="anthropic/claude", stream=True, include_usage=True, at_s=1_780_000_000
)
USAGE = Usage({"input": 7, "cached_input": 2, "cache_write_5m": 1, "output": 5, "reasoning": 3})


def recorded(shared_data: Path, *, stream: bool) -> Iterator[dict[str, Any]]:
    file = shared_data / "captures.jsonl.gz"
    if not file.exists():
        pytest.skip("captures.jsonl.gz is absent")
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        for row in map(json.loads, lines):
            is_chat = row["path"].endswith("/chat/completions") and row["status"] == 200
            if is_chat and isinstance(row["response"], str) == stream:
                yield row


def joined(pieces: list[Piece]) -> dict[str, Any]:
    """Return what the pieces come to, the same however they were cut."""
    calls: dict[int, list[str]] = {}
    for piece in pieces:
        if isinstance(piece, CallBegan):
            calls[piece.index] = [piece.id, piece.name, ""]
        elif isinstance(piece, CallPiece):
            calls[piece.index][2] += piece.arguments
    return {
        "began": [piece for piece in pieces if isinstance(piece, Began)],
        "text": "".join(piece.text for piece in pieces if isinstance(piece, TextPiece)),
        "thought": "".join(piece.text for piece in pieces if isinstance(piece, ReasoningPiece)),
        "calls": list(calls.values()),
        "ended": [piece for piece in pieces if isinstance(piece, Ended)],
    }


def read(body: bytes, size: int = 0, seed: int = 0) -> list[Piece]:
    reader, pieces, cuts = ChatReader(), [], random.Random(seed)
    start = 0
    while start < len(body):
        end = start + (size or cuts.randint(1, 700))
        pieces += reader.feed(body[start:end])
        start = end
    return pieces + reader.flush()


def plainly(body: str) -> tuple[str, str, list[list[str]]]:
    """Return text, thought and calls of a stream as its events say them, one after the other."""
    text, thought, calls = "", "", {}
    for line in body.splitlines():
        if not line.startswith("data:") or line.strip() == "data: [DONE]":
            continue
        for choice in json.loads(line[5:]).get("choices") or []:
            delta = choice.get("delta") or {}
            content = delta.get("content") or ""
            for part in content if isinstance(content, list) else [{"type": "text", "text": content}]:
                if part["type"] == "text":
                    text += part["text"]
                elif part["type"] == "thinking":
                    thought += "".join(each["text"] for each in part["thinking"])
            text += delta.get("refusal") or ""
            thought += delta.get("reasoning_content") or delta.get("reasoning") or ""
            for call in delta.get("tool_calls") or []:
                known = calls.setdefault(call.get("index", 0), [call.get("id"), "", ""])
                known[1] = known[1] or call["function"].get("name") or ""
                known[2] += call["function"].get("arguments") or ""
    return text, thought, list(calls.values())


def test_every_recorded_stream_is_read_alike_however_it_is_cut(shared_data: Path) -> None:
    count = 0
    for row in recorded(shared_data, stream=True):
        body = row["response"].encode()
        try:
            whole = joined(read(body, size=len(body) or 1))
        except (AnswerFailed, AnswerUnreadable):
            continue
        assert joined(read(body, seed=count)) == whole, row["id"]
        if len(body) < 20_000:
            assert joined(read(body, size=1)) == whole, row["id"]
        assert (whole["text"], whole["thought"], whole["calls"]) == plainly(row["response"]), row["id"]
        assert len(whole["began"]) == 1 and len(whole["ended"]) == 1, row["id"]
        count += 1
    assert count > 40


def test_every_recorded_answer_is_read(shared_data: Path) -> None:
    count, unreadable = 0, 0
    for row in recorded(shared_data, stream=False):
        body = json.dumps(row["response"]).encode()
        try:
            reply = read_reply(body)
        except AnswerUnreadable:
            unreadable += 1
            assert "choices" not in row["response"] or row["response"]["choices"] is None, row["id"]
            continue
        message = row["response"]["choices"][0]["message"]
        text = "".join(part.text for part in reply.parts if isinstance(part, Text))
        if not isinstance(message.get("content"), list):
            assert text == (message.get("content") or "") + (message.get("refusal") or "")
        calls = [part for part in reply.parts if isinstance(part, ToolCall)]
        assert [call.id for call in calls] == [call["id"] for call in message.get("tool_calls") or []]
        count += 1
    assert count > 200
    assert unreadable < 5


def served(body: bytes, content_type: str) -> openai.OpenAI:
    """Return OpenAI's SDK with a server behind it that answers `body`."""
    answer = httpx2.Response(200, headers={"content-type": content_type}, content=body)
    client = httpx2.Client(transport=httpx2.MockTransport(lambda request: answer))
    return openai.OpenAI(base_url="http://gateway/v1", api_key="k", http_client=client)


PIECES: list[Piece] = [
    Began("msg_1", "claude-sonnet-4-5"),
    ReasoningPiece("Let me "),
    ReasoningPiece("see."),
    ReasoningPiece(signature="c2ln"),
    ReasoningPiece(redacted="xyz"),
    TextPiece("It is "),
    TextPiece("mild."),
    CallBegan(0, "call_1", "weather", "Zm9v"),
    CallPiece(0, '{"city":'),
    CallPiece(0, ' "Rome"}'),
    CallBegan(1, "call_2", "time"),
    CallPiece(1, "{}"),
    Ended("tools"),
]


def test_openais_sdk_puts_a_written_stream_together() -> None:
    writer = ChatWriter(ASKED)
    body = b"".join(writer.write([piece]) for piece in PIECES) + writer.end(USAGE)
    with (
        served(body, "text/event-stream") as sdk,
        sdk.chat.completions.stream(model="m", messages=[]) as stream,
    ):
        for _ in stream:
            pass
        done = stream.get_final_completion()
    choice = done.choices[0]
    assert (done.id, done.model, choice.finish_reason) == ("msg_1", "claude-sonnet-4-5", "tool_calls")
    assert choice.message.content == "It is mild."
    assert [(c.id, c.function.name, c.function.arguments) for c in choice.message.tool_calls or []] == [
        ("call_1", "weather", '{"city": "Rome"}'),
        ("call_2", "time", "{}"),
    ]
    assert done.usage is not None and done.usage.total_tokens == 18
    assert done.usage.prompt_tokens_details is not None
    assert done.usage.prompt_tokens_details.cached_tokens == 2
    assert done.usage.completion_tokens_details is not None
    assert done.usage.completion_tokens_details.reasoning_tokens == 3
    extra = choice.message.model_extra or {}
    assert extra["reasoning_content"] == "Let me see."
    assert [detail.get("signature", detail.get("data")) for detail in extra["reasoning_details"]] == [
        "c2ln",
        "xyz",
    ]


def test_openais_sdk_reads_a_written_answer() -> None:
    reply = Reply(
        id="req_1",
        model="bedrock/m",
        at_s=5,
        parts=(
            Reasoning(text="Hm.", signature="c2ln"),
            Text(text="Mild."),
            ToolCall(id="call_1", name="weather", arguments="{}", signature="Zm9v"),
        ),
        stop="length",
    )
    with served(write_reply(reply, USAGE), "application/json") as sdk:
        answer = sdk.chat.completions.create(model="m", messages=[])
    assert (answer.id, answer.model, answer.created) == ("req_1", "bedrock/m", 5)
    assert answer.choices[0].finish_reason == "length"
    assert answer.choices[0].message.content == "Mild."
    assert answer.usage is not None and (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (
        10,
        8,
    )


def test_what_is_written_is_read_again() -> None:
    writer = ChatWriter(ASKED)
    body = writer.write(PIECES) + writer.end(USAGE)
    again = joined(read(body, size=3))
    assert again["text"] == "It is mild."
    assert again["thought"] == "Let me see."
    assert again["calls"] == [["call_1", "weather", '{"city": "Rome"}'], ["call_2", "time", "{}"]]
    assert again["ended"] == [Ended("tools")]


def test_calls_without_an_index_are_told_apart_by_their_ids() -> None:
    def event(*calls: dict[str, Any]) -> bytes:
        chunk = {"id": "c", "model": "m", "choices": [{"index": 0, "delta": {"tool_calls": list(calls)}}]}
        return b"data: " + json.dumps(chunk).encode() + b"\n\n"

    body = (
        event({"id": "a", "function": {"name": "f", "arguments": "{"}})
        + event({"id": "a", "function": {"arguments": "}"}})
        + event({"id": "b", "function": {"name": "g", "arguments": {"x": 1}}})
    )
    assert joined(read(body, size=9))["calls"] == [["a", "f", "{}"], ["b", "g", '{"x":1}']]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b'{"choices": []}',
        b'{"choices": [{}, {}]}',
        b'{"choices": [{"message": 1}]}',
        b'{"choices": [{"message": {"audio": {"data": "eA=="}}}]}',
        b'{"choices": [{"message": {"tool_calls": [1]}}]}',
        b'{"choices": [{"message": {"tool_calls": [{}]}}]}',
        b"[" * 5000,
    ],
)
def test_an_answer_that_is_none_is_unreadable(body: bytes) -> None:
    with pytest.raises(AnswerUnreadable):
        read_reply(body)


@pytest.mark.parametrize(
    "data",
    [b"[]", b"x", b'{"choices": 1}', b'{"choices": [1]}', b'{"choices": [{"delta": {"tool_calls": [{}]}}]}'],
)
def test_a_chunk_that_is_none_is_unreadable(data: bytes) -> None:
    with pytest.raises(AnswerUnreadable):
        ChatReader().feed(b"data: " + data + b"\n\n")


def test_an_error_in_the_stream_is_the_providers_failure() -> None:
    with pytest.raises(AnswerFailed, match="overloaded"):
        ChatReader().feed(b'data: {"error": {"message": "overloaded"}}\n\n')
