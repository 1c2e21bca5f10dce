"""Chat completions requests are understood, and written for providers that speak OpenAI's dialect."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costplus.core.errors import InvalidRequest
from costplus.gateway.translate.chat_read import read_request
from costplus.gateway.translate.chat_write import write_request
from costplus.gateway.translate.conversation import (
    Conversation,
    Media,
    Message,
    NotExpressible,
    Reasoning,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
)

HELLO = {"role": "user", "content": "Hello"}
PIXEL = "data:image/png;base64,iVBORw0KGgo="


def chat(**fields: Any) -> dict[str, Any]:
    return {"model": "anthropic/claude-sonnet-4-5", "messages": [HELLO], **fields}


def written(conversation: Conversation, **options: Any) -> dict[str, Any]:
    return write_request(conversation, model=options.get("model", "gpt-4o"), max_tokens=4096)


REFUSED = [
    ({"n": 2}, "n"),
    ({"store": True}, "store"),
    ({"modalities": ["text", "audio"]}, "modalities"),
    ({"audio": {"voice": "alloy"}}, "audio"),
    ({"functions": []}, "functions"),
    ({"function_call": "auto"}, "function_call"),
    ({"prediction": {"type": "content"}}, "prediction"),
    ({"web_search_options": {}}, "web_search_options"),
    ({"anything_new": 1}, "anything_new"),
    ({"tools": [{"type": "custom", "custom": {"name": "x"}}]}, "tools[0].type"),
    ({"tool_choice": {"type": "allowed_tools"}}, "tool_choice.type"),
    ({"messages": [HELLO, {"role": "system", "content": "Be brief"}]}, "messages[1]"),
    ({"messages": [{**HELLO, "name": "Ann"}]}, "messages[0].name"),
    (
        {"messages": [{"role": "user", "content": [{"type": "file", "file": {"file_id": "f_1"}}]}]},
        "messages[0].content[0].file.file_id",
    ),
    ({"messages": [HELLO, {"role": "assistant", "audio": {"id": "a"}}]}, "messages[1].audio"),
    ({"messages": [{"role": "system", "content": "x"}]}, "messages"),
    ({"messages": [{"role": "user", "content": [{"type": "smell"}]}]}, "messages[0].content[0].type"),
]


@pytest.mark.parametrize(("fields", "name"), REFUSED)
def test_what_no_other_dialect_has_is_refused_by_its_name(fields: dict[str, Any], name: str) -> None:
    with pytest.raises(NotExpressible) as raised:
        read_request(chat(**fields))
    assert raised.value.param == name
    assert f"`{name}`" in raised.value.message


MALFORMED = [
    ({"messages": None}, "messages"),
    ({"messages": "Hello"}, "messages"),
    ({"messages": []}, "messages"),
    ({"messages": ["Hello"]}, "messages[0]"),
    ({"messages": [{"content": "Hello"}]}, "messages[0].role"),
    ({"messages": [{"role": "judge", "content": "x"}]}, "messages[0].role"),
    ({"messages": [{"role": "user"}]}, "messages[0].content"),
    ({"messages": [{"role": "user", "content": [{"type": 1}]}]}, "messages[0].content[0].type"),
    ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].tool_call_id"),
    ({"temperature": "hot"}, "temperature"),
    ({"temperature": True}, "temperature"),
    ({"seed": 1.5}, "seed"),
    ({"stop": [1]}, "stop[0]"),
    ({"tools": [{"type": "function"}]}, "tools[0].function"),
    ({"tools": [{"type": "function", "function": {"name": 1}}]}, "tools[0].function.name"),
    ({"tool_choice": "perhaps"}, "tool_choice"),
    ({"response_format": {"type": "xml"}}, "response_format.type"),
    ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
    ({"reasoning_effort": "enormous"}, "reasoning_effort"),
]


@pytest.mark.parametrize(("fields", "name"), MALFORMED)
def test_what_makes_no_sense_is_refused_where_it_stands(fields: dict[str, Any], name: str) -> None:
    with pytest.raises(InvalidRequest) as raised:
        read_request(chat(**fields))
    assert raised.value.param == name
    assert not isinstance(raised.value, NotExpressible)


def test_null_and_what_is_meant_anyway_say_nothing() -> None:
    plain = read_request(chat())
    fields = {"n": 1, "store": False, "modalities": ["text"], "logprobs": False, "presence_penalty": 0}
    assert read_request(chat(**fields, tools=None, audio=None, stop=None)) == plain


def test_a_conversation_with_tools_is_understood() -> None:
    call = {
        "id": "call_1",
        "type": "function",
        "function": {"name": "weather", "arguments": '{"city": "Rome"}'},
        "extra_content": {"google": {"thought_signature": "c2ln"}},
    }
    details = [
        {"type": "reasoning.text", "text": "Rome?", "signature": "sig", "index": 0},
        {"type": "reasoning.encrypted", "data": "xyz", "index": 1},
    ]
    messages = [
        {
            "role": "developer",
            "content": [{"type": "text", "text": "A", "cache_control": {"type": "ephemeral"}}],
        },
        {"role": "system", "content": "B"},
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": PIXEL, "detail": "low"}}]},
        {"role": "assistant", "content": None, "tool_calls": [call], "reasoning_details": details},
        {"role": "tool", "tool_call_id": "call_1", "content": "18 °C"},
        {"role": "tool", "tool_call_id": "call_2", "content": [{"type": "text", "text": "rain"}]},
        {"role": "assistant", "content": "Mild.", "reasoning_content": "fine"},
    ]
    read = read_request(chat(messages=messages))
    assert [(text.text, text.cache) for text in read.system] == [("A", ""), ("B", None)]
    image, turn, results, last = read.messages
    (picture,) = image.parts
    assert isinstance(picture, Media)
    assert (picture.media_type, picture.base64, picture.detail) == ("image/png", "iVBORw0KGgo=", "low")
    thought, hidden, called = turn.parts
    assert isinstance(thought, Reasoning) and (thought.text, thought.signature) == ("Rome?", "sig")
    assert isinstance(hidden, Reasoning) and hidden.redacted == "xyz"
    assert isinstance(called, ToolCall) and called.signature == "c2ln"
    assert [type(part) for part in results.parts] == [ToolResult, ToolResult]
    first = results.parts[0]
    assert isinstance(first, ToolResult) and first.name == "weather"
    assert [type(part) for part in last.parts] == [Reasoning, Text]


def test_every_recorded_request_is_understood_or_refused_by_name(shared_data: Path) -> None:
    file = shared_data / "captures.jsonl.gz"
    if not file.exists():
        pytest.skip("captures.jsonl.gz is absent")
    read, refused = 0, set()
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        for row in map(json.loads, lines):
            if not row["path"].endswith("/chat/completions") or not isinstance(row["request"], dict):
                continue
            try:
                conversation = read_request(row["request"])
                again = read_request(written(conversation) | {"stream_options": None, "stream": None})
                assert said(again) == said(conversation)
                read += 1
            except NotExpressible as error:
                refused.add((error.param or "").partition("[")[0])
            except InvalidRequest as error:
                assert row["status"] >= 400, (row["id"], error.sentence)
    assert read > 250
    assert refused <= {
        *("messages", "tools", "thinking", "provider", "models", "preset", "usage", "service_tier"),
        *("moderation", "web_search_options", "search_settings", "prompt_cache_options"),
        *("clear_thinking", "reasoning_format"),
    }


def said(conversation: Conversation) -> list[Any]:
    """Return what was said and called, without where it stood and what was thought."""
    parts = [(message.role, part) for message in conversation.messages for part in message.parts]
    return [
        (role, part.text)
        if isinstance(part, Text)
        else (role, part.name, part.arguments)
        if isinstance(part, ToolCall)
        else (role, type(part).__name__)
        for role, part in parts
        if not isinstance(part, Reasoning) and part != Text(text="", at=getattr(part, "at", ""))
    ]


def user(*parts: Any) -> Conversation:
    return Conversation(messages=(Message(role="user", parts=parts),))


def test_results_of_tools_become_messages_of_their_own_in_order() -> None:
    result = ToolResult(call_id="c1", parts=(Text(text="18"),))
    failed = ToolResult(call_id="c2", parts=(Text(text="no such city"),), is_error=True)
    messages = written(user(result, failed, Text(text="And now?")))["messages"]
    assert messages == [
        {"role": "tool", "tool_call_id": "c1", "content": "18"},
        {"role": "tool", "tool_call_id": "c2", "content": "Error: no such city"},
        {"role": "user", "content": "And now?"},
    ]


def test_the_limit_has_the_name_that_the_model_understands() -> None:
    asked = Conversation(messages=(), max_tokens=100)
    assert written(asked)["max_tokens"] == 100
    assert written(asked, model="gpt-5-mini")["max_completion_tokens"] == 100
    assert written(asked, model="o4-mini")["max_completion_tokens"] == 100


@pytest.mark.parametrize(
    ("budget_tokens", "effort"),
    [(1024, "low"), (1433, "low"), (1434, "medium"), (2662, "medium"), (2663, "high")],
)
def test_a_budget_for_thinking_is_the_nearest_effort(budget_tokens: int, effort: str) -> None:
    asked = Conversation(messages=(), thinking=Thinking(budget_tokens=budget_tokens))
    assert written(asked)["reasoning_effort"] == effort


@pytest.mark.parametrize(
    ("part", "at"),
    [
        (
            Media(kind="document", url="https://x/y.pdf", at="messages[0].content[0]"),
            "messages[0].content[0]",
        ),
        (Media(kind="video", base64="x", media_type="video/mp4", at="v"), "v"),
        (ToolResult(call_id="c", parts=(Media(kind="image", base64="x", at="i"),)), "i"),
    ],
)
def test_what_chat_has_no_place_for_is_refused_where_it_stands(part: Any, at: str) -> None:
    with pytest.raises(NotExpressible) as raised:
        written(user(part))
    assert raised.value.param == at


def test_an_option_is_refused_by_the_callers_name_for_it() -> None:
    with pytest.raises(NotExpressible) as raised:
        written(Conversation(messages=(), metadata={"a": "b"}, names={"metadata": "metadata.other"}))
    assert raised.value.param == "metadata.other"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
KEYS = st.sampled_from(
    ["messages", "tools", "tool_choice", "response_format", "stop", "stream_options", "reasoning", "user"]
)


@given(st.dictionaries(KEYS, JSON, max_size=4))
def test_any_json_is_understood_or_refused(fields: dict[str, Any]) -> None:
    try:
        read_request({"model": "m", "messages": [HELLO], **fields})
    except InvalidRequest as error:
        assert error.param


@given(JSON, st.sampled_from(["user", "assistant", "tool", "system"]))
def test_any_message_is_understood_or_refused(value: Any, role: str) -> None:
    keys = ("content", "tool_calls", "reasoning_details", "cache_control", "tool_call_id", "refusal")
    for key in keys:
        try:
            read_request({"messages": [{"role": role, "content": "x", key: value}, HELLO]})
        except InvalidRequest as error:
            assert error.param
