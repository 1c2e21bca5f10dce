"""A whole answer in Anthropic's dialect.

Rule 1: the arguments of a call are the bytes of its `input`, not what a parser makes of them.
Rule 2: a block of Anthropic's own servers cannot have been asked for through a translation: such an answer is
refused rather than shortened. Citations likewise, but there the text is whole without them.
Rule 3: thinking of a model that signs nothing is written with an empty signature, and read back as unsigned.
Rule 4: a call's signature of Gemini's is a thinking block of its own before the call, as `messages_parts`
reads it back.
Rule 5: arguments that are no JSON object are wrapped as `messages_blocks` wraps them: a client would reject a
whole answer for them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from costplus.core.usage import Usage
from costplus.gateway.translate.conversation import Reasoning, Text, ToolCall
from costplus.gateway.translate.messages_blocks import input_of
from costplus.gateway.translate.messages_parts import CALL_SIGNATURE
from costplus.gateway.translate.messages_usage import usage_block
from costplus.gateway.translate.reply import AnswerUnreadable, Reply, Stop

STOP_OF: Mapping[str, Stop] = {
    "end_turn": "end",
    "max_tokens": "length",
    "tool_use": "tools",
    "stop_sequence": "stop_sequence",
    "refusal": "refusal",
    "pause_turn": "pause",
    "model_context_window_exceeded": "context",
}
REASON_OF: Mapping[Stop, str] = {stop: reason for reason, stop in STOP_OF.items()}
_EMPTY = msgspec.Raw(b"{}")


class ContentBlock(msgspec.Struct, gc=False):
    """A block of an answer, or the beginning of one in a stream."""

    type: str
    text: str = ""
    thinking: str = ""
    signature: str = ""
    data: str = ""
    id: str = ""
    name: str = ""
    input: msgspec.Raw = _EMPTY


class _Message(msgspec.Struct, gc=False):
    id: str
    model: str
    content: list[ContentBlock]
    stop_reason: str
    stop_sequence: str | None = None


_MESSAGE = msgspec.json.Decoder(_Message)


def read_reply(body: bytes) -> Reply:
    """Return what an answer says. Raises `AnswerUnreadable`."""
    try:
        message = _MESSAGE.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise AnswerUnreadable("The provider's answer is not a message of Anthropic's.") from error
    return Reply(
        id=message.id,
        model=message.model,
        parts=tuple(_part(block) for block in message.content),
        stop=stop_of(message.stop_reason),
        stop_sequence=message.stop_sequence or "",
    )


def write_reply(reply: Reply, usage: Usage | None) -> bytes:
    """Return the answer as a message of Anthropic's; `usage` None: it is not known."""
    message = {
        "id": reply.id,
        "type": "message",
        "role": "assistant",
        "model": reply.model,
        "content": [block for part in reply.parts for block in _blocks(part)],
        "stop_reason": REASON_OF[reply.stop],
        "stop_sequence": reply.stop_sequence or None,
        "usage": usage_block(usage),
    }
    return msgspec.json.encode(message)


def stop_of(reason: str) -> Stop:
    """Return why the model stopped; a reason unknown here is an end like any other."""
    return STOP_OF.get(reason, "end")


def unreadable_block(kind: str) -> AnswerUnreadable:
    return AnswerUnreadable(f"The provider's answer holds a block that cannot be translated: `{kind}`.")


def _part(block: ContentBlock) -> Text | Reasoning | ToolCall:
    if block.type == "text":
        return Text(text=block.text)
    if block.type == "thinking":
        return Reasoning(text=block.thinking, signature=block.signature)
    if block.type == "redacted_thinking":
        return Reasoning(redacted=block.data)
    if block.type == "tool_use":
        return ToolCall(id=block.id, name=block.name, arguments=bytes(block.input).decode())
    raise unreadable_block(block.type)


def _blocks(part: Text | Reasoning | ToolCall) -> Iterator[dict[str, Any]]:
    if isinstance(part, Text):
        if part.text:
            yield {"type": "text", "text": part.text}
    elif isinstance(part, Reasoning):
        if part.redacted:
            yield {"type": "redacted_thinking", "data": part.redacted}
        elif part.text or part.signature:
            yield {"type": "thinking", "thinking": part.text, "signature": part.signature}
    else:
        if part.signature:
            yield {"type": "thinking", "thinking": "", "signature": CALL_SIGNATURE + part.signature}
        yield {"type": "tool_use", "id": part.id, "name": part.name, "input": input_of(part.arguments)}
