"""The body of Anthropic's `POST /v1/messages` that asks for what a conversation asks for.

Rule 1: what Anthropic has no word for is refused, unless its value asks for what holds anyway.
Rule 2: an effort asks for adaptive thinking with that effort; of the models from before there was any (their
list is closed) for a budget, a share of the limit on the answer, in which thinking counts.
Rule 3: a format is its schema; the name it has elsewhere is a label that no model sees, and its description
is the schema's. JSON of any shape is refused: there is no asking for it. A schema is always kept to strictly.
Rule 4: what turns hold is said in `messages_blocks`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from costplus.gateway.translate.conversation import (
    Conversation,
    Format,
    Thinking,
    Tool,
    ToolChoice,
    refuse,
)
from costplus.gateway.translate.defaults import without_defaults
from costplus.gateway.translate.messages_blocks import ANTHROPIC, Block, cache_mark, text_block, turns

_EXPRESSIBLE = ("parallel_tool_calls", "temperature", "top_p", "top_k", "user", "service_tier")
_TIERS: Mapping[str, str] = {"default": "standard_only", "standard_only": "standard_only"}
_EFFORTS = ("low", "medium", "high", "xhigh", "max")
_BUDGET_ONLY = re.compile(r"claude-(3-|(opus|sonnet|haiku)-4(-[015])?($|@|-\d{8}|-latest))")
_BUDGET_PERCENT: Mapping[str, int] = {"low": 20, "medium": 50, "high": 80, "xhigh": 90, "max": 90}
_BUDGET_MIN_TOKENS = 1024  # The smallest that Anthropic takes.


def write_request(conversation: Conversation, *, model: str, max_tokens: int) -> dict[str, Any]:
    """Return the body; `max_tokens` stands where the conversation has no limit. Raises `NotExpressible`."""
    asked = without_defaults(conversation)
    _refuse_what_cannot_be_said(asked)
    limit = max_tokens if asked.max_tokens is None else asked.max_tokens
    body: Block = {"model": model, "max_tokens": limit, "messages": turns(asked.messages)}
    system = [text_block(text) for text in asked.system if text.text]
    if system:
        body["system"] = system
    if asked.tools:
        body["tools"] = [_tool(tool) for tool in asked.tools]
    if choice := _tool_choice(asked):
        body["tool_choice"] = choice
    for option in ("temperature", "top_p", "top_k"):
        if (value := getattr(asked, option)) is not None:
            body[option] = value
    if asked.stop:
        body["stop_sequences"] = list(asked.stop)
    if asked.user is not None:
        body["metadata"] = {"user_id": asked.user}
    if asked.service_tier is not None:
        body["service_tier"] = _TIERS[asked.service_tier]
    body |= _thinking_and_format(asked, model=model, limit_tokens=limit)
    if asked.stream:
        body["stream"] = True
    return body


def _refuse_what_cannot_be_said(conversation: Conversation) -> None:
    conversation.only(ANTHROPIC, *_EXPRESSIBLE)
    if conversation.temperature is not None and conversation.temperature > 1:
        refuse(conversation.name_of("temperature"), target=ANTHROPIC, why="it goes from 0 to 1")
    if conversation.service_tier is not None and conversation.service_tier not in _TIERS:
        refuse(
            conversation.name_of("service_tier"),
            target=ANTHROPIC,
            why="it is `auto`, `default` or `standard_only`",
        )


def _tool(tool: Tool) -> Block:
    block: Block = {"name": tool.name}
    if tool.description:
        block["description"] = tool.description
    block["input_schema"] = {"type": "object", **tool.schema}
    if tool.strict is not None:
        block["strict"] = tool.strict
    return block | cache_mark(tool.cache)


def _tool_choice(conversation: Conversation) -> Block:
    """Return which tool to call, and whether one at most."""
    choice, one_at_most = conversation.tool_choice, conversation.parallel_tool_calls is False
    if choice is None:
        if not one_at_most:
            return {}
        choice = ToolChoice(mode="auto")
    block: Block = {"type": choice.mode}
    if choice.mode == "tool":
        block["name"] = choice.name
    if one_at_most and choice.mode != "none":
        block["disable_parallel_tool_use"] = True
    return block


def _thinking_and_format(conversation: Conversation, *, model: str, limit_tokens: int) -> Block:
    body: Block = {}
    config: Block = {}
    if conversation.thinking is not None:
        thinking, effort = thinking_of(conversation.thinking, model=model, limit_tokens=limit_tokens)
        body["thinking"] = thinking
        if effort:
            config["effort"] = effort
    if conversation.format is not None:
        config["format"] = _format(conversation.format)
    if config:
        body["output_config"] = config
    return body


def thinking_of(
    thinking: Thinking, *, model: str, limit_tokens: int, target: str = ANTHROPIC
) -> tuple[Block, str]:
    """Return the thinking asked for, and the effort beside it; `target` is the API that is asked."""
    effort = "" if thinking.effort == "none" else thinking.effort
    if effort and effort not in _EFFORTS:
        refuse(thinking.at, target=target, why=f"its efforts are {', '.join(_EFFORTS)}")
    budget = thinking.budget_tokens
    if thinking.mode == "off" or thinking.effort == "none":
        return {"type": "disabled"}, effort
    if budget is None and effort and _BUDGET_ONLY.search(model):
        budget = max(_BUDGET_MIN_TOKENS, limit_tokens * _BUDGET_PERCENT[effort] // 100)
        effort = ""
    block: Block = {"type": "adaptive"} if budget is None else {"type": "enabled", "budget_tokens": budget}
    if thinking.hidden:
        block["display"] = "omitted"
    return block, effort


def _format(format: Format) -> Block:
    if format.schema is None:
        refuse(format.at, target=ANTHROPIC, why="JSON of any shape; a schema can be")
    schema = dict(format.schema)
    if format.description:
        schema.setdefault("description", format.description)
    return {"type": "json_schema", "schema": schema}
