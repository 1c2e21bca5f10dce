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
    total: int | None


def _sum(block: Block, *keys: str) -> int | None:
    """Return the sum of the counts at `keys`, None where none is there."""
    found = [block[key] for key in keys if isinstance(block.get(key), (int, float))]
    return sum(int(count) for count in found) if found else None


def _spelled(block: Block, *keys: str) -> int | None:
    """Return the count under the first of several spellings."""
    return next((int(block[key]) for key in keys if isinstance(block.get(key), (int, float))), None)


def _openai(block: Block) -> Totals:
    taken = _spelled(block, "prompt_tokens", "input_tokens")
    made = _spelled(block, "completion_tokens", "output_tokens")
    total = _spelled(block, "total_tokens")
    if taken is None and made is None:
        taken = total  # Embeddings: everything is input.
    return Totals(taken, made, total)


def _anthropic(block: Block) -> Totals:
    keys = ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
    return Totals(_sum(block, *keys), _spelled(block, "output_tokens"), None)


def _gemini(block: Block) -> Totals:
    return Totals(
        _sum(block, "promptTokenCount", "toolUsePromptTokenCount"),
        _sum(block, "candidatesTokenCount", "thoughtsTokenCount"),
        _spelled(block, "totalTokenCount"),
    )


def _bedrock(block: Block) -> Totals:
    cached = _spelled(block, "cacheReadInputTokens", "cacheReadInputTokenCount") or 0
    written = _spelled(block, "cacheWriteInputTokens", "cacheWriteInputTokenCount") or 0
    plain = _spelled(block, "inputTokens", "inputTokenCount")
    return Totals(
        None if plain is None else plain + cached + written,
        _spelled(block, "outputTokens", "outputTokenCount"),
        _spelled(block, "totalTokens"),
    )


def _invoked(block: Block) -> Totals:
    if "input_tokens" in block:
        return _anthropic(block)
    if "prompt_tokens" in block:
        return _openai(block)
    flat = _spelled(block, "inputTextTokenCount", "prompt_token_count")
    return _bedrock(block) if flat is None else Totals(flat, None, None)


def _cohere(block: Block) -> Totals:
    counted = block.get("tokens") or block.get("billed_units") or {}
    return Totals(_sum(counted, "input_tokens", "image_tokens"), _spelled(counted, "output_tokens"), None)


_CONVENTIONS: Mapping[str, Callable[[Block], Totals]] = {
    "openai": _openai,
    "anthropic": _anthropic,
    "gemini": _gemini,
    "bedrock_converse": _bedrock,
    "bedrock_invoke": _invoked,
    "cohere": _cohere,
}


def stated_totals(wire: str, block: Block) -> Totals:
    """Return the totals that a usage block of `wire` states."""
    convention = next((read for name, read in _CONVENTIONS.items() if wire.startswith(name)), None)
    return Totals(None, None, None) if convention is None else convention(block)


def conflicts(stated: Totals, *, taken: int, made: int) -> tuple[str, ...]:
    """Return which of the stated totals our counts do not give."""
    ours = Totals(taken, made, taken + made)
    return tuple(
        name
        for name, theirs, mine in zip(Totals._fields, stated, ours, strict=True)
        if theirs is not None and theirs != mine
    )


# ── Why ours may differ ──────────────────────────────────────────────────────────────────────────────────


def _hidden_output(block: Block, stated: Totals, taken: int, made: int) -> bool:
    """The provider's total counts output that its output count leaves out (thinking); the total is billed."""
    return (
        stated.total is not None
        and stated.input == taken
        and stated.total == taken + made
        and made > (stated.output or 0)
    )


def _iterations(block: Block, stated: Totals, taken: int, made: int) -> bool:
    """The top level leaves out model runs that are billed (compaction, advisor); each run is counted."""
    runs = [_anthropic(run) for run in block.get("iterations") or () if isinstance(run, dict)]
    counted = (sum(run.input or 0 for run in runs), sum(run.output or 0 for run in runs))
    return len(runs) > 1 and counted == (taken, made)


def _billed_units(block: Block, stated: Totals, taken: int, made: int) -> bool:
    """Cohere bills fewer tokens than its model saw; what is billed is counted."""
    billed = block.get("billed_units")
    if not isinstance(billed, dict):
        return False
    counted = (_sum(billed, "input_tokens", "image_tokens") or 0, _spelled(billed, "output_tokens") or 0)
    return counted == (taken, made) and taken <= (stated.input or 0) and made <= (stated.output or 0)


def _total_below_parts(block: Block, stated: Totals, taken: int, made: int) -> bool:
    """The provider's total is less than its own input and output; these are billed, and flagged."""
    return (
        stated.total is not None
        and (stated.input, stated.output or 0) == (taken, made)
        and stated.total < taken + made
    )


def _thoughts_inside(block: Block, stated: Totals, taken: int, made: int) -> bool:
    """Only with the thoughts inside the candidates does the provider's own total come out."""
    return (
        stated.total == taken + made
        and stated.input == taken
        and made == _spelled(block, "candidatesTokenCount")
    )


RULES: tuple[tuple[str, Callable[[Block, Totals, int, int], bool]], ...] = (
    ("output that only the total counts", _hidden_output),
    ("iterations that the top level omits", _iterations),
    ("billed units are less than the tokens seen", _billed_units),
    ("thoughts counted inside the candidates", _thoughts_inside),
    ("the stated total is below its own parts", _total_below_parts),
)


def explanation(block: Block, stated: Totals, *, taken: int, made: int) -> str | None:
    """Return the name of the first rule that explains the conflict, None where none does."""
    return next((name for name, holds in RULES if holds(block, stated, taken, made)), None)
