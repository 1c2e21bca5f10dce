"""How much a model on Bedrock is to think, in the fields of its own maker.

Rule 1: `converse` has no word for it; each maker's fields go into `additionalModelRequestFields`. A model
whose id does not name its maker (an application's inference profile) takes none.
Rule 2: Claude before 4.6 takes a budget, from 4.7 on an effort, and those between take either. An effort word
is worth the budget that it is worth to Gemini.
Source: Amazon's pages on Claude's extended and adaptive thinking, on Nova 2 and on OpenAI's models.
"""

from __future__ import annotations

import re
from typing import Any

from costplus.gateway.translate.conversation import Thinking, refuse

TARGET = "Amazon Bedrock's Converse API"

_CLAUDE = re.compile(r"anthropic\.claude-(?:[a-z]+-)?v?(\d+)(?:[-.](\d{1,2}))?(?!\d)")
_ADAPTIVE_SINCE, _ADAPTIVE_ONLY_SINCE, _CURRENT = (4, 6), (4, 7), (99, 0)
_BUDGETS = {"minimal": 1024, "low": 1024, "medium": 8192, "high": 24576}
_CLAUDE_EFFORTS = ("low", "medium", "high", "xhigh", "max")
_NOVA_EFFORTS = ("low", "medium", "high")


def is_claude(model: str) -> bool:
    """Whether a model's id says that it is one of Anthropic's."""
    return "anthropic." in model


def thinking_fields(thinking: Thinking, *, model: str, max_tokens: int | None) -> dict[str, Any]:
    """Return the model's own fields. Raises `NotExpressible`."""
    if is_claude(model):
        return _claude(thinking, _version_of(model), max_tokens)
    if thinking.budget_tokens is not None:
        refuse(thinking.at, target=TARGET, why="this model takes no budget of tokens")
    is_off, is_nova = _is_off(thinking), "amazon.nova-2" in model
    if is_nova and is_off:
        return {"reasoningConfig": {"type": "disabled"}}
    if is_nova and thinking.effort in _NOVA_EFFORTS:
        return {"reasoningConfig": {"type": "enabled", "maxReasoningEffort": thinking.effort}}
    if "openai." not in model or is_off or not thinking.effort:
        refuse(thinking.at, target=TARGET, why="this model has no field for it that is known")
    return {"reasoning_effort": thinking.effort}


def _claude(thinking: Thinking, version: tuple[int, int], max_tokens: int | None) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    if _is_off(thinking):
        fields["thinking"] = {"type": "disabled"}
    elif thinking.budget_tokens is not None:
        if version >= _ADAPTIVE_ONLY_SINCE:
            refuse(thinking.at, target=TARGET, why="this model takes an effort, not a budget of tokens")
        fields["thinking"] = {"type": "enabled", "budget_tokens": thinking.budget_tokens}
    elif version >= _ADAPTIVE_SINCE:
        fields["thinking"] = {"type": "adaptive"}
    else:
        return {"thinking": {"type": "enabled", "budget_tokens": _budget(thinking, max_tokens)}}
    if thinking.effort not in ("", "none"):
        if thinking.effort not in _CLAUDE_EFFORTS:
            refuse(thinking.at, target=TARGET, why="for this model the least is `low`")
        fields["output_config"] = {"effort": thinking.effort}
    return fields


def _budget(thinking: Thinking, max_tokens: int | None) -> int:
    if thinking.effort not in _BUDGETS:
        refuse(
            thinking.at, target=TARGET, why="this model takes a budget of tokens, or an effort up to `high`"
        )
    budget = _BUDGETS[thinking.effort]
    if max_tokens is not None and max_tokens <= budget:
        why = f"for this model it is a budget of {budget} tokens, which the limit of {max_tokens} must exceed"
        refuse(thinking.at, target=TARGET, why=why)
    return budget


def _is_off(thinking: Thinking) -> bool:
    return thinking.mode == "off" or thinking.effort == "none"


def _version_of(model: str) -> tuple[int, int]:
    found = _CLAUDE.search(model)
    return (int(found[1]), int(found[2] or 0)) if found else _CURRENT
