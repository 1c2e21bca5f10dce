"""A request to Bedrock's `converse` or `converse-stream`.

Rule 1: what is Anthropic's own (`top_k`, thinking) goes to models whose id says that they are Anthropic's.
Rule 2: that no tool may be called is said by leaving the tools out; once calls are part of the conversation,
Bedrock wants the tools to be there, and it cannot be said.
Rule 3: a limit of output is sent only where the caller named one: without it the model's own is the limit.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from costplus.gateway.translate.conversation import Conversation, Format, Tool, ToolCall, ToolResult, refuse
from costplus.gateway.translate.converse_messages import cache_point, messages_of, system_blocks
from costplus.gateway.translate.converse_thinking import TARGET, is_claude, thinking_fields
from costplus.gateway.translate.defaults import without_defaults

_TIERS = {
    "default": "default",
    "standard": "default",
    "standard_only": "default",
    "flex": "flex",
    "priority": "priority",
    "reserved": "reserved",
}
_METADATA = re.compile(r"[a-zA-Z0-9\s:_@$#=/+,.-]{0,256}")
_METADATA_MAX = 16
_TEMPERATURE_MAX = 1
_NO_ARGUMENTS = {"type": "object", "properties": {}}


def write_request(conversation: Conversation, *, model: str, max_tokens: int) -> dict[str, Any]:
    """Return the body for `model`. Raises `NotExpressible`, `ArgumentsInvalid`."""
    asked = without_defaults(conversation)
    own = ("top_k",) if is_claude(model) else ()
    asked.only(TARGET, "temperature", "top_p", "service_tier", "metadata", *own)
    body: dict[str, Any] = {"messages": messages_of(asked.messages)}
    if not body["messages"]:
        refuse(asked.name_of("messages"), target=TARGET, why="there must be a message with something in it")
    fields = {
        "system": system_blocks(asked.system),
        "inferenceConfig": _inference_config(asked),
        "toolConfig": _tool_config(asked),
        "additionalModelRequestFields": _own_fields(asked, model, max_tokens),
        "outputConfig": {} if asked.format is None else {"textFormat": _text_format(asked.format)},
        "requestMetadata": {} if asked.metadata is None else _metadata(asked, asked.metadata),
        "serviceTier": {} if asked.service_tier is None else _tier(asked, asked.service_tier),
    }
    body.update({name: field for name, field in fields.items() if field})
    return body


def _inference_config(asked: Conversation) -> dict[str, Any]:
    if asked.temperature is not None and asked.temperature > _TEMPERATURE_MAX:
        refuse(asked.name_of("temperature"), target=TARGET, why="it goes up to 1")
    config = {"maxTokens": asked.max_tokens, "temperature": asked.temperature, "topP": asked.top_p}
    stop = {"stopSequences": list(asked.stop)} if asked.stop else {}
    return {**{name: value for name, value in config.items() if value is not None}, **stop}


def _tool_config(asked: Conversation) -> dict[str, Any]:
    choice = asked.tool_choice
    has_calls = any(
        isinstance(part, ToolCall | ToolResult) for message in asked.messages for part in message.parts
    )
    if not asked.tools:
        if choice is not None and choice.mode in ("any", "tool"):
            refuse(choice.at, target=TARGET, why="there are no tools to call")
        if has_calls:
            why = "where calls are part of the conversation, it must have tools"
            refuse(asked.name_of("tools"), target=TARGET, why=why)
        return {}
    if asked.parallel_tool_calls is False:
        refuse(asked.name_of("parallel_tool_calls"), target=TARGET)
    if choice is None:
        return {"tools": _tools(asked)}
    if choice.mode == "none":
        if has_calls:
            refuse(choice.at, target=TARGET, why="where calls are part of the conversation, tools stay open")
        return {}
    named = {"name": choice.name} if choice.mode == "tool" else {}
    return {"tools": _tools(asked), "toolChoice": {choice.mode: named}}


def _tools(asked: Conversation) -> list[dict[str, Any]]:
    return [block for tool in asked.tools for block in ({"toolSpec": _spec(tool)}, *cache_point(tool.cache))]


def _spec(tool: Tool) -> dict[str, Any]:
    spec: dict[str, Any] = {"name": tool.name, "inputSchema": {"json": tool.schema or _NO_ARGUMENTS}}
    if tool.description:
        spec["description"] = tool.description
    if tool.strict is not None:
        spec["strict"] = tool.strict
    return spec


def _own_fields(asked: Conversation, model: str, max_tokens: int) -> dict[str, Any]:
    fields: dict[str, Any] = {} if asked.top_k is None else {"top_k": asked.top_k}
    if asked.thinking is not None:
        limit = max_tokens if asked.max_tokens is None else asked.max_tokens
        fields.update(thinking_fields(asked.thinking, model=model, limit_tokens=limit))
    return fields


def _text_format(format: Format) -> dict[str, Any]:
    if format.schema is None:
        refuse(format.at, target=TARGET, why="JSON needs a schema")
    definition = {"schema": msgspec.json.encode(format.schema).decode()}
    named = {"name": format.name, "description": format.description}
    definition.update({key: value for key, value in named.items() if value})
    return {"type": "json_schema", "structure": {"jsonSchema": definition}}


def _metadata(asked: Conversation, metadata: Mapping[str, Any]) -> Mapping[str, Any]:
    fits = len(metadata) <= _METADATA_MAX and all(
        key and isinstance(value, str) and _METADATA.fullmatch(key) and _METADATA.fullmatch(value)
        for key, value in metadata.items()
    )
    if not fits:
        why = "it takes up to 16 texts of letters, digits, spaces and :_@$#=/+,.-"
        refuse(asked.name_of("metadata"), target=TARGET, why=why)
    return metadata


def _tier(asked: Conversation, tier: str) -> dict[str, Any]:
    if tier not in _TIERS:
        refuse(asked.name_of("service_tier"), target=TARGET, why="it is default, flex, priority or reserved")
    return {"type": _TIERS[tier]}
