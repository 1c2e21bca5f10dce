"""Bedrock's invoke: the body is the model maker's own, and is read as that maker's wire.

Rule 1: what a body is follows from its fields: Anthropic, OpenAI, Nova (converse), Titan or Llama.
Rule 2: Cohere's and Nova's embeddings have no counts in the body; `with_header_counts` takes the headers'.
Rule 3: the model is the one in the path: the maker's name for it is not what Bedrock prices.
Rule 4: in a stream the maker's own counts come first; `amazon-bedrock-invocationMetrics` stand in for them.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import msgspec

from costplus.core.usage import Usage, usage_of
from costplus.gateway.wire.anthropic import AnthropicMessagesJson, AnthropicMessagesSse
from costplus.gateway.wire.aws_frames import Frame, FrameReader
from costplus.gateway.wire.base import EMPTY_READING, JsonReader, Reading, WireReader
from costplus.gateway.wire.bedrock import BedrockConverseJson, delta_chars
from costplus.gateway.wire.bedrock_usage import converse_usage, header_usage, metrics_usage
from costplus.gateway.wire.counts import UNREADABLE, block_in, decode_or_none, text_or_none, total_in
from costplus.gateway.wire.openai_chat import OpenAIChatJson, OpenAIChatSse
from costplus.gateway.wire.text import body_chars

METRICS = "amazon-bedrock-invocationMetrics"

_FIELDS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_BLOCK = msgspec.json.Decoder(dict[str, Any])
# Input and output counts at the top of a body: Titan, Llama.
_FLAT = (
    ("inputTextTokenCount", "totalOutputTextTokenCount"),
    ("prompt_token_count", "generation_token_count"),
)


class BedrockInvokeJson(JsonReader):
    """Reads an invoked model's answer."""

    __slots__ = ()

    def _read(self, body: bytes) -> Reading:
        fields = decode_or_none(_FIELDS, body)
        if fields is None:
            return EMPTY_READING
        usage = decode_or_none(_BLOCK, fields["usage"]) if "usage" in fields else None
        if usage is not None:
            return replace(_read_with(_json_reader_for(usage), body), model=None)
        counts = {key for pair in _FLAT for key in pair} & fields.keys()
        if counts:
            return _flat_reading(decode_or_none(_BLOCK, body))
        return replace(
            EMPTY_READING,
            response_id=text_or_none(_text(fields.get("id"))),
            complete=True,
            error="message" in fields and len(fields) == 1,
        )


class BedrockInvokeFrames(FrameReader):
    """Reads an invoked model's stream: frames around the maker's own events."""

    __slots__ = ("_block", "_chars", "_inner", "_metrics")

    def __init__(self, *, strip_usage: bool = False) -> None:
        super().__init__(strip_usage=strip_usage)
        self._inner: WireReader | None = None  # The maker's own reader, once its events show who it is.
        self._block: dict[str, Any] = {}  # Nova's usage, or flat counts.
        self._metrics: dict[str, Any] = {}
        self._chars = 0

    def _see(self, frame: Frame) -> None:
        data = _inner_event(frame.payload)
        event = decode_or_none(_BLOCK, data)
        if event is None:
            return
        if isinstance(event.get(METRICS), dict):
            self._metrics = event[METRICS]
            self._complete = True
        if self._inner is None:
            self._inner = _stream_reader_for(event)
        if self._inner is not None:
            self._inner.feed(b"data: " + data + b"\n\n")
            self._complete = self._complete or self._inner.done
            return
        self._block |= block_in(block_in(event, "metadata"), "usage") or _flat_counts(event)
        text = event.get("outputText") or event.get("generation")
        self._chars += len(text) if isinstance(text, str) else 0
        self._chars += delta_chars(block_in(event, "contentBlockDelta"))

    def _reading(self) -> Reading:
        read = replace(EMPTY_READING, output_chars=self._chars)
        if self._inner is not None:
            read = self._inner.finish()
        elif self._block:
            usage = converse_usage(self._block) or _flat_usage(self._block)
            read = replace(read, usage=usage, raw_usage=msgspec.json.encode(self._block))
        usage = metrics_usage(self._metrics) if read.usage is None else None
        if usage is not None:
            read = replace(read, usage=usage, raw_usage=msgspec.json.encode(self._metrics))
        return replace(read, model=None, complete=self._complete, error=read.error or self._error)


def with_header_counts(reading: Reading, headers: Mapping[str, str]) -> Reading:
    """Return `reading` with the counts of the answer's headers where the body had none.

    `headers` has lower-cased names.
    """
    if reading.usage is not None or reading.error:
        return reading
    counted = {name: value for name, value in headers.items() if name.endswith("-token-count")}
    usage = header_usage(counted)
    return reading if usage is None else replace(reading, usage=usage, raw_usage=msgspec.json.encode(counted))


def _json_reader_for(usage: Mapping[str, Any]) -> WireReader:
    if "input_tokens" in usage:
        return AnthropicMessagesJson()
    return OpenAIChatJson() if "prompt_tokens" in usage else BedrockConverseJson()


def _stream_reader_for(event: Mapping[str, Any]) -> WireReader | None:
    if event.get("type") == "message_start":
        return AnthropicMessagesSse()
    return OpenAIChatSse() if "choices" in event else None


def _read_with(reader: WireReader, body: bytes) -> Reading:
    reader.feed(body)
    return reader.finish()


def _inner_event(payload: bytes) -> bytes:
    """Return the maker's event out of a frame's payload, b"" where there is none."""
    wrapped = decode_or_none(_BLOCK, payload) or {}
    try:
        return base64.b64decode(str(wrapped.get("bytes") or ""), validate=True)
    except (binascii.Error, ValueError):
        return b""


def _flat_reading(body: Mapping[str, Any] | None) -> Reading:
    if body is None:
        return EMPTY_READING
    counts = _flat_counts(body)
    results = body.get("results")  # Titan's text answers count their output one by one.
    if isinstance(results, list):
        made = [total_in(result, "tokenCount") for result in results if isinstance(result, dict)]
        counts["totalOutputTextTokenCount"] = UNREADABLE if UNREADABLE in made else sum(n or 0 for n in made)
    return replace(
        EMPTY_READING,
        usage=_flat_usage(counts),
        raw_usage=msgspec.json.encode(counts),
        output_chars=body_chars(results) + len(str(body.get("generation") or "")),
        complete=True,
    )


def _flat_counts(body: Mapping[str, Any]) -> dict[str, Any]:
    return {key: body[key] for pair in _FLAT for key in pair if body.get(key) is not None}


def _flat_usage(counts: Mapping[str, Any]) -> Usage | None:
    for input_key, output_key in _FLAT:
        taken, made = total_in(counts, input_key), total_in(counts, output_key)
        if UNREADABLE in (taken, made):
            return None
        if taken is not None or made is not None:
            return usage_of({"input": taken or 0, "output": made or 0})
    return None


def _text(raw: msgspec.Raw | None) -> object:
    return None if raw is None else msgspec.json.decode(raw)
