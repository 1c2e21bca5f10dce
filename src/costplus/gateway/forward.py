"""Forward a call and account for what it used, whatever happens on the way.

Rule 1: usage is journalled before the last byte of the answer is sent: on the chunk that completes it.
Rule 2: a client that leaves does not end the accounting: the rest of the stream is read for a while, and
what still has no counts is estimated from what was seen, flagged.
Rule 3: a provider's refusal costs nothing and passes through; its rejection of our key does not.
Rule 4: until something was sent to the client, another lane may answer instead (`attempt`).
Rule 5: what cannot be read is not passed on: an answer that is compressed though that was not asked for, a
redirection, an event without an end. What a header says of an answer decides less than its first bytes.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Mapping
from typing import Protocol

import structlog

from costplus.core.money import nano_text
from costplus.gateway.account import Accountant
from costplus.gateway.attempt import Attempts, RetryPolicy, may_have_cost
from costplus.gateway.call import Call, intent_of
from costplus.gateway.credentials.credential import Credential
from costplus.gateway.dialect import provider_refusal, stream_error
from costplus.gateway.endpoint import Endpoint
from costplus.gateway.errors import (
    JournalFull,
    OwnKeyRejected,
    ProviderAnsweredGarbage,
    ProviderRefusedKey,
    RequestUnsendable,
)
from costplus.gateway.exhaustion import CUT, Watch, is_watched
from costplus.gateway.health import Health, RetryBudget
from costplus.gateway.journal import Journal
from costplus.gateway.leases import Leases
from costplus.gateway.providers import Provider
from costplus.gateway.settle import Settler
from costplus.gateway.translate.reply import AnswerFailed, AnswerUnreadable
from costplus.gateway.upstream import UpstreamBodyTooLarge, UpstreamError, UpstreamResponse
from costplus.gateway.wire import READERS, Reading, WireReader
from costplus.gateway.wire.base import EMPTY_READING, SseReader
from costplus.gateway.wire.sse import EventTooLarge
from costplus.rating.pricing import Pricing

ABANDONED_S = 60  # How long an answer is read on after its client has left.
_STREAMS = ("text/event-stream", "application/vnd.amazon.eventstream")
_LANES_FAULTS = (UpstreamError, ProviderAnsweredGarbage, AnswerUnreadable)
_BLANKS_MAX = 4096  # Bytes that may stand before an answer's first byte.
_KEPT_HEADERS = (
    "content-encoding",
    "retry-after",
    "openai-version",
    "openai-processing-ms",
    "x-request-id",
    "request-id",
)

log = structlog.get_logger("costplus.gateway.forward")


class Stream(Protocol):
    """The client's side of a streamed answer; `ClientGone` once it has left. Whoever starts it ends it."""

    async def send(self, chunk: bytes) -> None: ...
    def end(self) -> None: ...


class Client(Protocol):
    """The client's side of a call."""

    def answer(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None: ...
    def start(self, status: int, headers: list[tuple[str, str]]) -> Stream: ...


class ClientGone(Exception):
    """The client has closed its connection."""


class Forwarder:
    """Sends admitted calls to their providers."""

    def __init__(
        self,
        *,
        journal: Journal,
        settler: Settler,
        pricing: Pricing,
        fsync: bool = False,
        money_headers: bool = True,
        answer_bytes_max: int = 64 << 20,
        abandoned_s: int = ABANDONED_S,
        health: Health | None = None,
        retries: RetryPolicy | None = None,
        leases: Leases | None = None,
    ) -> None:
        self._journal = journal
        self._accountant = Accountant(journal=journal, settler=settler, pricing=pricing)
        self.fsync = fsync
        self.money_headers = money_headers
        self.abandoned_s = abandoned_s
        self.retries = retries or RetryPolicy()
        self._answer_bytes_max = answer_bytes_max
        self._health = health or Health(clock=time.monotonic)
        self._budget = RetryBudget()
        self._leases = leases

    async def forward(self, call: Call, client: Client) -> None:
        """Make the call. Raises what the client must be told where nothing was sent to it yet."""
        attempts = Attempts(call, health=self._health, budget=self._budget, policy=self.retries)
        try:
            while not await self._is_served(call, client, attempts):
                with contextlib.suppress(JournalFull):  # Then the first intent stands for this one too.
                    self._journal.intend(intent_of(call))
        finally:
            attempts.end()
            if not call.ended:  # Cancelled, or a fault of ours: what is not known is estimated.
                self._accountant.account(call, EMPTY_READING)

    async def _is_served(self, call: Call, client: Client, attempts: Attempts) -> bool:
        """Make one attempt; return False where the call has moved on to the next."""
        sending = call.sending
        response: UpstreamResponse | None = None
        try:
            response = await self._asked(
                sending.provider, sending.endpoint, call.received, sending.body, own=call.own_credential
            )
            if _is_refusal(response):
                body = await response.read(self._answer_bytes_max)
                if attempts.refused(response.status, response.header("retry-after")):
                    return False
                self._refused(call, response, body, client)
            elif _is_unreadable(response):
                raise _garbage(sending.provider)
            elif (response.header("content-type") or "").startswith(_STREAMS):
                begun = await response.beginning(_BLANKS_MAX)  # Until then another lane may answer.
                if begun.lstrip()[:1] in (b"{", b"["):
                    await self._whole(call, response, client)
                elif not await self._stream(call, response, client):
                    attempts.broke()
                    return True
            else:
                await self._whole(call, response, client)
            attempts.answered()
        except _LANES_FAULTS as error:
            if call.ended:
                raise
            if may_have_cost(error):
                self._accountant.keep_cost(call, attempts.number)
            if await attempts.failed(error):
                return False
            self._accountant.void(call, error.code)
            raise
        except RequestUnsendable as error:
            self._accountant.void(call, error.code)
            raise
        finally:
            if response is not None and not response.complete:
                await response.aclose()
        return True

    async def pass_on(
        self,
        provider: Provider,
        endpoint: Endpoint,
        received: Mapping[str, str],
        body: bytes,
        client: Client,
        *,
        request_id: str,
    ) -> None:
        """Pass on what costs nothing, and its answer."""
        response = await self._asked(provider, endpoint, received, body)
        if not _is_refusal(response) and _is_unreadable(response):
            await response.aclose()
            raise _garbage(provider)
        answer = await response.read(self._answer_bytes_max)
        if response.status in (401, 403):
            log.error("provider_credentials_rejected", provider=provider.settings.name)
            raise ProviderRefusedKey(f"Provider '{provider.settings.name}' rejected the gateway's key.")
        sent = [("content-type", response.header("content-type") or "application/json")]
        sent += [(name, value) for name, value in response.headers if name == "content-encoding"]
        client.answer(response.status, [*sent, ("costplus-request-id", request_id)], answer)

    async def _asked(
        self,
        provider: Provider,
        endpoint: Endpoint,
        received: Mapping[str, str],
        body: bytes,
        *,
        own: Credential | None = None,
    ) -> UpstreamResponse:
        """Send the request, with the customer's `own` credential if any; return the response's head."""
        path = provider.path_of(endpoint)
        headers = await provider.headers(received, endpoint, path=path, body=body, own=own)
        try:
            return await provider.pool.request(method="POST", path=path, headers=headers, body=body)
        except ValueError as error:
            raise RequestUnsendable(f"The request cannot be sent on: {error}.") from error

    def _refused(self, call: Call, response: UpstreamResponse, body: bytes, client: Client) -> None:
        """Pass the provider's own refusal on; it is not billed."""
        self._accountant.void(call, f"provider_{response.status}")
        if response.status in (401, 403):
            name = call.sending.provider.settings.name
            if call.own_credential is not None:
                raise OwnKeyRejected(f"Provider '{name}' rejected your own key.")
            log.error("provider_credentials_rejected", provider=name)
            raise ProviderRefusedKey(f"Provider '{name}' rejected the gateway's key.")
        status, headers = response.status, self._headers(call, response)
        if call.sending.translation:
            status, body = provider_refusal(call.endpoint.shape, status, body, request_id=call.id)
            headers[0] = ("content-type", "application/json")
        client.answer(status, headers, body)

    async def _whole(self, call: Call, response: UpstreamResponse, client: Client) -> None:
        body = await response.read(self._answer_bytes_max)
        sending = call.sending
        reading = _whole_reading(sending.endpoint.wire, body)
        if not reading.complete or reading.error:
            raise _garbage(sending.provider)
        reply = sending.translation.read(body) if sending.translation else None
        charge = self._accountant.account(call, reading)
        await self._made_durable(call)
        headers = self._headers(call, response)
        if sending.translation and reply:
            body = sending.translation.write(reply, call.usage)
            headers[0] = ("content-type", _content_type(call))
        if self.money_headers:
            headers.append(("costplus-charged", nano_text(charge.price_nano)))
        client.answer(response.status, headers, body)

    async def _stream(self, call: Call, response: UpstreamResponse, client: Client) -> bool:
        """Pass a stream on; return whether it went as its provider meant it to."""
        reader = READERS[call.sending.endpoint.wire].stream(strip_usage=call.sending.strip_usage)
        passage = call.sending.passage()
        watch = None
        if self._leases and isinstance(reader, SseReader) and is_watched(call):
            watch = Watch(call, reader, self._leases)
        headers = self._headers(call, response)
        if passage:
            headers[0] = ("content-type", _content_type(call))
        stream = client.start(response.status, headers)
        seen_bytes = 0
        try:
            async for chunk in response.chunks():
                seen_bytes += len(chunk)
                if seen_bytes > self._answer_bytes_max:  # A client that does not read has it wait in memory.
                    raise UpstreamBodyTooLarge(f"The stream is over {self._answer_bytes_max} bytes.")
                out = reader.feed(chunk)
                if passage:
                    out = passage.feed(out)
                if reader.done and not call.ended:
                    rest = reader.flush()
                    await self._complete(call, reader)
                    out += passage.feed(rest) + passage.end(call.usage) if passage else rest
                if out:
                    await stream.send(out)
                if watch and not call.ended and not await watch.covers(out):
                    call.flags = (*call.flags, CUT)
                    await self._complete(call, reader)
                    await stream.send(watch.ending())
                    return True
            rest = reader.flush()
            if not call.ended:
                await self._complete(call, reader)
            if passage:
                rest = passage.feed(rest) + passage.end(call.usage)
            if rest:
                await stream.send(rest)
        except ClientGone:
            await self._drain(response, reader)
            if not call.ended:
                await self._complete(call, reader, client_left=True)
        except (UpstreamError, EventTooLarge, AnswerFailed, AnswerUnreadable) as error:
            log.warning("stream_broken", code=error.code, request=call.id)
            if not call.ended:
                await self._complete(call, reader)
            with contextlib.suppress(ClientGone):
                await stream.send(stream_error(call.endpoint.shape, error, request_id=call.id))
            return False
        finally:
            stream.end()
        return True

    async def _complete(self, call: Call, reader: WireReader, *, client_left: bool = False) -> None:
        """Account for a stream; one that broke off before anything was generated is not billed.

        Where its client left, the provider may have gone on unheard, so what is not known is estimated.
        """
        reading = reader.finish()
        nothing_seen = reading.usage is None and reading.output_chars == 0
        if nothing_seen and (reading.error or not reading.complete) and not client_left:
            self._accountant.void(call, "provider_stream_error")
            return
        self._accountant.account(call, reading)
        await self._made_durable(call)

    async def _made_durable(self, call: Call) -> None:
        if self.fsync:
            await self._accountant.made_durable(call)

    async def _drain(self, response: UpstreamResponse, reader: WireReader) -> None:
        """Read on after the client has left, for the provider's own counts, up to a bound."""
        try:
            async with asyncio.timeout(self.abandoned_s):
                async for chunk in response.chunks():
                    reader.feed(chunk)
                    if reader.done:
                        return
        except (TimeoutError, UpstreamError, EventTooLarge) as error:
            log.warning("drain_ended", reason=type(error).__name__)

    def _headers(self, call: Call, response: UpstreamResponse) -> list[tuple[str, str]]:
        """Return the answer's headers: the provider's few that clients read, and ours."""
        headers = [
            ("content-type", response.header("content-type") or "application/json"),
            ("costplus-request-id", call.id),
        ]
        left_nano = call.held.left_nano if self.money_headers else None
        if left_nano is not None:
            headers.append(("costplus-held", nano_text(call.held.amount_nano)))
            headers.append(("costplus-remaining", nano_text(left_nano)))
        headers += [(name, value) for name, value in response.headers if name in _KEPT_HEADERS]
        return headers


def _content_type(call: Call) -> str:
    """Return what a translated answer is: what the caller asked for."""
    return "text/event-stream" if call.request.stream else "application/json"


def _garbage(provider: Provider) -> ProviderAnsweredGarbage:
    return ProviderAnsweredGarbage(
        f"Provider '{provider.settings.name}' answered something else than its API promises."
    )


def _is_refusal(response: UpstreamResponse) -> bool:
    return 400 <= response.status < 600


def _is_unreadable(response: UpstreamResponse) -> bool:
    """Return whether an answer is neither a success nor a refusal, or is compressed."""
    encoding = (response.header("content-encoding") or "identity").strip().lower()
    return not 200 <= response.status < 300 or encoding != "identity"


def _whole_reading(wire: str, body: bytes) -> Reading:
    """Return what a whole answer says, which may be a stream that was not declared as one."""
    reader = READERS[wire].json()
    reader.feed(body)
    reading = reader.finish()
    if reading.complete or reading.error:
        return reading
    events = READERS[wire].stream()
    try:
        events.feed(body)
    except EventTooLarge:
        return reading
    return events.finish()
