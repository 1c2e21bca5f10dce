"""The turns of requests to Gemini as Google's types have them: words, media, calls, results, signatures."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from google.genai import types
from hypothesis import given
from hypothesis import strategies as st

from costplus.core.errors import InvalidRequest
from costplus.gateway.translate.arguments import ArgumentsInvalid
from costplus.gateway.translate.conversation import (
    Conversation,
    Media,
    Message,
    NotExpressible,
    Part,
    Reasoning,
    Text,
    Tool,
    ToolCall,
    ToolResult,
)
from costplus.gateway.translate.generate_request import write_request

PNG = base64.b64encode(b"\x89PNG").decode()
SIGNATURE = base64.b64encode(b"opaque").decode()
UNSIGNED = base64.b64encode(b"skip_thought_signature_validator").decode()
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


def refused(conversation: Conversation, model: str = "gemini-2.5-flash") -> str | None:
    with pytest.raises(NotExpressible) as error:
        write_request(conversation, model=model, max_tokens=4096)
    return error.value.param


def test_calls_and_results_of_several_turns_stand_in_one_turn_each_with_the_names_of_their_calls() -> None:
    conversation = turns(
        ("user", Text(text="Weather?")),
        ("assistant", Text(text=""), ToolCall(id="a", name="weather", arguments='{"city": "Bonn"}')),
        ("assistant", ToolCall(id="b", name="now", arguments=" ")),
        ("user", ToolResult(call_id="b", parts=(Text(text="noon"),))),
        ("user", ToolResult(call_id="a", parts=(Text(text="no"), Text(text="sun")), is_error=True)),
        ("user", Text(text="And?")),
    )
    _, calls, results = body_of(conversation)["contents"]
    assert calls == {
        "role": "model",
        "parts": [
            {"functionCall": {"id": "a", "name": "weather", "args": {"city": "Bonn"}}},
            {"functionCall": {"id": "b", "name": "now", "args": {}}},
        ],
    }
    assert results == {
        "role": "user",
        "parts": [
            {"functionResponse": {"id": "b", "name": "now", "response": {"output": "noon"}}},
            {"functionResponse": {"id": "a", "name": "weather", "response": {"error": ["no", "sun"]}}},
            {"text": "And?"},
        ],
    }


def test_a_result_without_a_call_is_refused_unless_it_says_its_tool() -> None:
    assert refused(turns(("user", ToolResult(call_id="x", at="messages[3]")))) == "messages[3]"
    named = turns(("user", ToolResult(call_id="x", name="weather")))
    (content,) = body_of(named)["contents"]
    assert content["parts"][0]["functionResponse"] == {
        "id": "x",
        "name": "weather",
        "response": {"output": ""},
    }


@pytest.mark.parametrize(
    "arguments", ["nonsense", "[1]", '"x"', "1", '{"a": NaN}', "{" * 5_000, '{"a":1e999}']
)
def test_arguments_that_are_no_object_are_refused_where_they_stand(arguments: str) -> None:
    call = ToolCall(id="a", name="f", arguments=arguments, at="messages[1].tool_calls[0].function.arguments")
    with pytest.raises(ArgumentsInvalid) as error:
        write_request(turns(("assistant", call)), model="gemini-2.5-flash", max_tokens=1)
    assert error.value.param == call.at


def test_numbers_in_arguments_keep_their_digits() -> None:
    arguments = '{"b":1.10000000000000000001,"a":12345678901234567890123,"c":1.0}'
    conversation = turns(("assistant", ToolCall(id="a", name="f", arguments=arguments)))
    assert arguments.encode() in msgspec.json.encode(
        write_request(conversation, model="gemini-2.5-pro", max_tokens=1)
    )


def test_signatures_go_back_to_where_they_came_from() -> None:
    bare = Reasoning(signature=SIGNATURE)
    thought = Reasoning(text="Hm.", signature=SIGNATURE)  # As clients of chat have it.
    call = ToolCall(id="a", name="f", arguments="{}")
    signed_call = {
        "functionCall": {"id": "a", "name": "f", "args": {}},
        "thoughtSignature": SIGNATURE,
    }
    alone = {"text": "", "thoughtSignature": SIGNATURE}
    words, thoughts = {"text": "Yes."}, {"text": "Hm.", "thought": True}
    for said, written in [
        ((Text(text="Yes."), bare), [{**words, "thoughtSignature": SIGNATURE}]),
        ((bare, Text(text="Yes.")), [{**words, "thoughtSignature": SIGNATURE}]),
        ((thought, Text(text=""), Text(text="Yes.")), [thoughts, {**words, "thoughtSignature": SIGNATURE}]),
        ((thought, call), [thoughts, signed_call]),
        ((bare, call), [signed_call]),
        ((thought, replace(call, signature=SIGNATURE)), [thoughts, alone, signed_call]),
        ((Text(text="Yes."), thought), [words, thoughts, alone]),
        ((bare, thought, Text(text="Yes.")), [thoughts, alone, {**words, "thoughtSignature": SIGNATURE}]),
        ((bare,), [alone]),
        ((Reasoning(text="Hm."), Reasoning()), [thoughts]),
    ]:
        (content,) = body_of(turns(("assistant", *said)))["contents"]
        assert content["parts"] == written, said


def test_unsigned_calls_pass_the_models_that_want_a_signature() -> None:
    call = ToolCall(id="a", name="f", arguments="{}")
    conversation = turns(("assistant", call, replace(call, id="b")))

    def signatures(model: str, conversation: Conversation = conversation) -> list[str | None]:
        (content,) = body_of(conversation, model)["contents"]
        return [part.get("thoughtSignature") for part in content["parts"]]

    assert signatures("gemini-3-flash-preview") == [UNSIGNED, None]
    assert signatures("gemini-flash-latest") == [UNSIGNED, None]
    assert signatures("gemini-2.5-pro") == [None, None]
    signed = turns(("assistant", replace(call, signature=SIGNATURE), replace(call, id="b")))
    assert signatures("gemini-3-flash-preview", signed) == [SIGNATURE, None]


def test_redacted_thinking_is_refused() -> None:
    assert refused(turns(("assistant", Reasoning(redacted="x", at="messages[1].content[0]")))) is not None


def test_a_cache_mark_needs_no_words() -> None:
    marked = saying(
        Text(text="x", cache="1h"),
        system=(Text(text="x", cache=""),),
        tools=(replace(WEATHER, cache="5m"),),
    )
    plain = saying(Text(text="x"), system=(Text(text="x"),), tools=(WEATHER,))
    assert body_of(marked) == body_of(plain)


def media(**fields: Any) -> Media:
    return Media(**{"kind": "image", "at": "here", **fields})


def test_media_are_sent_inline_or_by_their_url() -> None:
    (content,) = body_of(
        saying(
            media(media_type="image/png", base64=PNG),
            media(url="https://example.com/a%20b.WEBP?size=2#top"),
            media(kind="audio", url="gs://bucket/a.mp3"),
            media(kind="video", url="https://youtu.be/x", media_type="video/mp4"),
            media(kind="document", media_type="application/pdf", base64=PNG, name="bill.pdf"),
        )
    )["contents"]
    assert content["parts"] == [
        {"inlineData": {"mimeType": "image/png", "data": PNG}},
        {"fileData": {"mimeType": "image/webp", "fileUri": "https://example.com/a%20b.WEBP?size=2#top"}},
        {"fileData": {"mimeType": "audio/mpeg", "fileUri": "gs://bucket/a.mp3"}},
        {"fileData": {"mimeType": "video/mp4", "fileUri": "https://youtu.be/x"}},
        {"text": "bill.pdf"},
        {"inlineData": {"mimeType": "application/pdf", "data": PNG}},
    ]


@pytest.mark.parametrize(
    "part",
    [
        media(base64=PNG),
        media(url="https://example.com/picture"),
        media(url="ftp://example.com/a.png"),
        media(url="file:///etc/passwd"),
        media(url="https://[bad/a"),
    ],
)
def test_media_that_cannot_be_fetched_or_told_are_refused(part: Media) -> None:
    assert refused(saying(part)) == "here"


def test_results_hold_pictures_where_the_model_takes_them() -> None:
    picture = media(media_type="image/png", base64=PNG)
    conversation = saying(ToolResult(call_id="a", name="f", parts=(Text(text="See"), picture)))
    (content,) = body_of(conversation, "gemini-3-flash-preview")["contents"]
    assert content["parts"][0]["functionResponse"] == {
        "id": "a",
        "name": "f",
        "response": {"output": "See"},
        "parts": [{"inlineData": {"mimeType": "image/png", "data": PNG}}],
    }
    assert refused(conversation, "gemini-2.5-pro") == "here"
    linked = saying(ToolResult(call_id="a", name="f", parts=(media(url="https://example.com/a.png"),)))
    assert refused(linked, "gemini-3-flash-preview") == "here"


words = st.text(min_size=1, max_size=20)
names = st.text("abcdefgh_", min_size=1, max_size=10)
objects: Any = st.dictionaries(words, st.recursive(st.none() | st.integers() | words, st.lists, max_leaves=5))
parts: Any = st.one_of(
    st.builds(Text, text=words),
    st.builds(Media, kind=st.just("image"), media_type=st.just("image/png"), base64=st.just(PNG)),
    st.builds(Reasoning, text=st.text(max_size=5), signature=st.sampled_from(["", SIGNATURE])),
    st.builds(
        ToolCall,
        id=names,
        name=names,
        arguments=objects.map(json.dumps),
        signature=st.sampled_from(["", SIGNATURE]),
    ),
    st.builds(ToolResult, call_id=names, name=names, parts=st.lists(st.builds(Text, text=words)).map(tuple)),
)
messages: Any = st.builds(
    Message, role=st.sampled_from(["user", "assistant"]), parts=st.lists(parts, max_size=5).map(tuple)
)
conversations: Any = st.builds(
    Conversation,
    messages=st.lists(messages, max_size=6).map(tuple),
    system=st.lists(st.builds(Text, text=words), max_size=2).map(tuple),
    tools=st.lists(st.builds(Tool, name=names, description=words, schema=objects), max_size=2).map(tuple),
    temperature=st.none() | st.floats(0, 2),
    stop=st.lists(words, max_size=3).map(tuple),
)


@given(conversations, st.sampled_from(["gemini-2.5-flash", "gemini-3-flash-preview"]))
def test_whatever_is_said_is_accepted_by_googles_types_and_all_there_once(
    conversation: Conversation, model: str
) -> None:
    said = [part for message in conversation.messages for part in message.parts]
    if not any(not isinstance(part, Reasoning) or part.text or part.signature for part in said):
        assert refused(conversation, model) == "messages"
        return
    contents = body_of(conversation, model)["contents"]
    roles = [content["role"] for content in contents]
    assert all(one != next_one for one, next_one in pairwise(roles))
    written = [part for content in contents for part in content["parts"]]
    assert "".join(part["text"] for part in written if "text" in part) == "".join(
        part.text for part in said if isinstance(part, Text | Reasoning)
    )
    calls = [(part.id, part.name, json.loads(part.arguments)) for part in said if isinstance(part, ToolCall)]
    assert calls == [
        (part["functionCall"]["id"], part["functionCall"]["name"], part["functionCall"]["args"])
        for part in written
        if "functionCall" in part
    ]
    assert sum("functionResponse" in part for part in written) == sum(
        isinstance(part, ToolResult) for part in said
    )


def test_what_is_refused_is_a_request_to_change() -> None:
    assert issubclass(NotExpressible, InvalidRequest)
    assert issubclass(ArgumentsInvalid, InvalidRequest)
