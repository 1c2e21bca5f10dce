"""Requests to Gemini: their options, that Google's own types accept them, and what is refused by its name."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from google.genai import types

from costplus.gateway.translate.conversation import (
    Conversation,
    Format,
    Media,
    Message,
    NotExpressible,
    Part,
    Text,
    Thinking,
    Tool,
    ToolChoice,
    ToolResult,
)
from costplus.gateway.translate.generate_request import write_request

PNG = base64.b64encode(b"\x89PNG").decode()
WEATHER = Tool(name="weather", description="Says it.", schema={"type": "object"}, at="tools[0]")


def body_of(conversation: Conversation, model: str = "gemini-2.5-flash") -> dict[str, Any]:
    """Return the body as it goes out, accepted by Google's own types, which forbid unknown fields."""
    sent = msgspec.json.encode(write_request(conversation, model=model, max_tokens=4096))
    body: dict[str, Any] = json.loads(sent)
    accepted: dict[str, Any] = {
        "contents": types.Content,
        "systemInstruction": types.Content,
        "tools": types.Tool,
        "toolConfig": types.ToolConfig,
        "generationConfig": types.GenerationConfig,
    }
    for name, field in body.items():
        for value in field if isinstance(field, list) else [field]:
            if name == "serviceTier":
                assert value in {tier.value for tier in types.ServiceTier}
            else:
                accepted[name].model_validate_json(json.dumps(value))
    return body


def saying(*parts: Part, **options: Any) -> Conversation:
    return Conversation(messages=(Message(role="user", parts=parts or (Text(text="Hi"),)),), **options)


def turns(*messages: tuple[str, *tuple[Part, ...]], **options: Any) -> Conversation:
    said: Any = [Message(role=role, parts=tuple(parts)) for role, *parts in messages]  # type: ignore[arg-type]  # A tuple of both.
    return Conversation(messages=tuple(said), **options)


def config_of(conversation: Conversation, model: str = "gemini-2.5-flash") -> dict[str, Any]:
    config: dict[str, Any] = body_of(conversation, model).get("generationConfig", {})
    return config


def refused(conversation: Conversation, model: str = "gemini-2.5-flash") -> str | None:
    with pytest.raises(NotExpressible) as error:
        write_request(conversation, model=model, max_tokens=4096)
    return error.value.param


def media(**fields: Any) -> Media:
    return Media(**{"kind": "image", "at": "here", **fields})


def test_a_whole_request_is_written() -> None:
    conversation = saying(
        system=(Text(text="Be brief."),),
        tools=(WEATHER, Tool(name="now")),
        tool_choice=ToolChoice(mode="tool", name="weather"),
        format=Format(schema={"type": "object"}, name="Answer", description="What it is."),
        thinking=Thinking(effort="low"),
        max_tokens=100,
        temperature=0.5,
        top_p=0.9,
        top_k=40,
        stop=("END",),
        seed=7,
        presence_penalty=0.1,
        frequency_penalty=0.2,
        service_tier="flex",
    )
    assert body_of(conversation) == {
        "contents": [{"role": "user", "parts": [{"text": "Hi"}]}],
        "systemInstruction": {"parts": [{"text": "Be brief."}]},
        "tools": [
            {
                "functionDeclarations": [
                    {
                        "name": "weather",
                        "description": "Says it.",
                        "parametersJsonSchema": {"type": "object"},
                    },
                    {"name": "now"},
                ]
            }
        ],
        "toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["weather"]}},
        "generationConfig": {
            "maxOutputTokens": 100,
            "temperature": 0.5,
            "topP": 0.9,
            "topK": 40,
            "seed": 7,
            "presencePenalty": 0.1,
            "frequencyPenalty": 0.2,
            "stopSequences": ["END"],
            "responseMimeType": "application/json",
            "responseJsonSchema": {"title": "Answer", "description": "What it is.", "type": "object"},
            "thinkingConfig": {"thinkingBudget": 1024, "includeThoughts": True},
        },
        "serviceTier": "flex",
    }


def test_silence_is_written_as_silence() -> None:
    assert body_of(saying()) == {"contents": [{"role": "user", "parts": [{"text": "Hi"}]}]}


def test_options_at_their_defaults_ask_for_nothing() -> None:
    spelled_out = saying(
        parallel_tool_calls=False,  # Without tools there are no calls.
        presence_penalty=0,
        frequency_penalty=0.0,
        logit_bias={},
        logprobs=False,
        top_logprobs=0,
        metadata={},
        service_tier="auto",
        verbosity="medium",
    )
    assert body_of(spelled_out) == body_of(saying())


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("logit_bias", {"1": 5}),
        ("logprobs", True),
        ("top_logprobs", 2),
        ("user", "u_1"),
        ("metadata", {"a": "b"}),
        ("verbosity", "low"),
        ("prompt_cache_key", "k"),
        ("service_tier", "scale"),
    ],
)
def test_an_option_without_an_equal_is_refused_by_the_callers_name(option: str, value: object) -> None:
    assert refused(saying(**{option: value})) == option
    assert refused(saying(**{option: value}, names={option: "theirs"})) == "theirs"


def test_one_call_at_a_time_cannot_be_asked_for() -> None:
    assert refused(saying(tools=(WEATHER,), parallel_tool_calls=False)) == "parallel_tool_calls"
    assert "toolConfig" not in body_of(saying(tools=(WEATHER,), parallel_tool_calls=True))


def test_pictures_have_one_resolution() -> None:
    def picture(detail: str) -> Media:
        return media(media_type="image/png", base64=PNG, detail=detail)

    assert config_of(saying(picture(""), picture("auto"))) == {}
    assert config_of(saying(picture("high"), picture("auto"))) == {"mediaResolution": "MEDIA_RESOLUTION_HIGH"}
    within = ToolResult(call_id="a", name="f", parts=(picture("low"),))
    assert config_of(saying(within), "gemini-3-pro") == {"mediaResolution": "MEDIA_RESOLUTION_LOW"}
    assert refused(saying(picture("low"), picture("high"))) == "here.detail"
    assert refused(saying(picture("original"))) == "here.detail"


@pytest.mark.parametrize(
    ("choice", "tools", "config"),
    [
        (None, (WEATHER,), None),
        (ToolChoice(mode="auto"), (WEATHER,), {"mode": "AUTO"}),
        (ToolChoice(mode="any"), (WEATHER,), {"mode": "ANY"}),
        (ToolChoice(mode="none"), (WEATHER,), {"mode": "NONE"}),
        (None, (replace(WEATHER, strict=True),), {"mode": "VALIDATED"}),
        (ToolChoice(mode="auto"), (replace(WEATHER, strict=True),), {"mode": "VALIDATED"}),
        (ToolChoice(mode="any"), (replace(WEATHER, strict=True),), {"mode": "ANY"}),
        (ToolChoice(mode="auto"), (replace(WEATHER, strict=False),), {"mode": "AUTO"}),
        (ToolChoice(mode="auto"), (), None),
        (ToolChoice(mode="none"), (), None),
    ],
)
def test_the_choice_of_tools_is_a_mode(choice: ToolChoice | None, tools: Any, config: Any) -> None:
    body = body_of(saying(tools=tools, tool_choice=choice))
    assert body.get("toolConfig", {}).get("functionCallingConfig") == config


def test_a_call_cannot_be_forced_without_tools() -> None:
    assert refused(saying(tool_choice=ToolChoice(mode="any", at="tool_choice"))) == "tool_choice"


THINKING = [
    ("gemini-2.5-flash", Thinking(effort="high"), {"thinkingBudget": 24576, "includeThoughts": True}),
    ("gemini-2.5-flash", Thinking(budget_tokens=2000), {"thinkingBudget": 2000, "includeThoughts": True}),
    ("gemini-2.5-flash", Thinking(mode="adaptive"), {"thinkingBudget": -1, "includeThoughts": True}),
    ("gemini-2.5-flash", Thinking(mode="off"), {"thinkingBudget": 0}),
    ("gemini-2.5-flash", Thinking(effort="none"), {"thinkingBudget": 0}),
    ("gemini-2.5-flash", Thinking(effort="max"), None),
    ("gemini-2.5-pro-preview-05-06", Thinking(hidden=True), {"thinkingBudget": -1, "includeThoughts": False}),
    ("gemini-3-flash-preview", Thinking(effort="low"), {"thinkingLevel": "LOW", "includeThoughts": True}),
    ("gemini-3-pro-preview", Thinking(), {"includeThoughts": True}),
    ("gemini-3-pro-preview", Thinking(budget_tokens=99), {"thinkingBudget": 99, "includeThoughts": True}),
    ("gemini-3.1-pro", Thinking(budget_tokens=99), {"thinkingBudget": 99, "includeThoughts": True}),
    ("gemini-3.5-flash", Thinking(budget_tokens=99), None),
    ("gemini-flash-latest", Thinking(budget_tokens=99), None),
    ("gemini-flash-latest", Thinking(effort="xhigh"), {"thinkingLevel": "XHIGH", "includeThoughts": True}),
    ("gemini-3.5-flash", Thinking(effort="max"), None),
    ("gemini-3-flash-preview", Thinking(mode="off"), None),
    ("gemini-2.0-flash", Thinking(mode="off"), {}),
    ("gemini-2.0-flash", Thinking(effort="low"), None),
    ("publishers/google/models/gemini-2.5-flash", Thinking(mode="off"), {"thinkingBudget": 0}),
]


@pytest.mark.parametrize(("model", "thinking", "config"), THINKING)
def test_thinking_is_said_in_the_words_of_the_models_generation(
    model: str, thinking: Thinking, config: dict[str, Any] | None
) -> None:
    if config is None:
        assert refused(saying(thinking=thinking), model) == "reasoning_effort"
    else:
        assert config_of(saying(thinking=thinking), model).get("thinkingConfig", {}) == config


def test_json_without_a_schema_is_a_type_only() -> None:
    assert config_of(saying(format=Format())) == {"responseMimeType": "application/json"}


def test_a_request_that_says_nothing_is_refused() -> None:
    assert refused(Conversation(messages=(), system=(Text(text="x"),))) == "messages"
    assert refused(turns(("user", Text(text="")))) == "messages"
