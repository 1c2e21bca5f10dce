"""Real answers, replayed through the gateway, are metered with the provider's own counts.

Rule 1: what is metered is compared with the usage block in the very answer that the client received.
Rule 2: each recorded request gets a key of its own, so that equal requests find their own answers.
"""

from __future__ import annotations

import asyncio
import gzip
import json
from collections import Counter
from pathlib import Path
from typing import Any

import httpx2
import pytest

pytestmark = pytest.mark.e2e

SOLD = {
    ("openai", "/v1/chat/completions"),
    ("openai", "/v1/responses"),
    ("openai", "/v1/embeddings"),
    ("anthropic", "/v1/messages"),
}
AT_ONCE = 8
# Answers without a usage block: background responses that are only queued, a stream that an error ends.
WITHOUT_USAGE_MAX = 4


@pytest.fixture(scope="module")
def captures(shared_data: Path) -> list[dict[str, Any]]:
    """Return the recorded exchanges that this gateway can serve, each request marked with its id."""
    recorded = shared_data / "captures.jsonl.gz"
    if not recorded.exists():
        pytest.skip("captures.jsonl.gz is absent")
    with gzip.open(recorded, "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    chosen = [row for row in rows if row["status"] == 200 and (row["provider"], row["path"]) in SOLD]
    for row in chosen:
        row["request"] = {**row["request"], "capture": row["id"]}
    return chosen


def counts_in(answer: httpx2.Response) -> tuple[int, int] | None:
    """Return the input and output tokens that the answer itself states; None where it states none."""
    blocks: list[dict[str, Any]]
    if answer.headers["content-type"].startswith("text/event-stream"):
        lines = [line[5:] for line in answer.text.splitlines() if line.startswith("data:") and "{" in line]
        holders = [event.get("response") or event.get("message") or event for event in map(json.loads, lines)]
        blocks = [holder["usage"] for holder in holders if holder.get("usage")]
    else:
        blocks = [answer.json()["usage"]] if answer.json().get("usage") else []
    if not blocks:
        return None
    usage = {key: value for block in blocks for key, value in block.items() if value is not None}
    if "prompt_tokens" in usage:
        return usage["prompt_tokens"], usage.get("completion_tokens", 0)
    runs = usage.get("iterations") or [usage]
    inputs = ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
    return sum(run.get(name) or 0 for run in runs for name in inputs), sum(
        run["output_tokens"] for run in runs
    )


def replay(gateway: Any, calls: Any, captures: list[dict[str, Any]]) -> list[httpx2.Response]:
    """Send every recorded request through the gateway; return the answers in order."""
    headers = {"authorization": f"Bearer {calls.merchant_key}", "x-stripe-customer-id": "cus_replay"}

    async def run() -> list[httpx2.Response]:
        gate = asyncio.Semaphore(AT_ONCE)
        async with httpx2.AsyncClient(timeout=30, trust_env=False) as http:

            async def send(row: dict[str, Any]) -> httpx2.Response:
                body = row["request"]
                if body.get("stream") and row["path"] == "/v1/chat/completions":
                    body = {**body, "stream_options": {"include_usage": True}}  # To see what is metered.
                async with gate:
                    return await http.post(gateway.url + row["path"], json=body, headers=headers)

            return await asyncio.gather(*map(send, captures))

    return asyncio.run(run())


LEAVES_OUT = {
    "input": "input",
    "cached": "input",
    "cache": "input",
    "output": "output",
    "reasoning": "output",
}


def metered(quantities: dict[str, int]) -> tuple[int, int]:
    """Return the metered tokens of each direction; calls such as web searches are not tokens."""
    directions = Counter[str]()
    for leaf, quantity in quantities.items():
        directions[LEAVES_OUT.get(leaf.split("_")[0], "call")] += quantity
    return directions["input"], directions["output"]


def test_every_recorded_answer_is_metered_with_the_providers_own_counts(
    calls: Any, captures: list[dict[str, Any]], tmp_path: Path
) -> None:
    recorded = tmp_path / "captures.jsonl"
    recorded.write_text("".join(json.dumps(row) + "\n" for row in captures))
    calls.seed(tmp_path / "data", {"cus_replay": None})
    arguments = ("dev-provider", "--port", "0", "--captures", str(recorded))
    with (
        calls.started(*arguments, folder=tmp_path / "provider") as provider,
        calls.gateway_on(tmp_path / "data", calls.environment(provider.url)) as gateway,
    ):
        answers = replay(gateway, calls, captures)
        stats = httpx2.get(f"{provider.url}/_sim/stats", trust_env=False, verify=False).json()
        served = [answer for answer in answers if answer.status_code == 200]
        calls.until(lambda: len(gateway.books.booked()) >= len(served), "every call is settled")
        booked = gateway.books.booked()
        assert gateway.books.unbalanced() == []
    assert stats["replayed"] == len(served) == sum(stats["requests"].values())  # Nothing was made up.
    unpriced, differed, without, priced = Counter[str](), [], 0, 0
    for row, answer in zip(captures, answers, strict=True):
        if answer.status_code != 200:
            assert (answer.status_code, answer.json()["error"]["code"]) == (400, "model_unpriced"), (
                answer.text
            )
            unpriced[row["model"]] += 1
            continue
        call = booked[answer.headers["costplus-request-id"]]
        stated = counts_in(answer)
        if stated is None:
            without += 1
            assert call.flags == ["estimated"]
        elif metered(call.quantities) != stated:
            differed.append((row["id"], row["provider"], call.quantities, stated))
        provider_name = "anthropic" if row["provider"] == "anthropic" else "openai"
        expected = calls.price_nano(f"{provider_name}/{call.model}", call.quantities)
        # A flex call and an advisor's runs have prices of their own, which this list price is not.
        otherwise = "iterations_other_model" in call.flags or '"service_tier":"flex"' in answer.text
        priced += (call.price_nano == expected) is not otherwise
    print(  # noqa: T201 — the figures are what a reader of the log wants.
        f"\ncaptures: read={len(captures)} metered={len(served)} priced={priced}"
        f" unpriced={unpriced.total()} {dict(unpriced)} differed={len(differed)}"
        f" without usage, estimated={without}"
    )
    assert differed == []
    assert priced == len(served) == len(booked) > 500
    assert without <= WITHOUT_USAGE_MAX
