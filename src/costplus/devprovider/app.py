"""The simulated provider as an RSGI application: reads an ask, decides, writes the answer.

Rule 1: a plain, whole answer takes the short way, without a wait.   Rule 2: whatever waits is registered, so
that a stop can end it: the server itself waits for every request in flight.   Rule 3: an answer is tallied
before its last write, so a client that has read it finds it counted.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
import secrets
import time

import msgspec

from costplus.devprovider.ask import Ask, BadAsk, calls_of, count
from costplus.devprovider.captures import Captures, Exchange
from costplus.devprovider.dialect import Dialect, Reply
from costplus.devprovider.directives import NONE, Directives, parse
from costplus.devprovider.faults import message_for
from costplus.devprovider.replies_openai import CHAT
from costplus.devprovider.routes import dialect_of, model_list
from costplus.devprovider.rsgi import Headers, HTTPProtocol, ProtocolClosed, Scope
from costplus.devprovider.tally import Tally

_JSON = "application/json"
_JSON_HEADERS: Headers = [("content-type", _JSON)]
_GARBAGE = b"<html><body>Bad gateway, or so it seems</body></html>"
_GARBAGE_STREAM = b"data: {not json at all\n\ndata: <html>\n\n"
_RETRY_AFTER_S = "1"
_FLUSH_S = 0.25
_COMMENT_S = 0.05


class App:
    """One simulated provider with its tally, its recordings and the requests it is still answering."""

    def __init__(self, *, captures: Captures | None, latency_s: float, error_rate: float) -> None:
        self.tally = Tally()
        self._captures = captures
        self._latency_s = latency_s
        self._error_rate = error_rate
        self._dice = random.Random(0)  # The same run of refusals in each process.
        self._salt = secrets.token_hex(10).encode()
        self._numbers = itertools.count(1)
        self._waiting: set[asyncio.Task[object]] = set()

    async def __rsgi__(self, scope: Scope, proto: HTTPProtocol) -> None:
        """Answer one request."""
        path = scope.path
        if path.startswith("/_sim/"):
            self._answer_about_itself(scope.method, path, proto)
            return
        self.tally.requests_by_path[path] += 1
        body = await proto()
        serial = b"%b%08x" % (self._salt, next(self._numbers))
        dialect = dialect_of(path)
        if not _has_key(scope):
            self._refuse(proto, dialect or CHAT, serial, 401)
        elif scope.method == "POST":
            await self._answer_post(scope, proto, dialect, body, serial)
        elif scope.method == "GET" and path.endswith("/models"):
            self.tally.answered += 1
            listed = model_list(path, anthropic=scope.headers.get("anthropic-version") is not None)
            proto.response_bytes(200, _JSON_HEADERS, listed)
        else:
            self._refuse(proto, dialect or CHAT, serial, 404)

    def end_waiting(self) -> None:
        """Cancel the requests that wait for something."""
        for task in tuple(self._waiting):
            task.cancel()

    async def _answer_post(
        self, scope: Scope, proto: HTTPProtocol, dialect: Dialect | None, body: bytes, serial: bytes
    ) -> None:
        if self._captures is not None:
            capture_id = scope.headers.get("x-capture-id")
            exchange = self._captures.find(id=capture_id, path=scope.path, body=body)
            if exchange is not None:
                await self._replay(proto, exchange)
                return
        if dialect is None:
            self._refuse(proto, CHAT, serial, 404)
            return
        try:
            ask = dialect.read(body, scope.path, scope.query_string)
            directives = parse(ask.last_user) if b"[[" in body else NONE
            calls_of(ask, directives)  # Refuses what cannot be called.
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, BadAsk) as fault:
            self._refuse(proto, dialect, serial, 400, str(fault))
            return
        if self._error_rate and self._dice.random() < self._error_rate:
            self._refuse(proto, dialect, serial, 503)
            return
        plain = directives is NONE and not ask.stream and not self._latency_s
        if plain:
            self._answer_whole(proto, dialect, self._reply(dialect, ask, directives, serial))
            return
        task = asyncio.current_task()
        assert task is not None
        self._waiting.add(task)
        try:
            await self._answer_slowly(proto, dialect, ask, directives, serial)
        finally:
            self._waiting.discard(task)

    async def _answer_slowly(
        self, proto: HTTPProtocol, dialect: Dialect, ask: Ask, directives: Directives, serial: bytes
    ) -> None:
        """Answer after the waits and with the faults that were asked for."""
        latency_s = self._latency_s + directives.latency / 1000
        if latency_s:
            await asyncio.sleep(latency_s)
        if directives.hang:
            await proto.client_disconnect()
            self.tally.broken += 1
        elif directives.error:
            self._refuse(proto, dialect, serial, directives.error)
        elif directives.garbage:
            self.tally.broken += 1
            kind, garbage = (dialect.stream_type, _GARBAGE_STREAM) if ask.stream else (_JSON, _GARBAGE)
            proto.response_bytes(200, [("content-type", kind)], garbage)
        else:
            reply = self._reply(dialect, ask, directives, serial)
            if ask.stream:
                await self._stream(proto, dialect, reply, directives)
            elif directives.truncate:
                await self._cut_whole(proto, dialect, reply)
            else:
                self._answer_whole(proto, dialect, reply)

    def _reply(self, dialect: Dialect, ask: Ask, directives: Directives, serial: bytes) -> Reply:
        counts = count(ask, directives, writes=dialect.writes)
        if directives is NONE:
            return Reply(ask, counts, serial, int(time.time()))
        calls = () if counts.cut_short else calls_of(ask, directives)  # Cut short, none was finished.
        return Reply(
            ask,
            counts,
            serial,
            int(time.time()),
            with_usage=not directives.no_usage,
            calls=calls,
            thoughts=min(directives.think, counts.reasoning),
            says=directives.say or not calls,
        )

    def _answer_whole(self, proto: HTTPProtocol, dialect: Dialect, reply: Reply) -> None:
        if dialect.free:
            self.tally.answered += 1
        else:
            self.tally.answer(reply.counts, reported=reply.reports_usage)
        proto.response_bytes(200, _headers(dialect, reply.serial, _JSON), dialect.whole(reply))

    async def _cut_whole(self, proto: HTTPProtocol, dialect: Dialect, reply: Reply) -> None:
        """Send half of an answer whose length was announced: the server then closes the connection."""
        body = dialect.whole(reply)
        self.tally.break_off(reply.counts)
        await self._send_short(
            proto, _headers(dialect, reply.serial, _JSON), body[: len(body) // 2], len(body)
        )

    async def _stream(
        self, proto: HTTPProtocol, dialect: Dialect, reply: Reply, directives: Directives
    ) -> None:
        events, terminal = dialect.events(reply)
        headers = _headers(dialect, reply.serial, dialect.stream_type if reply.ask.sse else _JSON)
        headers.append(("cache-control", "no-cache"))
        body_end = len(events) - terminal
        half_way = max(1, body_end // 2)
        if directives.truncate or directives.cut_late:
            kept = b"".join(events[:-1] if directives.cut_late else events[:half_way])
            self.tally.break_off(reply.counts)
            await self._send_short(proto, headers, kept, len(kept) + len(events[-1]))
            return
        if directives.stall:
            await self._stall(proto, headers, b"".join(events[:half_way]), reply)
            return
        if directives.early_end:
            events = events[:body_end]
        if directives.stream_error:
            error = dialect.fault(500, message_for(500), reply.serial)
            events = [*events[:half_way], b"event: error\ndata: %b\n\n" % error]
        chunk_s = directives.chunk_ms / 1000
        if not chunk_s:  # Two writes are the fewest that still look like a stream.
            half = max(1, len(events) // 2)
            events = [b"".join(events[:half]), b"".join(events[half:])]
        complete = not (directives.early_end or directives.stream_error)
        await self._send(proto, headers, events, reply, chunk_s=chunk_s, complete=complete)

    async def _stall(self, proto: HTTPProtocol, headers: Headers, kept: bytes, reply: Reply) -> None:
        """Send a part of a stream, and then comments only, as routers do while they wait for a provider."""
        self.tally.break_off(reply.counts)
        out = proto.response_stream(200, headers)
        with contextlib.suppress(ProtocolClosed):
            await out.send_bytes(kept)
            while True:
                await asyncio.sleep(_COMMENT_S)
                await out.send_bytes(b": keep-alive\n\n")

    async def _send(
        self,
        proto: HTTPProtocol,
        headers: Headers,
        events: list[bytes],
        reply: Reply,
        *,
        chunk_s: float,
        complete: bool,
    ) -> None:
        """Send `events`, `chunk_s` apart, and tally the answer at the last but one."""
        out = proto.response_stream(200, headers)
        tallied = False
        try:
            for number, event in enumerate(events):
                if number and chunk_s:
                    await asyncio.sleep(chunk_s)
                if complete and number == len(events) - 1:
                    self.tally.answer(reply.counts, reported=reply.reports_usage)
                    tallied = True
                await out.send_bytes(event)
        except ProtocolClosed:
            if tallied:
                self.tally.take_back(reply.counts, reported=reply.reports_usage)
            self.tally.break_off(reply.counts)
        except asyncio.CancelledError:
            self.tally.break_off(reply.counts)
            raise
        else:
            if not complete:
                self.tally.break_off(reply.counts)

    async def _send_short(self, proto: HTTPProtocol, headers: Headers, body: bytes, announced: int) -> None:
        """Send less than the announced length, which makes the server break the connection.

        An exception would not: the server ends a chunked answer cleanly whatever its application does. It
        sends in a thread of its own and drops what it has not sent when it breaks off, so that thread gets
        time first.
        """
        assert len(body) < announced
        out = proto.response_stream(200, [*headers, ("content-length", str(announced))])
        with contextlib.suppress(ProtocolClosed):
            await out.send_bytes(body)
            await asyncio.sleep(_FLUSH_S)

    async def _replay(self, proto: HTTPProtocol, exchange: Exchange) -> None:
        self.tally.replayed += 1
        if exchange.status < 400:
            self.tally.answered += 1
        else:
            self.tally.errors_by_status[exchange.status] += 1
        headers = [("content-type", exchange.content_type), ("x-capture-id", exchange.id)]
        if not exchange.streams:
            proto.response_bytes(exchange.status, headers, exchange.body)
            return
        out = proto.response_stream(exchange.status, headers)
        with contextlib.suppress(ProtocolClosed):
            for part in exchange.writes():
                await out.send_bytes(part)
                await asyncio.sleep(0)

    def _refuse(
        self, proto: HTTPProtocol, dialect: Dialect, serial: bytes, status: int, message: str | None = None
    ) -> None:
        self.tally.errors_by_status[status] += 1
        headers = _headers(dialect, serial, _JSON) + dialect.fault_headers(status)
        if status == 429:
            headers.append(("retry-after", _RETRY_AFTER_S))
        proto.response_bytes(status, headers, dialect.fault(status, message or message_for(status), serial))

    def _answer_about_itself(self, method: str, path: str, proto: HTTPProtocol) -> None:
        answer: object
        if (method, path) == ("GET", "/_sim/stats"):
            answer = self.tally.snapshot()
        elif (method, path) == ("POST", "/_sim/reset"):
            self.tally.reset()
            answer = {"reset": True}
        elif (method, path) == ("GET", "/_sim/captures"):
            answer = {"captures": _listed(self._captures)}
        else:
            proto.response_bytes(404, _JSON_HEADERS, b'{"error":"unknown"}')
            return
        proto.response_bytes(200, _JSON_HEADERS, msgspec.json.encode(answer))


def _has_key(scope: Scope) -> bool:
    get = scope.headers.get
    return bool(
        get("authorization")
        or get("x-api-key")
        or get("x-goog-api-key")
        or get("api-key")
        or scope.query_string.startswith("key=")
        or "&key=" in scope.query_string
    )


def _headers(dialect: Dialect, serial: bytes, content_type: str) -> Headers:
    return [("content-type", content_type), (dialect.request_id_header, "req_" + serial.decode())]


def _listed(captures: Captures | None) -> list[dict[str, object]]:
    if captures is None:
        return []
    return [
        {
            "id": exchange.id,
            "provider": exchange.provider,
            "path": exchange.path,
            "model": exchange.model,
            "stream": exchange.stream,
            "status": exchange.status,
        }
        for exchange in captures.by_id.values()
    ]
