"""Whole answers of Anthropic's API: read, written, and read again."""

from __future__ import annotations

import json
from typing import Any

import pytest
from anthropic.types import Message
from hypothesis import given
from hypothesis import strategies as st

from costplus.core.usage import Usage
from costplus.gateway.translate.conversation import Reasoning, Text, ToolCall
from costplus.gateway.translate.messages_read import read_request
from costplus.gateway.translate.messages_reply import REASON_OF, STOP_OF, read_reply, write_reply
from costplus.gateway.translate.reply import AnswerUnreadable, Reply

WORDS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)
ARGUMENTS = st.sampled_from(["{}", '{"a":  1.0}', '{"b":12345678901234567890123, "c":"\\u00fc"}'])
PARTS = st.one_of(
    st.builds(Text, text=WORDS),
    st.builds(Reasoning, text=WORDS, signature=st.sampled_from(["", "sig=="])),
    st.builds(Reasoning, redacted=WORDS),
    st.builds(ToolCall, id=WORDS, name=WORDS, arguments=ARGUMENTS),
)
REPLIES = st.builds(
    Reply,
    id=WORDS,
    model=WORDS,
    parts=st.lists(PARTS, max_size=4).map(tuple),
    stop=st.sampled_from(sorted(REASON_OF)),
    stop_sequence=st.sampled_from(["", "END"]),
)


@given(REPLIES)
def test_what_is_written_is_read_back_byte_for_byte(reply: Reply) -> None:
    assert read_reply(write_reply(reply, Usage({"input": 1}))) == reply


@given(REPLIES)
def test_the_sdk_knows_every_field(reply: Reply) -> None:
    body = write_reply(reply, Usage({"input": 3, "cached_input": 2, "output": 5, "reasoning": 4}))
    message = Message.model_validate_json(body, strict=True)
    assert (message.id, message.role, message.stop_reason) == (reply.id, "assistant", REASON_OF[reply.stop])
    assert message.usage.output_tokens_details is not None
    assert (message.usage.input_tokens, message.usage.output_tokens) == (3, 9)
    assert message.usage.output_tokens_details.thinking_tokens == 4


@pytest.mark.parametrize("reason", STOP_OF)
def test_every_reason_to_stop_goes_both_ways(reason: str) -> None:
    assert REASON_OF[STOP_OF[reason]] == reason


def answer(*content: Any, **fields: Any) -> bytes:
    body = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": list(content)}
    return json.dumps({**body, "stop_reason": "end_turn", "stop_sequence": None, **fields}).encode()


UNREADABLE = [
    b"",
    b"Bad gateway",
    b"[]",
    b'{"type": "error", "error": {"type": "api_error", "message": "no"}}',
    answer(stop_reason=None),
    answer({"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}}),
    answer({"type": "text", "text": None}),
    answer({"text": "typeless"}),
    b"\xff" + answer(),
]


@pytest.mark.parametrize("body", UNREADABLE)
def test_an_answer_that_is_none_is_an_error(body: bytes) -> None:
    with pytest.raises(AnswerUnreadable):
        read_reply(body)


def test_a_reason_yet_unknown_is_an_end() -> None:
    assert read_reply(answer(stop_reason="tired")).stop == "end"


def written(*parts: Text | Reasoning | ToolCall, usage: Usage | None = None) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(write_reply(Reply(id="1", model="m", parts=parts, stop="end"), usage))
    return found


def test_empty_parts_are_no_blocks() -> None:
    assert written(Text(text=""), Reasoning())["content"] == []


@pytest.mark.parametrize(
    ("arguments", "given"),
    [("", {}), ("{}", {}), ('{"a', {"INVALID_JSON": '{"a'}), ("[1]", {"INVALID_JSON": "[1]"})],
)
def test_arguments_are_always_an_object(arguments: str, given: dict[str, Any]) -> None:
    (block,) = written(ToolCall(id="c", name="look", arguments=arguments))["content"]
    assert block["input"] == given


def test_a_signature_of_a_call_comes_back_with_the_next_request() -> None:
    call = ToolCall(id="c", name="look", arguments="{}", signature="AbC+/=")
    content = written(call)["content"]
    body = {"model": "m", "max_tokens": 1, "messages": [{"role": "assistant", "content": content}]}
    (again,) = read_request(body).messages[0].parts
    assert again == ToolCall(
        id="c", name="look", arguments="{}", signature="AbC+/=", at="messages.0.content.1"
    )


def test_unknown_usage_is_no_reason_for_a_client_to_fail() -> None:
    message = Message.model_validate(written(Text(text="a")), strict=True)
    assert (message.usage.input_tokens, message.usage.cache_read_input_tokens) == (0, None)


def test_a_reason_to_stop_that_is_new_is_an_end_like_any_other() -> None:
    assert read_reply(answer(stop_reason="tired")).stop == "end"
