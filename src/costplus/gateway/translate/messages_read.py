"""What the body of `POST /v1/messages` says.

Rule 1: a tool that Anthropic runs, or knows the schema of, is refused by its name, as are containers, MCP
servers and whatever else has no meaning elsewhere.
Rule 2: fields that ask for what every provider does anyway say nothing: `speed: standard`, a
`context_management` that removes nothing, how eagerly a tool's arguments stream.
Rule 3: a top-level `cache_control` is read as the mark on the last part that can be cached, which it is.
Rule 4: an effort without `thinking` asks for thinking with that effort.
"""

from __future__ import annotations

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
from costplus.gateway.translate.messages_fields import ELSEWHERE, Fields, invalid
from costplus.gateway.translate.messages_parts import read_messages, read_system

NAMES: Mapping[str, str] = {
    "format": "output_config.format",
    "parallel_tool_calls": "tool_choice.disable_parallel_tool_use",
    "stop": "stop_sequences",
    "user": "metadata.user_id",
}
_EFFORTS = ("low", "medium", "high", "xhigh", "max")
_TIERS = ("auto", "standard_only")


def read_request(fields: Mapping[str, Any]) -> Conversation:
    """Return what a body asks for. Raises `NotExpressible`, `MessagesFieldInvalid`."""
    body = Fields(fields)
    choice, parallel = _tool_choice(body.fields_or_none("tool_choice"))
    config = body.fields_or_none("output_config")
    effort = config.word("effort", *_EFFORTS) if config is not None and config.has("effort") else ""
    stream = body.flag_or_none("stream") or False
    conversation = Conversation(
        model=body.text_or("model", ""),
        messages=read_messages(body, automatic=body.cache_mark()),
        system=read_system(body),
        tools=tuple(_tool(Fields(tool, at)) for at, tool in body.items("tools")),
        tool_choice=choice,
        parallel_tool_calls=parallel,
        format=_format(config),
        thinking=_thinking(body.fields_or_none("thinking"), effort),
        max_tokens=_max_tokens(body),
        temperature=body.number_or_none("temperature"),
        top_p=body.number_or_none("top_p"),
        top_k=body.count_or_none("top_k"),
        stop=_stop(body),
        user=_user(body.fields_or_none("metadata")),
        service_tier=body.word("service_tier", *_TIERS) if body.has("service_tier") else None,
        stream=stream,
        include_usage=stream,  # Each of Anthropic's streams ends with it.
        names=NAMES,
    )
    if config is not None:
        config.done()
    body.only("speed", "standard")
    _removes_nothing(body.fields_or_none("context_management"))
    body.done()
    return conversation


def _max_tokens(body: Fields) -> int:
    limit = body.count_or_none("max_tokens")
    if limit is None:
        raise invalid("max_tokens", "a whole number of one or more")
    if limit == 0:
        refuse("max_tokens", target=ELSEWHERE, why="0 fills Anthropic's cache without an answer")
    return limit


def _stop(body: Fields) -> tuple[str, ...]:
    words = body.items("stop_sequences")
    for at, word in words:
        if not isinstance(word, str):
            raise invalid(at, "a string")
    return tuple(word for _, word in words)


def _user(metadata: Fields | None) -> str | None:
    if metadata is None:
        return None
    user = metadata.text_or_none("user_id")
    metadata.done()
    return user


def _tool(fields: Fields) -> Tool:
    kind = fields.text_or("type", "custom")
    if kind != "custom":
        refuse(fields.path("type"), target=ELSEWHERE, why=f"`{kind}` is a tool of Anthropic's own")
    fields.only("defer_loading", False)
    fields.only("allowed_callers", ["direct"])
    fields.only("eager_input_streaming", True, False)
    fields.only("input_examples", [])
    tool = Tool(
        name=fields.text("name"),
        description=fields.text_or("description", ""),
        schema=fields.mapping("input_schema"),
        strict=fields.flag_or_none("strict"),
        at=fields.at,
        cache=fields.cache_mark(),
    )
    fields.done()
    return tool


def _tool_choice(fields: Fields | None) -> tuple[ToolChoice | None, bool | None]:
    """Return which tool is to be called, and whether several may be at once."""
    if fields is None:
        return None, None
    kind = fields.word("type", "auto", "any", "none", "tool")
    one_at_most = fields.flag_or_none("disable_parallel_tool_use")
    parallel = None if one_at_most is None else not one_at_most
    choice = ToolChoice(mode="auto")
    if kind == "tool":
        choice = ToolChoice(mode="tool", name=fields.text("name"))
    elif kind == "any" or kind == "none":
        choice = ToolChoice(mode="any" if kind == "any" else "none")
    fields.done()
    return choice, parallel


def _format(config: Fields | None) -> Format | None:
    found = config.fields_or_none("format") if config is not None else None
    if found is None:
        return None
    found.word("type", "json_schema")
    schema = found.mapping("schema")
    found.done()
    return Format(schema=schema, at=found.at)


def _thinking(fields: Fields | None, effort: str) -> Thinking | None:
    if fields is None:
        return Thinking(effort=effort, at="output_config.effort") if effort else None
    kind = fields.text("type")
    if kind not in ("enabled", "adaptive", "disabled"):
        refuse(fields.path("type"), target=ELSEWHERE)
    budget = fields.count_or_none("budget_tokens") if kind == "enabled" else None
    if kind == "enabled" and budget is None:
        raise invalid(fields.path("budget_tokens"), "a whole number of tokens")
    hidden = fields.has("display") and fields.word("display", "summarized", "omitted") == "omitted"
    fields.done()
    return Thinking(
        mode="on" if kind == "enabled" else "adaptive" if kind == "adaptive" else "off",
        effort=effort,
        budget_tokens=budget,
        hidden=hidden,
        at="thinking",
    )


def _removes_nothing(fields: Fields | None) -> None:
    """Refuse a management of the context that takes something out of it."""
    if fields is None:
        return
    for at, edit in fields.items("edits"):
        found = Fields(edit, at)
        if found.text("type") != "clear_thinking_20251015" or found.take("keep") not in (
            "all",
            {"type": "all"},
        ):
            refuse("context_management", target=ELSEWHERE)
        found.done()
    fields.done()
