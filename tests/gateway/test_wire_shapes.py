"""Recorded usage blocks without their bodies: the same readers, the right tokens by type."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from costplus.core.usage import Usage
from costplus.gateway.wire import READERS

# The recorder's folder → the wire of its fixtures.
FOLDERS = {
    "anthropic_native": "anthropic_messages",
    "bedrock/converse": "bedrock_converse",
    "bedrock/invoke": "bedrock_invoke",
    "gemini_native": "gemini_generate",
    "mistral_native": "openai_chat",
    "openai_native": "openai_chat",
}
# Cost cases' endpoints → wire and the key that holds the block.
ENDPOINTS = {
    "gemini generateContent": ("gemini_generate", "usageMetadata"),
    "bedrock converse": ("bedrock_converse", "usage"),
    "cohere chat v2": ("cohere_chat", "usage"),
    "cohere embed v2": ("cohere_embed", "meta"),
    "images.generations": ("openai_images", "usage"),
    "audio.transcriptions": ("openai_transcription", "usage"),
    "rerank": ("cohere_rerank", "meta"),
}
LEAF_NAMES = {
    "input_uncached": "input",
    "input_text": "input",
    "input_document": "input",
    "input_unattributed": "input",
    "input_tool_use": "input",
    "cache_read": "cached_input",
    "cache_read_text": "cached_input",
    "cache_read_document": "cached_input",
    "cache_read_image": "cached_input_image",
    "cache_read_audio": "cached_input_audio",
    "output_text": "output",
    "output_reasoning": "reasoning",
}


def load(file: Path) -> list[dict[str, Any]]:
    if not file.exists():
        pytest.skip(f"{file.name} is absent")
    found: list[dict[str, Any]] = json.loads(file.read_text("utf-8"))
    return found


def read(wire: str, key: str, block: Any) -> Usage | None:
    reader = READERS[wire].json()
    reader.feed(json.dumps({key: block}).encode())
    return reader.finish().usage


def camel(value: Any) -> Any:
    """Return the block as the wire spells it: the recorder's library renames its fields."""
    if isinstance(value, list):
        return [camel(part) for part in value]
    if isinstance(value, dict):
        return {re.sub(r"_(\w)", lambda m: m[1].upper(), key): camel(part) for key, part in value.items()}
    return value


def counted(block: dict[str, Any], *keys: str) -> int:
    return sum(block.get(key) or 0 for key in keys)


def expected_totals(wire: str, block: dict[str, Any]) -> tuple[int, int]:
    """Return the input and output totals that a recorded block implies."""
    if wire == "gemini_generate":
        return counted(block, "promptTokenCount", "toolUsePromptTokenCount"), counted(
            block, "candidatesTokenCount", "thoughtsTokenCount"
        )
    if "inputTokens" in block:
        keys = ("inputTokens", "cacheReadInputTokenCount", "cacheWriteInputTokenCount")
        return counted(block, *keys), counted(block, "outputTokens")
    if "prompt_tokens" in block:
        return counted(block, "prompt_tokens"), counted(block, "completion_tokens")
    if wire == "openai_chat":
        return counted(block, "input_tokens"), counted(block, "output_tokens")
    keys = ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
    return counted(block, *keys), counted(block, "output_tokens")


def test_every_recorded_shape_adds_up(shared_data: Path) -> None:
    checked: Counter[str] = Counter()
    for recorded in load(shared_data / "billing_usage_shapes.json"):
        wire = next(wire for folder, wire in FOLDERS.items() if recorded["fixture"].startswith(folder))
        for one in recorded["usages"]:
            block = camel(one["usage"]) if wire == "gemini_generate" else one["usage"]
            usage = read(wire, "usageMetadata" if wire == "gemini_generate" else "usage", block)
            assert usage is not None, recorded["fixture"]
            assert (usage.input_tokens, usage.output_tokens) == expected_totals(wire, block), recorded[
                "fixture"
            ]
            assert usage.flags == (), recorded["fixture"]
            checked[wire] += 1
    print(f"\nshapes: {dict(sorted(checked.items()))}")  # noqa: T201 — the figures are what a reader of the log wants.
    assert set(checked) == set(FOLDERS.values())


def test_every_cost_case_of_these_wires_has_the_right_leaves(shared_data: Path) -> None:
    wrong, checked = [], 0
    for case in load(shared_data / "cost_cases.json"):
        if case["endpoint"] not in ENDPOINTS:
            continue
        wire, key = ENDPOINTS[case["endpoint"]]
        block = case["usage"].get(key, case["usage"])
        # The transcription of another maker's API is recorded by its seconds alone.
        block = {"type": "duration", **block} if "seconds" in block else block
        usage = read(wire, key, block)
        expected: Counter[str] = Counter()
        for name, tokens in case["expected_tokens_by_type"].items():
            expected[LEAF_NAMES.get(name, name)] += tokens
        units = case.get("expected_units", {})
        # Whether an answer was grounded stands outside of the usage block.
        expected.update({name: count for name, count in units.items() if name != "grounded_request"})
        checked += 1
        if usage is None or dict(usage.quantities) != {leaf: n for leaf, n in expected.items() if n}:
            wrong.append((case["id"], case["usage"], usage, dict(expected)))
    print(f"\n{checked} cost cases checked")  # noqa: T201 — the figures are what a reader of the log wants.
    assert wrong == []
    assert checked > 30
