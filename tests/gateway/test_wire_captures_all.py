"""Every recorded exchange, whatever its wire: read alike however it is cut, and adding up.

The totals are computed here from the recorded blocks, without the code under test.
"""

from __future__ import annotations

import base64
import gzip
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from costplus.gateway.wire import READERS, Reading
from costplus.gateway.wire.route import WireRoute, route_of

pytestmark = pytest.mark.slow

Row = dict[str, Any]


@pytest.fixture(scope="module")
def captures(shared_data: Path) -> list[Row]:
    recorded = shared_data / "captures.jsonl.gz"
    if not recorded.exists():
        pytest.skip("captures.jsonl.gz is absent")
    with gzip.open(recorded, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def route(row: Row) -> WireRoute:
    found = route_of(provider=row["provider"], host=row["host"], path=row["path"])
    assert found is not None, row["path"]
    return found


def read(row: Row, *, piece_bytes: int = 1 << 30) -> Reading:
    """Feed the answer in pieces, see that all of it is forwarded, return the reading."""
    answer, readers = row["response"], READERS[route(row).wire]
    if isinstance(answer, dict | list):
        body, reader = json.dumps(answer).encode(), readers.json()
    elif "amazon" in row["content_type"]:
        body, reader = base64.b64decode(answer), readers.stream()
    else:
        body, reader = answer.encode(), readers.stream()
    forwarded = b"".join(
        [reader.feed(body[at : at + piece_bytes]) for at in range(0, len(body), piece_bytes)]
    )
    assert forwarded + reader.flush() == body
    return reader.finish()


def test_every_exchange_has_a_wire_by_its_provider_and_by_its_host(captures: list[Row]) -> None:
    for row in captures:
        assert route(row) == route_of(host=row["host"], path=row["path"]), row["host"]


def test_every_exchange_reads_the_same_byte_by_byte(captures: list[Row]) -> None:
    read_count: Counter[str] = Counter()
    for row in captures:
        whole = read(row)
        assert read(row, piece_bytes=1 if len(str(row["response"])) < 4_000 else 7) == whole, row["id"]
        read_count[route(row).wire] += 1
    print(f"\n{len(captures)} captures: {dict(sorted(read_count.items()))}")  # noqa: T201 — the figures are what a reader of the log wants.


def test_a_refused_exchange_has_no_usage(captures: list[Row]) -> None:
    assert all(read(row).usage is None for row in captures if row["status"] >= 400)


def totals_of(wire: str, block: dict[str, Any]) -> tuple[int, int, int]:
    """Return input, output and total as the provider states or implies them."""

    def summed(*keys: str) -> int:
        return sum(block.get(key) or 0 for key in keys)

    if wire.startswith("gemini"):
        taken = summed("promptTokenCount", "toolUsePromptTokenCount")
        made = summed("candidatesTokenCount", "thoughtsTokenCount")
        return taken, made, block.get("totalTokenCount", taken + made)
    if wire == "bedrock_converse":
        taken = summed("inputTokens", "cacheReadInputTokens", "cacheWriteInputTokens")
        return taken, block["outputTokens"], block["totalTokens"]
    billed = block["billed_units"]
    taken, made = billed["input_tokens"], billed.get("output_tokens", 0)
    return taken, made, taken + made


ADDING_UP = ("gemini_generate", "gemini_embeddings", "bedrock_converse", "cohere_chat", "cohere_embed")


def test_google_bedrock_and_cohere_add_up_to_their_own_totals(captures: list[Row]) -> None:
    checked: Counter[str] = Counter()
    for row in captures:
        wire = route(row).wire
        reading = read(row)
        if wire not in ADDING_UP or reading.usage is None:
            continue
        counted = (reading.usage.input_tokens, reading.usage.output_tokens)
        assert (*counted, sum(counted)) == totals_of(wire, json.loads(reading.raw_usage)), row["id"]
        checked[wire] += 1
    assert min(checked[wire] for wire in ADDING_UP) > 0
    assert checked["gemini_generate"] > 300
    assert checked["bedrock_converse"] > 150


def test_a_cost_is_reported_where_the_body_has_one(captures: list[Row]) -> None:
    for row in captures:
        text = row["response"] if isinstance(row["response"], str) else json.dumps(row["response"])
        assert bool(read(row).reported_cost) == ('"cost":' in text), row["id"]
