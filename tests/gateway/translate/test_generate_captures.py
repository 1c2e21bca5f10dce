"""Every recorded answer of Gemini and Vertex reads to what is in it, whole and however it is cut.

What is in it is read here from the recorded JSON, without the code under test.
"""

from __future__ import annotations

import gzip
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from costplus.gateway.translate.conversation import Conversation, Message, Reasoning, Text, ToolCall
from costplus.gateway.translate.generate_reply import read_reply
from costplus.gateway.translate.generate_request import write_request
from costplus.gateway.translate.generate_stream import GenerateReader
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

# What no other dialect has: tools that run at the provider, and pictures as answers.
UNTRANSLATABLE = {"codeExecutionResult", "executableCode", "inlineData", "toolCall", "toolResponse"}


@pytest.fixture(scope="module")
def rows(shared_data: Path) -> list[Row]:
    recorded = shared_data / "captures.jsonl.gz"
    if not recorded.exists():
        pytest.skip("captures.jsonl.gz is absent")
    with gzip.open(recorded, "rt", encoding="utf-8") as lines:
        all_rows = [json.loads(line) for line in lines if '"provider": "google"' in line or "vertex" in line]
    return [row for row in all_rows if "enerateContent" in row["path"]]


def chunks_of(row: Row) -> list[Row]:
    answer = row["response"]
    if isinstance(answer, dict):
        return [answer]
    lines = answer.splitlines()
    return [json.loads(line.removeprefix("data:")) for line in lines if line.startswith("data:")]


def parts_of(row: Row) -> Iterator[Row]:
    for chunk in chunks_of(row):
        for candidate in chunk.get("candidates", []):
            yield from candidate.get("content", {}).get("parts", [])


def plainly(row: Row) -> dict[str, Any]:
    """Return what an answer says, read in the plainest way."""
    parts = list(parts_of(row))
    finish = [c.get("finishReason") for chunk in chunks_of(row) for c in chunk.get("candidates", [])]
    return {
        "text": "".join(p["text"] for p in parts if "text" in p and not p.get("thought")),
        "thinking": "".join(p["text"] for p in parts if "text" in p and p.get("thought")),
        "calls": [
            (p["functionCall"]["name"], p["functionCall"].get("args") or {}, p.get("thoughtSignature", ""))
            for p in parts
            if "functionCall" in p
        ],
        "ids": [p["functionCall"].get("id") for p in parts if "functionCall" in p],
        "signatures": [p["thoughtSignature"] for p in parts if "thoughtSignature" in p and "text" in p],
        "finish": next((reason for reason in reversed(finish) if reason), None),
    }


def of_reply(reply: Reply) -> dict[str, Any]:
    calls = [part for part in reply.parts if isinstance(part, ToolCall)]
    thoughts = [part for part in reply.parts if isinstance(part, Reasoning)]
    return {
        "text": "".join(part.text for part in reply.parts if isinstance(part, Text)),
        "thinking": "".join(part.text for part in thoughts),
        "calls": [(call.name, json.loads(call.arguments), call.signature) for call in calls],
        "ids": [call.id for call in calls],
        "signatures": [part.signature for part in thoughts if part.signature],
        "finish": reply.stop,
    }


def of_pieces(pieces: list[Piece]) -> dict[str, Any]:
    began, *between, ended = pieces
    assert isinstance(began, Began)
    assert isinstance(ended, Ended)
    calls = [piece for piece in between if isinstance(piece, CallBegan)]
    arguments = Counter[int]()
    written = dict.fromkeys(range(len(calls)), "")
    for piece in between:
        assert not isinstance(piece, Began | Ended)
        if isinstance(piece, CallPiece):
            written[piece.index] += piece.arguments
            arguments[piece.index] += 1
    thoughts = [piece for piece in between if isinstance(piece, ReasoningPiece)]
    return {
        "text": "".join(piece.text for piece in between if isinstance(piece, TextPiece)),
        "thinking": "".join(piece.text for piece in thoughts),
        "calls": [(call.name, json.loads(written[call.index]), call.signature) for call in calls],
        "ids": [call.id for call in calls],
        "signatures": [piece.signature for piece in thoughts if piece.signature],
        "finish": ended.stop,
    }


STOPS = {"STOP": "end", "MAX_TOKENS": "length", "SAFETY": "refusal", "MODEL_ARMOR": "refusal"}


def check(read: dict[str, Any], row: Row) -> None:
    plain = plainly(row)
    assert len(set(read["ids"])) == len(read["ids"]), row["id"]
    assert all(
        ours == theirs or theirs is None for ours, theirs in zip(read["ids"], plain["ids"], strict=True)
    )
    expected = STOPS.get(plain["finish"], "tools")
    if plain["calls"] and expected == "end":
        expected = "tools"
    assert read == {**plain, "ids": read["ids"], "finish": expected}, row["id"]


def is_translatable(row: Row) -> bool:
    return row["status"] == 200 and not any(UNTRANSLATABLE & part.keys() for part in parts_of(row))


def read_stream(body: bytes, cuts: list[int]) -> list[Piece]:
    reader, pieces = GenerateReader(), []
    for start, end in zip([0, *cuts], [*cuts, len(body)], strict=True):
        pieces.extend(reader.feed(body[start:end]))
    return [*pieces, *reader.flush()]


def test_every_whole_answer_reads_to_what_is_in_it(rows: list[Row]) -> None:
    read = 0
    for row in rows:
        if isinstance(row["response"], dict) and is_translatable(row):
            check(of_reply(read_reply(json.dumps(row["response"]).encode())), row)
            read += 1
    assert read > 300


def test_every_stream_reads_to_what_is_in_it_however_it_is_cut(rows: list[Row]) -> None:
    streams = [row for row in rows if isinstance(row["response"], str) and is_translatable(row)]
    assert len(streams) > 8
    for row in streams:
        body = row["response"].encode()
        whole = read_stream(body, [])
        check(of_pieces(whole), row)
        assert read_stream(body, list(range(1, len(body)))) == whole, row["id"]


def test_a_stream_reads_the_same_with_two_cuts_anywhere(rows: list[Row]) -> None:
    row = min(
        (r for r in rows if isinstance(r["response"], str) and is_translatable(r)),
        key=lambda r: len(r["response"]),
    )
    body = row["response"].encode()
    whole = read_stream(body, [])
    positions = st.integers(0, len(body))

    @given(st.tuples(positions, positions).map(sorted))
    def cut(cuts: list[int]) -> None:
        assert read_stream(body, cuts) == whole

    cut()


def test_an_answer_with_what_no_dialect_carries_is_refused_by_its_name(rows: list[Row]) -> None:
    refused: set[str] = set()
    for row in rows:
        if row["status"] == 200 and not is_translatable(row):
            answer = row["response"]
            with pytest.raises(AnswerUnreadable) as error:
                if isinstance(answer, dict):
                    read_reply(json.dumps(answer).encode())
                else:
                    read_stream(answer.encode(), [])
            refused.add(error.value.message.split("`")[1])
    assert refused == UNTRANSLATABLE - {"codeExecutionResult", "toolResponse"}  # They come after the others.


def test_an_error_in_place_of_an_answer_is_unreadable(rows: list[Row]) -> None:
    for row in rows:
        if row["status"] >= 400:
            with pytest.raises(AnswerUnreadable):
                read_reply(json.dumps(row["response"]).encode())


def test_what_a_model_said_goes_back_to_it_as_it_came_with_its_signatures(rows: list[Row]) -> None:
    signed = 0
    for row in rows:
        recorded = [{**part} for part in parts_of(row) if part]
        if not isinstance(row["response"], dict) or not is_translatable(row) or not recorded:
            continue
        reply = read_reply(json.dumps(row["response"]).encode())
        said = Conversation(messages=(Message(role="assistant", parts=reply.parts),))
        body = json.loads(msgspec.json.encode(write_request(said, model="gemini-2.5-pro", max_tokens=1)))
        (content,) = body["contents"]
        for sent, part in zip(content["parts"], recorded, strict=True):
            if "functionCall" in part:
                sent["functionCall"] |= {"id": part["functionCall"].get("id")}
                part["functionCall"] = {"args": {}, "id": None, **part["functionCall"]}
            assert sent == part, row["id"]
            signed += "thoughtSignature" in part
    assert signed > 100
