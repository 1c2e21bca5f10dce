"""Anthropic's messages, as they answer.

Rule 1: pure.   Rule 2: `input_tokens` excludes what was read from and written to the cache; `output_tokens`
holds the thinking.   Rule 3: a stream reports its input first and its final usage in `message_delta`.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from costplus.devprovider.ask import (
    Ask,
    BadAsk,
    Content,
    Counts,
    as_json,
    pieces_json,
    reply_json,
    text_in,
    text_of,
)
from costplus.devprovider.dialect import Dialect, Reply
from costplus.devprovider.faults import anthropic_fault


class _Message(msgspec.Struct):
    role: str
    content: Content = None


class _Messages(msgspec.Struct):
    model: str
    messages: list[_Message]
    max_tokens: Annotated[int, msgspec.Meta(ge=1)]
    system: Content = None
    stream: bool | None = None


_messages = msgspec.json.Decoder(_Messages)

_MESSAGE = (
    b'{"model":%b,"id":"msg_%b","type":"message","role":"assistant","content":[%b],"stop_reason":%b,'
    b'"stop_sequence":null%b}'
)
_USAGE = (
    b',"usage":{"input_tokens":%d,"cache_creation_input_tokens":%d,"cache_read_input_tokens":%d,'
    b'"cache_creation":{"ephemeral_5m_input_tokens":%d,"ephemeral_1h_input_tokens":%d},'
    b'"output_tokens":%d,%b"service_tier":"standard"}'
)
_FINAL_USAGE = (
    b',"usage":{"input_tokens":%d,"cache_creation_input_tokens":%d,"cache_read_input_tokens":%d,'
    b'"output_tokens":%d%b}'
)
_BLOCK_START = (
    b'event: content_block_start\ndata: {"type":"content_block_start","index":0,'
    b'"content_block":{"type":"text","text":""}}\n\n'
)
_MESSAGE_DELTA = (
    b'event: message_delta\ndata: {"type":"message_delta",'
    b'"delta":{"stop_reason":%b,"stop_sequence":null}%b}\n\n'
)
_DELTA_HEAD = (
    b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,'
    b'"delta":{"type":"text_delta","text":'
)


def read_messages(body: bytes, path: str, query: str) -> Ask:
    """Return what a `messages` body asks; the system prompt counts as one message."""
    asked = _messages.decode(body)
    if not asked.messages:
        raise BadAsk("messages: at least one message is required")
    chars, last_user = text_in([(message.role, message.content) for message in asked.messages])
    return Ask(
        model=asked.model,
        chars=chars + len(text_of(asked.system)),
        messages=len(asked.messages) + (1 if asked.system else 0),
        last_user=last_user,
        tokens_max=asked.max_tokens,
        stream=bool(asked.stream),
    )


def _thinking(counts: Counts) -> bytes:
    return b'"output_tokens_details":{"thinking_tokens":%d}' % counts.reasoning if counts.reasoning else b""


def _usage(counts: Counts, output: int) -> bytes:
    written = counts.cache_write_5m + counts.cache_write_1h
    details = _thinking(counts) + b"," if counts.reasoning and output == counts.completion else b""
    return _USAGE % (
        counts.input,
        written,
        counts.cached,
        counts.cache_write_5m,
        counts.cache_write_1h,
        output,
        details,
    )


def _stop_reason(counts: Counts) -> bytes:
    return b'"max_tokens"' if counts.cut_short else b'"end_turn"'


def whole_message(reply: Reply) -> bytes:
    """Return a `message`."""
    counts = reply.counts
    return _MESSAGE % (
        as_json(reply.ask.model),
        reply.serial,
        b'{"type":"text","text":%b}' % reply_json(counts.output),
        _stop_reason(counts),
        _usage(counts, counts.completion) if reply.with_usage else b"",
    )


def message_events(reply: Reply) -> tuple[list[bytes], int]:
    """Return the events of a stream from `message_start` to `message_stop`."""
    counts = reply.counts
    first_usage = _usage(counts, min(1, counts.completion)) if reply.with_usage else b""
    started = _MESSAGE % (as_json(reply.ask.model), reply.serial, b"", b"null", first_usage)
    events = [
        b'event: message_start\ndata: {"type":"message_start","message":%b}\n\n' % started,
        _BLOCK_START,
        b'event: ping\ndata: {"type": "ping"}\n\n',
    ]
    events += [_DELTA_HEAD + piece + b"}}\n\n" for piece in pieces_json(counts.output)]
    final_usage = b""
    if reply.with_usage:
        written = counts.cache_write_5m + counts.cache_write_1h
        thinking = b"," + _thinking(counts) if counts.reasoning else b""
        final_usage = _FINAL_USAGE % (counts.input, written, counts.cached, counts.completion, thinking)
    events += [
        b'event: content_block_stop\ndata: {"type":"content_block_stop","index":0}\n\n',
        _MESSAGE_DELTA % (_stop_reason(counts), final_usage),
        b'event: message_stop\ndata: {"type":"message_stop"}\n\n',
    ]
    return events, 3


MESSAGES = Dialect(
    name="messages",
    request_id_header="request-id",
    writes=frozenset(("cache_write_5m", "cache_write_1h")),
    read=read_messages,
    whole=whole_message,
    events=message_events,
    fault=anthropic_fault,
)
