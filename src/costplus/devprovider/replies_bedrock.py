"""Bedrock's converse and converse-stream, as they answer.

Rule 1: pure.   Rule 2: `inputTokens` excludes what was read from and written to the cache.
Rule 3: a stream is frames with checksums, padded with `p`; its usage comes last, after the stop reason.
Rule 4: the model stands in the path, and so does the wish to stream.
Source: AWS's description of the encoding, and recorded answers.
"""

from __future__ import annotations

import base64
import struct
from typing import Annotated
from urllib.parse import unquote
from zlib import crc32

import msgspec

from costplus.devprovider.ask import (
    Ask,
    BadAsk,
    Counts,
    Named,
    Part,
    check_results,
    names_of,
    pieces_json,
    reply_json,
    text_in,
    text_of,
)
from costplus.devprovider.captures import AWS_EVENT_STREAM
from costplus.devprovider.dialect import Dialect, Reply
from costplus.devprovider.faults import bedrock_fault, bedrock_fault_headers

STREAM_OPERATION = "converse-stream"


class _ToolUse(msgspec.Struct, rename="camel"):
    tool_use_id: str


class _Part(Part, rename="camel"):
    tool_use: _ToolUse | None = None
    tool_result: _ToolUse | None = None


class _Message(msgspec.Struct):
    role: str
    content: list[_Part] = []


class _Config(msgspec.Struct, rename="camel"):
    max_tokens: Annotated[int, msgspec.Meta(ge=1)] | None = None


class _Tool(msgspec.Struct, rename="camel"):
    tool_spec: Named | None = None


class _Tools(msgspec.Struct):
    tools: list[_Tool] = []


class _Converse(msgspec.Struct, rename="camel"):
    messages: list[_Message]
    system: list[Part] = []
    inference_config: _Config | None = None
    tool_config: _Tools | None = None


_converse = msgspec.json.Decoder(_Converse)

_ANSWER = (
    b'{"metrics":{"latencyMs":1},"output":{"message":{"content":[%b],"role":"assistant"}},'
    b'"stopReason":"%b"%b}'
)
_USAGE = (
    b',"usage":{"inputTokens":%d,"outputTokens":%d,"totalTokens":%d,"cacheReadInputTokens":%d,'
    b'"cacheWriteInputTokens":%d%b,"serverToolUsage":{}}'
)
_TEXT = b'{"text":%b}'
_REASONING = b'{"reasoningContent":{"reasoningText":{"text":%b,"signature":"%b"}}}'
_TOOL_USE = b'{"toolUse":{"toolUseId":"tooluse_%b%d","name":%b,"input":%b}}'
_SIGNATURE = base64.b64encode(b"thought of by a simulated provider")
_PRELUDE, _CHECKSUM, _LENGTH = struct.Struct(">II"), struct.Struct(">I"), struct.Struct(">H")
_STRING = b"\x07"  # The type of every header here.
_PADDING = b"abcdefghijklm"


def read_converse(body: bytes, path: str, query: str) -> Ask:
    """Return what a `model/{id}/converse` request asks."""
    model, _, operation = path.rpartition("/model/")[2].rpartition("/")
    asked = _converse.decode(body)
    if not asked.messages:
        raise BadAsk("A conversation must start with a user message.")
    parts = [part for message in asked.messages for part in message.content]
    check_results(
        [part.tool_use.tool_use_id for part in parts if part.tool_use],
        [part.tool_result.tool_use_id for part in parts if part.tool_result],
    )
    config, tools = asked.inference_config, asked.tool_config
    chars, last_user = text_in([(message.role, message.content) for message in asked.messages])
    return Ask(
        model=unquote(model),
        chars=chars + len(text_of(asked.system)),
        messages=len(asked.messages) + (1 if asked.system else 0),
        last_user=last_user,
        tokens_max=config.max_tokens if config else None,
        stream=operation == STREAM_OPERATION,
        tools=names_of([tool.tool_spec for tool in tools.tools]) if tools else frozenset(),
        after_tool=any(part.tool_result is not None for part in asked.messages[-1].content),
    )


def _usage(counts: Counts) -> bytes:
    written = counts.cache_write_5m + counts.cache_write_1h
    details = b""
    if written:
        lifetimes = ((b"5m", counts.cache_write_5m), (b"1h", counts.cache_write_1h))
        split = [b'{"ttl":"%b","inputTokens":%d}' % (ttl, tokens) for ttl, tokens in lifetimes if tokens]
        details = b',"cacheDetails":[%b]' % b",".join(split)
    total = counts.prompt + counts.completion
    return _USAGE % (counts.input, counts.completion, total, counts.cached, written, details)


def _stop_reason(reply: Reply) -> bytes:
    if reply.calls:
        return b"tool_use"
    return b"max_tokens" if reply.counts.cut_short else b"end_turn"


def whole_conversed(reply: Reply) -> bytes:
    """Return a `ConverseResponse`."""
    blocks: list[bytes] = []
    if reply.thoughts:
        blocks.append(_REASONING % (reply_json(reply.thoughts), _SIGNATURE))
    if reply.says:
        blocks.append(_TEXT % reply_json(reply.words))
    for number, call in enumerate(reply.calls):
        blocks.append(_TOOL_USE % (reply.serial, number, call.name_json, call.arguments))
    usage = _usage(reply.counts) if reply.with_usage else b""
    return _ANSWER % (b",".join(blocks), _stop_reason(reply), usage)


def frame(kind: bytes, payload: bytes) -> bytes:
    """Return one event as a frame: lengths, their checksum, headers, payload, a checksum over all."""
    named = ((b":event-type", kind), (b":content-type", b"application/json"), (b":message-type", b"event"))
    headers = b"".join(
        [b"%c%b%b%b%b" % (len(name), name, _STRING, _LENGTH.pack(len(text)), text) for name, text in named]
    )
    size = _PRELUDE.size + len(headers) + len(payload) + 2 * _CHECKSUM.size
    prelude = _PRELUDE.pack(size, len(headers))
    head = prelude + _CHECKSUM.pack(crc32(prelude)) + headers + payload
    return head + _CHECKSUM.pack(crc32(head))


def _streamed_blocks(reply: Reply) -> list[tuple[bytes, list[bytes]]]:
    """Return each block: how it opens, where it says so at all, and its deltas."""
    blocks: list[tuple[bytes, list[bytes]]] = []
    if reply.thoughts:
        grown = [b'{"reasoningContent":{"text":%b}}' % piece for piece in pieces_json(reply.thoughts)]
        blocks.append((b"", [*grown, b'{"reasoningContent":{"signature":"%b"}}' % _SIGNATURE]))
    if reply.says:
        blocks.append((b"", [_TEXT % piece for piece in pieces_json(reply.words)]))
    for number, call in enumerate(reply.calls):
        opened = b'{"toolUse":{"toolUseId":"tooluse_%b%d","name":%b}}' % (
            reply.serial,
            number,
            call.name_json,
        )
        blocks.append((opened, [b'{"toolUse":{"input":%b}}' % piece for piece in call.pieces_json()]))
    return blocks


def conversed_events(reply: Reply) -> tuple[list[bytes], int]:
    """Return the frames of a stream from `messageStart` to `metadata`."""
    padded = b'"p":"%b"}' % _PADDING
    frames = [frame(b"messageStart", b'{"role":"assistant",' + padded)]
    for index, (opened, deltas) in enumerate(_streamed_blocks(reply)):
        place = b'{"contentBlockIndex":%d,' % index
        if opened:
            frames.append(frame(b"contentBlockStart", b'%b"start":%b,%b' % (place, opened, padded)))
        frames += [
            frame(b"contentBlockDelta", b'%b"delta":%b,%b' % (place, delta, padded)) for delta in deltas
        ]
        frames.append(frame(b"contentBlockStop", place + padded))
    usage = _usage(reply.counts) if reply.with_usage else b""
    frames += [
        frame(b"messageStop", b'{"stopReason":"%b",%b' % (_stop_reason(reply), padded)),
        frame(b"metadata", b'{"metrics":{"latencyMs":1}%b,%b' % (usage, padded)),
    ]
    return frames, 3


CONVERSE = Dialect(
    name="converse",
    request_id_header="x-amzn-requestid",
    writes=frozenset(("cache_write_5m", "cache_write_1h")),
    read=read_converse,
    whole=whole_conversed,
    events=conversed_events,
    fault=bedrock_fault,
    stream_type=AWS_EVENT_STREAM,
    fault_headers=bedrock_fault_headers,
)
