"""Server-sent events out of arbitrary byte pieces (sans-I/O, as h11 does for HTTP).

Rule 1: the raw events, joined, are exactly the bytes fed; nothing is normalised.
Rule 2: where an event ends depends on the bytes alone, never on how they were cut.
Rule 3: memory is bounded: an event over `EVENT_BYTES_MAX` is an error, not a growing buffer.
Source: the WHATWG event stream grammar (LF, CRLF and CR end a line; a blank line ends an event).
"""

from __future__ import annotations

import re

from costplus.core.errors import TooLarge

EVENT_BYTES_MAX = 16 * 1024 * 1024

_SPACE, _LF, _CR = 0x20, 0x0A, 0x0D  # Searching for one byte as a number is the fastest search there is.
_BOM = b"\xef\xbb\xbf"
# Atomic groups: a lone CRLF must not be read as CR followed by LF.
_BLANK_LINE = re.compile(rb"(?>\r\n|\n|\r)(?>\r\n|\n|\r)")
_BLANK_LINE_BYTES_MAX = 4


class EventTooLarge(TooLarge):
    """One event of a stream is larger than any provider sends; the stream cannot be metered."""

    code = "stream_event_too_large"


class SseSplitter:
    """Cuts a byte stream into raw events, each with the blank line that ends it."""

    __slots__ = ("_held", "_saw_cr")

    def __init__(self) -> None:
        self._held = bytearray()
        self._saw_cr = False

    def feed(self, chunk: bytes) -> list[bytes]:
        """Return the events that `chunk` completes, oldest first."""
        if not self._saw_cr and _CR in chunk:
            self._saw_cr = True
        if not self._held:
            return [chunk] if not self._saw_cr and _is_one_event(chunk) else self._cut(chunk)
        # Only bytes that could be part of a blank line are searched again: a large event fed in
        # many pieces costs linear time.
        searched_from = max(0, len(self._held) - _BLANK_LINE_BYTES_MAX + 1)
        self._held += chunk
        if not self._may_hold_event(searched_from):
            self._check_held()
            return []
        whole = bytes(self._held)
        self._held.clear()
        return self._cut(whole)

    def flush(self) -> bytes:
        """Return the bytes of an event that the stream's end left unfinished."""
        rest = bytes(self._held)
        self._held.clear()
        return rest

    def _may_hold_event(self, searched_from: int) -> bool:
        if self._saw_cr:
            return _BLANK_LINE.search(self._held, searched_from) is not None
        return self._held.find(b"\n\n", searched_from) >= 0

    def _cut(self, whole: bytes) -> list[bytes]:
        if self._saw_cr:
            return self._cut_any_newline(whole)
        *bodies, rest = whole.split(b"\n\n")
        events = [body + b"\n\n" for body in bodies]
        if rest:
            self._hold(rest)
        if len(whole) > EVENT_BYTES_MAX:
            _check_sizes(events)
        return events

    def _cut_any_newline(self, whole: bytes) -> list[bytes]:
        events: list[bytes] = []
        start = 0
        for match in _BLANK_LINE.finditer(whole):
            end = match.end()
            if end == len(whole) and whole.endswith(b"\r"):
                break  # A LF may follow and belong to this line end.
            events.append(whole[start:end])
            start = end
        self._hold(whole[start:])
        if len(whole) > EVENT_BYTES_MAX:
            _check_sizes(events)
        return events

    def _hold(self, rest: bytes) -> None:
        self._held += rest
        self._check_held()

    def _check_held(self) -> None:
        if len(self._held) > EVENT_BYTES_MAX:
            raise _too_large(len(self._held))


def _is_one_event(chunk: bytes) -> bool:
    """Whether `chunk`, without CR, is one small event of one or two lines: what most chunks are."""
    end = len(chunk) - 2
    if end <= 0 or end > 4096 or chunk[-1] != _LF:
        return False
    newline = chunk.find(_LF)
    return newline == end or (newline + 1 != chunk.find(_LF, newline + 1) == end)


def event_data(raw: bytes) -> bytes:
    """Return the `data` of a raw event: its lines joined by LF, b"" where it has none."""
    end = len(raw) - 2
    start = 0 if raw.startswith(b"data:") else raw.find(_LF) + 1
    if (
        raw.startswith(b"data:", start)
        and raw.find(_LF, start) == end
        and _CR not in raw
        and (start == 0 or not raw.startswith((b"data", _BOM)))
    ):  # The data is one line, the last, with at most one line of another field before it.
        return raw[start + 6 : end] if raw[start + 5] == _SPACE else raw[start + 5 : end]
    return b"\n".join(_field_values(raw, b"data"))


def event_name(raw: bytes) -> bytes:
    """Return the value of the raw event's last `event` field, b"" where it has none."""
    if b"event" not in raw:
        return b""
    values = _field_values(raw, b"event")
    return values[-1] if values else b""


def _field_values(raw: bytes, field: bytes) -> list[bytes]:
    prefix = field + b":"
    values = []
    for line in raw.removeprefix(_BOM).splitlines():
        if line.startswith(prefix):
            value = line[len(prefix) :]
            values.append(value[1:] if value.startswith(b" ") else value)
        elif line == field:
            values.append(b"")
    return values


def _check_sizes(events: list[bytes]) -> None:
    for event in events:
        if len(event) > EVENT_BYTES_MAX:
            raise _too_large(len(event))


def _too_large(size_bytes: int) -> EventTooLarge:
    return EventTooLarge(
        f"A stream event of {size_bytes} bytes or more exceeds the limit of {EVENT_BYTES_MAX} bytes."
    )
