"""The gateway as a server application: read the request, admit it, forward it, refuse in its dialect."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Protocol

import structlog
from granian.rsgi import ProtocolClosed  # type: ignore[attr-defined]  # Imported there to be public.

from costplus.billing.spend_cap import SpendCapReached
from costplus.core.errors import BillingError
from costplus.core.ids import milliseconds, new_id
from costplus.gateway.admit import Admitter
from costplus.gateway.dialect import refusal, refusal_headers
from costplus.gateway.endpoint import Endpoint, Shape, is_served
from costplus.gateway.errors import BodyTooLarge, Draining, MethodNotAllowed
from costplus.gateway.forward import ClientGone, Forwarder
from costplus.gateway.key_book import KeyBook
from costplus.gateway.providers import Providers
from costplus.gateway.rates import RateLimited
from costplus.gateway.rsgi_asgi import RsgiProto, RsgiScope, RsgiStream

log = structlog.get_logger("costplus.gateway.proxy")


class BodyCutShort(BillingError):
    """The client left before its request was complete; there is nobody to tell."""

    code = "body_cut_short"


class _Proto(RsgiProto, Protocol):
    def __call__(self) -> Awaitable[bytes]: ...


class _Stream:
    __slots__ = ("_stream",)

    def __init__(self, stream: RsgiStream) -> None:
        self._stream: RsgiStream | None = stream

    async def send(self, chunk: bytes) -> None:
        assert self._stream is not None
        try:
            await self._stream.send_bytes(chunk)
        except ProtocolClosed as error:
            raise ClientGone from error

    def end(self) -> None:
        # Dropped, it ends the answer. An error's traceback may keep this object for long: drop it here.
        self._stream = None


class _Client:
    """The server's exchange as `forward.Client`."""

    __slots__ = ("_proto", "started")

    def __init__(self, proto: RsgiProto) -> None:
        self._proto = proto
        self.started = False

    def answer(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        self.started = True
        self._proto.response_bytes(status, headers, body)

    def start(self, status: int, headers: list[tuple[str, str]]) -> _Stream:
        self.started = True
        return _Stream(self._proto.response_stream(status, headers))


class Proxy:
    """Serves the gateway's endpoints; `handles` says which paths are its own."""

    def __init__(
        self,
        *,
        admitter: Admitter,
        forwarder: Forwarder,
        providers: Providers,
        now: Callable[[], datetime],
        body_bytes_max: int,
        keys: KeyBook,
    ) -> None:
        self._keys = keys
        self._admitter = admitter
        self._forwarder = forwarder
        self._providers = providers
        self._now = now
        self._body_bytes_max = body_bytes_max
        self._in_flight = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self.draining = False

    @staticmethod
    def handles(path: str) -> bool:
        """Return whether the path is one of the gateway's."""
        return is_served(path)

    async def drained(self) -> None:
        """Wait until no call is under way."""
        await self._idle.wait()

    async def __call__(self, scope: RsgiScope, proto: _Proto) -> None:
        """Serve one request."""
        shape: Shape = "openai"
        client = _Client(proto)
        self._in_flight += 1
        self._idle.clear()
        try:
            await self._keys.refresh()
            endpoint = self._providers.endpoint_at(scope.path, scope.query_string)
            shape = endpoint.shape
            await self._serve(scope, proto, endpoint, client)
        except BodyCutShort:
            log.info("client_left_early", path=scope.path)
        except BillingError as error:
            if not client.started:
                request_id = new_id("req", at=self._now())
                status, body = refusal(shape, error, request_id=request_id)
                headers = [("content-type", "application/json"), ("costplus-request-id", request_id)]
                headers += refusal_headers(shape, error)
                if isinstance(error, SpendCapReached):
                    resets_s = max(milliseconds(error.resets_at) - milliseconds(self._now()), 0) // 1000
                    headers.append(("retry-after", str(resets_s)))
                elif isinstance(error, RateLimited):
                    headers.append(("retry-after", str(error.retry_after_s)))
                elif status in (429, 503):
                    headers.append(("retry-after", "1"))
                client.answer(status, headers, body)
        finally:
            self._in_flight -= 1
            if self._in_flight == 0:
                self._idle.set()

    async def _serve(self, scope: RsgiScope, proto: _Proto, endpoint: Endpoint, client: _Client) -> None:
        if scope.method != "POST":
            raise MethodNotAllowed(f"{scope.path} takes POST, not {scope.method}.")
        body = await self._body(scope, proto)
        if self.draining:
            raise Draining("This gateway is stopping.")
        headers = dict(scope.headers.items())
        query = scope.query_string
        if endpoint.is_free:
            provider = await self._admitter.known(endpoint, headers, query=query)
            path = provider.path_of(endpoint)
            sent = await provider.headers(headers, endpoint, path=path, body=body)
            await self._forwarder.pass_on(provider, endpoint, sent, body, client)
            return
        call = await self._admitter.admit(endpoint, headers, body, query=query)
        try:
            await self._forwarder.forward(call, client)
        finally:
            call.ticket.end()

    async def _body(self, scope: RsgiScope, proto: _Proto) -> bytes:
        """Return the whole body, or refuse one that is over the limit before reading it all."""
        declared = scope.headers.get("content-length")
        if declared is not None:
            length = int(declared) if declared.isdigit() else 0
            if length > self._body_bytes_max:
                raise self._too_large()
            body = await proto()
            if len(body) < length:
                raise BodyCutShort("The client left before its request was complete.")
            return body
        pieces: list[bytes] = []
        size = 0
        async for piece in proto:
            size += len(piece)
            if size > self._body_bytes_max:
                raise self._too_large()
            pieces.append(piece)
        return b"".join(pieces)

    def _too_large(self) -> BodyTooLarge:
        return BodyTooLarge(
            f"The request body is over the limit of {self._body_bytes_max} bytes.",
            remedy="Send a smaller body, or raise `gateway.body_bytes_max` in the settings.",
        )
