"""Every recorded exchange with Anthropic: read, cut, and written again for the released SDK.

Rule 1: what is expected is taken from the recordings themselves, without the code under test.
Rule 2: a recording that is refused names a field or a block that only Anthropic has; the lists are closed.
"""

from __future__ import annotations

import gzip
import json
import re
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest
from anthropic.types import Message

from costplus.gateway.translate.conversation import (
    Conversation,
    NotExpressible,
    Reasoning,
    Text,
    ToolCall,
)
from costplus.gateway.translate.messages_events import MessagesWriter
from costplus.gateway.translate.messages_read import read_request
from costplus.gateway.translate.messages_reply import read_reply, write_reply
from costplus.gateway.translate.messages_stream import MessagesReader
from costplus.gateway.translate.messages_write import write_request
from costplus.gateway.translate.reply import (
    AnswerUnreadable,
    Began,
    CallBegan,
    CallPiece,
    Piece,
    ReasoningPiece,
    TextPiece,
)
from costplus.gateway.wire import READERS

Row = dict[str, Any]
Said = list[tuple[str, ...]]
Accumulate = Callable[[bytes], Message]

TRANSLATED = {"text", "thinking", "redacted_thinking", "tool_use"}
REFUSED = {
    "container",
    "context_management",
    "mcp_servers",
    "output_config.task_budget",
    "tools.N.type",
    "tools.N.defer_loading",
    "messages.N.role",
    "messages.N.content.N.type",
    "messages.N.content.N.source.type",
    "messages.N.content.N.content.N.type",
    "messages.N.content.N.content.N.source.type",
}


@pytest.fixture(scope="module")
def rows(shared_data: Path) -> list[Row]:
    recorded = shared_data / "captures.jsonl.gz"
    if not recorded.exists():
        pytest.skip("captures.jsonl.gz is absent")
    with gzip.open(recorded, "rt", encoding="utf-8") as lines:
        all_rows = [json.loads(line) for line in lines]
    return [row for row in all_rows if row["path"] == "/v1/messages"]


def answers(rows: list[Row], *, stream: bool) -> list[Row]:
    return [row for row in rows if row["status"] == 200 and isinstance(row["response"], str) is stream]


def recorded_events(row: Row) -> list[dict[str, Any]]:
    lines = row["response"].splitlines()
    return [json.loads(line[5:]) for line in lines if line.startswith("data:")]


def blocks_of(row: Row) -> set[str]:
    """Return the kinds of block that a recorded answer holds."""
    if isinstance(row["response"], dict):
        return {block["type"] for block in row["response"]["content"]}
    events = recorded_events(row)
    return {event["content_block"]["type"] for event in events if event["type"] == "content_block_start"}


def recorded_said(content: list[dict[str, Any]]) -> Said:
    """Return what recorded blocks say; text that citations cut into blocks is one."""
    said: Said = []
    for block in content:
        if block["type"] == "text":
            _add(said, "text", block["text"])
        elif block["type"] == "tool_use":
            said.append(("call", block["id"], block["name"], json.dumps(block["input"])))
        elif block["type"] == "thinking":
            said.append(("thinking", block["thinking"], block["signature"]))
        else:
            said.append(("redacted", block["data"]))
    return said


def _add(said: Said, kind: str, text: str) -> None:
    if said and said[-1][0] == kind:
        said[-1] = (kind, said[-1][1] + text)
    elif text:
        said.append((kind, text))


def read(body: bytes, *, edges: list[int]) -> list[Piece]:
    reader = MessagesReader()
    pieces = [
        piece for start, end in pairwise([0, *edges, len(body)]) for piece in reader.feed(body[start:end])
    ]
    return pieces + reader.flush()


def replayed(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the blocks that recorded events build, by Anthropic's description of them."""
    content: list[dict[str, Any]] = []
    for event in events:
        if event["type"] == "content_block_start":
            content.append(dict(event["content_block"]))
        elif event["type"] == "content_block_delta":
            delta, block = event["delta"], content[event["index"]]
            if delta["type"] == "input_json_delta":
                block["json"] = block.get("json", "") + delta["partial_json"]
            elif delta["type"] != "citations_delta":
                (name,) = {"text", "thinking", "signature"} & delta.keys()
                block[name] += delta[name]
    for block in content:
        if block.get("json"):
            block["input"] = json.loads(block.pop("json"))
    return content


def said_in(pieces: list[Piece]) -> Said:
    """Return what the pieces of a stream say."""
    said: Said = []
    calls: dict[int, int] = {}
    open_thinking = False
    for piece in pieces:
        if isinstance(piece, TextPiece):
            _add(said, "text", piece.text)
        elif isinstance(piece, ReasoningPiece) and piece.redacted:
            said.append(("redacted", piece.redacted))
        elif isinstance(piece, ReasoningPiece):
            if not open_thinking:
                said.append(("thinking", "", ""))
            _, text, signature = said[-1]
            said[-1] = ("thinking", text + piece.text, signature + piece.signature)
            open_thinking = not piece.signature
        elif isinstance(piece, CallBegan):
            calls[piece.index] = len(said)
            said.append(("call", piece.id, piece.name, ""))
        elif isinstance(piece, CallPiece):
            *call, arguments = said[calls[piece.index]]
            said[calls[piece.index]] = (*call, arguments + piece.arguments)
    return [(*one[:3], json.dumps(json.loads(one[3]))) if one[0] == "call" else one for one in said]


def sent(conversation: Conversation) -> Any:
    """Return the body that Anthropic is sent."""
    body = write_request(conversation, model=conversation.model, max_tokens=1)
    return json.loads(msgspec.json.encode(body))


def said_of(part: Text | Reasoning | ToolCall) -> tuple[str, ...]:
    if isinstance(part, Text):
        return ("text", part.text)
    if isinstance(part, ToolCall):
        return ("call", part.id, part.name, json.dumps(json.loads(part.arguments)))
    return ("redacted", part.redacted) if part.redacted else ("thinking", part.text, part.signature)


def test_every_recorded_request_is_read_or_refused_by_a_field_of_anthropics_own(rows: list[Row]) -> None:
    refused: Counter[str] = Counter()
    for row in rows:
        try:
            conversation = read_request(row["request"])
        except NotExpressible as error:
            assert error.param is not None
            refused[re.sub(r"\.\d+", ".N", error.param)] += 1
            continue
        body = sent(conversation)
        assert read_request(body).messages  # And the provider it came from would take it back.
        assert body["max_tokens"] == row["request"]["max_tokens"]
        assert [tool["name"] for tool in body.get("tools", [])] == [
            tool["name"] for tool in row["request"].get("tools", [])
        ]
    assert set(refused) <= REFUSED
    print(f"\n{len(rows)} requests, refused: {dict(sorted(refused.items()))}")  # noqa: T201 — for a reader of the log.
    assert len(rows) - refused.total() > 120


def test_what_is_read_of_a_recorded_request_is_all_that_it_says(rows: list[Row]) -> None:
    for row in rows:
        try:
            conversation = read_request(row["request"])
        except NotExpressible:
            continue
        assert normal(sent(conversation)) == normal(row["request"]), row["id"]


def normal(body: Any) -> Any:
    """Return a body in one of the several ways that Anthropic lets one say the same."""
    body = json.loads(json.dumps(body))
    if isinstance(body.get("system"), str):
        body["system"] = [{"type": "text", "text": body["system"]}]
    turns: list[dict[str, Any]] = []
    for turn in body["messages"]:
        content = turn["content"]
        blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
        if turns and turns[-1]["role"] == turn["role"]:
            turns[-1]["content"] += blocks
        else:
            turns.append({"role": turn["role"], "content": blocks})
    body["messages"] = turns
    for block in (block for turn in turns for block in turn["content"]):
        if block["type"] == "tool_result":
            if isinstance(block.get("content"), str):
                block["content"] = [{"type": "text", "text": block["content"]}] if block["content"] else []
            if not block.get("is_error"):
                block.pop("is_error", None)
    if mark := body.pop("cache_control", None):
        turns[-1]["content"][-1]["cache_control"] = mark
    for tool in body.get("tools", []):
        tool.pop("type", None)
        if tool.get("defer_loading") is False:
            tool.pop("defer_loading")
        if not tool.get("description"):
            tool.pop("description", None)
    if body.get("stream") is False:
        body.pop("stream")
    if "effort" in body.get("output_config", {}):
        body.setdefault("thinking", {"type": "adaptive"})
    if "thinking" in body and body["thinking"].get("display") == "summarized":
        body["thinking"].pop("display")
    return {name: value for name, value in body.items() if value not in (None, [])}


def test_every_recorded_answer_says_what_it_said(rows: list[Row]) -> None:
    read_count = 0
    for row in answers(rows, stream=False):
        body = json.dumps(row["response"]).encode()
        if not blocks_of(row) <= TRANSLATED:
            with pytest.raises(AnswerUnreadable):
                read_reply(body)
            continue
        reply = read_reply(body)
        recorded = [one for block in row["response"]["content"] for one in recorded_said([block])]
        assert [said_of(part) for part in reply.parts] == recorded
        usage = READERS["anthropic_messages"].json()
        usage.feed(body)
        usage.flush()
        again = json.loads(write_reply(reply, usage.finish().usage))
        Message.model_validate(again, strict=True)
        assert again["stop_reason"] == row["response"]["stop_reason"]
        for count in (
            "input_tokens",
            "output_tokens",
            "cache_read_input_tokens",
            "cache_creation_input_tokens",
        ):
            assert again["usage"][count] == (row["response"]["usage"][count] or 0), row["id"]
        read_count += 1
    assert read_count > 170


def test_every_recorded_stream_says_the_same_however_it_is_cut(rows: list[Row]) -> None:
    random = Random(5)
    read_count = 0
    for row in answers(rows, stream=True):
        if not blocks_of(row) <= TRANSLATED:
            continue
        body = row["response"].encode()
        whole = read(body, edges=[])
        assert said_in(whole) == recorded_said(replayed(recorded_events(row))), row["id"]
        assert read(body, edges=list(range(len(body)))) == whole
        for _ in range(20):
            assert read(body, edges=sorted(random.choices(range(len(body)), k=40))) == whole
        read_count += 1
    print(f"\n{read_count} streams")  # noqa: T201 — for a reader of the log.
    assert read_count >= 4


def test_a_recorded_stream_of_anthropics_own_tools_is_refused_at_their_block(rows: list[Row]) -> None:
    for row in answers(rows, stream=True):
        if not blocks_of(row) <= TRANSLATED:
            with pytest.raises(AnswerUnreadable, match="holds a block"):
                read(row["response"].encode(), edges=list(range(0, len(row["response"]), 50)))


def said_by(message: Message) -> Said:
    return recorded_said([block.model_dump() for block in message.content])


def test_a_recorded_stream_written_again_is_the_same_for_sdks(
    rows: list[Row], accumulated: Accumulate
) -> None:
    for row in answers(rows, stream=True):
        if not blocks_of(row) <= TRANSLATED:
            continue
        body = row["response"].encode()
        reader, wire = MessagesReader(), READERS["anthropic_messages"].stream()
        writer = MessagesWriter(Conversation(messages=()))
        out = b""
        for start in range(0, len(body), 100):
            out += writer.write(reader.feed(body[start : start + 100]))
            wire.feed(body[start : start + 100])
        out += writer.write(reader.flush())
        wire.flush()
        out += writer.end(wire.finish().usage)
        theirs, ours = accumulated(body), accumulated(out)
        assert said_by(ours) == said_by(theirs)
        assert (ours.id, ours.model, ours.stop_reason) == (theirs.id, theirs.model, theirs.stop_reason)
        for count in (
            "input_tokens",
            "output_tokens",
            "cache_read_input_tokens",
            "cache_creation_input_tokens",
        ):
            assert getattr(ours.usage, count) == (getattr(theirs.usage, count) or 0)


def test_the_pieces_of_a_recorded_stream_begin_once(rows: list[Row]) -> None:
    for row in answers(rows, stream=True):
        if blocks_of(row) <= TRANSLATED:
            pieces = read(row["response"].encode(), edges=[])
            assert [piece for piece in pieces if isinstance(piece, Began)] == pieces[:1]
