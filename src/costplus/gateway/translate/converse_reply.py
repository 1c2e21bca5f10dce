"""What a whole answer of Bedrock's `converse` says.

Rule 1: it names neither itself nor its model.
Rule 2: what an answer holds that no caller's dialect can carry (a picture, a tool that ran there) is an
error.
"""

from __future__ import annotations

from typing import NoReturn

import msgspec

from costplus.gateway.translate.conversation import Reasoning, Text, ToolCall
from costplus.gateway.translate.reply import AnswerFailed, AnswerUnreadable, Reply, Stop
from costplus.gateway.wire.counts import NULL, compact, decode_or_none, is_null

_STOPS: dict[str, Stop] = {
    "end_turn": "end",
    "max_tokens": "length",
    "tool_use": "tools",
    "stop_sequence": "stop_sequence",
    "guardrail_intervened": "refusal",
    "content_filtered": "refusal",
    "model_context_window_exceeded": "context",
}
# The model went wrong; the same request may well succeed.
_FAILURES = ("malformed_model_output", "malformed_tool_use")

Block = dict[str, msgspec.Raw]


class _ToolUse(msgspec.Struct, gc=False, rename="camel"):
    tool_use_id: str
    name: str
    input: msgspec.Raw = NULL
    type: str | None = None


class _ReasoningText(msgspec.Struct, gc=False):
    text: str = ""
    signature: str | None = None


class _Reasoned(msgspec.Struct, gc=False, rename="camel"):
    reasoning_text: _ReasoningText | None = None
    redacted_content: str | None = None


class _Message(msgspec.Struct, gc=False):
    content: list[Block]


class _Output(msgspec.Struct, gc=False):
    message: _Message


class _Answer(msgspec.Struct, gc=False, rename="camel"):
    output: _Output
    stop_reason: str


_ANSWER = msgspec.json.Decoder(_Answer)
_OBJECT = msgspec.json.Decoder(Block)
_REASONED = msgspec.json.Decoder(_Reasoned)
_TEXT = msgspec.json.Decoder(str)
_TOOL_USE = msgspec.json.Decoder(_ToolUse)


def read_reply(body: bytes) -> Reply:
    """Return what a whole answer says. Raises `AnswerUnreadable`."""
    answer = decode_or_none(_ANSWER, body)
    if answer is None:
        raise AnswerUnreadable("The provider's answer is not what Bedrock's API promises.")
    parts = tuple(_part(block) for block in answer.output.message.content)
    try:
        stop = stop_of(answer.stop_reason)
    except AnswerFailed as error:  # No stream that had begun: there is nothing but the failure.
        raise AnswerUnreadable(error.message) from error
    return Reply(id="", model="", parts=parts, stop=stop)


def stop_of(reason: str) -> Stop:
    """Return why the model stopped. Raises `AnswerFailed`, `AnswerUnreadable`."""
    if reason in _FAILURES:
        raise AnswerFailed(f"The model's answer went wrong: {reason}.")
    if reason not in _STOPS:
        raise AnswerUnreadable(f"The answer ended for a reason that has no translation: {reason}.")
    return _STOPS[reason]


def tool_use_of(raw: msgspec.Raw) -> ToolCall:
    """Return the call that a block or its start says, with its arguments where they are there already."""
    use = decode_or_none(_TOOL_USE, raw)
    if use is None:
        raise AnswerUnreadable("A `toolUse` of the answer has no id or no name.")
    if use.type not in (None, "tool_use"):  # The provider runs it itself.
        refuse_block(use.type)
    arguments = "" if is_null(use.input) else compact(use.input).decode()
    return ToolCall(id=use.tool_use_id, name=use.name, arguments=arguments)


def refuse_block(kind: str) -> NoReturn:
    """Raise what says that a block of an answer has no translation."""
    raise AnswerUnreadable(f"The answer holds a `{kind}`, which cannot be translated.")


def _part(block: Block) -> Text | Reasoning | ToolCall:
    if "text" in block:
        text = decode_or_none(_TEXT, block["text"])
        if text is None:
            raise AnswerUnreadable("The `text` of a block of the answer is no text.")
        return Text(text=text)
    if "toolUse" in block:
        call = tool_use_of(block["toolUse"])
        if decode_or_none(_OBJECT, call.arguments.encode()) is None:
            raise AnswerUnreadable(f"The input of a call of {call.name!r} is no object.")
        return call
    if "reasoningContent" in block:
        return _reasoning(block["reasoningContent"])
    refuse_block(next(iter(sorted(block)), "block without content"))


def _reasoning(raw: msgspec.Raw) -> Reasoning:
    reasoned = decode_or_none(_REASONED, raw)
    if reasoned is None:
        raise AnswerUnreadable("A `reasoningContent` of the answer is not what Bedrock's API promises.")
    if reasoned.redacted_content is not None:
        return Reasoning(redacted=reasoned.redacted_content)
    text = reasoned.reasoning_text or _ReasoningText()
    return Reasoning(text=text.text, signature=text.signature or "")
