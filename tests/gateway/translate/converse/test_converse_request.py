"""Requests to Bedrock's Converse API: their options, and what is refused by its name.

Each body is accepted by Amazon's own validation, and is what its own serializer makes of the same fields.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import msgspec
import pytest

from costplus.gateway.translate.conversation import (
    Conversation,
    Format,
    Message,
    NotExpressible,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
)
from costplus.gateway.translate.converse_request import write_request

CLAUDE = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
NOVA = "us.amazon.nova-2-lite-v1:0"
WEATHER = Tool(name="weather", description="Says it.", schema={"type": "object"}, at="tools[0]")
HI = Message(role="user", parts=(Text(text="Hi"),))
CALLED = Message(role="assistant", parts=(ToolCall(id="a", name="weather", arguments="{}"),))


@pytest.fixture
def body_of(accepted_by_bedrock: Any) -> Any:
    """Return how a body is written and seen to be right."""

    def write(conversation: Conversation, model: str = CLAUDE) -> dict[str, Any]:
        sent = msgspec.json.encode(write_request(conversation, model=model, max_tokens=4096))
        body: dict[str, Any] = json.loads(sent)
        accepted_by_bedrock(body)
        return body

    return write


def saying(**options: Any) -> Conversation:
    return Conversation(**{"messages": (HI,), **options})


def refused(conversation: Conversation, model: str = CLAUDE) -> str | None:
    with pytest.raises(NotExpressible) as error:
        write_request(conversation, model=model, max_tokens=4096)
    return error.value.param


def test_a_whole_request_is_written(body_of: Any) -> None:
    conversation = saying(
        system=(Text(text="Be brief.", cache=""), Text(text="Be kind.")),
        tools=(replace(WEATHER, strict=True, cache="1h"), Tool(name="now")),
        tool_choice=ToolChoice(mode="tool", name="weather"),
        format=Format(schema={"type": "object"}, name="Answer", description="What it is."),
        thinking=Thinking(budget_tokens=1024),
        max_tokens=2000,
        temperature=0.5,
        top_p=0.9,
        top_k=40,
        stop=("END",),
        metadata={"team": "a b/c-d"},
        service_tier="flex",
    )
    point = {"cachePoint": {"type": "default"}}
    definition = {"schema": '{"type":"object"}', "name": "Answer", "description": "What it is."}
    assert body_of(conversation) == {
        "messages": [{"role": "user", "content": [{"text": "Hi"}]}],
        "system": [{"text": "Be brief."}, point, {"text": "Be kind."}],
        "inferenceConfig": {"maxTokens": 2000, "temperature": 0.5, "topP": 0.9, "stopSequences": ["END"]},
        "toolConfig": {
            "tools": [
                {
                    "toolSpec": {
                        "name": "weather",
                        "description": "Says it.",
                        "inputSchema": {"json": {"type": "object"}},
                        "strict": True,
                    }
                },
                {"cachePoint": {"type": "default", "ttl": "1h"}},
                {"toolSpec": {"name": "now", "inputSchema": {"json": {"type": "object", "properties": {}}}}},
            ],
            "toolChoice": {"tool": {"name": "weather"}},
        },
        "additionalModelRequestFields": {
            "top_k": 40,
            "thinking": {"type": "enabled", "budget_tokens": 1024},
        },
        "outputConfig": {"textFormat": {"type": "json_schema", "structure": {"jsonSchema": definition}}},
        "requestMetadata": {"team": "a b/c-d"},
        "serviceTier": {"type": "flex"},
    }


def test_silence_is_written_as_silence(body_of: Any) -> None:
    assert body_of(saying()) == {"messages": [{"role": "user", "content": [{"text": "Hi"}]}]}


def test_options_at_their_defaults_ask_for_nothing(body_of: Any) -> None:
    spelled_out = saying(
        parallel_tool_calls=True, presence_penalty=0, frequency_penalty=0, logprobs=False, service_tier="auto"
    )
    assert body_of(spelled_out) == body_of(saying())


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("seed", 1),
        ("presence_penalty", 0.5),
        ("frequency_penalty", -0.5),
        ("logit_bias", {"1": 5}),
        ("logprobs", True),
        ("user", "u_1"),
        ("verbosity", "high"),
        ("prompt_cache_key", "k"),
        ("temperature", 1.5),
        ("service_tier", "scale"),
        ("metadata", {"a": 1}),
        ("metadata", {"a": "ü"}),
        ("metadata", {"": "a"}),
        ("metadata", {"a": "b" * 257}),
        ("metadata", {str(n): "a" for n in range(17)}),
    ],
)
def test_an_option_without_an_equal_is_refused_by_the_callers_name(option: str, value: object) -> None:
    assert refused(saying(**{option: value})) == option
    assert refused(saying(**{option: value}, names={option: "theirs"})) == "theirs"


def test_top_k_is_for_anthropics_models_only(body_of: Any) -> None:
    assert body_of(saying(top_k=1))["additionalModelRequestFields"] == {"top_k": 1}
    assert refused(saying(top_k=1), NOVA) == "top_k"


@pytest.mark.parametrize(
    ("choice", "written"),
    [
        (None, None),
        (ToolChoice(mode="auto"), {"auto": {}}),
        (ToolChoice(mode="any"), {"any": {}}),
        (ToolChoice(mode="tool", name="weather"), {"tool": {"name": "weather"}}),
    ],
)
def test_the_choice_of_tools_is_written(body_of: Any, choice: ToolChoice | None, written: Any) -> None:
    assert body_of(saying(tools=(WEATHER,), tool_choice=choice))["toolConfig"].get("toolChoice") == written


def test_no_tool_at_all_is_no_tools_unless_there_were_calls(body_of: Any) -> None:
    none = ToolChoice(mode="none")
    assert "toolConfig" not in body_of(saying(tools=(WEATHER,), tool_choice=none))
    after_calls = saying(messages=(HI, CALLED), tools=(WEATHER,), tool_choice=none)
    assert refused(after_calls) == "tool_choice"


def test_calls_in_the_conversation_need_tools(body_of: Any) -> None:
    assert refused(saying(messages=(HI, CALLED))) == "tools"
    assert "toolConfig" in body_of(saying(messages=(HI, CALLED), tools=(WEATHER,)))


def test_what_asks_too_much_of_tools_is_refused() -> None:
    assert refused(saying(tool_choice=ToolChoice(mode="any", at="tool_choice"))) == "tool_choice"
    assert refused(saying(tools=(WEATHER,), parallel_tool_calls=False)) == "parallel_tool_calls"


def test_json_needs_a_schema() -> None:
    assert refused(saying(format=Format(at="response_format"))) == "response_format"


def test_a_request_that_says_nothing_is_refused() -> None:
    assert refused(saying(messages=())) == "messages"
    assert refused(saying(messages=(Message(role="user", parts=(Text(text=""),)),))) == "messages"


OPUS = "anthropic.claude-opus-4-6-v1"
ADAPTIVE = {"thinking": {"type": "adaptive"}}
THINKING = [
    (CLAUDE, Thinking(mode="off"), {"thinking": {"type": "disabled"}}),
    (CLAUDE, Thinking(effort="none"), {"thinking": {"type": "disabled"}}),
    (CLAUDE, Thinking(effort="medium"), {"thinking": {"type": "enabled", "budget_tokens": 5000}}),
    (CLAUDE, Thinking(effort="minimal"), None),
    ("eu.anthropic.claude-haiku-4-5-20251001-v1", Thinking(effort="high"), "enabled"),
    ("us.anthropic.claude-3-7-sonnet-20250219-v1:0", Thinking(mode="adaptive", effort="low"), "enabled"),
    ("us.anthropic.claude-sonnet-4-20250514-v1:0", Thinking(effort="low"), "enabled"),
    (OPUS, Thinking(mode="adaptive"), ADAPTIVE),
    (OPUS, Thinking(effort="max"), {**ADAPTIVE, "output_config": {"effort": "max"}}),
    (OPUS, Thinking(budget_tokens=2000), {"thinking": {"type": "enabled", "budget_tokens": 2000}}),
    (
        "us.anthropic.claude-sonnet-4-6",
        Thinking(effort="high"),
        {**ADAPTIVE, "output_config": {"effort": "high"}},
    ),
    ("anthropic.claude-opus-5", Thinking(), ADAPTIVE),
    ("openai.gpt-oss-120b-1:0", Thinking(effort="high"), {"reasoning_effort": "high"}),
    ("openai.gpt-oss-120b-1:0", Thinking(mode="off"), None),
    ("openai.gpt-oss-120b-1:0", Thinking(budget_tokens=1024), None),
    (NOVA, Thinking(effort="low"), {"reasoningConfig": {"type": "enabled", "maxReasoningEffort": "low"}}),
    (NOVA, Thinking(mode="off"), {"reasoningConfig": {"type": "disabled"}}),
    (NOVA, Thinking(effort="xhigh"), None),
    ("us.deepseek.r1-v1:0", Thinking(effort="low"), None),
    ("arn:aws:bedrock:us-east-1:1:application-inference-profile/x", Thinking(effort="low"), None),
]


@pytest.mark.parametrize(("model", "thinking", "fields"), THINKING)
def test_thinking_is_said_in_the_fields_of_the_models_maker(
    body_of: Any, model: str, thinking: Thinking, fields: Any
) -> None:
    conversation = saying(thinking=thinking, max_tokens=10_000)
    if fields is None:
        assert refused(conversation, model) == "reasoning_effort"
    elif fields == "enabled":
        assert body_of(conversation, model)["additionalModelRequestFields"]["thinking"]["type"] == fields
    else:
        assert body_of(conversation, model)["additionalModelRequestFields"] == fields


def test_a_budget_without_a_limit_is_a_share_of_the_models_own(body_of: Any) -> None:
    fields = body_of(saying(thinking=Thinking(effort="high")))["additionalModelRequestFields"]
    assert fields == {"thinking": {"type": "enabled", "budget_tokens": 4096 * 80 // 100}}
