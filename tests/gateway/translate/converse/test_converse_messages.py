"""The turns of requests to Bedrock: words, media, calls, results, reasoning and cache points.

Each body is accepted by Amazon's own validation, and is what its own serializer makes of the same fields.
"""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

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
from costplus.gateway.translate.converse_request import write_request

PNG = base64.b64encode(b"\x89PNG").decode()
CALL = ToolCall(id="a", name="f", arguments="{}")
POINT = {"cachePoint": {"type": "default"}}


@pytest.fixture
def content_of(accepted_by_bedrock: Any) -> Any:
    """Return the content of one turn, in a body that is seen to be right."""

    def write(*parts: Part) -> list[dict[str, Any]]:
        body = json.loads(msgspec.json.encode(written(saying(*parts))))
        accepted_by_bedrock(body)
        content: list[dict[str, Any]] = body["messages"][0]["content"]
        return content

    return write


def written(conversation: Conversation) -> dict[str, Any]:
    return write_request(conversation, model="amazon.nova-pro-v1:0", max_tokens=4096)


def saying(*parts: Part) -> Conversation:
    return Conversation(messages=(Message(role="user", parts=parts),), tools=(Tool(name="f"),))


def refused(*parts: Part) -> str | None:
    with pytest.raises(NotExpressible) as error:
        written(saying(*parts))
    return error.value.param


def media(**fields: Any) -> Media:
    return Media(**{"kind": "image", "at": "here", **fields})


def test_turns_of_one_role_become_one(accepted_by_bedrock: Any) -> None:
    said = [
        Message(role="user", parts=(Text(text="Hi"),)),
        Message(role="assistant", parts=(Text(text=""), CALL)),
        Message(role="assistant", parts=(replace(CALL, id="b", arguments=""),)),
        Message(role="user", parts=(ToolResult(call_id="b", parts=(Text(text="x"), Text(text="y"))),)),
        Message(role="user", parts=()),
        Message(role="user", parts=(ToolResult(call_id="a", is_error=True), Text(text="And?"))),
    ]
    body = written(Conversation(messages=tuple(said), tools=(Tool(name="f"),)))
    body = json.loads(msgspec.json.encode(body))
    accepted_by_bedrock(body)
    assert body["messages"] == [
        {"role": "user", "content": [{"text": "Hi"}]},
        {
            "role": "assistant",
            "content": [
                {"toolUse": {"toolUseId": "a", "name": "f", "input": {}}},
                {"toolUse": {"toolUseId": "b", "name": "f", "input": {}}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"toolResult": {"toolUseId": "b", "content": [{"text": "x"}, {"text": "y"}]}},
                {"toolResult": {"toolUseId": "a", "content": [], "status": "error"}},
                {"text": "And?"},
            ],
        },
    ]


def test_ids_that_bedrock_does_not_take_become_ones_that_stay_apart_and_together(content_of: Any) -> None:
    long, odd = "x" * 65, "a/b"
    uses = content_of(replace(CALL, id=long), replace(CALL, id=odd), ToolResult(call_id=long))
    ids = [uses[0]["toolUse"]["toolUseId"], uses[1]["toolUse"]["toolUseId"]]
    assert uses[2]["toolResult"]["toolUseId"] == ids[0] != ids[1]
    assert all(id.startswith("call_") for id in ids)


@pytest.mark.parametrize("arguments", ["nonsense", "[1]", '"x"', '{"a": NaN}'])
def test_arguments_that_are_no_object_are_refused_where_they_stand(arguments: str) -> None:
    with pytest.raises(ArgumentsInvalid) as error:
        written(saying(replace(CALL, arguments=arguments, at="there")))
    assert error.value.param == "there"


def test_reasoning_goes_back_as_it_came(content_of: Any) -> None:
    assert content_of(
        Reasoning(text="Hm", signature="s"),
        Reasoning(text="Hm"),
        Reasoning(signature="s"),
        Reasoning(redacted=PNG),
        Reasoning(),
    ) == [
        {"reasoningContent": {"reasoningText": {"text": "Hm", "signature": "s"}}},
        {"reasoningContent": {"reasoningText": {"text": "Hm"}}},
        {"reasoningContent": {"reasoningText": {"text": "", "signature": "s"}}},
        {"reasoningContent": {"redactedContent": PNG}},
    ]


def test_a_mark_is_a_point_after_what_it_marks(content_of: Any) -> None:
    picture = media(media_type="image/png", base64=PNG, cache="5m")
    last = Text(text="x", cache="")
    content = content_of(
        Text(text="x", cache=""),
        Text(text="", cache="1h"),
        picture,
        replace(CALL, cache=""),
        ToolResult(call_id="a", cache=""),
        ToolResult(call_id="a", parts=(Text(text="x"), last)),
        ToolResult(call_id="a", parts=(last,), cache="1h"),
    )
    kinds = [next(iter(block)) for block in content]
    assert kinds == [
        *("text", "cachePoint", "cachePoint", "image", "cachePoint", "toolUse", "cachePoint"),
        *("toolResult", "cachePoint") * 3,
    ]
    points = [block["cachePoint"].get("ttl") for block in content if "cachePoint" in block]
    assert points == [None, "1h", "5m", None, None, None, "1h"]


def test_a_mark_within_a_result_is_refused() -> None:
    within = ToolResult(call_id="a", parts=(Text(text="x", at="here", cache=""), Text(text="y")))
    assert refused(within) == "here.cache_control"


def test_media_are_bytes_or_lie_in_s3(content_of: Any) -> None:
    assert content_of(
        media(media_type="image/jpeg", base64=PNG, detail="auto"),
        media(kind="video", url="s3://bucket/a.mp4"),
        media(kind="audio", media_type="audio/wav", base64=PNG),
    ) == [
        {"image": {"format": "jpeg", "source": {"bytes": PNG}}},
        {"video": {"format": "mp4", "source": {"s3Location": {"uri": "s3://bucket/a.mp4"}}}},
        {"audio": {"format": "wav", "source": {"bytes": PNG}}},
    ]


def test_documents_have_plain_names_that_stay_apart(content_of: Any) -> None:
    names = ["bill_2.pdf", "bill/2.pdf", "", "Ä", "x" * 300, "[1] (a)-b"]
    documents = [
        media(kind="document", media_type="application/pdf", base64=PNG, name=name) for name in names
    ]
    within = ToolResult(call_id="a", parts=(documents[0],))
    *blocks, result = content_of(*documents, within)
    blocks.append(result["toolResult"]["content"][0])
    assert [block["document"]["name"] for block in blocks] == [
        "bill 2 pdf",
        "bill 2 pdf (2)",
        "Document",
        "Document (2)",
        "x" * 180,
        "[1] (a)-b",
        "bill 2 pdf (3)",
    ]


@pytest.mark.parametrize(
    "part",
    [
        media(url="https://example.com/a.png"),
        media(base64=PNG),
        media(media_type="image/tiff", base64=PNG),
        media(kind="document", media_type="image/png", base64=PNG),
        media(url="s3://bucket/a"),
        ToolResult(call_id="a", parts=(media(kind="audio", media_type="audio/wav", base64=PNG),)),
    ],
)
def test_media_that_bedrock_does_not_take_are_refused(part: Part) -> None:
    assert refused(part) == "here"


def test_how_closely_a_picture_is_looked_at_cannot_be_said() -> None:
    assert refused(media(media_type="image/png", base64=PNG, detail="high")) == "here.detail"


words = st.text(min_size=1, max_size=20)
ids = st.text("abc/", max_size=70)
objects: Any = st.dictionaries(words, st.recursive(st.none() | st.integers() | words, st.lists, max_leaves=5))
marks: Any = st.sampled_from([None, None, "", "5m", "1h"])
parts: Any = st.one_of(
    st.builds(Text, text=words, cache=marks),
    st.builds(
        Media, kind=st.just("document"), media_type=st.just("text/csv"), base64=st.just(PNG), name=words
    ),
    st.builds(Reasoning, text=words, signature=st.sampled_from(["", "s"])),
    st.builds(ToolCall, id=ids, name=st.just("f"), arguments=objects.map(json.dumps), cache=marks),
    st.builds(ToolResult, call_id=ids, parts=st.lists(st.builds(Text, text=words)).map(tuple), cache=marks),
)
turns: Any = st.builds(
    Message,
    role=st.sampled_from(["user", "assistant"]),
    parts=st.lists(parts, min_size=1, max_size=5).map(tuple),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])  # It holds nothing of a run.
@given(st.lists(turns, min_size=1, max_size=6))
def test_whatever_is_said_is_accepted_by_amazon_and_all_there_once(
    accepted_by_bedrock: Any, said: list[Message]
) -> None:
    body = written(Conversation(messages=tuple(said), tools=(Tool(name="f"),)))
    body = json.loads(msgspec.json.encode(body))
    accepted_by_bedrock(body)
    assert all(one["role"] != other["role"] for one, other in pairwise(body["messages"]))
    blocks = [block for turn in body["messages"] for block in turn["content"]]
    given_parts = [part for message in said for part in message.parts]
    kinds: dict[type, str] = {
        Text: "text",
        Media: "document",
        Reasoning: "reasoningContent",
        ToolCall: "toolUse",
        ToolResult: "toolResult",
    }
    expected: list[str] = []
    for part in given_parts:
        expected.append(kinds[type(part)])
        expected.extend(["cachePoint"] if getattr(part, "cache", None) is not None else [])
    assert [next(iter(block)) for block in blocks] == expected
    assert [block["text"] for block in blocks if "text" in block] == [
        part.text for part in given_parts if isinstance(part, Text)
    ]
    names = [block["document"]["name"] for block in blocks if "document" in block]
    assert len(set(names)) == len(names)
