"""What Anthropic is asked: defaults, the closest words it has, and refusals by the caller's own names."""

from __future__ import annotations

import base64
import json
from typing import Any, cast

import msgspec
import pytest

from costplus.gateway.translate.conversation import (
    Conversation,
    Format,
    Media,
    Message,
    NotExpressible,
    Part,
    Reasoning,
    Role,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from costplus.gateway.translate.messages_fields import MessagesFieldInvalid
from costplus.gateway.translate.messages_write import write_request


def turn(role: Role, *parts: Part) -> Message:
    return Message(role=role, parts=parts)


def said(text: str) -> Text:
    return Text(text=text)


HELLO = (turn("user", said("Hello")),)


def asked(*messages: Message, model: str = "claude-sonnet-5", **options: Any) -> dict[str, Any]:
    conversation = Conversation(messages=messages or HELLO, **options)
    body = write_request(conversation, model=model, max_tokens=1000)
    return cast(dict[str, Any], json.loads(msgspec.json.encode(body)))


def test_a_caller_without_a_limit_gets_the_one_given() -> None:
    assert asked() == {
        "model": "claude-sonnet-5",
        "max_tokens": 1000,
        "messages": [{"role": "user", "content": [{"type": "text", "text": "Hello"}]}],
    }
    assert asked(max_tokens=5)["max_tokens"] == 5


def test_turns_of_one_role_are_one() -> None:
    call = ToolCall(id="c1", name="look", arguments='{"a": 1}')
    results = [turn("user", ToolResult(call_id=id)) for id in ("c1", "c2")]
    body = asked(
        *HELLO, turn("assistant", said("")), turn("assistant", call), *results, turn("user", said("?"))
    )
    assert [message["role"] for message in body["messages"]] == ["user", "assistant", "user"]
    assert body["messages"][1]["content"] == [
        {"type": "tool_use", "id": "c1", "name": "look", "input": {"a": 1}}
    ]
    assert [block["type"] for block in body["messages"][2]["content"]] == [
        "tool_result",
        "tool_result",
        "text",
    ]


def test_a_turn_that_says_nothing_is_left_out() -> None:
    body = asked(turn("user", said("a")), turn("assistant", said("")), turn("user", said("b")))
    assert body["messages"] == [
        {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}
    ]


def test_thinking_goes_back_only_with_its_signature() -> None:
    signed = Reasoning(text="hm", signature="sig")
    parts = (Reasoning(text="unsigned"), signed, Reasoning(redacted="blob"), said("a"))
    body = asked(*HELLO, turn("assistant", *parts))
    assert body["messages"][1]["content"] == [
        {"type": "thinking", "thinking": "hm", "signature": "sig"},
        {"type": "redacted_thinking", "data": "blob"},
        {"type": "text", "text": "a"},
    ]


@pytest.mark.parametrize("arguments", ['{"a": ', "[1]", "look"])
def test_arguments_that_are_no_object_are_wrapped(arguments: str) -> None:
    body = asked(*HELLO, turn("assistant", ToolCall(id="c", name="look", arguments=arguments)))
    assert body["messages"][1]["content"][0]["input"] == {"INVALID_JSON": arguments}


@pytest.mark.parametrize("arguments", ["", " ", "{}"])
def test_no_arguments_are_an_empty_object(arguments: str) -> None:
    body = asked(*HELLO, turn("assistant", ToolCall(id="c", name="look", arguments=arguments)))
    assert body["messages"][1]["content"][0]["input"] == {}


def test_arguments_keep_their_digits() -> None:
    call = ToolCall(id="c", name="look", arguments='{"a": 1.50, "b": 12345678901234567890123}')
    conversation = Conversation(messages=(*HELLO, turn("assistant", call)))
    body = msgspec.json.encode(write_request(conversation, model="m", max_tokens=1))
    assert b'"input":{"a": 1.50, "b": 12345678901234567890123}' in body


@pytest.mark.parametrize("tier", ["default", "standard_only"])
def test_the_standard_tier_has_two_names(tier: str) -> None:
    assert asked(service_tier=tier)["service_tier"] == "standard_only"


def test_an_id_of_another_provider_is_made_one_that_is_taken() -> None:
    call, result = (
        ToolCall(id="functions.look:0", name="look", arguments=""),
        ToolResult(call_id="functions.look:0"),
    )
    body = asked(*HELLO, turn("assistant", call), turn("user", result))
    assert body["messages"][1]["content"][0]["id"] == "functions_look_0"
    assert body["messages"][2]["content"][0]["tool_use_id"] == "functions_look_0"


def test_a_tool_without_a_schema_takes_an_object() -> None:
    body = asked(tools=(Tool(name="look"), Tool(name="find", schema={"properties": {}})))
    assert body["tools"] == [
        {"name": "look", "input_schema": {"type": "object"}},
        {"name": "find", "input_schema": {"type": "object", "properties": {}}},
    ]


TOOLS = {"tools": (Tool(name="look"),)}
CHOICES: list[tuple[dict[str, Any], Any]] = [
    ({"parallel_tool_calls": False, **TOOLS}, {"type": "auto", "disable_parallel_tool_use": True}),
    ({"parallel_tool_calls": True, **TOOLS}, None),
    ({"parallel_tool_calls": False}, None),
    ({"tool_choice": ToolChoice(mode="none"), "parallel_tool_calls": False, **TOOLS}, {"type": "none"}),
    (
        {"tool_choice": ToolChoice(mode="tool", name="look"), "parallel_tool_calls": False, **TOOLS},
        {"type": "tool", "name": "look", "disable_parallel_tool_use": True},
    ),
    ({"tool_choice": ToolChoice(mode="any"), **TOOLS}, {"type": "any"}),
    ({"tool_choice": ToolChoice(mode="any"), "parallel_tool_calls": True, **TOOLS}, {"type": "any"}),
]


@pytest.mark.parametrize(("options", "choice"), CHOICES)
def test_whether_several_calls_may_be_made_is_part_of_the_choice(
    options: dict[str, Any], choice: Any
) -> None:
    assert asked(**options).get("tool_choice") == choice


THINKING: list[tuple[str, Thinking, dict[str, Any]]] = [
    (
        "claude-sonnet-5",
        Thinking(effort="high"),
        {"thinking": {"type": "adaptive"}, "output_config": {"effort": "high"}},
    ),
    ("claude-sonnet-5", Thinking(effort="none"), {"thinking": {"type": "disabled"}}),
    ("claude-sonnet-5", Thinking(mode="off"), {"thinking": {"type": "disabled"}}),
    ("claude-sonnet-5", Thinking(), {"thinking": {"type": "adaptive"}}),
    (
        "claude-opus-4-6",
        Thinking(hidden=True, effort="max"),
        {"thinking": {"type": "adaptive", "display": "omitted"}, "output_config": {"effort": "max"}},
    ),
    (
        "claude-haiku-4-5-20251001",
        Thinking(effort="medium"),
        {"thinking": {"type": "enabled", "budget_tokens": 4000}},
    ),
    (
        "claude-3-7-sonnet-20250219",
        Thinking(effort="max"),
        {"thinking": {"type": "enabled", "budget_tokens": 7200}},
    ),
    ("claude-sonnet-4-5", Thinking(effort="low"), {"thinking": {"type": "enabled", "budget_tokens": 1600}}),
    (
        "claude-sonnet-4-5",
        Thinking(effort="low", budget_tokens=2048),
        {"thinking": {"type": "enabled", "budget_tokens": 2048}, "output_config": {"effort": "low"}},
    ),
]


@pytest.mark.parametrize(("model", "thinking", "fields"), THINKING)
def test_thinking_is_asked_for_in_the_words_that_the_model_knows(
    model: str, thinking: Thinking, fields: dict[str, Any]
) -> None:
    body = asked(model=model, thinking=thinking, max_tokens=8000)
    assert {name: body[name] for name in ("thinking", "output_config") if name in body} == fields


def test_a_small_limit_still_asks_for_the_smallest_budget() -> None:
    body = asked(model="claude-haiku-4-5", thinking=Thinking(effort="low"), max_tokens=2000)
    assert body["thinking"] == {"type": "enabled", "budget_tokens": 1024}


def test_a_description_of_the_format_is_its_schemas() -> None:
    schema = {"type": "object", "properties": {}}
    body = asked(format=Format(schema=schema, name="label", description="A city.", strict=True))
    assert body["output_config"]["format"] == {
        "type": "json_schema",
        "schema": {**schema, "description": "A city."},
    }
    assert "description" not in schema


def test_text_of_any_kind_is_a_document_of_words() -> None:
    encoded = base64.b64encode("a;ü".encode()).decode()
    table = Media(kind="document", media_type="text/csv", base64=encoded, name="t.csv")
    (block,) = asked(turn("user", table))["messages"][0]["content"]
    assert block == {
        "type": "document",
        "source": {"type": "text", "media_type": "text/plain", "data": "a;ü"},
        "title": "t.csv",
    }


@pytest.mark.parametrize("content", ["***", base64.b64encode(b"\xff").decode()])
def test_text_that_is_none_is_refused(content: str) -> None:
    broken = Media(kind="document", media_type="text/plain", base64=content, at="messages[0].content[0]")
    with pytest.raises(MessagesFieldInvalid) as refused:
        asked(turn("user", broken))
    assert refused.value.param == "messages[0].content[0]"


NEUTRAL: dict[str, Any] = {
    "presence_penalty": 0,
    "frequency_penalty": 0.0,
    "logit_bias": {},
    "logprobs": False,
    "top_logprobs": 0,
    "metadata": {},
    "service_tier": "auto",
    "verbosity": "medium",
}


def test_values_that_ask_for_nothing_are_no_hindrance() -> None:
    assert asked(**NEUTRAL) == asked()


REFUSED: list[tuple[str, Any]] = [
    ("seed", 1),
    ("presence_penalty", 0.1),
    ("frequency_penalty", -1),
    ("logit_bias", {"50256": -100}),
    ("logprobs", True),
    ("top_logprobs", 2),
    ("metadata", {"team": "a"}),
    ("verbosity", "low"),
    ("prompt_cache_key", "k"),
    ("temperature", 1.1),
    ("service_tier", "flex"),
]


@pytest.mark.parametrize(("option", "value"), REFUSED, ids=[option for option, _ in REFUSED])
def test_an_option_that_anthropic_lacks_is_refused_by_the_callers_name(option: str, value: Any) -> None:
    with pytest.raises(NotExpressible) as refused:
        asked(**{option: value}, names={option: f"caller.{option}"})
    assert refused.value.param == f"caller.{option}"


SIGHT: dict[str, Any] = {"kind": "image", "at": "here"}
PARTS: list[tuple[str, Part]] = [
    ("sound", Media(kind="audio", media_type="audio/wav", base64="AA==", at="here")),
    ("film", Media(kind="video", url="https://a/b.mp4", at="here")),
    ("bitmap", Media(**SIGHT, media_type="image/bmp", base64="AA==")),
    ("unnamed picture", Media(**SIGHT, base64="AA==")),
    ("bucket", Media(**SIGHT, url="gs://a/b.png")),
    ("low detail", Media(**SIGHT, url="https://a/b.png", detail="low")),
    ("spreadsheet", Media(kind="document", media_type="application/vnd.ms-excel", base64="AA==", at="here")),
    ("text at a URL", Media(kind="document", media_type="text/plain", url="https://a/b.txt", at="here")),
]


@pytest.mark.parametrize("part", [part for _, part in PARTS], ids=[name for name, _ in PARTS])
def test_a_part_that_anthropic_does_not_take_is_refused_where_it_stands(part: Part) -> None:
    with pytest.raises(NotExpressible) as refused:
        asked(turn("user", part))
    assert refused.value.param == "here"
    with pytest.raises(NotExpressible):
        asked(turn("user", ToolResult(call_id="c", parts=(part,))))  # type: ignore[arg-type]  # All are media.


@pytest.mark.parametrize("part", [Media(**SIGHT, url="https://a"), ToolResult(call_id="c", at="here")])
def test_the_assistant_shows_no_pictures_and_has_no_results(part: Part) -> None:
    with pytest.raises(NotExpressible) as refused:
        asked(turn("assistant", part))
    assert refused.value.param == "here"


def test_json_of_any_shape_and_the_smallest_effort_are_refused() -> None:
    with pytest.raises(NotExpressible) as refused:
        asked(format=Format())
    assert refused.value.param == "response_format"
    with pytest.raises(NotExpressible) as refused:
        asked(thinking=Thinking(effort="minimal"))
    assert refused.value.param == "reasoning_effort"
