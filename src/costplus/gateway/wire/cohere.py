"""Cohere's chat, embed and rerank: what is billed stands in `billed_units`.

Rule 1: `billed_units` are the bill. `tokens` count the provider's own additions to the prompt too, and
`cached_tokens` belong to those: neither is ever added to or taken from what is billed.
Rule 2: without billed units the `tokens` are taken, flagged `billed_units_missing`.
Rule 3: rerank is billed by search unit; images and classifications have fees that no leaf carries: flagged.
Source: Cohere's field definitions; gateway rule 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import msgspec

from costplus.core.usage import Usage, usage_of
from costplus.gateway.wire.base import EMPTY_READING, JsonReader, Reading, SseReader
from costplus.gateway.wire.counts import (
    NULL,
    UNREADABLE,
    block_in,
    compact,
    decode_or_none,
    detail_in,
    is_null,
    text_or_none,
    total_in,
)
from costplus.gateway.wire.sse import event_data
from costplus.gateway.wire.text import body_chars

BILLED_UNITS_MISSING = "billed_units_missing"

_UNMETERED = {"images": "unmetered_images", "classifications": "unmetered_classifications"}


class _Answer(msgspec.Struct, gc=False):
    id: Any = None
    usage: msgspec.Raw = NULL  # Chat.
    meta: msgspec.Raw = NULL  # Embed and rerank.
    content: msgspec.Raw = NULL
    message: msgspec.Raw = NULL  # The answer's message; of a refusal, its sentence.


class _Event(msgspec.Struct, gc=False):
    type: Any = None
    id: Any = None
    delta: Any = None


_ANSWER = msgspec.json.Decoder(_Answer)
_EVENT = msgspec.json.Decoder(_Event)
_BLOCK = msgspec.json.Decoder(dict[str, Any])
_ANY: msgspec.json.Decoder[Any] = msgspec.json.Decoder()


class CohereJson(JsonReader):
    """Reads an answer of chat, embed or rerank."""

    __slots__ = ()

    def _read(self, body: bytes) -> Reading:
        answer = decode_or_none(_ANSWER, body)
        if answer is None:
            return EMPTY_READING
        raw = answer.meta if is_null(answer.usage) else answer.usage
        raw_usage = b"" if is_null(raw) else compact(raw)
        message = decode_or_none(_ANY, answer.message)
        return replace(
            EMPTY_READING,
            usage=_usage_from(raw_usage),
            raw_usage=raw_usage,
            response_id=text_or_none(answer.id),
            output_chars=body_chars(message) if isinstance(message, dict) else 0,
            complete=True,
            error=isinstance(message, str),
        )


class CohereChatSse(SseReader):
    """Reads a stream of chat events; `message-end` counts."""

    __slots__ = ("_chars", "_error", "_id", "_raw_usage")

    def __init__(self, *, strip_usage: bool = False) -> None:
        super().__init__(strip_usage=strip_usage)
        self._chars = 0
        self._error = False
        self._id: str | None = None
        self._raw_usage = b""

    def _see(self, raw: bytes) -> bool:
        event = decode_or_none(_EVENT, event_data(raw))
        if event is None:
            return False
        self._id = text_or_none(event.id) or self._id
        delta = event.delta if isinstance(event.delta, dict) else {}
        if event.type == "message-end":
            self._complete = True
            self._error = self._error or delta.get("finish_reason") == "ERROR"
            usage = delta.get("usage")
            self._raw_usage = msgspec.json.encode(usage) if usage else b""
        else:
            message = block_in(delta, "message")
            plan = message.get("tool_plan")
            self._chars += body_chars(message) + (len(plan) if isinstance(plan, str) else 0)
        return False

    def _reading(self) -> Reading:
        return replace(
            EMPTY_READING,
            usage=_usage_from(self._raw_usage),
            raw_usage=self._raw_usage,
            response_id=self._id,
            output_chars=self._chars,
            complete=self._complete,
            error=self._error,
        )


def _usage_from(raw_usage: bytes) -> Usage | None:
    block = decode_or_none(_BLOCK, raw_usage) if raw_usage else None
    return None if block is None else cohere_usage(block)


def cohere_usage(block: Mapping[str, Any]) -> Usage | None:
    """Return the leaves of a `usage` or `meta` block, None where it bills nothing that can be read."""
    faults: list[str] = []
    billed = block_in(block, "billed_units")
    if not billed:
        billed = block_in(block, "tokens")
        faults.append(BILLED_UNITS_MISSING)
    keys = ("input_tokens", "output_tokens", "search_units", "image_tokens")
    counts = [total_in(billed, key) for key in keys]
    unmetered = [fault for key, fault in _UNMETERED.items() if detail_in(billed, key, faults)]
    if UNREADABLE in counts or (not unmetered and all(count is None for count in counts)):
        return None
    taken, made, searched, seen = (count or 0 for count in counts)
    if seen:  # Images counted in tokens are not billed one by one as well.
        unmetered = [fault for fault in unmetered if fault != _UNMETERED["images"]]
    leaves = {"input": taken, "output": made, "search_unit": searched, "input_image": seen}
    return usage_of(leaves, flags=dict.fromkeys([*faults, *unmetered]))
