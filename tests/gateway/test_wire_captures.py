"""Real exchanges: the leaves of each direction add up to the provider's own total for it.

The totals are computed here from the recorded JSON, without the code under test.
"""

from __future__ import annotations

import gzip
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from costplus.gateway.wire import READERS, Reading

pytestmark = pytest.mark.slow

WIRES = {
    "chat/completions": "openai_chat",
    "responses": "openai_responses",
    "v1/embeddings": "openai_embeddings",
    "v1/messages": "anthropic_messages",
}
HIDDEN_THINKING = "Gemini's thinking is in total_tokens only"  # Why a total is more than its parts.
QUEUED = "a background response that is only queued"
WITHOUT_USAGE = {
    "a13b72b259f3e853": QUEUED,
    "d0143d6993be0dbd": QUEUED,
    "d279bb23fbfc4f2f": QUEUED,
    "eaa5cc11cfce5237": "a stream that an error ends",
}
WITH_ERROR = {"2a23ca229e3b4753": "a stream whose last chunk has an error beside its usage"}


def wire_of(path: str) -> str | None:
    return next((wire for end, wire in WIRES.items() if path.split("?")[0].endswith(end)), None)


@pytest.fixture(scope="module")
def captures(shared_data: Path) -> list[dict[str, Any]]:
    recorded = shared_data / "captures.jsonl.gz"
    if not recorded.exists():
        pytest.skip("captures.jsonl.gz is absent")
    with gzip.open(recorded, "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    return [row for row in rows if row["status"] == 200 and wire_of(row["path"])]


def read(
    row: dict[str, Any], *, piece_bytes: int | None = None, strip_usage: bool = False
) -> tuple[bytes, bytes, Reading]:
    """Return the bytes received, the bytes forwarded, and the reading."""
    answer, readers = row["response"], READERS[wire_of(row["path"]) or ""]
    is_stream = isinstance(answer, str)
    body = (answer if is_stream else json.dumps(answer)).encode()
    reader = readers.stream(strip_usage=strip_usage) if is_stream else readers.json()
    step = piece_bytes or max(1, len(body))
    forwarded = b"".join([reader.feed(body[at : at + step]) for at in range(0, len(body), step)])
    return body, forwarded + reader.flush(), reader.finish()


def blocks_in(row: dict[str, Any]) -> list[dict[str, Any]]:
    """Return every usage block of a recorded answer, in order."""
    answer = row["response"]
    if not isinstance(answer, str):
        return [answer["usage"]] if answer.get("usage") else []
    events = [
        json.loads(line[5:]) for line in answer.splitlines() if line.startswith("data:") and "{" in line
    ]
    holders = [event.get("response") or event.get("message") or event for event in events]
    found = [holder.get("usage") or (holder.get("x_groq") or {}).get("usage") for holder in holders]
    return [usage for usage in found if usage]


def stated_totals(row: dict[str, Any]) -> tuple[int, int]:
    """Return the provider's own input and output totals, from the recorded JSON."""
    blocks = blocks_in(row)
    if wire_of(row["path"]) == "anthropic_messages":
        merged: dict[str, Any] = {}
        for block in blocks:
            merged |= {key: value for key, value in block.items() if value is not None}
        runs = merged.get("iterations") or [merged]
        inputs = ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
        return sum(run.get(key) or 0 for run in runs for key in inputs), sum(
            run["output_tokens"] for run in runs
        )
    last = blocks[-1]
    total_input = last.get("prompt_tokens", last.get("input_tokens", last.get("total_tokens")))
    return total_input, last.get("completion_tokens", last.get("output_tokens", 0))


def test_every_capture_adds_up_to_the_providers_own_totals(captures: list[dict[str, Any]]) -> None:
    read_count: Counter[str] = Counter()
    wrong: list[object] = []
    for row in captures:
        reading = read(row)[2]
        kind = "stream" if isinstance(row["response"], str) else "json"
        read_count[f"{wire_of(row['path'])} {kind}"] += 1
        if reading.usage is None:
            read_count["missing"] += 1
            assert row["id"] in WITHOUT_USAGE, row["id"]
            assert blocks_in(row) == []
            continue
        usage = reading.usage
        read_count["with usage"] += 1
        read_count["flagged"] += bool(usage.flags)
        read_count.update(f"flag {flag}" for flag in usage.flags)
        last = blocks_in(row)[-1]
        total = last.get("total_tokens", usage.input_tokens + usage.output_tokens)
        counted = (usage.input_tokens, usage.output_tokens)
        if counted != stated_totals(row) or sum(counted) != total:
            hidden = total - sum(stated_totals(row))
            is_explained = usage.flags == ("unattributed_tokens",) and row["provider"] == "google"
            read_count[f"explained: {HIDDEN_THINKING}"] += is_explained
            if not is_explained or counted != (stated_totals(row)[0], stated_totals(row)[1] + hidden):
                wrong.append((row["id"], row["provider"], counted, stated_totals(row), total))
        if not reading.model or not reading.complete or reading.error != (row["id"] in WITH_ERROR):
            wrong.append((row["id"], row["provider"], reading))
    print(f"\n{len(captures)} captures: {dict(sorted(read_count.items()))}")  # noqa: T201 — the figures are what a reader of the log wants.
    assert wrong == []
    assert len(captures) > 800


def test_every_capture_reads_the_same_in_small_pieces(captures: list[dict[str, Any]]) -> None:
    for row in captures:
        body, forwarded, reading = read(row)
        assert forwarded == body
        assert read(row, piece_bytes=7) == (body, body, reading), row["id"]


def test_stripping_a_captured_stream_removes_only_a_usage_chunk(captures: list[dict[str, Any]]) -> None:
    stripped = Counter[str]()
    for row in captures:
        if not isinstance(row["response"], str):
            continue
        body, forwarded, reading = read(row, strip_usage=True)
        assert reading == read(row)[2]
        assert read(row, piece_bytes=7, strip_usage=True)[1] == forwarded
        kept, received = forwarded.split(b"\n\n"), body.split(b"\n\n")
        removed = [event for event in received if event not in kept]
        assert [event for event in received if event in kept] == kept
        for event in removed:
            chunk = json.loads(event.removeprefix(b"data: "))
            assert chunk["choices"] == []
            assert chunk["usage"]
        stripped[f"{row['provider']} {len(removed)}"] += 1
    print(f"\nremoved per stream: {dict(sorted(stripped.items()))}")  # noqa: T201 — the figures are what a reader of the log wants.
    assert stripped["openai 1"] > 0


LEAF_NAMES = {
    "input_uncached": "input",
    "input_text": "input",
    "cache_read": "cached_input",
    "cache_write_12h": "cache_write_5m",  # OpenAI states no lifetime in its usage.
    "output_text": "output",
    "output_reasoning": "reasoning",
    "advisor_input_uncached@claude-opus-4-8": "input",
    "advisor_output@claude-opus-4-8": "output",
}
# Cases whose tokens a usage block alone does not tell.
THINKING_UNSPLIT = {"rec-anthropic-advisor-iterations"}  # Counts thinking as output; priced alike.
NOT_OURS = {"tst-gp-impossible-cache", "tst-hel-grok3-search", "iss-litellm-31366"}
ENDPOINTS = {
    "openai chat.completions": "openai_chat",
    "openai responses": "openai_responses",
    "openai embeddings": "openai_embeddings",
    "anthropic messages": "anthropic_messages",
}


def test_every_cost_case_of_these_wires_has_the_right_leaves(shared_data: Path) -> None:
    cases = json.loads((shared_data / "cost_cases.json").read_text("utf-8"))
    wrong, checked = [], 0
    for case in cases:
        if case["endpoint"] not in ENDPOINTS or case["id"] in NOT_OURS:
            continue
        reader = READERS[ENDPOINTS[case["endpoint"]]].json()
        reader.feed(json.dumps({"model": "m", "usage": case["usage"]}).encode())
        usage = reader.finish().usage
        expected: Counter[str] = Counter()
        for name, tokens in case["expected_tokens_by_type"].items():
            expected[LEAF_NAMES.get(name, name)] += tokens
        expected["web_search"] = case.get("expected_units", {}).get("web_search", 0)
        checked += 1
        if usage is not None and case["id"] in THINKING_UNSPLIT:
            expected["reasoning"] = usage.quantities["reasoning"]
            expected["output"] -= expected["reasoning"]
        if usage is None or dict(usage.quantities) != {leaf: n for leaf, n in expected.items() if n}:
            wrong.append((case["id"], case["usage"], usage, dict(expected)))
    print(f"\n{checked} cost cases checked")  # noqa: T201 — the figures are what a reader of the log wants.
    assert wrong == []
