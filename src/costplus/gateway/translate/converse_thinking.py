"""How much a model on Bedrock is to think, in the fields of its own maker.

Rule 1: `converse` has no word for it; each maker's fields go into `additionalModelRequestFields`. A model
whose id does not name its maker (an application's inference profile) takes none.
Rule 2: Claude is asked here as it is asked at Anthropic's.
Source: Amazon's pages on Claude's extended and adaptive thinking, on Nova 2 and on OpenAI's models.
"""

from __future__ import annotations

from typing import Any

from costplus.gateway.translate.conversation import Thinking, refuse
from costplus.gateway.translate.messages_write import thinking_of

TARGET = "Amazon Bedrock's Converse API"

_NOVA_EFFORTS = ("low", "medium", "high")


def is_claude(model: str) -> bool:
    """Whether a model's id says that it is one of Anthropic's."""
    return "anthropic." in model


def thinking_fields(thinking: Thinking, *, model: str, limit_tokens: int) -> dict[str, Any]:
    """Return the model's own fields; `limit_tokens` is that of the answer. Raises `NotExpressible`."""
    if is_claude(model):
        block, effort = thinking_of(thinking, model=model, limit_tokens=limit_tokens, target=TARGET)
        return {"thinking": block, **({"output_config": {"effort": effort}} if effort else {})}
    if thinking.budget_tokens is not None:
        refuse(thinking.at, target=TARGET, why="this model takes no budget of tokens")
    is_off = thinking.mode == "off" or thinking.effort == "none"
    is_nova = "amazon.nova-2" in model
    if is_nova and is_off:
        return {"reasoningConfig": {"type": "disabled"}}
    if is_nova and thinking.effort in _NOVA_EFFORTS:
        return {"reasoningConfig": {"type": "enabled", "maxReasoningEffort": thinking.effort}}
    if "openai." not in model or is_off or not thinking.effort:
        refuse(thinking.at, target=TARGET, why="this model has no field for it that is known")
    return {"reasoning_effort": thinking.effort}
