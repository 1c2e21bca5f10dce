"""Bedrock's converse: an object, or a stream of frames whose `metadata` counts.

Rule 1: neither names the model that served: it is the one in the path.
Rule 2: a stream is complete with its `metadata`, which comes after `messageStop`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from costplus.core.usage import Usage
from costplus.gateway.wire.aws_frames import Frame, FrameReader
from costplus.gateway.wire.base import EMPTY_READING, JsonReader, Reading
from costplus.gateway.wire.bedrock_usage import converse_usage, guardrail_fault
from costplus.gateway.wire.counts import NULL, block_in, compact, decode_or_none, is_null, text_or_none
from costplus.gateway.wire.text import body_chars


class Conversed(msgspec.Struct, gc=False, rename="camel"):
    """A whole answer, or a stream's `metadata`."""

    output: msgspec.Raw = NULL
    usage: msgspec.Raw = NULL
    service_tier: Any = None
    performance_config: Any = None
    trace: Any = None
    message: Any = None


_CONVERSED = msgspec.json.Decoder(Conversed)
_BLOCK = msgspec.json.Decoder(dict[str, Any])
_ANY: msgspec.json.Decoder[Any] = msgspec.json.Decoder()


class BedrockConverseJson(JsonReader):
    """Reads a converse answer."""

    __slots__ = ()

    def _read(self, body: bytes) -> Reading:
        answer = decode_or_none(_CONVERSED, body)
        if answer is None:
            return EMPTY_READING
        return conversed_reading(
            answer,
            output_chars=body_chars(decode_or_none(_ANY, answer.output)),
            complete=True,
            # A refusal is a `message` and nothing else.
            error=isinstance(answer.message, str) and is_null(answer.usage),
        )


class BedrockConverseFrames(FrameReader):
    """Reads a converse stream."""

    __slots__ = ("_chars", "_metadata")

    def __init__(self, *, strip_usage: bool = False) -> None:
        super().__init__(strip_usage=strip_usage)
        self._chars = 0
        self._metadata = Conversed()

    def _see(self, frame: Frame) -> None:
        kind = frame.headers.get(":event-type")
        if kind == "contentBlockDelta":
            event = decode_or_none(_BLOCK, frame.payload)
            self._chars += delta_chars(event or {})
        elif kind == "metadata":
            metadata = decode_or_none(_CONVERSED, frame.payload)
            if metadata is not None:
                self._metadata = metadata
                self._complete = True

    def _reading(self) -> Reading:
        return conversed_reading(
            self._metadata, output_chars=self._chars, complete=self._complete, error=self._error
        )


def delta_chars(event: Mapping[str, Any]) -> int:
    """Return the length of what a `contentBlockDelta` adds: text, thoughts or a tool's arguments."""
    delta = block_in(event, "delta")
    texts = (
        delta.get("text"),
        block_in(delta, "reasoningContent").get("text"),
        block_in(delta, "toolUse").get("input"),
    )
    return sum(len(text) for text in texts if isinstance(text, str))


def conversed_reading(answer: Conversed, *, output_chars: int, complete: bool, error: bool) -> Reading:
    """Return the reading of what an answer or a stream's metadata say."""
    raw_usage = b"" if is_null(answer.usage) else compact(answer.usage)
    block = decode_or_none(_BLOCK, raw_usage) if raw_usage else None
    usage = None if block is None else converse_usage(block)
    faults = guardrail_fault(answer.trace) if isinstance(answer.trace, dict) else []
    if usage is not None and faults:
        usage = Usage(usage.quantities, (*usage.flags, *faults))
    return Reading(
        usage=usage,
        model=None,
        service_tier=_tier(answer),
        raw_usage=raw_usage,
        response_id=None,
        output_chars=output_chars,
        complete=complete,
        error=error,
    )


def _tier(answer: Conversed) -> str | None:
    """Return the tier that served; optimised latency is one too, with prices of its own."""
    tier, performance = answer.service_tier, answer.performance_config
    named = text_or_none(tier.get("type")) if isinstance(tier, dict) else None
    latency = performance.get("latency") if isinstance(performance, dict) else None
    return named or ("optimized" if latency == "optimized" else None)
