"""AWS event-stream frames out of arbitrary byte pieces (`application/vnd.amazon.eventstream`).

Rule 1: a frame is a prelude of two lengths with its checksum, headers, a payload, and a checksum over all.
Rule 2: nothing is read from a frame whose checksums or lengths do not hold; what follows it is not read
either, since where the next frame starts is unknown. Bytes pass all the same.
Rule 3: memory is bounded by the largest frame that AWS sends.
Source: AWS's description of the encoding.
"""

from __future__ import annotations

import struct
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import NamedTuple
from zlib import crc32

from costplus.gateway.wire.base import Reading

FRAME_BYTES_MAX = (16 << 20) + (128 << 10) + 16  # Payload, headers, and what is around them.

_PRELUDE = struct.Struct(">III")  # Total length, headers' length, checksum of both.
_CHECKSUM = struct.Struct(">I")
_LENGTH = struct.Struct(">H")
_FRAME_BYTES_MIN = _PRELUDE.size + _CHECKSUM.size
_BYTES, _STRING = 6, 7
_WIDTHS = {0: 0, 1: 0, 2: 1, 3: 2, 4: 4, 5: 8, 8: 8, 9: 16}  # Header types of a fixed width.


class Frame(NamedTuple):
    """One frame: the headers that hold text, and the payload."""

    headers: Mapping[str, str]
    payload: bytes


class FrameSplitter:
    """Cuts a byte stream into frames."""

    __slots__ = ("_held", "broken")

    def __init__(self) -> None:
        self._held = bytearray()
        self.broken = False  # The bytes are no event stream, or were damaged; nothing more is read.

    @property
    def pending(self) -> bool:
        """Whether a frame has begun and not ended."""
        return bool(self._held)

    def feed(self, chunk: bytes) -> list[Frame]:
        """Return the frames that `chunk` completes, oldest first."""
        if self.broken:
            return []
        self._held += chunk
        frames: list[Frame] = []
        start = 0
        while len(self._held) - start >= _PRELUDE.size:
            size, headers_size, checksum = _PRELUDE.unpack_from(self._held, start)
            if crc32(self._held[start : start + 8]) != checksum or not (
                headers_size + _FRAME_BYTES_MIN <= size <= FRAME_BYTES_MAX
            ):
                return self._break(frames)
            if len(self._held) - start < size:
                break
            frame = _frame(bytes(self._held[start : start + size]), headers_size)
            if frame is None:
                return self._break(frames)
            frames.append(frame)
            start += size
        del self._held[:start]
        return frames

    def _break(self, frames: list[Frame]) -> list[Frame]:
        self.broken = True
        self._held.clear()
        return frames


def _frame(raw: bytes, headers_size: int) -> Frame | None:
    """Return the frame in `raw`, None where its checksum or its headers do not hold."""
    end = len(raw) - _CHECKSUM.size
    if crc32(raw[:end]) != _CHECKSUM.unpack_from(raw, end)[0]:
        return None
    headers = _headers(raw[_PRELUDE.size : _PRELUDE.size + headers_size])
    return None if headers is None else Frame(headers, raw[_PRELUDE.size + headers_size : end])


def _headers(raw: bytes) -> dict[str, str] | None:
    """Return the headers that hold text, None where the lengths do not add up."""
    headers: dict[str, str] = {}
    at = 0
    try:
        while at < len(raw):
            name_end = at + 1 + raw[at]
            name, kind = raw[at + 1 : name_end].decode(), raw[name_end]
            at = name_end + 1
            if kind in (_BYTES, _STRING):
                width = _LENGTH.unpack_from(raw, at)[0]
                at += _LENGTH.size
            else:
                width = _WIDTHS[kind]
            if kind == _STRING:
                headers[name] = raw[at : at + width].decode()
            at += width
    except (IndexError, KeyError, struct.error, UnicodeDecodeError):
        return None
    return headers if at == len(raw) else None


class FrameReader(ABC):
    """Cuts a stream into frames; a subclass reads them in `_see`. Every byte passes at once.

    Usage is always part of these streams, so there is nothing that `strip_usage` could take out.
    """

    __slots__ = ("_complete", "_error", "_splitter")

    def __init__(self, *, strip_usage: bool = False) -> None:
        self._splitter = FrameSplitter()
        self._complete = False
        self._error = False

    @property
    def done(self) -> bool:
        return self._complete

    def feed(self, chunk: bytes) -> bytes:
        for frame in self._splitter.feed(chunk):
            if frame.headers.get(":message-type", "event") != "event":  # An exception or an error.
                self._error = True
            else:
                self._see(frame)
        return chunk

    def flush(self) -> bytes:
        return b""

    def finish(self) -> Reading:
        return self._reading()

    @abstractmethod
    def _see(self, frame: Frame) -> None:
        """Read one frame."""

    @abstractmethod
    def _reading(self) -> Reading:
        """Return what all frames so far say."""
