"""A request as chat completions, for providers that speak OpenAI's dialect.

Rule 1: cache marks need no words: these providers cache prompts on their own.
Rule 2: thoughts of earlier turns stay behind: chat has no place for them, and no model reads another's.
Rule 3: a tool's error is said in words, because a result has no flag for it: `Error: …`.
Rule 4: a budget for thinking is said as the effort word whose share of the limit it is nearest to.
Rule 5: OpenAI's reasoning models take the limit as `max_completion_tokens`; all others know `max_tokens`.
Source: OpenAI's API reference; the shares as OpenRouter documents them (high 80 %, medium 50 %, low 20 %).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from costplus.gateway.translate.conversation import (
    Conversation,
    Format,
    Media,
    Message,
    Part,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
    refuse,
)

CHAT = "OpenAI's chat completions"
_EXPRESSED = (
    *("parallel_tool_calls", "temperature", "top_p", "seed", "presence_penalty", "frequency_penalty"),
    *("logit_bias", "user", "service_tier", "verbosity", "prompt_cache_key"),
)
_PLAIN = tuple(option for option in _EXPRESSED if option not in ("parallel_tool_calls", "service_tier"))
_REASONING_MODEL = re.compile(r"(?:.*/)?(?:o\d|gpt-[5-9])")
_TIERS = {"auto": "auto", "standard_only": "default"}
_MODES = {"auto": "auto", "any": "required", "none": "none"}
_SHARES = ((0.65, "high"), (0.35, "medium"))  # Halfway between the words' shares of 80, 50 and 20 %.


def write_request(conversation: Conversation, *, model: str, max_tokens: int) -> dict[str, Any]:
    """Return the body. Raises `NotExpressible`."""
    conversation.only(CHAT, *_EXPRESSED)
    body: dict[str, Any] = {"model": model, "messages": list(_messages(conversation))}
    for option in _PLAIN:
        if getattr(conversation, option) is not None:
            body[option] = getattr(conversation, option)
    if conversation.max_tokens is not None:
        name = "max_completion_tokens" if _REASONING_MODEL.match(model) else "max_tokens"
        body[name] = conversation.max_tokens
    if conversation.stop:
        body["stop"] = list(conversation.stop)
    if conversation.tools:
        body["tools"] = [_tool(tool) for tool in conversation.tools]
        if conversation.tool_choice:
            body["tool_choice"] = _tool_choice(conversation.tool_choice)
        if conversation.parallel_tool_calls is not None:
            body["parallel_tool_calls"] = conversation.parallel_tool_calls
    if conversation.format:
        body["response_format"] = _format(conversation.format)
    if conversation.thinking:
        effort = _effort(conversation.thinking, conversation.max_tokens or max_tokens)
        if effort:
            body["reasoning_effort"] = effort
    if conversation.service_tier is not None:
        if conversation.service_tier not in _TIERS:
            refuse(conversation.name_of("service_tier"), target=CHAT)
        body["service_tier"] = _TIERS[conversation.service_tier]
    if conversation.stream:
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    return body


def _messages(conversation: Conversation) -> Iterator[dict[str, Any]]:
    if conversation.system:
        yield {"role": "system", "content": _texts(conversation.system)}
    for message in conversation.messages:
        yield from _assistant(message) if message.role == "assistant" else _user(message)


def _user(message: Message) -> Iterator[dict[str, Any]]:
    """Results of tools are messages of their own; what the user says between them stays between them."""
    said: list[Text | Media] = []
    for part in message.parts:
        if isinstance(part, ToolResult):
            if said:
                yield {"role": "user", "content": _content(said)}
                said = []
            yield {"role": "tool", "tool_call_id": part.call_id, "content": _result(part)}
        elif isinstance(part, Text | Media):
            said.append(part)
        else:
            refuse(part.at, target=CHAT, why="it belongs to the assistant's turn")
    if said:
        yield {"role": "user", "content": _content(said)}


def _assistant(message: Message) -> Iterator[dict[str, Any]]:
    written: dict[str, Any] = {"role": "assistant", "content": None}
    texts: list[Text] = []
    calls = []
    for part in message.parts:
        if isinstance(part, Text):
            texts.append(part)
        elif isinstance(part, ToolCall):
            function = {"name": part.name, "arguments": part.arguments}
            calls.append({"id": part.id, "type": "function", "function": function})
        elif isinstance(part, Media | ToolResult):
            refuse(part.at, target=CHAT, why="it belongs to the user's turn")
    if texts or not calls:
        written["content"] = _texts(texts)
    if calls:
        written["tool_calls"] = calls
    yield written


def _texts(texts: Iterable[Text]) -> str | list[dict[str, Any]]:
    parts = [{"type": "text", "text": text.text} for text in texts]
    if len(parts) > 1:
        return parts
    return parts[0]["text"] if parts else ""


def _content(parts: list[Text | Media]) -> str | list[dict[str, Any]]:
    if len(parts) == 1 and isinstance(parts[0], Text):
        return parts[0].text
    return [_part(part) for part in parts]


def _part(part: Text | Media) -> dict[str, Any]:
    if isinstance(part, Text):
        return {"type": "text", "text": part.text}
    data = f"data:{part.media_type};base64,{part.base64}"
    if part.kind == "image":
        image = {"url": part.url or data}
        if part.detail:
            image["detail"] = part.detail
        return {"type": "image_url", "image_url": image}
    if part.kind == "audio" and part.base64:
        return {
            "type": "input_audio",
            "input_audio": {"data": part.base64, "format": part.media_type.partition("/")[2]},
        }
    if part.kind == "document" and part.base64 and part.media_type == "application/pdf":
        name = part.name or "document.pdf"
        return {"type": "file", "file": {"filename": name, "file_data": data}}
    return refuse(part.at, target=CHAT, why="documents are sent there as PDF in base64")


def _result(result: ToolResult) -> str | list[dict[str, Any]]:
    texts: list[Text] = []
    for part in _parts_of(result):
        if not isinstance(part, Text):
            refuse(part.at, target=CHAT, why="the result of a tool is text there")
        texts.append(part)
    return _texts(texts)


def _parts_of(result: ToolResult) -> list[Part]:
    parts: list[Part] = list(result.parts)
    if not result.is_error:
        return parts
    first = parts[0] if parts else None
    if isinstance(first, Text):
        return [Text(text=f"Error: {first.text}", at=first.at), *parts[1:]]
    return [Text(text="Error:", at=result.at), *parts]


def _tool(tool: Tool) -> dict[str, Any]:
    function: dict[str, Any] = {"name": tool.name, "parameters": dict(tool.schema)}
    if tool.description:
        function["description"] = tool.description
    if tool.strict is not None:
        function["strict"] = tool.strict
    return {"type": "function", "function": function}


def _tool_choice(choice: ToolChoice) -> str | dict[str, Any]:
    if choice.mode == "tool":
        return {"type": "function", "function": {"name": choice.name}}
    return _MODES[choice.mode]


def _format(format: Format) -> dict[str, Any]:
    if format.schema is None:
        return {"type": "json_object"}
    schema: dict[str, Any] = {"name": format.name or "answer", "schema": dict(format.schema)}
    if format.description:
        schema["description"] = format.description
    schema["strict"] = True if format.strict is None else format.strict
    return {"type": "json_schema", "json_schema": schema}


def _effort(thinking: Thinking, max_tokens: int) -> str:
    """Return the effort word; empty where the provider's own default is what is asked for."""
    if thinking.mode == "off":
        return "none"
    if thinking.effort or thinking.budget_tokens is None:
        return thinking.effort
    share = thinking.budget_tokens / max(max_tokens, 1)
    return next((word for least, word in _SHARES if share >= least), "low")
