"""Every recorded answer of Bedrock's converse reads to what is in it, whole and however it is cut.

What is in it is read here from the recorded JSON and, in streams, by Amazon's own decoder of frames.
"""

from __future__ import annotations

import base64
import gzip
import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import msgspec
import pytest
from botocore.eventstream import EventStreamBuffer
from hypothesis import given
from hypothesis import strategies as st

from costplus.gateway.translate.conversation import Conversation, Message, Reasoning, Text, Tool, ToolCall
from costplus.gateway.translate.converse_reply import read_reply
from costplus.gateway.translate.converse_request import write_request
from costplus.gateway.translate.converse_stream import ConverseReader
from costplus.gateway.translate.reply import (
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

STOPS = {"end_turn": "end", "tool_use": "tools", "max_tokens": "length"}


@pytest.fixture(scope="module")
def rows(shared_data: Path) -> list[Row]:
    recorded = shared_data / "captures.jsonl.gz"
    if not recorded.exists():
        pytest.skip("captures.jsonl.gz is absent")
    with gzip.open(recorded, "rt", encoding="utf-8") as lines:
        all_rows = [json.loads(line) for line in lines if '"bedrock"' in line]
    return [row for row in all_rows if "/converse" in row["path"]]


def blocks_of(row: Row) -> list[Row]:
    """Return the answer's blocks, those of a stream put together from their deltas."""
    answer = row["response"]
    if isinstance(answer, dict):
        content: list[Row] = answer["output"]["message"]["content"]
        return content
    blocks: dict[int, Row] = {}
    for kind, event in events_of(row):
        if kind == "contentBlockStart":
            blocks[event["contentBlockIndex"]] = {name: {**start} for name, start in event["start"].items()}
        if kind == "contentBlockDelta":
            block = blocks.setdefault(event["contentBlockIndex"], {})
            for name, delta in event["delta"].items():
                if name == "text":
                    block["text"] = block.get("text", "") + delta
                elif isinstance(delta, dict):
                    into = block.setdefault(name, {})
                    for key, value in delta.items():
                        into[key] = into.get(key, "") + value
    for block in blocks.values():
        if "toolUse" in block:
            block["toolUse"]["input"] = json.loads(block["toolUse"].get("input") or "{}")
        if "reasoningContent" in block and "redactedContent" not in block["reasoningContent"]:
            block["reasoningContent"] = {"reasoningText": block["reasoningContent"]}
    return [blocks[index] for index in sorted(blocks)]


def events_of(row: Row) -> list[tuple[str, Row]]:
    buffer = EventStreamBuffer()
    buffer.add_data(base64.b64decode(row["response"]))
    return [(event.headers[":event-type"], json.loads(event.payload)) for event in buffer]


def plainly(row: Row) -> dict[str, Any]:
    """Return what an answer says, read in the plainest way."""
    blocks = blocks_of(row)
    reasoned = [block["reasoningContent"] for block in blocks if "reasoningContent" in block]
    thought = [reasoning["reasoningText"] for reasoning in reasoned if "reasoningText" in reasoning]
    uses = [block["toolUse"] for block in blocks if "toolUse" in block]
    if isinstance(row["response"], dict):
        stop = row["response"]["stopReason"]
    else:
        stop = next(event["stopReason"] for kind, event in events_of(row) if kind == "messageStop")
    return {
        "text": "".join(block["text"] for block in blocks if "text" in block),
        "calls": [(use["toolUseId"], use["name"], use["input"]) for use in uses],
        "thinking": "".join(text.get("text", "") for text in thought),
        "signatures": [text["signature"] for text in thought if text.get("signature")],
        "redacted": [
            reasoning["redactedContent"] for reasoning in reasoned if "redactedContent" in reasoning
        ],
        "stop": STOPS[stop],
    }


def of_reply(reply: Reply) -> dict[str, Any]:
    thoughts = [part for part in reply.parts if isinstance(part, Reasoning)]
    calls = [part for part in reply.parts if isinstance(part, ToolCall)]
    return {
        "text": "".join(part.text for part in reply.parts if isinstance(part, Text)),
        "calls": [(call.id, call.name, json.loads(call.arguments)) for call in calls],
        "thinking": "".join(part.text for part in thoughts),
        "signatures": [part.signature for part in thoughts if part.signature],
        "redacted": [part.redacted for part in thoughts if part.redacted],
        "stop": reply.stop,
    }


def of_pieces(pieces: list[Piece]) -> dict[str, Any]:
    began, *between, ended = pieces
    assert isinstance(began, Began)
    assert isinstance(ended, Ended)
    calls = [piece for piece in between if isinstance(piece, CallBegan)]
    assert [call.index for call in calls] == list(range(len(calls)))
    written = dict.fromkeys(range(len(calls)), "")
    for piece in between:
        assert not isinstance(piece, Began | Ended)
        if isinstance(piece, CallPiece):
            written[piece.index] += piece.arguments
    thoughts = [piece for piece in between if isinstance(piece, ReasoningPiece)]
    return {
        "text": "".join(piece.text for piece in between if isinstance(piece, TextPiece)),
        "calls": [(call.id, call.name, json.loads(written[call.index])) for call in calls],
        "thinking": "".join(piece.text for piece in thoughts),
        "signatures": [piece.signature for piece in thoughts if piece.signature],
        "redacted": [piece.redacted for piece in thoughts if piece.redacted],
        "stop": ended.stop,
    }


def read_stream(body: bytes, cuts: list[int]) -> list[Piece]:
    reader = ConverseReader()
    pieces: list[Piece] = []
    for start, end in zip([0, *cuts], [*cuts, len(body)], strict=True):
        pieces.extend(reader.feed(body[start:end]))
    return [*pieces, *reader.flush()]


def is_translatable(row: Row) -> bool:
    """Whether the answer holds nothing of a tool that ran at the provider."""
    if row["status"] != 200:
        return False
    return not any(
        "toolResult" in block or block.get("toolUse", {}).get("type") == "server_tool_use"
        for block in blocks_of(row)
    )


def test_every_whole_answer_reads_to_what_is_in_it(rows: list[Row]) -> None:
    whole = [row for row in rows if isinstance(row["response"], dict) and is_translatable(row)]
    for row in whole:
        assert of_reply(read_reply(json.dumps(row["response"]).encode())) == plainly(row), row["id"]
    assert len(whole) > 100


def test_every_stream_reads_to_what_is_in_it_however_it_is_cut(rows: list[Row]) -> None:
    streams = [row for row in rows if isinstance(row["response"], str) and is_translatable(row)]
    for row in streams:
        body = base64.b64decode(row["response"])
        whole = read_stream(body, [])
        assert of_pieces(whole) == plainly(row), row["id"]
        assert read_stream(body, list(range(1, len(body)))) == whole, row["id"]
    assert len(streams) > 3


def test_a_stream_reads_the_same_with_two_cuts_anywhere(rows: list[Row]) -> None:
    row = next(row for row in rows if isinstance(row["response"], str) and is_translatable(row))
    body = base64.b64decode(row["response"])
    whole = read_stream(body, [])
    positions = st.integers(0, len(body))

    @given(st.tuples(positions, positions).map(sorted))
    def cut(cuts: list[int]) -> None:
        assert read_stream(body, cuts) == whole

    cut()


def test_tools_that_ran_at_the_provider_are_refused_by_their_name(rows: list[Row]) -> None:
    refused: set[str] = set()
    for row in rows:
        if row["status"] == 200 and not is_translatable(row):
            with pytest.raises(AnswerUnreadable) as error:
                if isinstance(row["response"], dict):
                    read_reply(json.dumps(row["response"]).encode())
                else:
                    read_stream(base64.b64decode(row["response"]), [])
            refused.add(error.value.message.split("`")[1])
    assert refused == {"server_tool_use"}


def test_a_refusal_in_place_of_an_answer_is_unreadable(rows: list[Row]) -> None:
    for row in rows:
        if row["status"] >= 400:
            with pytest.raises(AnswerUnreadable):
                read_reply(json.dumps(row["response"]).encode())


def test_what_a_model_said_goes_back_to_it_as_it_came(rows: list[Row]) -> None:
    sent_back = 0
    for row in rows:
        if not isinstance(row["response"], dict) or not is_translatable(row):
            continue
        recorded = [block for block in blocks_of(deepcopy(row)) if block.get("text") != ""]
        reply = read_reply(json.dumps(row["response"]).encode())
        said = Conversation(messages=(Message(role="assistant", parts=reply.parts),), tools=(Tool(name="f"),))
        if not recorded:
            continue
        body = json.loads(msgspec.json.encode(write_request(said, model="amazon.nova-pro", max_tokens=1)))
        for block in recorded:
            block.get("toolUse", {}).pop("type", None)
        assert body["messages"] == [{"role": "assistant", "content": recorded}], row["id"]
        sent_back += 1
    assert sent_back > 100
