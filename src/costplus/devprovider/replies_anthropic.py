"""Anthropic's messages, as they answer.

Rule 1: pure.   Rule 2: `input_tokens` excludes what was read from and written to the cache; `output_tokens`
holds the thinking.   Rule 3: a stream reports its input first and its final usage in `message_delta`.
"""

from __future__ import annotations

import base64
from typing import Annotated

import msgspec

from costplus.devprovider.ask import (
    Ask,
    BadAsk,
    Content,
    Counts,
    Named,
    Part,
    as_json,
    check_results,
    names_of,
    pieces_json,
    reply_json,
    text_in,
    text_of,
)
from costplus.devprovider.dialect import Dialect, Reply, no_events
from costplus.devprovider.faults import anthropic_fault


class _Block(Part):
    id: str | None = None
    tool_use_id: str | None = None


class _Message(msgspec.Struct):
    role: str
    content: str | list[_Block] | None = None


class _Counted(msgspec.Struct, kw_only=True):
    model: str
    messages: list[_Message]
    system: Content = None
    tools: list[Named] | None = None


class _Messages(_Counted, kw_only=True):
    max_tokens: Annotated[int, msgspec.Meta(ge=1)]
    stream: bool | None = None


_counted = msgspec.json.Decoder(_Counted)
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
_TEXT = b'{"type":"text","text":%b}'
_THINKING = b'{"type":"thinking","thinking":%b,"signature":"%b"}'
_TOOL_USE = b'{"type":"tool_use","id":"toolu_%b%d","name":%b,"input":%b}'
_SIGNATURE = base64.b64encode(b"thought of by a simulated provider")
_BLOCK_START = (
    b'event: content_block_start\ndata: {"type":"content_block_start","index":%d,"content_block":%b}\n\n'
)
_BLOCK_STOP = b'event: content_block_stop\ndata: {"type":"content_block_stop","index":%d}\n\n'
_PING = b'event: ping\ndata: {"type": "ping"}\n\n'
_MESSAGE_DELTA = (
    b'event: message_delta\ndata: {"type":"message_delta",'
    b'"delta":{"stop_reason":%b,"stop_sequence":null}%b}\n\n'
)
_DELTA_HEAD = (
    b'event: content_block_delta\ndata: {"type":"content_block_delta","index":%d,"delta":{"type":"%b":'
)


def read_messages(body: bytes, path: str, query: str) -> Ask:
    """Return what a `messages` body asks; the system prompt counts as one message."""
    asked = _messages.decode(body)
    return _ask(asked, tokens_max=asked.max_tokens, stream=bool(asked.stream))


def read_counted(body: bytes, path: str, query: str) -> Ask:
    """Return what a `messages/count_tokens` body asks."""
    return _ask(_counted.decode(body), tokens_max=0, stream=False)


def _ask(asked: _Counted, *, tokens_max: int, stream: bool) -> Ask:
    if not asked.messages:
        raise BadAsk("messages: at least one message is required")
    blocks = [
        block for message in asked.messages if isinstance(message.content, list) for block in message.content
    ]
    check_results(
        [block.id for block in blocks if block.type == "tool_use"],
        [block.tool_use_id for block in blocks if block.type == "tool_result"],
    )
    chars, last_user = text_in([(message.role, message.content) for message in asked.messages])
    return Ask(
        model=asked.model,
        chars=chars + len(text_of(asked.system)),
        messages=len(asked.messages) + (1 if asked.system else 0),
        last_user=last_user,
        tokens_max=tokens_max,
        stream=stream,
        tools=names_of(asked.tools) if asked.tools else frozenset(),
        after_tool=_ends_with_result(asked.messages[-1].content),
    )


def _ends_with_result(content: Content) -> bool:
    return isinstance(content, list) and any(part.type == "tool_result" for part in content)


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


def _stop_reason(reply: Reply) -> bytes:
    if reply.calls:
        return b'"tool_use"'
    return b'"max_tokens"' if reply.counts.cut_short else b'"end_turn"'


def _content(reply: Reply) -> bytes:
    blocks: list[bytes] = []
    if reply.thoughts:
        blocks.append(_THINKING % (reply_json(reply.thoughts), _SIGNATURE))
    if reply.says:
        blocks.append(_TEXT % reply_json(reply.words))
    for number, call in enumerate(reply.calls):
        blocks.append(_TOOL_USE % (reply.serial, number, call.name_json, call.arguments))
    return b",".join(blocks)


def _streamed_blocks(reply: Reply) -> list[tuple[bytes, list[tuple[bytes, bytes]]]]:
    """Return each block as it opens, and its deltas: their type with the key of what grows, and the piece."""
    blocks: list[tuple[bytes, list[tuple[bytes, bytes]]]] = []
    if reply.thoughts:
        grown = [(b'thinking_delta","thinking', piece) for piece in pieces_json(reply.thoughts)]
        signed = (b'signature_delta","signature', b'"%b"' % _SIGNATURE)
        blocks.append((_THINKING % (b'""', b""), [*grown, signed]))
    if reply.says:
        grown = [(b'text_delta","text', piece) for piece in pieces_json(reply.words)]
        blocks.append((_TEXT % b'""', grown))
    for number, call in enumerate(reply.calls):
        grown = [(b'input_json_delta","partial_json', piece) for piece in (b'""', *call.pieces_json())]
        blocks.append((_TOOL_USE % (reply.serial, number, call.name_json, b"{}"), grown))
    return blocks


def whole_message(reply: Reply) -> bytes:
    """Return a `message`."""
    counts = reply.counts
    return _MESSAGE % (
        as_json(reply.ask.model),
        reply.serial,
        _content(reply),
        _stop_reason(reply),
        _usage(counts, counts.completion) if reply.with_usage else b"",
    )


def message_events(reply: Reply) -> tuple[list[bytes], int]:
    """Return the events of a stream from `message_start` to `message_stop`."""
    counts = reply.counts
    first_usage = _usage(counts, min(1, counts.completion)) if reply.with_usage else b""
    started = _MESSAGE % (as_json(reply.ask.model), reply.serial, b"", b"null", first_usage)
    events = [b'event: message_start\ndata: {"type":"message_start","message":%b}\n\n' % started]
    for index, (opened, deltas) in enumerate(_streamed_blocks(reply)):
        events.append(_BLOCK_START % (index, opened))
        if not index:
            events.append(_PING)
        heads = {kind: _DELTA_HEAD % (index, kind) for kind, _ in deltas[:1] + deltas[-1:]}
        events += [heads[kind] + piece + b"}}\n\n" for kind, piece in deltas]
        events.append(_BLOCK_STOP % index)
    final_usage = b""
    if reply.with_usage:
        written = counts.cache_write_5m + counts.cache_write_1h
        thinking = b"," + _thinking(counts) if counts.reasoning else b""
        final_usage = _FINAL_USAGE % (counts.input, written, counts.cached, counts.completion, thinking)
    events += [
        _MESSAGE_DELTA % (_stop_reason(reply), final_usage),
        b'event: message_stop\ndata: {"type":"message_stop"}\n\n',
    ]
    return events, 3


def whole_count(reply: Reply) -> bytes:
    """Return how many tokens a message would send."""
    return b'{"input_tokens":%d}' % reply.counts.prompt


MESSAGES = Dialect(
    name="messages",
    request_id_header="request-id",
    writes=frozenset(("cache_write_5m", "cache_write_1h")),
    read=read_messages,
    whole=whole_message,
    events=message_events,
    fault=anthropic_fault,
)
COUNT_TOKENS = Dialect(
    name="messages/count_tokens",
    request_id_header="request-id",
    writes=frozenset(),
    read=read_counted,
    whole=whole_count,
    events=no_events,
    fault=anthropic_fault,
    free=True,
)
