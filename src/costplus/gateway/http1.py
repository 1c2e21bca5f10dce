"""One HTTP/1.1 exchange with a provider: the request's bytes out, the response's pieces in.

Rule 1: a request leaves in one write; the bytes that came in together go on together.
Rule 2: an exchange has one reader; a connection is free the moment the response's last byte is parsed,
        whether or not the reader has taken it, because the response holds its own buffer.
Rule 3: bytes that belong to no exchange make a connection unusable; it is never handed on.
Rule 4: nothing here starts a task or a timer; the pool's sweep calls `expire`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import lru_cache
from typing import Literal, cast

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from costplus.core.errors import Unavailable

Phase = Literal["connect", "first_byte", "between_bytes"]

BUFFER_BYTES_MAX = 256 * 1024  # Above this the socket is left unread until the reader has drained it.
HEAD_BYTES_MAX = 256 * 1024  # A response head (with the 1xx heads before it) that grows past this is refused.
STALE_WINDOW_S = 1.0  # A close that was already under way when we wrote shows within a round trip.


class UpstreamError(Unavailable):
    """The provider could not be asked, or its answer did not arrive whole."""

    code = "upstream_error"


class UpstreamTimeout(UpstreamError):
    """The provider was silent for longer than the limit of `phase`."""

    code = "upstream_timeout"

    def __init__(self, message: str, *, phase: Phase) -> None:
        super().__init__(message)
        self.phase = phase


class UpstreamBroken(UpstreamError):
    """The connection ended, or stopped making sense, before the response was complete.

    `received_any` is whether a byte of the response had arrived. `stale` is whether a kept connection
    was closed by the peer so soon after the write that it must have been closing while idle.
    """

    code = "upstream_broken"

    def __init__(self, message: str, *, received_any: bool, stale: bool = False) -> None:
        super().__init__(message)
        self.received_any = received_any
        self.stale = stale


class UpstreamBodyTooLarge(UpstreamError):
    """The response body is larger than the reader accepts."""

    code = "upstream_body_too_large"


@lru_cache(maxsize=1024)
def _received_name(name: bytes) -> str:
    return name.decode("latin-1").lower()


class UpstreamResponse:
    """A response whose head has arrived; the body is taken by `read` or by `chunks`, once.

    Whoever holds it owes `aclose` unless `complete` is true: until then it occupies a connection.
    """

    # fmt: off
    __slots__ = (
        "_buffer_bytes_max", "_buffered_bytes", "_connection", "_deadline", "_error", "_headers",
        "_idle_timeout_s", "_paused", "_pieces", "_raw_headers", "_received_any", "_waiter",
        "complete", "status",
    )
    # fmt: on

    def __init__(self, connection: Http1Connection, *, idle_timeout_s: float) -> None:
        self.status = 0  # Until the head is complete.
        self.complete = False  # The last byte has been parsed; the connection is no longer ours.
        self._connection = connection
        self._idle_timeout_s = idle_timeout_s
        self._raw_headers: list[tuple[bytes, bytes]] = []
        self._headers: list[tuple[str, str]] | None = None
        self._pieces: list[bytes] = []
        self._buffered_bytes = 0
        self._buffer_bytes_max = BUFFER_BYTES_MAX
        self._paused = False
        self._received_any = False
        self._error: UpstreamError | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._deadline = 0.0

    @property
    def headers(self) -> list[tuple[str, str]]:
        """The headers in the order received, names in lower case; repeated ones stay repeated."""
        if self._headers is None:
            self._headers = [
                (_received_name(name), value.decode("latin-1").rstrip(" \t"))
                for name, value in self._raw_headers
            ]
        return self._headers

    def header(self, name: str) -> str | None:
        """Return the first value of the header called `name` (lower case), or None."""
        for known, value in self.headers:
            if known == name:
                return value
        return None

    async def wait_for_head(self, timeout_s: float) -> None:
        """Return when the final status and headers are there; raise what came instead."""
        while not self.status:
            if self._error is not None:
                raise self._error
            await self._wait(timeout_s)

    async def wait_for_body(self) -> None:
        """Return when some of the body is there, or all of it; raise what came instead."""
        while not self._pieces and not self.complete:
            if self._error is not None:
                raise self._error
            await self._wait(self._idle_timeout_s)

    async def read(self, max_bytes: int) -> bytes:
        """Return the whole body, or raise UpstreamBodyTooLarge and give up the connection."""
        if not self.complete:
            await self._gather(max_bytes)
        if self._buffered_bytes > max_bytes:
            raise UpstreamBodyTooLarge(f"The provider's answer is larger than {max_bytes} bytes.")
        return self._take()

    async def _gather(self, max_bytes: int) -> None:
        """Buffer until the body is complete or over `max_bytes`."""
        self._buffer_bytes_max = max_bytes  # The limit of the reader replaces that of the buffer.
        declared = self.header("content-length")
        declared_bytes = int(declared) if declared is not None and declared.isdecimal() else 0
        if self._paused and self._buffered_bytes <= max_bytes:
            self._resume()
        while not self.complete:
            if max(declared_bytes, self._buffered_bytes) > max_bytes:
                await self.aclose()
                raise UpstreamBodyTooLarge(f"The provider's answer is larger than {max_bytes} bytes.")
            if self._error is not None:
                raise self._error
            await self._wait(self._idle_timeout_s)

    def chunks(self) -> UpstreamResponse:
        """Return the body as an async iterator: what is there goes out at once, whole reads joined."""
        return self

    def __aiter__(self) -> UpstreamResponse:
        return self

    async def __anext__(self) -> bytes:
        while not self._pieces:
            if self.complete:
                raise StopAsyncIteration
            if self._error is not None:
                raise self._error
            await self._wait(self._idle_timeout_s)
        return self._take()

    async def aclose(self) -> None:
        """Give the exchange up; a connection in the middle of a body is closed."""
        if not self.complete and self._error is None:
            self._connection.fail(
                UpstreamBroken("The response was abandoned.", received_any=self._received_any)
            )

    def _take(self) -> bytes:
        pieces = self._pieces
        self._pieces = []
        self._buffered_bytes = 0
        if self._paused:
            self._resume()
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _resume(self) -> None:
        self._paused = False
        self._connection.resume_reading()

    async def _wait(self, timeout_s: float) -> None:
        """Sleep until the connection has news: a head, a piece, the end or an error."""
        assert self._waiter is None, "an exchange has one reader"
        loop = self._connection.loop
        self._deadline = loop.time() + timeout_s
        self._waiter = loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)


class Http1Connection(asyncio.Protocol):
    """A transport with at most one exchange on it, and the parser's callbacks."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        *,
        on_free: Callable[[Http1Connection], None],
        on_lost: Callable[[Http1Connection], None],
    ) -> None:
        self.loop = loop
        self.closed = False
        self.reused = False
        self.idle_since = 0.0
        self._on_free = on_free
        self._on_lost = on_lost
        self._parser = HttpResponseParser(self)
        self._response: UpstreamResponse | None = None
        self._sent_at = 0.0
        self._head_bytes = 0
        self._head_only = False
        self._interim = False
        self._keep_alive = False
        self._stray = False

    @property
    def usable(self) -> bool:
        """Whether a request may still be written; a transport knows of its end a turn before we do."""
        return not self.closed and not self._transport.is_closing()

    @property
    def received_any(self) -> bool:
        """Whether a byte of the response under way has arrived."""
        return self._response is not None and self._response._received_any

    def send(self, request: bytes, *, head_only: bool, idle_timeout_s: float) -> UpstreamResponse:
        """Write `request` and return the response it will have; `head_only` for HEAD."""
        assert self._response is None
        assert not self.closed
        response = UpstreamResponse(self, idle_timeout_s=idle_timeout_s)
        self._response = response
        self._head_only = head_only
        self._head_bytes = 0
        self._sent_at = self.loop.time()
        self._transport.write(request)
        return response

    def close(self) -> None:
        """Close a connection that carries no exchange."""
        assert self._response is None
        if not self.closed:
            self.closed = True
            self._transport.close()
            self._on_lost(self)

    def fail(self, error: UpstreamError) -> None:
        """Drop the connection at once; the exchange on it, if any, ends in `error`."""
        if not self.closed:
            self.closed = True
            self._transport.abort()
            self._on_lost(self)
        response, self._response = self._response, None
        if response is not None:
            response._error = error
            response._wake()

    def expire(self, now: float) -> None:
        """End the exchange if its reader has been waiting past its deadline."""
        response = self._response
        if response is None or response._waiter is None or now < response._deadline:
            return
        phase: Phase = "between_bytes" if response.status else "first_byte"
        self.fail(UpstreamTimeout(f"The provider was silent for too long ({phase}).", phase=phase))

    def resume_reading(self) -> None:
        if not self.closed:
            self._transport.resume_reading()

    # asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports have the interface of asyncio.Transport without being one.
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        response = self._response
        if response is None:  # Nobody asked: a farewell such as 408, or a second response.
            self.fail(UpstreamBroken("Bytes arrived on an idle connection.", received_any=True))
            return
        response._received_any = True
        try:
            self._parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade) as error:
            self._stray = True
            if not response.complete:  # Behind a complete response the rest is stray, not an error.
                message = f"The provider's answer is not HTTP/1.1: {error}."
                self.fail(UpstreamBroken(message, received_any=True))
                return
        if response.complete:
            self._finish(response)
        elif not response.status:
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_BYTES_MAX:
                self.fail(UpstreamBroken("The response head is too large.", received_any=True))
            return
        elif response._buffered_bytes > response._buffer_bytes_max and not response._paused:
            response._paused = True
            self._transport.pause_reading()
        waiter = response._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.closed:
            self.closed = True
            self._on_lost(self)
        response, self._response = self._response, None
        if response is None:
            return
        if exc is None and response.status and self._ends_with_connection(response):
            response.complete = True
        else:
            response._error = UpstreamBroken(
                "The provider closed the connection before its answer was complete.",
                received_any=response._received_any,
                stale=self.reused
                and not response._received_any
                and self.loop.time() - self._sent_at <= STALE_WINDOW_S,
            )
        response._wake()

    # The parser's side

    def on_message_begin(self) -> None:
        response = self._response
        if response is None or response.complete:
            self._stray = True

    def on_header(self, name: bytes, value: bytes) -> None:
        response = self._response
        if response is not None and not response.status:  # Trailers come after the status; they are dropped.
            response._raw_headers.append((name, value))

    def on_headers_complete(self) -> None:
        response = self._response
        if response is None or response.complete:
            return
        status = self._parser.get_status_code()
        self._interim = status < 200
        if not self._interim:
            response.status = status
            response.complete = self._head_only  # The parser would wait for the body a GET would have.

    def on_body(self, piece: bytes) -> None:
        response = self._response
        if response is not None and not response.complete:
            response._pieces.append(piece)
            response._buffered_bytes += len(piece)

    def on_message_complete(self) -> None:
        response = self._response
        if response is None or response.complete:
            return
        if self._interim:
            response._raw_headers.clear()
            return
        response.complete = True
        self._keep_alive = self._parser.should_keep_alive()

    def _finish(self, response: UpstreamResponse) -> None:
        """Part from a complete response; the connection is free, or closed if it is not clean."""
        self._response = None
        if response._paused:
            response._resume()
        unsent_bytes = self._transport.get_write_buffer_size()
        if self._head_only or self._stray or not self._keep_alive or unsent_bytes or self.closed:
            self.close()
            return
        self.reused = True
        self.idle_since = self.loop.time()
        self._on_free(self)

    @staticmethod
    def _ends_with_connection(response: UpstreamResponse) -> bool:
        """Whether the body has no other end than the connection's."""
        return response.header("content-length") is None and response.header("transfer-encoding") is None
