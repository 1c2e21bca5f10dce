"""Recorded answers of many providers, their bytes changed: nothing crashes, leaks or goes unbilled."""

from __future__ import annotations

import base64
import gzip
import json
import random
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.e2e

PROVIDERS = ("anthropic", "bedrock", "cohere", "google", "mistral", "openai")
OF_EACH_KIND = 4
CHANGED = 5


def wire_bytes(row: dict[str, Any]) -> bytes:
    """Return a recorded answer as the bytes that it was."""
    answer = row["response"]
    if not isinstance(answer, str):
        return json.dumps(answer).encode()
    return base64.b64decode(answer) if "amazon" in row["content_type"] else answer.encode()


@pytest.fixture(scope="module")
def recorded(shared_data: Path) -> list[dict[str, Any]]:
    """Return a few recorded exchanges of each provider, path and way to answer."""
    file = shared_data / "captures.jsonl.gz"
    if not file.exists():
        pytest.skip("captures.jsonl.gz is absent")
    kinds: dict[Any, list[dict[str, Any]]] = defaultdict(list)
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        for row in map(json.loads, lines):
            if (
                row["status"] == 200
                and row["provider"] in PROVIDERS
                and row["content_type"]
                and row["request"]
            ):
                end = row["path"].rpartition("/")[2].rpartition(":")[2]
                kinds[row["provider"], end, row["content_type"]].append(row)
    return [row for rows in kinds.values() for row in rows[:OF_EACH_KIND]]


def changed(body: bytes, dice: random.Random) -> bytes:
    """Return bytes with something cut off, doubled, swapped or put in."""
    at, width = dice.randrange(len(body) + 1), dice.randrange(1, 60)
    return dice.choice(
        [
            body[:at],
            body[:at] + body[at + width :],
            body[:at] + body[at : at + width] * 2 + body[at + width :],
            body[:at] + dice.randbytes(dice.randrange(1, 5)) + body[at + 2 :],
            body[:at] + b"\n\n" + body[at:],
            body[at:] + body[:at],
        ]
    )


def test_recorded_answers_with_bytes_changed_are_billed_or_told_to_be_broken(
    hostile: Any, calls: Any, raw: Any, recorded: list[dict[str, Any]]
) -> None:
    dice = random.Random(11)
    asked, whole = [], []
    for row in recorded:
        sample = raw.Sample(
            row["id"], f"/providers/{row['provider']}{row['path']}", row["request"], row["content_type"], b""
        )
        good = wire_bytes(row)
        for number in range(1 + CHANGED):
            body = changed(good, dice) if number else good
            cut = dice.randrange(len(body) + 1)
            head = raw.head(row["content_type"], f"content-length: {len(body)}")
            asked.append((sample, raw.saying(head + body[:cut], body[cut:], pause_s=0.001)))
            whole.append(number == 0)
    outcomes = hostile.calls(asked)
    reached = [outcome for outcome in outcomes if outcome.status not in (400, 404)]  # No price, no wire.
    booked = raw.settled(hostile, calls, reached)
    assert len(reached) > len(outcomes) // 3
    for outcome, is_whole in zip(outcomes, whole, strict=True):
        assert outcome.complete
        assert outcome.status in (200, 400, 404, 502), outcome
        if is_whole and outcome.status == 200:
            assert outcome.id in booked
    print(f"\nrecorded={len(recorded)} sent={len(asked)} reached={len(reached)}")  # noqa: T201 — for a reader.
