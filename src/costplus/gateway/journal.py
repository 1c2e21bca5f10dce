"""The journal: what the gateway must not forget, appended to local files before anything depends on it.

Rule 1: an intent is written before the provider is called; its usage before the answer is complete. A write
that returned survives the process's death; an fsync, made for many records at once, survives the machine's.
Rule 2: a record is one line: CRC-32 of the rest, a space, JSON. A torn line is passed over.
Rule 3: a segment is deleted when every call that it began or measured is settled or void.
Rule 4: replaying is harmless: settlement knows events by an id that follows from the intent.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import zlib
from collections.abc import Iterator
from datetime import datetime
from fractions import Fraction
from pathlib import Path

import msgspec

from costplus.core.errors import Unavailable
from costplus.core.money import decimal_text, parse_exact
from costplus.gateway.errors import JournalFull
from costplus.rating.sheet import UnitRate

SEGMENT_BYTES = 32 << 20


class JournalBusy(Unavailable):
    """Another process writes this journal."""

    code = "journal_busy"
    remedy = "Stop the other process, or give this one a --data-dir of its own."


class Intent(msgspec.Struct, tag="i", kw_only=True, frozen=True):
    """A call is about to be made: enough to bill an estimate should nothing more be heard of it."""

    id: str
    customer: str
    at: datetime
    provider: str
    model: str
    requested_model: str
    input_tokens: int
    price_version: str
    card_version: str
    circumstances: str = ""
    hold: str = ""
    held_nano: int = 0
    api_key: str = ""
    own_key: bool = False  # Whether it is made with the customer's own key at the provider.


class Used(msgspec.Struct, tag="u", kw_only=True, frozen=True):
    """The call's usage and charge; `lines` are (unit rate id, quantity), `Rated` records hold the rates."""

    id: str
    customer: str
    at: datetime
    provider: str
    model: str
    requested_model: str
    quantities: dict[str, int]
    flags: tuple[str, ...]
    raw_usage: str
    service_tier: str
    reported_cost: str = ""
    circumstances: str = ""
    price_nano: int
    cost_nano: int
    lines: list[tuple[str, int]]
    unpriced: tuple[str, ...] = ()
    hold: str = ""
    release_nano: int = 0
    api_key: str = ""
    caps: list[tuple[str, int]] = []  # What it frees of reservations of spend caps.


class Rated(msgspec.Struct, tag="r", frozen=True):
    """A unit rate that later `Used` records of the segment refer to."""

    rate: UnitRate


class Void(msgspec.Struct, tag="v", frozen=True):
    """The call came to nothing that is billed."""

    id: str
    reason: str


Entry = Intent | Used | Rated | Void


def _encode_exact(value: object) -> object:
    if isinstance(value, Fraction):
        return decimal_text(value)
    raise TypeError(type(value))


def _decode_exact(kind: type, value: object) -> object:
    if kind is Fraction and isinstance(value, str):
        return parse_exact(value)
    raise TypeError(kind)


_encoder = msgspec.json.Encoder(enc_hook=_encode_exact)
_decoder: msgspec.json.Decoder[Entry] = msgspec.json.Decoder(Entry, dec_hook=_decode_exact)


def read_segment(path: Path) -> Iterator[Entry]:
    """Yield the whole entries of a segment; what a dying process tore is passed over."""
    for line in path.read_bytes().split(b"\n"):
        checksum, _, text = line.partition(b" ")
        if checksum == b"%08x" % zlib.crc32(text):
            yield _decoder.decode(text)


class _Segment:
    """One file of the journal and the calls that still need it."""

    __slots__ = ("dirty", "fd", "open", "path", "rates", "syncing", "torn", "written_bytes")

    def __init__(self, path: Path) -> None:
        self.path = path
        self.fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self.written_bytes = 0
        self.open: set[str] = set()
        self.rates: set[str] = set()
        self.dirty = False
        self.syncing = False  # A thread flushes it: its descriptor must stay.
        self.torn = False  # Its last line is: nothing may follow.


class Journal:
    """The journal of one gateway process. All methods run on its event loop."""

    def __init__(self, folder: Path, *, bytes_max: int = 4 << 30) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._bytes_max = bytes_max
        self._bytes = 0
        self._lock = os.open(folder / "lock", os.O_WRONLY | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._lock)
            raise JournalBusy(f"Another process writes the journal in {folder}.") from None
        self._segments: list[_Segment] = []
        self._of_call: dict[str, list[_Segment]] = {}
        self._waiters: list[asyncio.Future[None]] = []
        self._syncing = False
        self._one_sync = asyncio.Lock()  # What another sync has begun is not durable before it ends.
        self._sync_task: asyncio.Future[None] | None = None

    @property
    def size_bytes(self) -> int:
        """How much of this process's is on the disk."""
        return self._bytes

    @property
    def open_calls(self) -> int:
        """How many calls are neither settled nor void."""
        return len(self._of_call)

    def left_behind(self) -> list[Path]:
        """Return the segments of an earlier process, oldest first."""
        ours = {segment.path for segment in self._segments}
        return sorted(path for path in self._folder.glob("*.journal") if path not in ours)

    def _current(self) -> _Segment:
        last = self._segments[-1] if self._segments else None
        if last is not None and last.written_bytes < SEGMENT_BYTES and not last.torn:
            return last
        self._drop_settled()
        known = [int(path.stem) for path in self._folder.glob("*.journal")]
        number = max(known, default=0) + 1
        try:
            self._segments.append(_Segment(self._folder / f"{number:012d}.journal"))
        except OSError as error:
            raise JournalFull(f"The journal cannot be written: {error}.") from error
        return self._segments[-1]

    def _write(self, segment: _Segment, *entries: Entry) -> None:
        lines = []
        for entry in entries:
            text = _encoder.encode(entry)
            lines.append(b"%08x %b\n" % (zlib.crc32(text), text))
        chunk = b"".join(lines)
        try:
            written = os.write(segment.fd, chunk)
        except OSError as error:
            raise JournalFull(f"The journal cannot be written: {error}.") from error
        segment.written_bytes += written
        self._bytes += written
        segment.dirty = True
        if written != len(chunk):
            segment.torn = True
            raise JournalFull("The journal's disk is full.")

    def intend(self, intent: Intent) -> None:
        """Record that the call is about to be made. Raises `JournalFull`, before any effect.

        The limit refuses new calls only; calls under way may still say what they used.
        """
        if self._bytes >= self._bytes_max:
            self._drop_settled()
            if self._bytes >= self._bytes_max:
                raise JournalFull(f"The journal holds {self._bytes} bytes of unsettled usage.")
        segment = self._current()
        self._write(segment, intent)
        self._note(segment, intent.id)

    def use(self, used: Used, rates: list[UnitRate]) -> None:
        """Record what the call used."""
        segment = self._current()
        fresh = [rate for rate in rates if rate.id not in segment.rates]
        if fresh:
            self._write(segment, *(Rated(rate) for rate in fresh), used)
            segment.rates.update(rate.id for rate in fresh)
        else:
            self._write(segment, used)
        self._note(segment, used.id)

    def void(self, id: str, reason: str) -> None:
        """Record that the call is not billed, and let go of it."""
        self._write(self._current(), Void(id, reason))
        self.settled([id])

    def _note(self, segment: _Segment, id: str) -> None:
        segment.open.add(id)
        self._of_call.setdefault(id, []).append(segment)

    def settled(self, ids: list[str]) -> None:
        """Let go of calls whose settlement is durable in the store."""
        for id in ids:
            for segment in self._of_call.pop(id, ()):
                segment.open.discard(id)

    def _drop_settled(self) -> None:
        while self._segments and not self._segments[0].open and not self._segments[0].syncing:
            segment = self._segments.pop(0)
            self._bytes -= segment.written_bytes
            os.close(segment.fd)
            segment.path.unlink()

    async def durable(self) -> None:
        """Wait until everything written so far is on the disk; many callers share one fsync.

        Raises `JournalFull` where the disk does not take it.
        """
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        if not self._syncing:
            self._syncing = True
            self._sync_task = asyncio.ensure_future(self._sync_waiting())
        await waiter

    async def _sync_waiting(self) -> None:
        try:
            while self._waiters:
                waiters, self._waiters = self._waiters, []
                failed = None
                try:
                    await self.sync()
                except JournalFull as error:
                    failed = error
                for waiter in waiters:
                    if not waiter.done():
                        waiter.set_exception(failed) if failed else waiter.set_result(None)
        finally:
            self._syncing = False

    async def sync(self) -> None:
        """Flush what is dirty to the disk, in a thread. Raises `JournalFull` where the disk refuses."""
        async with self._one_sync:
            for segment in [segment for segment in self._segments if segment.dirty]:
                if segment in self._segments:  # Else it was settled and deleted meanwhile.
                    await self._flush(segment)

    async def _flush(self, segment: _Segment) -> None:
        segment.dirty, segment.syncing = False, True
        try:
            await asyncio.to_thread(os.fdatasync, segment.fd)
        except OSError as error:
            segment.dirty = True
            raise JournalFull(f"The journal cannot be flushed: {error}.") from error
        finally:
            segment.syncing = False

    def close(self) -> None:
        """Delete what is settled, and let go of the folder."""
        self._drop_settled()
        for segment in self._segments:
            os.close(segment.fd)
        self._segments = []
        os.close(self._lock)
