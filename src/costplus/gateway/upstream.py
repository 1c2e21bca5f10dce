"""The lean HTTP/1.1 client on the gateway's hot path: one pool of kept connections per provider.

Rule 1: nothing is decoded. We ask for `identity`, because billing must be able to read the body; a caller's
        own accept-encoding is withheld, only the pool's setting counts.
Rule 2: a request is repeated at most once, on a new connection, and only when a *kept* connection closed
        within a second of the write and before a single byte of the response: as far as can be seen from
        here, the peer was closing it while it lay idle and never took the request up. After a byte, or
        later than that, the provider may have acted (and charged), and the caller gets the error.
Rule 3: connections are taken last in, first out, so that the surplus grows old and is closed.
Rule 4: callers beyond `connections_max` are served in the order they came.
Rule 5: one coarse sweep per pool watches every deadline; no request owns a task or a timer.

    Unavailable
    └── UpstreamError
        ├── UpstreamUnreachable     no connection: refused, unknown host, TLS
        ├── UpstreamTimeout         with the phase that took too long
        ├── UpstreamBroken          closed or unparsable; says whether anything had arrived
        ├── UpstreamOverloaded      no connection came free within the pool's limits
        └── UpstreamBodyTooLarge    the body is over the reader's limit
"""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import urlsplit

from costplus.gateway.http1 import (
    Http1Connection,
    UpstreamBodyTooLarge,
    UpstreamBroken,
    UpstreamError,
    UpstreamResponse,
    UpstreamTimeout,
)
from costplus.gateway.tunnel import ForwardProxy, tunnel

__all__ = [
    "UpstreamBodyTooLarge",
    "UpstreamBroken",
    "UpstreamError",
    "UpstreamOverloaded",
    "UpstreamPool",
    "UpstreamResponse",
    "UpstreamTimeout",
    "UpstreamUnreachable",
]

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_OWN_HEADERS = frozenset(
    (
        *("connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade", "expect"),
        *("host", "content-length", "accept-encoding"),
    )
)


class UpstreamUnreachable(UpstreamError):
    """No connection could be made; the request was not sent."""

    code = "upstream_unreachable"


class UpstreamOverloaded(UpstreamError):
    """All connections are busy and the queue for them is full, or too slow; the request was not sent."""

    code = "upstream_overloaded"


def _sent_name(name: str) -> str | None:
    """Return the header name as it is sent, or None where the client sets or withholds it."""
    if _TOKEN.fullmatch(name) is None:
        raise ValueError(f"not a header name: {name!r}")
    lower = name.lower()
    return None if lower in _OWN_HEADERS or lower.startswith("proxy-") else lower


# A provider's heads repeat from call to call, and building one costs several times what finding it does.
@lru_cache(maxsize=256)
def _request_head(
    method: str, target: str, origin: str, fixed_lines: str, headers: tuple[tuple[str, str], ...]
) -> bytes:
    """Return the head up to content-length; ValueError if any part could smuggle in a line of its own.

    `origin` is what a proxy is told before the target, `fixed_lines` what follows it on every request of a
    pool: version, host, encoding.
    """
    if not (target.isascii() and target.isprintable()) or " " in target or not target.startswith("/"):
        raise ValueError("a request path starts with `/` and is printable, percent-encoded ASCII")
    if _TOKEN.fullmatch(method) is None:
        raise ValueError(f"not a method: {method!r}")
    lines = [f"{method} {origin}{target}{fixed_lines}"]
    for name, value in headers:
        sent_name = _sent_name(name)
        if sent_name is None:
            continue
        if "\r" in value or "\n" in value or "\0" in value:
            raise ValueError(f"the value of {name!r} contains a control character")
        lines.append(f"{sent_name}: {value}\r\n")
    return "".join(lines).encode("latin-1")


@dataclass(frozen=True, slots=True)
class PoolLoad:
    """How busy a pool is."""

    busy: int  # Connections with a request, or being opened for one.
    idle: int
    waiting: int  # Requests that wait for a connection.


class UpstreamPool:
    """The connections to one base URL, and the queue for them."""

    def __init__(
        self,
        *,
        base_url: str,
        connections_max: int = 4096,
        waiting_max: int = 4096,
        connect_timeout_s: float = 5,
        wait_timeout_s: float = 10,
        first_byte_timeout_s: float = 600,
        idle_between_bytes_timeout_s: float = 300,
        answer_timeout_s: float = 3600,
        keepalive_s: float = 30,
        accept_encoding: str = "identity",
        ssl_context: ssl.SSLContext | None = None,
        proxy: ForwardProxy | None = None,
    ) -> None:
        url = urlsplit(base_url)
        if url.scheme not in ("http", "https") or not url.hostname or url.query or "@" in url.netloc:
            raise ValueError(f"not the base URL of a provider: {base_url!r}")
        assert connections_max > 0
        self._host = url.hostname
        self._port = url.port or (443 if url.scheme == "https" else 80)
        self._path_prefix = url.path.rstrip("/")
        self._fixed_lines = f" HTTP/1.1\r\nhost: {url.netloc}\r\naccept-encoding: {accept_encoding}\r\n"
        self._proxy = proxy
        self._origin = ""
        if (
            proxy and url.scheme == "http"
        ):  # Plain calls are made of the proxy itself, by their whole address.
            self._origin = f"http://{url.netloc}"
            if proxy.authorization:
                self._fixed_lines += f"proxy-authorization: {proxy.authorization}\r\n"
        self._ssl_context = (ssl_context or _default_tls()) if url.scheme == "https" else None
        self._connections_max = connections_max
        self._waiting_max = waiting_max
        self._connect_timeout_s = connect_timeout_s
        self._wait_timeout_s = wait_timeout_s
        self._first_byte_timeout_s = first_byte_timeout_s
        self._idle_timeout_s = idle_between_bytes_timeout_s
        self._answer_timeout_s = answer_timeout_s
        self._keepalive_s = keepalive_s
        shortest_s = min(
            wait_timeout_s, first_byte_timeout_s, idle_between_bytes_timeout_s, answer_timeout_s, keepalive_s
        )
        self._sweep_s = max(0.005, min(1.0, shortest_s / 4))
        self._sweep_handle: asyncio.TimerHandle | None = None
        self._open_count = 0  # Connections open or being opened.
        self._idle: list[Http1Connection] = []  # Oldest first.
        self._busy: set[Http1Connection] = set()
        # Each waiter is given a connection, or None: room to open one.
        self._waiting: deque[tuple[float, asyncio.Future[Http1Connection | None]]] = deque()
        self._closed = False

    @property
    def load(self) -> PoolLoad:
        """How many connections there are, and how many requests wait for one."""
        idle = len(self._idle)
        return PoolLoad(self._open_count - idle, idle, len(self._waiting))

    async def request(
        self, *, method: str, path: str, headers: Sequence[tuple[str, str]], body: bytes
    ) -> UpstreamResponse:
        """Send one request and return as soon as the response's head is parsed.

        `path` is percent-encoded, with its query. ValueError if a part of the request is malformed.
        """
        head = _request_head(
            method, self._path_prefix + path, self._origin, self._fixed_lines, tuple(headers)
        )
        if body or method in ("POST", "PUT", "PATCH"):
            request = b"%bcontent-length: %d\r\n\r\n%b" % (head, len(body), body)
        else:
            request = head + b"\r\n"
        connection = self._take_idle() or await self._acquire()
        try:
            return await self._exchange(connection, request, head_only=method == "HEAD")
        except UpstreamBroken as error:
            if not error.stale:
                raise
        if self._idle and self._open_count >= self._connections_max:
            self._idle[0].close()  # The others may be just as stale; make room for a new one.
        return await self._exchange(await self._acquire(), request, head_only=method == "HEAD")

    @property
    def is_empty(self) -> bool:
        """Whether there is no connection, open or being opened."""
        return self._open_count == 0

    async def aclose(self) -> None:
        """Close every connection; requests under way and waiting end in an error."""
        self._closed = True
        if self._sweep_handle is not None:
            self._sweep_handle.cancel()
            self._sweep_handle = None
        while self._waiting:
            _, waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_exception(UpstreamUnreachable("The pool was closed."))
        for idle in tuple(self._idle):
            idle.close()
        for busy in tuple(self._busy):
            busy.fail(UpstreamBroken("The pool was closed.", received_any=busy.received_any))
        await asyncio.sleep(0)  # The transports let go of their sockets in the next turn of the loop.

    async def _exchange(
        self, connection: Http1Connection, request: bytes, *, head_only: bool
    ) -> UpstreamResponse:
        response = connection.send(
            request,
            head_only=head_only,
            idle_timeout_s=self._idle_timeout_s,
            answer_timeout_s=self._answer_timeout_s,
        )
        try:
            await response.wait_for_head(self._first_byte_timeout_s)
        except asyncio.CancelledError:
            await response.aclose()
            raise
        return response

    def _take_idle(self) -> Http1Connection | None:
        """Return the connection used last, or None if none is alive."""
        while self._idle:
            connection = self._idle[-1]
            if connection.usable and connection.loop.time() - connection.idle_since < self._keepalive_s:
                del self._idle[-1]
                self._busy.add(connection)
                return connection
            connection.close()  # It leaves the list by `_lost`.
        return None

    async def _acquire(self) -> Http1Connection:
        """Return a new connection, or one that comes free while we wait for room."""
        while True:
            if self._closed:
                raise UpstreamUnreachable("The pool is closed.")
            if self._open_count < self._connections_max:
                self._open_count += 1
                return await self._open()
            connection = await self._wait_in_line()
            if connection is None:
                return await self._open()
            if connection.usable:
                return connection
            connection.close()  # It died between its release and our turn.

    async def _wait_in_line(self) -> Http1Connection | None:
        """Wait for a connection, or for None: room to open one, already counted as ours."""
        if len(self._waiting) >= self._waiting_max:
            raise UpstreamOverloaded("Too many requests are waiting for a connection to the provider.")
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[Http1Connection | None] = loop.create_future()
        self._start_sweep()
        self._waiting.append((loop.time() + self._wait_timeout_s, waiter))
        try:
            return await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                given = waiter.result()  # It came in the same turn as the cancellation: pass it on.
                if given is None:
                    self._release_room()
                elif not given.closed:
                    self._freed(given)
            raise

    async def _open(self) -> Http1Connection:
        """Connect, within the room the caller has been counted for."""
        loop = asyncio.get_running_loop()
        connected = False
        try:
            async with asyncio.timeout(self._connect_timeout_s):
                transport, connection = await self._connected(loop)
            connected = connection.usable and not self._closed
            if not connected:
                connection.close()
                closer = "pool" if self._closed else "connection"
                raise UpstreamUnreachable(f"The {closer} was closed as soon as the connection was made.")
        except TimeoutError as error:
            message = f"{self._host}:{self._port} did not accept a connection in time."
            raise UpstreamTimeout(message, phase="connect") from error
        except OSError as error:  # Refused, unknown host, or TLS: ssl.SSLError is an OSError.
            raise UpstreamUnreachable(f"No connection to {self._host}:{self._port}: {error}.") from error
        finally:
            if not connected:
                self._release_room()
        # A provider may think for minutes; the kernel's probes keep middleboxes from forgetting us.
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        self._busy.add(connection)
        self._start_sweep()
        return connection

    async def _connected(self, loop: asyncio.AbstractEventLoop) -> tuple[asyncio.Transport, Http1Connection]:
        """Return a new connection: straight, to the proxy, or through it."""

        def made() -> Http1Connection:
            return Http1Connection(loop, on_free=self._freed, on_lost=self._lost)

        if self._proxy is None:
            return await loop.create_connection(made, self._host, self._port, ssl=self._ssl_context)
        if self._ssl_context is None:
            return await loop.create_connection(made, self._proxy.host, self._proxy.port)
        through = await tunnel(self._proxy, host=self._host, port=self._port)
        try:
            return await loop.create_connection(
                made, sock=through, ssl=self._ssl_context, server_hostname=self._host
            )
        except BaseException:
            through.close()
            raise

    def _freed(self, connection: Http1Connection) -> None:
        """Hand a clean connection to the first in line, or keep it."""
        while self._waiting:
            _, waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(connection)
                return
        self._busy.discard(connection)
        self._idle.append(connection)

    def _lost(self, connection: Http1Connection) -> None:
        """Forget a connection that is closed. One that `_open` never handed out is in neither place."""
        if connection in self._busy:
            self._busy.remove(connection)
        elif connection in self._idle:
            self._idle.remove(connection)
        else:
            return
        self._release_room()

    def _release_room(self) -> None:
        """Pass the room of one connection to the first in line, or back to the pool."""
        while self._waiting:
            _, waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return
        self._open_count -= 1
        assert self._open_count >= 0

    def _start_sweep(self) -> None:
        if self._sweep_handle is None:
            self._sweep_handle = asyncio.get_running_loop().call_later(self._sweep_s, self._sweep)

    def _sweep(self) -> None:
        """End what is past its deadline; come back while there is anything to watch."""
        self._sweep_handle = None
        now = asyncio.get_running_loop().time()
        for connection in tuple(self._busy):
            connection.expire(now)
        while self._idle and now - self._idle[0].idle_since >= self._keepalive_s:
            self._idle[0].close()
        while self._waiting and self._waiting[0][0] <= now:
            _, waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_exception(UpstreamOverloaded("No connection to the provider came free in time."))
        if self._busy or self._idle or self._waiting:
            self._start_sweep()


def _default_tls() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context
