"""An ASGI application (the API, the dashboard) on the RSGI server that carries the gateway.

Rule 1: a request body that stops short is a disconnect, never a shorter body. RSGI does not report a client
        that leaves in the middle of an upload, so a body with a content-length is counted; one in HTTP/1.1
        chunks is cut short if RSGI gives more than the one empty piece that stands for its end.
Rule 2: an answer in one message is sent as one; only what the application streams is streamed.
Rule 3: an exception in the application is a plain 500 where no answer has begun, and goes on to the server,
        which logs it.
Limits of RSGI: header values outside printable ASCII are not passed in; a path arrives decoded, so that
`raw_path` is its re-encoding and `%2F` in it has become `/`; streamed pieces queue without back-pressure
(`gateway.pace` gives the gateway's streams one).
Not supported: websockets (refused), lifespan, request trailers (taken for a disconnect).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from typing import Any, Protocol, TypeAlias
from urllib.parse import quote

from granian.rsgi import ProtocolClosed  # type: ignore[attr-defined]  # Imported there to be public.

Message: TypeAlias = MutableMapping[str, Any]
AsgiApp: TypeAlias = Callable[
    [Message, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]
]
RsgiHeaders: TypeAlias = list[tuple[str, str]]

_PATH_SAFE = "/!$&'()*+,;=:@~"
_DISCONNECT = "http.disconnect"


class RsgiScopeHeaders(Protocol):
    """The request's headers; `items` repeats a name as often as it was sent."""

    def items(self) -> RsgiHeaders: ...
    def get(self, key: str) -> str | None: ...


class RsgiScope(Protocol):
    """What RSGI tells of a request."""

    @property
    def proto(self) -> str: ...
    @property
    def http_version(self) -> str: ...
    @property
    def server(self) -> str: ...
    @property
    def client(self) -> str: ...
    @property
    def scheme(self) -> str: ...
    @property
    def method(self) -> str: ...
    @property
    def path(self) -> str: ...
    @property
    def query_string(self) -> str: ...
    @property
    def authority(self) -> str | None: ...
    @property
    def headers(self) -> RsgiScopeHeaders: ...


class RsgiStream(Protocol):
    """A response under way."""

    def send_bytes(self, data: bytes) -> Awaitable[None]: ...


class RsgiProto(Protocol):
    """The two directions of an RSGI exchange; `close` exists on websockets only."""

    def __aiter__(self) -> AsyncIterator[bytes]: ...
    def client_disconnect(self) -> Awaitable[None]: ...
    def response_empty(self, status: int, headers: RsgiHeaders) -> None: ...
    def response_bytes(self, status: int, headers: RsgiHeaders, body: bytes) -> None: ...
    def response_stream(self, status: int, headers: RsgiHeaders) -> RsgiStream: ...
    def close(self, status: int | None) -> object: ...


class AsgiOverRsgi:
    """Serves `asgi_app` to an RSGI server; call it, or hand it over as the RSGI application."""

    def __init__(self, asgi_app: AsgiApp) -> None:
        self._asgi_app = asgi_app

    async def __call__(self, scope: RsgiScope, proto: RsgiProto) -> None:
        if scope.proto != "http":
            proto.close(None)
            return
        exchange = _Exchange(scope, proto)
        try:
            await self._asgi_app(_asgi_scope(scope), exchange.receive, exchange.send)
        except Exception:
            exchange.answer_failure()
            raise
        else:
            exchange.answer_missing()
        finally:
            exchange.end()

    __rsgi__ = __call__


class _Exchange:
    """One request's `receive` and `send`."""

    def __init__(self, scope: RsgiScope, proto: RsgiProto) -> None:
        self._proto = proto
        self._pieces: AsyncIterator[bytes] | None = None
        self._pieces_chunked = scope.http_version != "2"
        self._body_done = False
        self._unread_bytes: int | None = None  # None where the length was not declared.
        declared = scope.headers.get("content-length")
        if declared is not None:
            self._unread_bytes = int(declared)
        elif scope.http_version != "2" and scope.headers.get("transfer-encoding") is None:
            self._unread_bytes = 0
        self._start: tuple[int, RsgiHeaders] | None = None
        self._stream: RsgiStream | None = None
        self._answered = False
        self._gone: asyncio.Future[None] | None = None
        self._watcher: asyncio.Task[None] | None = None

    async def receive(self) -> Message:
        """Return the next piece of the body, and after the last one wait for the end of the exchange."""
        if not self._body_done:
            return await self._next_piece()
        if not self._answered:
            await self._wait_until_gone()
        return {"type": _DISCONNECT}

    async def send(self, message: Message) -> None:
        """Take one ASGI message; OSError once the client has left."""
        if self._answered:
            raise RuntimeError("the response is complete; nothing may follow it")
        if message["type"] == "http.response.start":
            if self._start is not None:
                raise RuntimeError("the response has been started already")
            self._start = (message["status"], [(_text(k), _text(v)) for k, v in message.get("headers", ())])
            return
        if message["type"] != "http.response.body" or self._start is None:
            raise RuntimeError(f"unexpected ASGI message: {message['type']}")
        await self._send_body(bytes(message.get("body", b"")), more=message.get("more_body", False))

    def answer_failure(self) -> None:
        """Answer 500, unless the application's own answer is already on its way."""
        if self._stream is None and not self._answered:
            self._answered = True
            self._proto.response_bytes(
                500, [("content-type", "text/plain; charset=utf-8")], b"Internal Server Error"
            )

    def answer_missing(self) -> None:
        """Answer 500 for an application that returned without an answer; a client that left needs none."""
        if not self._answered and self._stream is None and (self._gone is None or not self._gone.done()):
            self.answer_failure()

    def end(self) -> None:
        """Let go of what waits for the client."""
        self._settle()
        if self._watcher is not None:
            self._watcher.cancel()

    async def _send_body(self, body: bytes, *, more: bool) -> None:
        assert self._start is not None
        status, headers = self._start
        if self._stream is None and not more:
            self._answered = True
            if body:
                self._proto.response_bytes(status, headers, body)
            else:
                self._proto.response_empty(status, headers)
        else:
            if self._stream is None:
                self._stream = self._proto.response_stream(status, headers)
            if body:
                try:
                    await self._stream.send_bytes(body)
                except ProtocolClosed as error:
                    raise ConnectionResetError("the client has left") from error
            if not more:
                self._answered = True
                self._stream = None  # Dropped, it ends the response.
        if self._answered:
            self._settle()

    async def _next_piece(self) -> Message:
        if self._unread_bytes == 0:
            self._body_done = True
            return {"type": "http.request", "body": b"", "more_body": False}
        if self._pieces is None:
            self._pieces = aiter(self._proto)
        piece = await anext(self._pieces)
        if self._unread_bytes is None:
            return await self._undeclared_piece(piece)
        self._unread_bytes -= len(piece)
        if not piece:
            return self._cut_short()
        assert self._unread_bytes >= 0
        self._body_done = self._unread_bytes == 0
        return {"type": "http.request", "body": piece, "more_body": not self._body_done}

    async def _undeclared_piece(self, piece: bytes) -> Message:
        """Tell the end of a body without length from its loss: after its end nothing is left to read."""
        if piece:
            return {"type": "http.request", "body": piece, "more_body": True}
        assert self._pieces is not None
        self._body_done = True
        try:
            await anext(self._pieces)  # With a default, CPython 3.11 crashes on the server's awaitable.
        except StopAsyncIteration:
            pass
        else:
            if self._pieces_chunked:
                return self._cut_short()
        return {"type": "http.request", "body": b"", "more_body": False}

    def _cut_short(self) -> Message:
        """Note that the client has left; RSGI's own signal does not come in the middle of a body."""
        self._body_done = True
        self._gone = asyncio.get_running_loop().create_future()
        self._settle()
        return {"type": _DISCONNECT}

    async def _wait_until_gone(self) -> None:
        """Return when the client has left or the answer is complete, for any number of callers."""
        if self._gone is None:
            self._gone = asyncio.get_running_loop().create_future()
            self._watcher = asyncio.create_task(self._watch())
        await asyncio.shield(self._gone)

    async def _watch(self) -> None:
        await self._proto.client_disconnect()
        self._settle()

    def _settle(self) -> None:
        if self._gone is not None and not self._gone.done():
            self._gone.set_result(None)


def _asgi_scope(scope: RsgiScope) -> Message:
    """Return the ASGI scope of a request; spec 2.3 makes frameworks listen for the disconnect themselves."""
    headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in scope.headers.items()]
    authority = scope.authority
    if authority and scope.headers.get("host") is None:
        headers.insert(
            0, (b"host", authority.encode("latin-1"))
        )  # HTTP/2 names the host outside the headers.
    path = scope.path
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": {"1": "1.0"}.get(scope.http_version, scope.http_version),
        "method": scope.method,
        "scheme": scope.scheme,
        "path": path,
        "raw_path": quote(path, safe=_PATH_SAFE).encode("ascii"),
        "query_string": scope.query_string.encode("latin-1"),
        "root_path": "",
        "headers": headers,
        "client": address_of(scope.client),
        "server": address_of(scope.server),
        "state": {},
    }


def address_of(text: str) -> tuple[str, int] | None:
    """Return host and port of `host:port` or `[host]:port`; None for a socket without them."""
    host, _, port = text.rpartition(":")
    return (host.strip("[]"), int(port)) if host and port.isdecimal() else None


def _text(raw: bytes) -> str:
    """Return a header as text that the server, which writes UTF-8, turns into the same bytes again."""
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("latin-1")
