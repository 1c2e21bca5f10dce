"""The rules of `make verify-usage`: each explains its kind of conflict and nothing beside it."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))
rules = importlib.import_module("stated_totals")


def openai(
    prompt: int, completion: int, total: int, *, cached: int = 0, reasoning: int = 0
) -> dict[str, Any]:
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": total,
        "prompt_tokens_details": {"cached_tokens": cached},
        "completion_tokens_details": {"reasoning_tokens": reasoning},
    }


def gemini(total: int) -> dict[str, Any]:
    return {
        "promptTokenCount": 10,
        "candidatesTokenCount": 5,
        "thoughtsTokenCount": 3,
        "totalTokenCount": total,
    }


RUNS = {"iterations": [{"input_tokens": 7, "output_tokens": 2}, {"input_tokens": 9, "output_tokens": 4}]}
COHERE = {
    "billed_units": {"input_tokens": 4, "output_tokens": 2},
    "tokens": {"input_tokens": 9, "output_tokens": 3},
}
CONVERSE = {"inputTokens": 3, "outputTokens": 5, "cacheReadInputTokens": 7, "totalTokens": 15}
HIDDEN, BELOW = "output that only the total counts", "the stated total is below its own parts"
RUNS_OMITTED, BILLED = "iterations that the top level omits", "billed units are less than the tokens seen"
IMPOSSIBLE, INSIDE = "a detail exceeds its own total", "thoughts counted inside the candidates"

CASES: list[tuple[str, str, dict[str, Any], dict[str, int], list[str | None]]] = [
    ("equal", "openai_chat", openai(10, 5, 15, cached=4), {"input": 6, "cached_input": 4, "output": 5}, [""]),
    ("the cache lost", "openai_chat", openai(10, 5, 15, cached=4), {"input": 10, "output": 5}, [None]),
    ("the input doubled", "openai_chat", openai(10, 5, 15), {"input": 20, "output": 5}, [None]),
    ("hidden output billed", "openai_chat", openai(10, 5, 40), {"input": 10, "output": 30}, [HIDDEN]),
    ("hidden output lost", "openai_chat", openai(10, 5, 40), {"input": 10, "output": 5}, [None]),
    ("a low total", "openai_chat", openai(10, 5, 14), {"input": 10, "output": 5}, [BELOW]),
    (
        "too much cached",
        "openai_chat",
        openai(10, 5, 15, cached=11),
        {"input": 10, "output": 5},
        [IMPOSSIBLE],
    ),
    (
        "too much thought",
        "openai_chat",
        openai(10, 5, 15, reasoning=6),
        {"input": 10, "output": 5},
        [IMPOSSIBLE],
    ),
    ("thoughts on top", "gemini_generate", gemini(18), {"input": 10, "output": 5, "reasoning": 3}, [""]),
    ("thoughts lost", "gemini_generate", gemini(18), {"input": 10, "output": 5}, [None]),
    ("thoughts inside", "gemini_generate", gemini(15), {"input": 10, "output": 2, "reasoning": 3}, [INSIDE]),
    (
        "runs summed",
        "anthropic_messages",
        {"input_tokens": 9, "output_tokens": 4, **RUNS},
        {"input": 16, "output": 6},
        [RUNS_OMITTED],
    ),
    (
        "a run left out",
        "anthropic_messages",
        {"input_tokens": 99, "output_tokens": 4, **RUNS},
        {"input": 9, "output": 4},
        [None],
    ),
    ("billed", "cohere_chat", COHERE, {"input": 4, "output": 2}, ["", BILLED]),
    ("seen, not billed", "cohere_chat", COHERE, {"input": 9, "output": 3}, [None, ""]),
    ("exclusive", "bedrock_converse", CONVERSE, {"input": 3, "cached_input": 7, "output": 5}, [""]),
    ("read as inclusive", "bedrock_converse", CONVERSE, {"cached_input": 3, "output": 5}, [None]),
    ("no convention", "vertex_predict", {"token_count": 3}, {"input": 3}, []),
]


@pytest.mark.parametrize(("wire", "block", "leaves", "whys"), [pytest.param(*c[1:], id=c[0]) for c in CASES])
def test_a_conflict_is_explained_by_its_own_rule_or_not_at_all(
    wire: str, block: dict[str, Any], leaves: dict[str, int], whys: list[str | None]
) -> None:
    made = leaves.get("output", 0) + leaves.get("reasoning", 0)
    ours = rules.our_totals(leaves, taken=sum(leaves.values()) - made, made=made)
    stated = rules.stated_totals(wire, block)
    found = [rules.explanation(block, one, ours) if rules.conflicts(one, ours) else "" for one in stated]
    assert found == whys
