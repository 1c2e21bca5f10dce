"""The port of a wire: bytes go in, the bytes to forward come out, a `Reading` at the end.

Rule 1: sans-I/O: no socket, no await, no clock; the same bytes give the same reading however they are cut.
Rule 2: what is forwarded is what was fed, byte for byte, but for a chunk that exists only because we asked.
Rule 3: missing usage is None, zero usage is an empty `Usage`; a block that cannot be read is None with its
`raw_usage` kept.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Protocol

from costplus.core.usage import Usage
from costplus.gateway.wire.sse import SseSplitter


@dataclass(frozen=True, slots=True)
class Reading:
    """What one answer of a provider says about itself."""

    usage: Usage | None  # None: the provider sent none, or none that can be read.
    model: str | None  # The model that served, which may not be the one asked for.
    service_tier: str | None  # The tier that served, in the provider's own word.
    raw_usage: bytes  # The provider's usage block as compact JSON; b"" where it sent none.
    response_id: str | None
    output_chars: int  # Generated characters seen, reasoning and tool arguments included.
    complete: bool  # The terminal event arrived, or the whole JSON body was parsed.
    error: bool  # The provider answered with an error object, perhaps after some output.
    reported_cost: str = ""  # What the provider says the call cost in USD, exact text; "" where it is silent.


class WireReader(Protocol):
    """Reads one answer; make a new one per upstream attempt."""

    def feed(self, chunk: bytes) -> bytes:
        """Take the next bytes from upstream; return the bytes to forward now."""
        ...

    @property
    def done(self) -> bool:
        """Whether the stream's terminal event has been read; more bytes may follow, but no more usage."""
        ...

    def flush(self) -> bytes:
        """Upstream has ended: return the bytes that were held back and must still be forwarded."""
        ...

    def finish(self) -> Reading:
        """Return what was read, however much that is; call it last, after `flush` where bytes go on."""
        ...


class JsonReader(ABC):
    """Collects a JSON body; a subclass says in `_read` what the body means."""

    __slots__ = ("_chunks",)

    def __init__(self) -> None:
        self._chunks: list[bytes] = []

    @property
    def done(self) -> bool:
        return False

    def feed(self, chunk: bytes) -> bytes:
        self._chunks.append(chunk)
        return chunk

    def flush(self) -> bytes:
        return b""

    def finish(self) -> Reading:
        if len(self._chunks) != 1:
            self._chunks = [b"".join(self._chunks)]
        return self._read(self._chunks[0])

    @abstractmethod
    def _read(self, body: bytes) -> Reading:
        """Return what the whole body says."""


class SseReader(ABC):
    """Cuts a stream into events; a subclass reads them in `_see`.

    With `strip_usage` the events for which `_see` returns True are left out of what is forwarded, and
    the bytes of an unfinished event are held back; without it every byte passes at once. An event without
    data says nothing, and is not read: there may be thousands of blank ones in a chunk.
    """

    __slots__ = ("_complete", "_splitter", "_strip_usage")

    def __init__(self, *, strip_usage: bool = False) -> None:
        self._splitter = SseSplitter()
        self._strip_usage = strip_usage
        self._complete = False

    @property
    def done(self) -> bool:
        return self._complete

    @property
    def output_chars(self) -> int:
        """How many characters were generated so far."""
        return self._reading().output_chars

    def feed(self, chunk: bytes) -> bytes:
        see = self._see
        if not self._strip_usage:
            for raw in self._splitter.feed(chunk):
                if b"data" in raw:
                    see(raw)
            return chunk
        return b"".join([raw for raw in self._splitter.feed(chunk) if b"data" not in raw or not see(raw)])

    def flush(self) -> bytes:
        """Read the unfinished last event too: some providers end without the final blank line."""
        rest = self._splitter.flush()
        is_ours = bool(rest) and self._see(rest)
        return rest if self._strip_usage and not is_ours else b""

    def finish(self) -> Reading:
        self.flush()
        return self._reading()

    @abstractmethod
    def _see(self, raw: bytes) -> bool:
        """Read one raw event; return whether it exists only because we asked for usage."""

    @abstractmethod
    def _reading(self) -> Reading:
        """Return what all events so far say."""


EMPTY_READING = Reading(
    usage=None,
    model=None,
    service_tier=None,
    raw_usage=b"",
    response_id=None,
    output_chars=0,
    complete=False,
    error=False,
)
