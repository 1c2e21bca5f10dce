"""Bodies of Anthropic's messages API: read and written back they say the same, and nothing is dropped."""

from __future__ import annotations

import base64
import dataclasses
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from costplus.gateway.translate.conversation import (
    Conversation,
    Format,
    Media,
    Message,
    NotExpressible,
    Reasoning,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from costplus.gateway.translate.messages_fields import MessagesFieldInvalid
from costplus.gateway.translate.messages_read import read_request
from costplus.gateway.translate.messages_write import write_request

MODEL = "claude-sonnet-5"

WORDS = st.text(min_size=1, max_size=8).filter(lambda text: text.encode("utf-8", "ignore").decode() == text)
MARKS = st.sampled_from([None, "", "5m", "1h"])
JSON_VALUES = st.one_of(st.none(), st.booleans(), st.integers(), WORDS, st.lists(st.integers(), max_size=2))
OBJECTS = st.dictionaries(WORDS, JSON_VALUES, max_size=3)
SCHEMAS = OBJECTS.map(lambda properties: {"type": "object", "properties": properties})
BYTES = st.binary(min_size=1, max_size=6).map(lambda raw: base64.b64encode(raw).decode())

texts = st.builds(Text, text=WORDS, cache=MARKS)
pictures = st.one_of(
    st.builds(
        Media,
        kind=st.just("image"),
        media_type=st.sampled_from(["image/png", "image/webp"]),
        base64=BYTES,
        cache=MARKS,
    ),
    st.builds(Media, kind=st.just("image"), url=st.just("https://example.com/a.png"), cache=MARKS),
)
documents = st.one_of(
    st.builds(
        Media, kind=st.just("document"), media_type=st.just("application/pdf"), base64=BYTES, name=WORDS
    ),
    st.builds(Media, kind=st.just("document"), url=st.just("https://example.com/a.pdf"), cache=MARKS),
    WORDS.map(
        lambda text: Media(
            kind="document", media_type="text/plain", base64=base64.b64encode(text.encode()).decode()
        )
    ),
)
thoughts = st.one_of(
    st.builds(Reasoning, text=st.text("ab", max_size=4), signature=st.text("EqRs=/", min_size=1, max_size=9)),
    st.builds(Reasoning, redacted=WORDS),
)


@st.composite
def turns(draw: st.DrawFn) -> tuple[Message, ...]:
    """Return turns of both sides in alternation, each call answered in the turn that follows."""
    messages: list[Message] = []
    called: list[ToolCall] = []
    for number in range(draw(st.integers(1, 3))):
        results = [
            ToolResult(
                call_id=call.id,
                name=call.name,
                parts=tuple(draw(st.lists(st.one_of(texts, pictures, documents), max_size=2))),
                is_error=draw(st.booleans()),
                cache=draw(MARKS),
            )
            for call in called
        ]
        said = draw(st.lists(st.one_of(texts, pictures, documents), min_size=0 if results else 1, max_size=2))
        messages.append(Message(role="user", parts=(*results, *said)))
        called = [
            ToolCall(
                id=f"call_{number}_{place}",
                name=draw(st.sampled_from(["look", "find"])),
                arguments=msgspec.json.encode(draw(OBJECTS)).decode(),
                cache=draw(MARKS),
            )
            for place in range(draw(st.integers(0, 2)))
        ]
        spoken = draw(st.lists(st.one_of(texts, thoughts), min_size=0 if called else 1, max_size=2))
        messages.append(Message(role="assistant", parts=(*spoken, *called)))
    return tuple(messages)


thinking = st.one_of(
    st.builds(
        Thinking,
        mode=st.just("on"),
        budget_tokens=st.integers(1024, 9999),
        effort=st.sampled_from(["", "low", "max"]),
        hidden=st.booleans(),
    ),
    st.builds(
        Thinking,
        mode=st.just("adaptive"),
        effort=st.sampled_from(["", "medium", "xhigh"]),
        hidden=st.booleans(),
    ),
    st.builds(Thinking, mode=st.just("off"), effort=st.sampled_from(["", "high"])),
)
tools = st.builds(
    Tool,
    name=WORDS,
    description=st.text(max_size=5),
    schema=SCHEMAS,
    strict=st.sampled_from([None, True, False]),
    cache=MARKS,
)
choices = st.one_of(
    st.builds(ToolChoice, mode=st.sampled_from(["auto", "any"])),
    st.builds(ToolChoice, mode=st.just("tool"), name=WORDS),
)


@st.composite
def conversations(draw: st.DrawFn) -> Conversation:
    choice = draw(st.one_of(st.none(), st.just(ToolChoice(mode="none")), choices))
    offered = tuple(draw(st.lists(tools, max_size=2)))
    may_call = bool(offered) and choice is not None and choice.mode != "none"
    stream = draw(st.booleans())
    maybe = st.one_of(st.none(), st.sampled_from([0, 0.5, 1]))
    return Conversation(
        model=MODEL,
        messages=draw(turns()),
        system=tuple(draw(st.lists(texts, max_size=2))),
        tools=offered,
        tool_choice=choice,
        parallel_tool_calls=draw(st.sampled_from([None, False])) if may_call else None,
        format=draw(st.one_of(st.none(), st.builds(Format, schema=SCHEMAS))),
        thinking=draw(st.one_of(st.none(), thinking)),
        max_tokens=draw(st.integers(1, 10**6)),
        temperature=draw(maybe),
        top_p=draw(maybe),
        top_k=draw(st.one_of(st.none(), st.integers(1, 500))),
        stop=tuple(draw(st.lists(WORDS, max_size=2))),
        user=draw(st.one_of(st.none(), WORDS)),
        service_tier=draw(st.sampled_from([None, "standard_only"])),
        stream=stream,
        include_usage=stream,
    )


def placeless(value: Any) -> Any:
    """Return the value without where its parts stand and what its options are called."""
    if isinstance(value, tuple):
        return tuple(placeless(item) for item in value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = [field.name for field in dataclasses.fields(value) if field.name not in ("at", "names")]
        return type(value).__name__, {name: placeless(getattr(value, name)) for name in names}
    return value


def sent(conversation: Conversation, *, max_tokens: int = 7) -> Any:
    """Return the body that Anthropic is sent."""
    return json.loads(msgspec.json.encode(write_request(conversation, model=MODEL, max_tokens=max_tokens)))


@given(conversations())
def test_what_is_written_is_read_back_as_what_it_was(conversation: Conversation) -> None:
    assert placeless(read_request(sent(conversation))) == placeless(conversation)


@given(conversations())
def test_what_is_read_is_written_as_it_was(conversation: Conversation) -> None:
    body = sent(conversation)
    assert sent(read_request(body), max_tokens=8) == body


ANYTHING = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), WORDS),
    lambda inner: st.one_of(
        st.lists(inner, max_size=2),
        st.dictionaries(
            st.one_of(st.sampled_from(["type", "text", "data", "url"]), WORDS), inner, max_size=2
        ),
    ),
    max_leaves=4,
)


def places(value: Any) -> list[tuple[Any, Any]]:
    """Return every container in the body with each of its keys."""
    if isinstance(value, dict):
        here, inner = list(value), list(value.values())
    else:
        here, inner = (list(range(len(value))), value) if isinstance(value, list) else ([], [])
    return [(value, key) for key in here] + [place for item in inner for place in places(item)]


@given(conversations(), st.randoms(use_true_random=False), ANYTHING)
def test_anything_anywhere_is_read_or_refused_by_where_it_stands(
    conversation: Conversation, random: Any, value: Any
) -> None:
    body = sent(conversation)
    container, key = random.choice(places(body))
    container[key] = value
    try:
        sent(read_request(body))
    except (NotExpressible, MessagesFieldInvalid) as refused:
        assert refused.param


def body_of(*content: Any, role: str = "user", **fields: Any) -> dict[str, Any]:
    """Return a body whose last turn has the blocks."""
    turns: list[Any] = [{"role": "user", "content": "Hi"}] if role == "assistant" else []
    blocks: Any = list(content) or "Hello"
    return {
        "model": MODEL,
        "max_tokens": 9,
        "messages": [*turns, {"role": role, "content": blocks}],
    } | fields


def picture(**source: Any) -> dict[str, Any]:
    return {"type": "image", "source": source}


CALL = {"type": "tool_use", "id": "c1", "name": "look", "input": {}}
TOOL = {"name": "look", "input_schema": {"type": "object"}}

REFUSED = [
    ("container", body_of(container="container_1")),
    ("mcp_servers", body_of(mcp_servers=[])),
    ("inference_geo", body_of(inference_geo="us")),
    ("speed", body_of(speed="fast")),
    ("context_management", body_of(context_management={"edits": [{"type": "compact_20260112"}]})),
    ("metadata.team", body_of(metadata={"team": "a"})),
    ("max_tokens", body_of(max_tokens=0)),
    ("thinking.type", body_of(thinking={"type": "between_tools"})),
    ("output_config.task_budget", body_of(output_config={"task_budget": {"type": "tokens", "total": 9}})),
    ("tools.0.type", body_of(tools=[{"type": "web_search_20250305", "name": "web_search"}])),
    ("tools.1.defer_loading", body_of(tools=[TOOL, TOOL | {"defer_loading": True}])),
    ("tools.0.input_examples", body_of(tools=[TOOL | {"input_examples": [{"a": 1}]}])),
    ("tools.0.allowed_callers", body_of(tools=[TOOL | {"allowed_callers": ["code_execution_20250825"]}])),
    ("messages.0.role", body_of({"type": "text", "text": "Be kind"}, role="system")),
    ("messages.0.content.0.source.type", body_of(picture(type="file", file_id="file_1"))),
    ("messages.0.content.0.type", body_of({"type": "container_upload", "file_id": "file_1"})),
    (
        "messages.1.content.0.type",
        body_of({"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}}, role="assistant"),
    ),
    (
        "messages.1.content.0.caller",
        body_of(CALL | {"caller": {"type": "code_execution_20250825", "tool_id": "s"}}, role="assistant"),
    ),
    (
        "messages.1.content.0.citations",
        body_of({"type": "text", "text": "a", "citations": [{"type": "page_location"}]}, role="assistant"),
    ),
    (
        "messages.0.content.0.citations",
        body_of(
            {
                "type": "document",
                "source": {"type": "url", "url": "https://a"},
                "citations": {"enabled": True},
            }
        ),
    ),
    (
        "messages.0.content.0.content.0.type",
        body_of(
            {
                "type": "tool_result",
                "tool_use_id": "c1",
                "content": [{"type": "tool_reference", "tool_name": "a"}],
            }
        ),
    ),
]


@pytest.mark.parametrize(("name", "body"), REFUSED, ids=[name for name, _ in REFUSED])
def test_what_only_anthropic_has_is_refused_by_its_name(name: str, body: dict[str, Any]) -> None:
    with pytest.raises(NotExpressible) as refused:
        read_request(body)
    assert refused.value.param == name
    assert f"`{name}`" in refused.value.message


MALFORMED = [
    ("max_tokens", body_of(max_tokens=None)),
    ("max_tokens", body_of(max_tokens="9")),
    ("messages", body_of() | {"messages": []}),
    ("messages", body_of() | {"messages": {}}),
    ("messages.0", body_of() | {"messages": ["Hello"]}),
    ("messages.0.role", body_of(role="tool")),
    ("messages.0.content", body_of() | {"messages": [{"role": "user", "content": []}]}),
    ("messages.0.content", body_of() | {"messages": [{"role": "user"}]}),
    ("messages.0.content.0.text", body_of({"type": "text"})),
    ("messages.0.content.0.type", body_of(CALL)),
    ("messages.1.content.0.type", body_of(picture(type="url", url="https://a"), role="assistant")),
    ("messages.1.content.0.input", body_of(CALL | {"input": "{}"}, role="assistant")),
    ("messages.0.content.0.source", body_of({"type": "image", "source": "https://a"})),
    ("messages.0.content.0.source.url", body_of(picture(type="url"))),
    (
        "messages.0.content.0.cache_control.ttl",
        body_of({"type": "text", "text": "a", "cache_control": {"type": "ephemeral", "ttl": "2h"}}),
    ),
    ("system", body_of(system=5)),
    ("system.0.type", body_of(system=[picture(type="url", url="https://a")])),
    ("temperature", body_of(temperature="hot")),
    ("top_k", body_of(top_k=-1)),
    ("stream", body_of(stream="yes")),
    ("stop_sequences.1", body_of(stop_sequences=["a", 2])),
    ("service_tier", body_of(service_tier="gold")),
    ("tool_choice.type", body_of(tool_choice={"type": "required"})),
    ("tool_choice.name", body_of(tool_choice={"type": "tool"})),
    ("tools.0.input_schema", body_of(tools=[{"name": "look"}])),
    ("thinking.budget_tokens", body_of(thinking={"type": "enabled"})),
    ("output_config.effort", body_of(output_config={"effort": "some"})),
    ("output_config.format.schema", body_of(output_config={"format": {"type": "json_schema"}})),
    (
        "cache_control",
        body_of(
            {"type": "text", "text": "a", "cache_control": {"type": "ephemeral", "ttl": "1h"}},
            cache_control={"type": "ephemeral", "ttl": "5m"},
        ),
    ),
]


@pytest.mark.parametrize(("name", "body"), MALFORMED, ids=[name for name, _ in MALFORMED])
def test_a_malformed_field_is_named(name: str, body: dict[str, Any]) -> None:
    with pytest.raises(MessagesFieldInvalid) as refused:
        read_request(body)
    assert refused.value.param == name


def test_what_asks_for_what_holds_anyway_says_nothing() -> None:
    body = body_of(
        CALL | {"caller": {"type": "direct"}, "cache_control": None},
        {"type": "text", "text": "a", "citations": None},
        role="assistant",
        tools=[TOOL | {"defer_loading": False, "allowed_callers": ["direct"], "eager_input_streaming": True}],
        context_management={"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
        speed="standard",
        container=None,
        thinking=None,
    )
    plain = body_of(CALL, {"type": "text", "text": "a"}, role="assistant", tools=[TOOL])
    assert read_request(body) == read_request(plain)


def test_a_mark_for_the_whole_request_is_that_of_the_last_part_that_can_have_one() -> None:
    thought = {"type": "thinking", "thinking": "hm", "signature": "s"}
    body = body_of(
        {"type": "text", "text": "a"}, thought, role="assistant", cache_control={"type": "ephemeral"}
    )
    text, reasoning = read_request(body).messages[1].parts
    assert (text, reasoning) == (
        Text(text="a", at="messages.1.content.0", cache=""),
        Reasoning(text="hm", signature="s", at="messages.1.content.1"),
    )


def test_an_effort_alone_asks_for_thinking() -> None:
    thinking = read_request(body_of(output_config={"effort": "low"})).thinking
    assert thinking == Thinking(mode="on", effort="low", at="output_config.effort")


def test_a_last_empty_turn_of_the_assistant_says_nothing() -> None:
    body = body_of()
    body["messages"].append({"role": "assistant", "content": []})
    assert len(read_request(body).messages) == 1


def test_a_signature_of_a_call_returns_to_its_call() -> None:
    thought = {"type": "thinking", "thinking": "", "signature": "of-the-next-call:abc"}
    (call,) = read_request(body_of(thought, CALL, role="assistant")).messages[1].parts
    assert call == ToolCall(id="c1", name="look", arguments="{}", signature="abc", at="messages.1.content.1")
