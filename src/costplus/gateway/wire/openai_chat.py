"""OpenAI chat.completions and legacy completions, and everyone who speaks them.

Rule 1: every event is decoded, into the few fields that matter: measured faster than searching its bytes
for the words that would make decoding necessary.
Rule 2: the last usage wins, `usage` before Groq's `x_groq.usage` within one event.
Rule 3: what stripping removes is a chunk without choices that carries usage, and nothing else.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec

from costplus.core.usage import Usage
from costplus.gateway.wire.base import EMPTY_READING, JsonReader, Reading, SseReader
from costplus.gateway.wire.counts import NULL, compact, decode_or_none, is_null, text_or_none
from costplus.gateway.wire.openai_usage import CHAT, usage_from_raw
from costplus.gateway.wire.reported import reported_cost
from costplus.gateway.wire.sse import event_data
from costplus.gateway.wire.text import body_chars, text_chars

USAGE_BREAKDOWN = "usage_breakdown"  # Several models served one call (Groq compound), one total is billed.


class _Groq(msgspec.Struct, gc=False):
    usage: msgspec.Raw = NULL
    usage_breakdown: msgspec.Raw = NULL


class _Breakdown(msgspec.Struct, gc=False):
    models: list[Any] | None = None


class _Completion(msgspec.Struct, gc=False):
    """A whole body, or a chunk of any shape; `Any` where a provider may put anything."""

    id: Any = None
    model: Any = None
    service_tier: Any = None
    error: Any = None
    choices: msgspec.Raw = NULL
    usage: msgspec.Raw = NULL
    x_groq: msgspec.Raw = NULL
    usage_breakdown: msgspec.Raw = NULL


class _Delta(msgspec.Struct, gc=False):
    content: Any = None
    reasoning: Any = None
    reasoning_content: Any = None
    refusal: Any = None
    tool_calls: Any = None


class _Choice(msgspec.Struct, gc=False):
    delta: _Delta | None = None
    text: Any = None


class _Chunk(msgspec.Struct, gc=False):
    """One chunk of the usual shape: its text, and whether it is worth reading as a `_Completion`."""

    choices: list[_Choice] | None = None
    usage: dict[str, Any] | None = None
    x_groq: dict[str, Any] | None = None
    error: Any = None


_CHUNK = msgspec.json.Decoder(_Chunk)
_COMPLETION = msgspec.json.Decoder(_Completion)
_COMPLETION_LIST = msgspec.json.Decoder(list[_Completion])
_BREAKDOWN = msgspec.json.Decoder(_Breakdown)
_GROQ = msgspec.json.Decoder(_Groq)
_ANY: msgspec.json.Decoder[Any] = msgspec.json.Decoder()


class OpenAIChatJson(JsonReader):
    """Reads a `chat.completion` or `text_completion` object."""

    __slots__ = ()

    def _read(self, body: bytes) -> Reading:
        completion = decode_or_none(_COMPLETION, body)
        if completion is None:
            return _read_list(body)
        raw_usage, has_breakdown = _usage_of(completion)
        usage, tier = usage_from_raw(raw_usage, CHAT)
        return Reading(
            usage=_flag_breakdown(usage) if has_breakdown else usage,
            model=text_or_none(completion.model),
            service_tier=text_or_none(completion.service_tier) or tier,
            raw_usage=raw_usage,
            response_id=text_or_none(completion.id),
            output_chars=body_chars(decode_or_none(_ANY, completion.choices)),
            complete=True,
            error=bool(completion.error),
            reported_cost=reported_cost(raw_usage),
        )


class OpenAIChatSse(SseReader):
    """Reads a stream of `chat.completion.chunk` objects."""

    __slots__ = ("_chars", "_error", "_has_breakdown", "_id", "_model", "_raw_usage", "_tier")

    def __init__(self, *, strip_usage: bool = False) -> None:
        super().__init__(strip_usage=strip_usage)
        self._model: str | None = None
        self._tier: str | None = None
        self._id: str | None = None
        self._raw_usage = b""
        self._has_breakdown = False
        self._chars = 0
        self._error = False

    def _see(self, raw: bytes) -> bool:
        data = event_data(raw)
        if not data:
            return False
        chunk = decode_or_none(_CHUNK, data)
        if chunk is None:
            return self._see_odd(data)
        choices = chunk.choices
        for choice in choices or ():
            delta = choice.delta
            if delta is None:
                self._chars += text_chars(choice.text)
                continue
            self._chars += text_chars(delta.content)
            if delta.reasoning or delta.reasoning_content or delta.tool_calls or delta.refusal:
                self._chars += text_chars(delta.reasoning or delta.reasoning_content)
                self._chars += body_chars(delta.tool_calls) + text_chars(delta.refusal)
        if chunk.usage is None and chunk.x_groq is None and not chunk.error and self._model is not None:
            return False
        carries_usage = self._see_news(_COMPLETION.decode(data))
        return carries_usage and choices == [] and not chunk.error

    def _see_odd(self, data: bytes) -> bool:
        """Read an event that is not a chunk, or one whose parts have unusual shapes."""
        if data.strip() == b"[DONE]":
            self._complete = True
            return False
        chunk = decode_or_none(_COMPLETION, data)
        if chunk is None:
            return False
        self._chars += body_chars(decode_or_none(_ANY, chunk.choices))
        self._see_news(chunk)
        return False

    def _see_news(self, chunk: _Completion) -> bool:
        """Take over what identifies and meters the call; return whether `chunk` carries usage."""
        self._model = text_or_none(chunk.model) or self._model
        self._tier = text_or_none(chunk.service_tier) or self._tier
        self._id = text_or_none(chunk.id) or self._id
        self._error = self._error or bool(chunk.error)
        raw_usage, has_breakdown = _usage_of(chunk)
        if raw_usage:
            self._raw_usage = raw_usage
        self._has_breakdown = self._has_breakdown or has_breakdown
        return bool(raw_usage)

    def _reading(self) -> Reading:
        usage, tier = usage_from_raw(self._raw_usage, CHAT)
        return Reading(
            usage=_flag_breakdown(usage) if self._has_breakdown else usage,
            model=self._model,
            service_tier=self._tier or tier,
            raw_usage=self._raw_usage,
            response_id=self._id,
            output_chars=self._chars,
            complete=self._complete,
            error=self._error,
            reported_cost=reported_cost(self._raw_usage),
        )


def _usage_of(answer: _Completion) -> tuple[bytes, bool]:
    """Return the compact usage block (b"" where missing) and whether several models shared the call."""
    usage, breakdown = answer.usage, answer.usage_breakdown
    groq = None if is_null(answer.x_groq) else decode_or_none(_GROQ, answer.x_groq)
    if groq is not None:
        usage = groq.usage if is_null(usage) else usage
        breakdown = groq.usage_breakdown if is_null(breakdown) else breakdown
    shared = None if is_null(breakdown) else decode_or_none(_BREAKDOWN, breakdown)
    return b"" if is_null(usage) else compact(usage), bool(shared and shared.models)


def _flag_breakdown(usage: Usage | None) -> Usage | None:
    return None if usage is None else Usage(usage.quantities, (*usage.flags, USAGE_BREAKDOWN))


def _read_list(body: bytes) -> Reading:
    """Read Google's way of answering with an error: a list of one error object."""
    listed = decode_or_none(_COMPLETION_LIST, body)
    if not listed:
        return EMPTY_READING
    return replace(EMPTY_READING, complete=True, error=bool(listed[0].error))
