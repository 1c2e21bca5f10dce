"""OpenAI's Responses API: a response object, or a stream whose last event carries it.

Rule 1: the last response object of a stream counts; deltas are counted by length until one has output.
Rule 2: searches are counted as the provider counts them (`tool_usage`), else by its output items:
a `search` action has a fee, opening or searching within a page has none.
Rule 3: tools with a fee that no leaf can carry are flagged `unmetered_<tool>`, never passed over.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec

from costplus.core.usage import Usage
from costplus.gateway.wire.base import EMPTY_READING, JsonReader, Reading, SseReader
from costplus.gateway.wire.counts import (
    NULL,
    block_in,
    compact,
    decode_or_none,
    detail_in,
    is_null,
    text_or_none,
)
from costplus.gateway.wire.openai_usage import RESPONSES, usage_from_raw
from costplus.gateway.wire.reported import reported_cost
from costplus.gateway.wire.sse import event_data
from costplus.gateway.wire.text import body_chars

_TERMINAL = frozenset(
    ("response.completed", "response.incomplete", "response.failed", "response.cancelled", "response.done")
)
_UNMETERED = {
    "image_generation_call": "unmetered_image_generation",
    "code_interpreter_call": "unmetered_code_interpreter",
    "file_search_call": "unmetered_file_search",
}


class _Response(msgspec.Struct, gc=False):
    id: Any = None
    model: Any = None
    service_tier: Any = None
    error: Any = None
    output: msgspec.Raw = NULL
    usage: msgspec.Raw = NULL
    tool_usage: msgspec.Raw = NULL


class _Event(msgspec.Struct, gc=False):
    type: Any = None
    error: Any = None
    delta: Any = None
    response: msgspec.Raw = NULL


_RESPONSE = msgspec.json.Decoder(_Response)
_EVENT = msgspec.json.Decoder(_Event)
_ANY: msgspec.json.Decoder[Any] = msgspec.json.Decoder()


class OpenAIResponsesJson(JsonReader):
    """Reads a `response` object."""

    __slots__ = ()

    def _read(self, body: bytes) -> Reading:
        response = decode_or_none(_RESPONSE, body)
        return EMPTY_READING if response is None else _read_response(response, complete=True)


class OpenAIResponsesSse(SseReader):
    """Reads a stream of response events."""

    __slots__ = ("_chars", "_error", "_response")

    def __init__(self, *, strip_usage: bool = False) -> None:
        super().__init__(strip_usage=strip_usage)
        self._response: _Response | None = None
        self._chars = 0
        self._error = False

    def _see(self, raw: bytes) -> bool:
        event = decode_or_none(_EVENT, event_data(raw))
        if event is None:
            return False
        if type(event.delta) is str:
            self._chars += len(event.delta)
        if event.type == "error" or event.error:
            self._error = True
        if not is_null(event.response):
            response = decode_or_none(_RESPONSE, event.response)
            if response is not None:
                self._response = response
                self._complete = self._complete or event.type in _TERMINAL
        return False

    def _reading(self) -> Reading:
        if self._response is None:
            return replace(EMPTY_READING, output_chars=self._chars, error=self._error)
        reading = _read_response(self._response, complete=self._complete)
        return replace(
            reading,
            output_chars=reading.output_chars or self._chars,
            error=reading.error or self._error,
        )


def _read_response(response: _Response, *, complete: bool) -> Reading:
    items = decode_or_none(_ANY, response.output)
    faults: list[str] = []
    calls = _calls(items if isinstance(items, list) else [], response.tool_usage, faults)
    raw_usage = b"" if is_null(response.usage) else compact(response.usage)
    usage, tier = usage_from_raw(raw_usage, RESPONSES, calls=calls)
    if usage is not None and faults:
        usage = Usage(usage.quantities, (*usage.flags, *faults))
    return Reading(
        usage=usage,
        model=text_or_none(response.model),
        service_tier=text_or_none(response.service_tier) or tier,
        raw_usage=raw_usage,
        response_id=text_or_none(response.id),
        output_chars=body_chars(items),
        complete=complete,
        error=bool(response.error),
        reported_cost=reported_cost(raw_usage),
    )


def _calls(items: list[Any], raw_tool_usage: msgspec.Raw, faults: list[str]) -> dict[str, int]:
    """Return the calls with a fee; `faults` receives the tools whose fee has no leaf."""
    searches = 0
    for item in items:
        kind = item.get("type") if isinstance(item, dict) else None
        if kind == "web_search_call":
            searches += block_in(item, "action").get("type", "search") == "search"
        elif kind in _UNMETERED and _UNMETERED[kind] not in faults:
            faults.append(_UNMETERED[kind])
    if is_null(raw_tool_usage):
        return {"web_search": searches}
    tool_usage = decode_or_none(_ANY, raw_tool_usage)
    if isinstance(tool_usage, dict) and "web_search" in tool_usage:
        searches = detail_in(block_in(tool_usage, "web_search"), "num_requests", faults)
    return {"web_search": searches}
