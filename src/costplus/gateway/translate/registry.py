"""Which dialect is translated into which, by the wires' names.

Rule 1: callers speak chat or messages; providers speak chat, messages, generate or converse.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from costplus.core.usage import Usage
from costplus.gateway.translate import (
    chat_read,
    chat_reply,
    chat_stream,
    chat_write,
    converse_reply,
    converse_request,
    converse_stream,
    generate_reply,
    generate_request,
    generate_stream,
    messages_events,
    messages_read,
    messages_reply,
    messages_stream,
    messages_write,
)
from costplus.gateway.translate.conversation import Conversation
from costplus.gateway.translate.reply import Reply, ReplyReader, ReplyWriter


class Caller(NamedTuple):
    """How a caller's dialect is understood and answered."""

    read_request: Callable[[Mapping[str, Any]], Conversation]  # The body, decoded.
    write_reply: Callable[[Reply, Usage | None], bytes]
    writer: Callable[[Conversation], ReplyWriter]


class Target(NamedTuple):
    """How a provider's dialect is spoken and understood.

    `max_tokens` of a request is what stands where a provider wants a limit and the caller named none.
    """

    write_request: Callable[..., dict[str, Any]]  # (conversation, *, model, max_tokens) → body
    read_reply: Callable[[bytes], Reply]
    reader: Callable[[], ReplyReader]


CALLERS: Mapping[str, Caller] = {
    "openai_chat": Caller(chat_read.read_request, chat_reply.write_reply, chat_stream.ChatWriter),
    "anthropic_messages": Caller(
        messages_read.read_request, messages_reply.write_reply, messages_events.MessagesWriter
    ),
}
TARGETS: Mapping[str, Target] = {
    "openai_chat": Target(chat_write.write_request, chat_reply.read_reply, chat_stream.ChatReader),
    "anthropic_messages": Target(
        messages_write.write_request, messages_reply.read_reply, messages_stream.MessagesReader
    ),
    "gemini_generate": Target(
        generate_request.write_request, generate_reply.read_reply, generate_stream.GenerateReader
    ),
    "bedrock_converse": Target(
        converse_request.write_request, converse_reply.read_reply, converse_stream.ConverseReader
    ),
}
