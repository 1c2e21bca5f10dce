"""A provider's own totals out of its usage block, and the rules under which ours may differ from them.

Rule 1: computed from the recorded block alone, without the code whose result it checks.
Rule 2: a rule says why two counts differ for every body of its kind; none knows a body by name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

Block = Mapping[str, Any]


class Totals(NamedTuple):
    """What a block states; None where it does not."""

    input: int | None
    output: int | None
    total: int | None = None
    cached: int | None = None
    reasoning: int | None = None


def _sum(block: Block, *keys: str) -> int | None:
    """Return the sum of the counts at `keys`, None where none is there."""
    found = [block[key] for key in keys if isinstance(block.get(key), (int, float))]
    return sum(int(count) for count in found) if found else None


def _spelled(block: Block, *keys: str) -> int | None:
    """Return the count under the first of several spellings."""
    return next((int(block[key]) for key in keys if isinstance(block.get(key), (int, float))), None)


def _inner(block: Block, *keys: str) -> Block:
    """Return the first object found under `keys`, empty where there is none."""
    return next((block[key] for key in keys if isinstance(block.get(key), dict)), {})


def _openai(block: Block) -> list[Totals]:
    taken = _spelled(block, "prompt_tokens", "input_tokens")
    made = _spelled(block, "completion_tokens", "output_tokens")
    total = _spelled(block, "total_tokens")
    if taken is None and made is None:
        taken = total  # Embeddings: everything is input.
    cached = _spelled(_inner(block, "prompt_tokens_details", "input_tokens_details"), "cached_tokens")
    if cached is None:
        cached = _spelled(block, "prompt_cache_hit_tokens", "num_cached_tokens", "cached_tokens")
    details = _inner(block, "completion_tokens_details", "output_tokens_details")
    return [Totals(taken, made, total, cached, _spelled(details, "reasoning_tokens"))]


def _anthropic(block: Block) -> list[Totals]:
    keys = ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
    cached, details = _spelled(block, "cache_read_input_tokens"), _inner(block, "output_tokens_details")
    made, thought = _spelled(block, "output_tokens"), _spelled(details, "thinking_tokens")
    return [Totals(_sum(block, *keys), made, None, cached, thought)]


def _gemini(block: Block) -> list[Totals]:
    taken = _sum(block, "promptTokenCount", "toolUsePromptTokenCount")
    made = _sum(block, "candidatesTokenCount", "thoughtsTokenCount")
    cached, thought = _spelled(block, "cachedContentTokenCount"), _spelled(block, "thoughtsTokenCount")
    return [Totals(taken, made, _spelled(block, "totalTokenCount"), cached, thought)]


def _bedrock(block: Block) -> list[Totals]:
    cached = _spelled(block, "cacheReadInputTokens", "cacheReadInputTokenCount")
    written = _spelled(block, "cacheWriteInputTokens", "cacheWriteInputTokenCount")
    plain = _spelled(block, "inputTokens", "inputTokenCount")
    taken = None if plain is None else plain + (cached or 0) + (written or 0)
    made = _spelled(block, "outputTokens", "outputTokenCount")
    return [Totals(taken, made, _spelled(block, "totalTokens"), cached)]


def _invoked(block: Block) -> list[Totals]:
    if "input_tokens" in block:
        return _anthropic(block)
    if "prompt_tokens" in block:
        return _openai(block)
    flat = _spelled(block, "inputTextTokenCount", "prompt_token_count")
    return _bedrock(block) if flat is None else [Totals(flat, None)]


def _cohere(block: Block) -> list[Totals]:
    """Return what is billed and what the model saw: two statements that may differ."""
    stated = [_inner(block, "billed_units"), _inner(block, "tokens")]
    return [
        Totals(_sum(counts, "input_tokens", "image_tokens"), _spelled(counts, "output_tokens"))
        for counts in stated
        if counts
    ]


_CONVENTIONS: Mapping[str, Callable[[Block], list[Totals]]] = {
    "openai": _openai,
    "anthropic": _anthropic,
    "gemini": _gemini,
    "bedrock_converse": _bedrock,
    "bedrock_invoke": _invoked,
    "cohere": _cohere,
}


def stated_totals(wire: str, block: Block) -> list[Totals]:
    """Return what a usage block of `wire` states; an empty list where that is not known."""
    convention = next((read for name, read in _CONVENTIONS.items() if wire.startswith(name)), None)
    return [] if convention is None else convention(block)


def our_totals(quantities: Mapping[str, int], *, taken: int, made: int) -> Totals:
    """Return the same figures out of our leaves."""
    cached = sum(count for leaf, count in quantities.items() if leaf.startswith("cached_"))
    return Totals(taken, made, taken + made, cached, quantities.get("reasoning", 0))


def conflicts(stated: Totals, ours: Totals) -> tuple[str, ...]:
    """Return which of the stated figures ours are not."""
    return tuple(
        name
        for name, theirs, mine in zip(Totals._fields, stated, ours, strict=True)
        if theirs is not None and theirs != mine
    )


# ── Why ours may differ ──────────────────────────────────────────────────────────────────────────────────


def _hidden_output(block: Block, stated: Totals, ours: Totals) -> bool:
    """The provider's total counts output that its output count leaves out (thinking); the total is billed."""
    return (
        stated.total is not None
        and (stated.input, stated.total) == (ours.input, ours.total)
        and (ours.output or 0) > (stated.output or 0)
    )


def _iterations(block: Block, stated: Totals, ours: Totals) -> bool:
    """The top level leaves out model runs that are billed (compaction, advisor); each run is counted."""
    runs = [run for one in block.get("iterations") or () if isinstance(one, dict) for run in _anthropic(one)]
    counted = [sum(count or 0 for count in counts) for counts in zip(*runs, strict=True)]
    return len(runs) > 1 and (counted[0], counted[1], counted[3]) == (ours.input, ours.output, ours.cached)


def _billed_units(block: Block, stated: Totals, ours: Totals) -> bool:
    """Cohere bills fewer tokens than its model saw; what is billed is counted."""
    if "billed_units" not in block or "tokens" not in block:
        return False
    billed, seen = _cohere(block)
    return stated == seen and (billed.input or 0, billed.output or 0) == (ours.input, ours.output)


def _total_below_parts(block: Block, stated: Totals, ours: Totals) -> bool:
    """The provider's total is less than its own input and output; these are billed, and flagged."""
    return (
        stated.total is not None
        and (stated.input, stated.output or 0) == (ours.input, ours.output)
        and stated.total < (ours.total or 0)
    )


def _thoughts_inside(block: Block, stated: Totals, ours: Totals) -> bool:
    """Only with the thoughts inside the candidates does the provider's own total come out."""
    return (stated.input, stated.total) == (ours.input, ours.total) and ours.output == _spelled(
        block, "candidatesTokenCount"
    )


def _impossible_details(block: Block, stated: Totals, ours: Totals) -> bool:
    """A detail is larger than the total that holds it: the total is billed plainly, and flagged."""
    if (stated.input, stated.output or 0) != (ours.input, ours.output):
        return False
    written = _spelled(_inner(block, "prompt_tokens_details", "input_tokens_details"), "cache_write_tokens")
    too_cached = (stated.cached or 0) + (written or 0) > (stated.input or 0)
    return too_cached or (stated.reasoning or 0) > (stated.output or 0)


RULES: tuple[tuple[str, Callable[[Block, Totals, Totals], bool]], ...] = (
    ("output that only the total counts", _hidden_output),
    ("iterations that the top level omits", _iterations),
    ("billed units are less than the tokens seen", _billed_units),
    ("thoughts counted inside the candidates", _thoughts_inside),
    ("the stated total is below its own parts", _total_below_parts),
    ("a detail exceeds its own total", _impossible_details),
)


def explanation(block: Block, stated: Totals, ours: Totals) -> str | None:
    """Return the name of the first rule that explains the conflict, None where none does."""
    return next((name for name, holds in RULES if holds(block, stated, ours)), None)
