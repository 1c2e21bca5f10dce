"""How much a Gemini model is to think, in the words that its generation understands.

Rule 1: Gemini 2.5 takes a budget of tokens, Gemini 3 and later a level; effort words are worth the budgets
that Google gives them in its own endpoint for OpenAI's clients.
Rule 2: a budget is still understood up to Gemini 3.1, and refused from 3.5 on.
Rule 3: a name without a version (`gemini-flash-latest`) is a current model.
Source: the Gemini API's pages on thinking and on compatibility with OpenAI.
"""

from __future__ import annotations

import re
from typing import Any

from costplus.gateway.translate.conversation import Thinking, refuse

TARGET = "Google's Gemini API"

_VERSION = re.compile(r"gemini-(\d+)(?:\.(\d+))?")
_CURRENT = (99, 0)
_BUDGETS = {"minimal": 1024, "low": 1024, "medium": 8192, "high": 24576}
_LEVELS = {"minimal": "MINIMAL", "low": "LOW", "medium": "MEDIUM", "high": "HIGH", "xhigh": "XHIGH"}
_DYNAMIC, _OFF = -1, 0

Version = tuple[int, int]


def version_of(model: str) -> Version:
    """Return a model's generation: (2, 5) of `gemini-2.5-flash`."""
    found = _VERSION.search(model)
    return (int(found[1]), int(found[2] or 0)) if found else _CURRENT


def thinking_config(thinking: Thinking, version: Version) -> dict[str, Any] | None:
    """Return the `thinkingConfig`, None where the model does not think anyway."""
    is_off = thinking.mode == "off" or thinking.effort == "none"
    if version < (2, 5):
        if not is_off:
            refuse(thinking.at, target=TARGET, why="this model does not think")
        return None
    if is_off:
        if version >= (3, 0):
            refuse(thinking.at, target=TARGET, why="this model always thinks; the least is `minimal`")
        return {"thinkingBudget": _OFF}
    amount = _budget(thinking) if version < (3, 0) else _level(thinking, version)
    return {**amount, "includeThoughts": not thinking.hidden}


def _budget(thinking: Thinking) -> dict[str, Any]:
    if thinking.budget_tokens is not None:
        return {"thinkingBudget": thinking.budget_tokens}
    if not thinking.effort:
        return {"thinkingBudget": _DYNAMIC}
    if thinking.effort not in _BUDGETS:
        refuse(thinking.at, target=TARGET, why="for this model the most is `high`")
    return {"thinkingBudget": _BUDGETS[thinking.effort]}


def _level(thinking: Thinking, version: Version) -> dict[str, Any]:
    if thinking.effort:
        if thinking.effort not in _LEVELS:
            refuse(thinking.at, target=TARGET, why="the most is `xhigh`")
        return {"thinkingLevel": _LEVELS[thinking.effort]}
    if thinking.budget_tokens is None:
        return {}  # The model decides, which is what these do by default.
    if version >= (3, 5):
        refuse(thinking.at, target=TARGET, why="this model takes an effort, not a budget of tokens")
    return {"thinkingBudget": thinking.budget_tokens}
