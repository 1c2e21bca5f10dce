"""The gateway as a server application: read the request, admit it, forward it, refuse in its dialect."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from time import perf_counter
from typing import Protocol

import structlog
from granian.rsgi import ProtocolClosed  # type: ignore[attr-defined]  # Imported there to be public.

from costplus.billing.spend_cap import SpendCapReached
from costplus.core.errors import BillingError
from costplus.core.ids import milliseconds, new_id
from costplus.gateway.admit import Admitter
from costplus.gateway.dialect import refusal, refusal_headers
from costplus.gateway.endpoint import Endpoint, Shape, is_served
from costplus.gateway.errors import (
    BodyEncoded,
    BodyTooLarge,
    BodyTooSlow,
    Draining,
    GatewayBusy,
    GatewayFault,
    MethodNotAllowed,
)
from costplus.gateway.forward import ClientGone, Forwarder
from costplus.gateway.key_book import KeyBook
from costplus.gateway.pace import Pace, StalledReader
from costplus.gateway.providers import Providers
from costplus.gateway.rates import RateLimited
from costplus.gateway.rsgi_asgi import RsgiProto, RsgiScope, RsgiStream
from costplus.gateway.watch import Exchange, Watcher

log = structlog.get_logger("costplus.gateway.proxy")


class BodyCutShort(BillingError):
    """The client left before its request was complete; there is nobody to tell."""

    code = "body_cut_short"


class _Proto(RsgiProto, Protocol):
    def __call__(self) -> Awaitable[bytes]: ...


class _Stream:
    __slots__ = ("_exchange", "_pace", "_stream")

    def __init__(self, stream: RsgiStream, exchange: Exchange, pace: Pace) -> None:
        self._stream: RsgiStream | None = stream
        self._exchange = exchange
        self._pace = pace

    async def send(self, chunk: bytes) -> None:
        assert self._stream is not None
        exchange = self._exchange
        if not exchange.first_piece_s:
            exchange.first_piece_s = perf_counter()
        if exchange.answer is not None:
            exchange.keep(chunk)
        try:
            await self._stream.send_bytes(chunk)
            if self._pace.is_due(len(chunk)):
                await self._pace.kept()
        except (ProtocolClosed, StalledReader) as error:
            raise ClientGone from error

    def end(self) -> None:
        # Dropped, it ends the answer. An error's traceback may keep this object for long: drop it here.
        self._stream = None


class _Client:
    """The server's exchange as `forward.Client`."""

    __slots__ = ("_exchange", "_proto", "_scope")

    def __init__(self, scope: RsgiScope, proto: RsgiProto, exchange: Exchange) -> None:
        self._scope = scope
        self._proto = proto
        self._exchange = exchange

    def answer(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        self._exchange.status = status
        self._exchange.keep(body)
        self._proto.response_bytes(status, headers, body)

    def start(self, status: int, headers: list[tuple[str, str]]) -> _Stream:
        self._exchange.status = status
        return _Stream(self._proto.response_stream(status, headers), self._exchange, Pace(self._scope))


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
        calls_max: int = 10_000,
        watchers: Sequence[Watcher] = (),
        body_timeout_s: int = 60,
    ) -> None:
        self._keys = keys
        self._admitter = admitter
        self._forwarder = forwarder
        self._providers = providers
        self._now = now
        self.body_bytes_max = body_bytes_max
        self.calls_max = calls_max
        self._watchers = tuple(watchers)
        self.keeps_answers = False  # Whether a watcher wants to see them.
        self.body_timeout_s = body_timeout_s
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

    @property
    def in_flight(self) -> int:
        """How many exchanges are under way."""
        return self._in_flight

    async def __call__(self, scope: RsgiScope, proto: _Proto) -> None:
        """Serve one request."""
        exchange = Exchange(path=scope.path, began_s=perf_counter())
        if self.keeps_answers:
            exchange.answer = []
        client = _Client(scope, proto, exchange)
        self._in_flight += 1
        self._idle.clear()
        try:
            await self._keys.refresh()
            exchange.endpoint = self._providers.endpoint_at(scope.path, scope.query_string)
            if self._in_flight > self.calls_max:
                raise GatewayBusy(f"{self.calls_max} calls are under way in this process.")
            await self._serve(scope, proto, exchange.endpoint, client, exchange)
        except BodyCutShort:
            log.info("client_left_early", path=scope.path)
        except BillingError as error:
            exchange.error_code = error.code
            self._refuse(exchange, client, error)
        except Exception:  # A fault of ours: the caller is told in its dialect, the log has it all.
            fault = GatewayFault("The gateway failed at this request.")
            exchange.error_code = fault.code
            self._refuse(exchange, client, fault)
            raise
        finally:
            self._in_flight -= 1
            if self._in_flight == 0:
                self._idle.set()
            exchange.ended_s = perf_counter()
            for watcher in self._watchers:
                watcher.ended(exchange)

    def _refuse(self, exchange: Exchange, client: _Client, error: BillingError) -> None:
        """Say no in the dialect of the endpoint, where nothing was sent yet.

        The refusal has a request id of its own where the call had none.
        """
        if exchange.status:
            return
        shape: Shape = exchange.endpoint.shape if exchange.endpoint else "openai"
        exchange.request_id = request_id = exchange.request_id or new_id("req", at=self._now())
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
        elif isinstance(error, BodyTooSlow | BodyTooLarge):
            headers.append(("connection", "close"))  # The rest of the body may still be on its way.
        client.answer(status, headers, body)

    async def _serve(
        self, scope: RsgiScope, proto: _Proto, endpoint: Endpoint, client: _Client, exchange: Exchange
    ) -> None:
        if scope.method != "POST":
            raise MethodNotAllowed(f"{scope.path} takes POST, not {scope.method}.")
        if (scope.headers.get("content-encoding") or "identity").strip().lower() != "identity":
            raise BodyEncoded("The request body has a Content-Encoding; it is read as it is only.")
        try:
            async with asyncio.timeout(self.body_timeout_s):
                exchange.body = body = await self._body(scope, proto)
        except ProtocolClosed as error:
            raise BodyCutShort("The connection ended before the request was complete.") from error
        except TimeoutError as error:
            raise BodyTooSlow(
                f"The request body did not arrive within {self.body_timeout_s} seconds."
            ) from error
        exchange.read_s = perf_counter()
        if self.draining:
            raise Draining("This gateway is stopping.")
        exchange.received = headers = dict(scope.headers.items())
        query = scope.query_string
        if endpoint.is_free:
            provider = await self._admitter.known(endpoint, headers, body, query=query)
            exchange.request_id = request_id = new_id("req", at=self._now())
            await self._forwarder.pass_on(provider, endpoint, headers, body, client, request_id=request_id)
            return
        call = exchange.call = await self._admitter.admit(endpoint, headers, body, query=query)
        exchange.request_id = call.id
        try:
            for watcher in self._watchers:
                watcher.admitted(exchange)
            exchange.sent_on_s = perf_counter()
            await self._forwarder.forward(call, client)
        finally:
            call.ticket.end()

    async def _body(self, scope: RsgiScope, proto: _Proto) -> bytes:
        """Return the whole body, or refuse one that is over the limit before reading it all."""
        declared = scope.headers.get("content-length")
        if declared is not None:
            length = int(declared) if declared.isdigit() else 0
            if length > self.body_bytes_max:
                raise self._too_large()
            body = await proto()
            if len(body) < length:
                raise BodyCutShort("The client left before its request was complete.")
            return body
        pieces: list[bytes] = []
        size = 0
        async for piece in proto:
            size += len(piece)
            if size > self.body_bytes_max:
                raise self._too_large()
            pieces.append(piece)
        return b"".join(pieces)

    def _too_large(self) -> BodyTooLarge:
        return BodyTooLarge(
            f"The request body is over the limit of {self.body_bytes_max} bytes.",
            remedy="Send a smaller body, or raise `gateway.body_bytes_max` in the settings.",
        )
