"""What a chat completions request says.

Rule 1: a field that no other dialect has is refused by its name, unless it says what is meant without it.
Rule 2: instructions stand before the conversation: the other dialects have no place for later ones.
Rule 3: extensions that many clients use are understood: `cache_control` on parts and tools, `reasoning`,
`reasoning_content` and `reasoning_details` of earlier answers, `extra_content.google` of calls, `top_k`.
Source: OpenAI's API reference; the extensions as OpenRouter, DeepSeek and Google document them.
"""

from __future__ import annotations

from typing import Any

from costplus.gateway.translate.chat_parts import (
    OTHERS,
    assistant_parts,
    cache_of,
    content_parts,
    tool_result,
)
from costplus.gateway.translate.conversation import (
    Conversation,
    Format,
    Message,
    Text,
    Thinking,
    Tool,
    ToolChoice,
    refuse,
)
from costplus.gateway.translate.fields import (
    Fields,
    count_of,
    flag_of,
    list_of,
    malformed,
    number_of,
    object_of,
    text_of,
    texts_of,
    unknown_in,
)

_KNOWN = frozenset(
    (
        *("model", "messages", "stream", "stream_options", "tools", "tool_choice", "parallel_tool_calls"),
        *("response_format", "reasoning_effort", "reasoning", "max_tokens", "max_completion_tokens", "stop"),
        *("temperature", "top_p", "top_k", "seed", "presence_penalty", "frequency_penalty", "logit_bias"),
        *("logprobs", "top_logprobs", "user", "safety_identifier", "metadata", "service_tier", "verbosity"),
        *("prompt_cache_key", "n", "store", "modalities"),
    )
)
_EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
_MEANT_ANYWAY = {"n": 1, "store": False, "modalities": ["text"]}
_CHOICES = {"auto": "auto", "required": "any", "none": "none", "any": "any"}  # The last is Mistral's.


def read_request(fields: Fields) -> Conversation:
    """Return what the body says. Raises `InvalidRequest`, `NotExpressible`."""
    unknown = unknown_in(fields, _KNOWN)
    if unknown is not None:
        refuse(unknown, target=OTHERS)
    for key, meant in _MEANT_ANYWAY.items():
        if fields.get(key) not in (None, meant):
            refuse(key, target=OTHERS)
    system, messages = _messages(fields)
    options = object_of(fields.get("stream_options") or {}, "stream_options")
    return Conversation(
        messages=messages,
        system=system,
        model=text_of(fields, "model", ""),
        tools=tuple(_tool(tool, f"tools[{index}]") for index, tool in _listed(fields, "tools")),
        tool_choice=_tool_choice(fields.get("tool_choice")),
        parallel_tool_calls=flag_of(fields, "parallel_tool_calls"),
        format=_format(fields.get("response_format")),
        thinking=_thinking(fields),
        max_tokens=_first(count_of(fields, "max_completion_tokens"), count_of(fields, "max_tokens")),
        temperature=number_of(fields, "temperature"),
        top_p=number_of(fields, "top_p"),
        top_k=count_of(fields, "top_k"),
        stop=texts_of(fields.get("stop"), "stop"),
        seed=count_of(fields, "seed"),
        presence_penalty=number_of(fields, "presence_penalty") or None,
        frequency_penalty=number_of(fields, "frequency_penalty") or None,
        logit_bias=object_of(fields.get("logit_bias") or {}, "logit_bias") or None,
        logprobs=flag_of(fields, "logprobs") or None,
        top_logprobs=count_of(fields, "top_logprobs"),
        user=text_of(fields, "safety_identifier", "") or text_of(fields, "user", "") or None,
        metadata=object_of(fields.get("metadata") or {}, "metadata") or None,
        service_tier=text_of(fields, "service_tier", "") or None,
        verbosity=text_of(fields, "verbosity", "") or None,
        prompt_cache_key=text_of(fields, "prompt_cache_key", "") or None,
        stream=flag_of(fields, "stream") or False,
        include_usage=flag_of(options, "include_usage", "stream_options") or False,
        names={
            "user": "safety_identifier" if fields.get("safety_identifier") else "user",
            "max_tokens": "max_completion_tokens" if fields.get("max_completion_tokens") else "max_tokens",
        },
    )


def _listed(fields: Fields, key: str) -> enumerate[Any]:
    return enumerate(list_of(fields.get(key), key))


def _first(*values: int | None) -> int | None:
    return next((value for value in values if value is not None), None)


def _messages(fields: Fields) -> tuple[tuple[Text, ...], tuple[Message, ...]]:
    """Return the instructions, and the turns after them."""
    if not list_of(fields.get("messages"), "messages"):
        malformed("messages", "an array of at least one message")
    system: list[Text] = []
    turns: list[Message] = []
    names: dict[str, str] = {}  # Of the tools, by the ids of their calls.
    for index, each in _listed(fields, "messages"):
        at = f"messages[{index}]"
        message = object_of(each, at)
        role = text_of(message, "role", at, default=None)
        if message.get("name") is not None and role != "tool":
            refuse(f"{at}.name", target=OTHERS)
        if role in ("system", "developer"):
            if turns:
                refuse(at, target=OTHERS, why="instructions stand before the conversation there")
            system += _instructions(message, at)
        elif role == "user":
            turns.append(Message(role="user", parts=content_parts(message, at), at=at))
        elif role == "assistant":
            turn = Message(role="assistant", parts=assistant_parts(message, at), at=at)
            names |= turn.calls
            turns.append(turn)
        elif role == "tool":
            result = tool_result(message, at, names=names)
            last = turns[-1] if turns else None
            if last is not None and last.holds_results:
                turns[-1] = Message(role="user", parts=(*last.parts, result), at=last.at)
            else:
                turns.append(Message(role="user", parts=(result,), at=at))
        else:
            malformed(f"{at}.role", "system, developer, user, assistant or tool")
    if not turns:
        refuse("messages", target=OTHERS, why="there is nobody's turn in them, only instructions")
    return tuple(system), tuple(turns)


def _instructions(message: Fields, at: str) -> list[Text]:
    parts = content_parts(message, at)
    texts = [part for part in parts if isinstance(part, Text)]
    if len(texts) != len(parts):
        malformed(f"{at}.content", "text")
    return texts


def _tool(value: Any, at: str) -> Tool:
    tool = object_of(value, at)
    if tool.get("type", "function") != "function":
        refuse(f"{at}.type", target=OTHERS, why="only functions are tools everywhere")
    function = object_of(tool.get("function"), f"{at}.function")
    return Tool(
        name=text_of(function, "name", f"{at}.function", default=None),
        description=text_of(function, "description", f"{at}.function"),
        schema=object_of(function.get("parameters") or {}, f"{at}.function.parameters"),
        strict=flag_of(function, "strict", f"{at}.function"),
        at=at,
        cache=cache_of(tool, at),
    )


def _tool_choice(value: Any) -> ToolChoice | None:
    if value is None:
        return None
    if isinstance(value, str):
        mode = _CHOICES.get(value)
        if mode is None:
            malformed("tool_choice", "auto, none, required or a function")
        return ToolChoice(mode=mode)  # type: ignore[arg-type]  # The table holds modes only.
    choice = object_of(value, "tool_choice")
    if choice.get("type") != "function":
        refuse("tool_choice.type", target=OTHERS)
    function = object_of(choice.get("function"), "tool_choice.function")
    return ToolChoice(mode="tool", name=text_of(function, "name", "tool_choice.function", default=None))


def _format(value: Any) -> Format | None:
    if value is None:
        return None
    kind = object_of(value, "response_format").get("type")
    if kind == "text":
        return None
    if kind == "json_object":
        return Format()
    if kind != "json_schema":
        malformed("response_format.type", "text, json_object or json_schema")
    at = "response_format.json_schema"
    schema = object_of(value.get("json_schema"), at)
    return Format(
        schema=object_of(schema.get("schema") or {}, f"{at}.schema"),
        name=text_of(schema, "name", at),
        description=text_of(schema, "description", at),
        strict=flag_of(schema, "strict", at),
    )


def _thinking(fields: Fields) -> Thinking | None:
    effort = text_of(fields, "reasoning_effort", "")
    if effort and effort != "default":  # Groq's word for silence.
        return _by_effort(effort, "reasoning_effort")
    if fields.get("reasoning") is None:
        return None
    reasoning = object_of(fields["reasoning"], "reasoning")
    hidden = flag_of(reasoning, "exclude", "reasoning") or False
    effort = text_of(reasoning, "effort", "reasoning")
    budget = count_of(reasoning, "max_tokens", "reasoning")
    if effort:
        return _by_effort(effort, "reasoning.effort", hidden=hidden)
    if flag_of(reasoning, "enabled", "reasoning") is False:
        return Thinking(mode="off", at="reasoning.enabled")
    return Thinking(mode="on", budget_tokens=budget, hidden=hidden, at="reasoning")


def _by_effort(effort: str, at: str, *, hidden: bool = False) -> Thinking:
    if effort not in _EFFORTS:
        malformed(at, f"one of {', '.join(_EFFORTS)}")
    if effort == "none":
        return Thinking(mode="off", effort=effort, at=at)
    return Thinking(mode="on", effort=effort, hidden=hidden, at=at)
