"""Options that a caller spelled out at the value they have anyway.

Rule 1: such an option asks for nothing, so that no dialect has to refuse it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from costplus.gateway.translate.conversation import Conversation

# What asks for nothing more than silence does: OpenAI's own defaults, and no entries at all.
_DEFAULTS: dict[str, tuple[object, ...]] = {
    "parallel_tool_calls": (True,),
    "presence_penalty": (0,),
    "frequency_penalty": (0,),
    "logit_bias": ({},),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "metadata": ({},),
    "service_tier": ("auto",),
    "verbosity": ("medium",),
}


def without_defaults(conversation: Conversation) -> Conversation:
    """Return the conversation with None for every option that stands at its default."""
    silent: dict[str, Any] = {
        option: None for option, values in _DEFAULTS.items() if getattr(conversation, option) in values
    }
    if not conversation.tools:
        silent["parallel_tool_calls"] = None  # Without tools there are no calls to be made at once.
    return replace(conversation, **silent)
