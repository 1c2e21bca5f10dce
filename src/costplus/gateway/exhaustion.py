"""Exhaustion: a stream whose customer runs out of credit in the middle of it, where the card says to cut it.

Rule 1: what is generated beyond what was held is covered by holding more, block by block; where even a small
block is not to be had, the stream is over.
Rule 2: a stream is cut between two events, and ended as its dialect ends one that reached its limit.
Rule 3: a call that names a limit on its output is held for all of it and never cut.
Rule 4: a store that is away cuts nobody off.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from costplus.billing.spend_cap import SpendCapReached
from costplus.core.errors import Unavailable
from costplus.core.usage import Usage
from costplus.gateway.call import CHARS_PER_TOKEN, Call
from costplus.gateway.leases import Leases
from costplus.gateway.wire.base import SseReader
from costplus.gateway.wire.sse import event_data
from costplus.ledger.hold import InsufficientCredit
from costplus.rating.charge import rate

CUT = "cut"  # Flag: the stream was ended because its customer's credit was.
LOOK_EVERY = 8  # Chunks.
BLOCKS_TOKENS = (1024, 256, 64)
_WIRES = frozenset({"openai_chat", "gemini_generate"})  # Messages always name a limit.
_EVENT: msgspec.json.Decoder[Any] = msgspec.json.Decoder()


class Watch:
    """What one stream may still generate."""

    def __init__(self, call: Call, reader: SseReader, leases: Leases) -> None:
        self._call = call
        self._reader = reader
        self._leases = leases
        self._covered = call.quote.usage.quantities.get("output", 0)
        self._chunks = 0
        self._is_due = False
        self._last = b""  # What was sent since the last look that an event may be found in.

    async def covers(self, sent: bytes) -> bool:
        """Return whether the stream may go on after what was just sent; False only between two events."""
        self._chunks += 1
        if b"data:" in sent:
            self._last = sent
        if self._is_due and sent.endswith((b"\n\n", b"\r\n\r\n")):
            self._is_due = False
            if self._reader.output_chars // CHARS_PER_TOKEN >= self._covered:
                return await self._extended()
        elif self._chunks % LOOK_EVERY == 0:
            self._is_due = True
        return True

    def ending(self) -> bytes:
        """Return the events that end the stream in its caller's dialect."""
        return ending(self._call, self._last)

    async def _extended(self) -> bool:
        for tokens in BLOCKS_TOKENS:
            try:
                self._call.held = await self._leases.extended(
                    self._call.held, self._call.terms, self._price_nano(tokens), subject=self._subject
                )
            except (InsufficientCredit, SpendCapReached):
                continue
            except Unavailable:
                pass  # It cannot be known: the stream goes on, as without a watch.
            self._covered += tokens
            return True
        return False

    @property
    def _subject(self) -> str:
        return f"{self._call.sheet.provider}/{self._call.sheet.model}"

    def _price_nano(self, tokens: int) -> int:
        """Return what so many more tokens of output are charged."""
        call, quantities = self._call, {"input": self._call.quote.usage.quantities["input"]}
        upto, more = (
            rate(Usage({**quantities, "output": output}), call.sheet, context=call.context).price_nano
            for output in (self._covered, self._covered + tokens)
        )
        return max(more - upto, 0)


def is_watched(call: Call) -> bool:
    """Return whether the call's stream is cut where its customer's credit ends."""
    return (
        call.sheet.card.on_exhaustion == "cut"
        and call.held.lease is not None
        and call.request.max_tokens is None
        and call.endpoint.wire in _WIRES
    )


def ending(call: Call, last: bytes) -> bytes:
    """Return the events that end a stream in its caller's dialect; `last` is what was sent last."""
    usage = call.usage or Usage({})
    given = {"in": usage.input_tokens, "out": usage.output_tokens}
    event = _last_event(last)
    if call.endpoint.wire == "gemini_generate":
        counts = {
            "promptTokenCount": given["in"],
            "candidatesTokenCount": given["out"],
            "totalTokenCount": given["in"] + given["out"],
        }
        candidate = {"content": {"parts": [], "role": "model"}, "finishReason": "MAX_TOKENS", "index": 0}
        return _data({**event, "candidates": [candidate], "usageMetadata": counts})
    return _chat_end(call, event, given)


def _chat_end(call: Call, event: dict[str, Any], given: dict[str, int]) -> bytes:
    head: dict[str, Any] = {key: event[key] for key in ("id", "object", "created", "model") if key in event}
    end = _data({**head, "choices": [{"index": 0, "delta": {}, "finish_reason": "length"}]})
    if b"include_usage" in bytes(call.request.fields.get("stream_options", b"")):
        counts = {
            "prompt_tokens": given["in"],
            "completion_tokens": given["out"],
            "total_tokens": given["in"] + given["out"],
        }
        end += _data({**head, "choices": [], "usage": counts})
    return end + b"data: [DONE]\n\n"


def _last_event(sent: bytes) -> dict[str, Any]:
    """Return the last event that is one, empty where none is."""
    for raw in reversed(re.split(rb"\r?\n\r?\n", sent)):
        try:
            found = _EVENT.decode(event_data(raw.replace(b"\r\n", b"\n") + b"\n\n"))
        except msgspec.DecodeError:
            continue
        if isinstance(found, dict):
            return found
    return {}


def _data(event: dict[str, Any]) -> bytes:
    return b"data: %b\n\n" % msgspec.json.encode(event)
