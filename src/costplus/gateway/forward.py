"""Forward a call and account for what it used, whatever happens on the way.

Rule 1: usage is journalled before the last byte of the answer is sent: on the chunk that completes it.
Rule 2: a client that leaves does not end the accounting: the rest of the stream is read for a while, and
what still has no counts is estimated from what was seen, flagged.
Rule 3: a provider's refusal costs nothing and passes through; its rejection of our key does not.
Rule 4: until something was sent to the client, another lane may answer instead (`attempt`).
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Sequence
from typing import Protocol

import structlog

from costplus.catalog.price import ModelUnpriced
from costplus.core.money import nano_text
from costplus.core.usage import Usage
from costplus.gateway.attempt import Attempts, RetryPolicy, cost_row, may_have_cost
from costplus.gateway.call import Call, charged, intent_of, measured, used_by
from costplus.gateway.dialect import provider_refusal, stream_error
from costplus.gateway.endpoint import Endpoint
from costplus.gateway.errors import JournalFull, ProviderAnsweredGarbage, ProviderRefusedKey
from costplus.gateway.exhaustion import CUT, Watch, is_watched
from costplus.gateway.health import Health, RetryBudget
from costplus.gateway.journal import Journal
from costplus.gateway.leases import Leases
from costplus.gateway.providers import Provider
from costplus.gateway.settle import Settler
from costplus.gateway.translate.reply import AnswerFailed, AnswerUnreadable
from costplus.gateway.upstream import UpstreamError, UpstreamResponse
from costplus.gateway.wire import READERS, Reading, WireReader
from costplus.gateway.wire.base import EMPTY_READING, SseReader
from costplus.rating.charge import Charge
from costplus.rating.pricing import Pricing
from costplus.rating.sheet import RateSheet

ABANDONED_S = 60  # How long an answer is read on after its client has left.
SERVED_UNPRICED = "served_model_unpriced"  # Flag: charged as the model that was asked for.
_STREAMS = ("text/event-stream", "application/vnd.amazon.eventstream")
_LANES_FAULTS = (UpstreamError, ProviderAnsweredGarbage, AnswerUnreadable)
_KEPT_HEADERS = ("retry-after", "openai-version", "openai-processing-ms", "x-request-id", "request-id")

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
        answer_bytes_max: int = 64 << 20,
        abandoned_s: int = ABANDONED_S,
        health: Health | None = None,
        retries: RetryPolicy | None = None,
        leases: Leases | None = None,
    ) -> None:
        self._journal = journal
        self._settler = settler
        self._pricing = pricing
        self._fsync = fsync
        self._answer_bytes_max = answer_bytes_max
        self._abandoned_s = abandoned_s
        self._health = health or Health(clock=time.monotonic)
        self._leases = leases
        self._budget = RetryBudget()
        self._retries = retries or RetryPolicy()

    async def forward(self, call: Call, client: Client) -> None:
        """Make the call. Raises what the client must be told where nothing was sent to it yet."""
        attempts = Attempts(call, health=self._health, budget=self._budget, policy=self._retries)
        try:
            while not await self._is_served(call, client, attempts):
                with contextlib.suppress(JournalFull):  # Then the first intent stands for this one too.
                    self._journal.intend(intent_of(call))
        finally:
            attempts.end()
            if not call.ended:  # Cancelled, or a fault of ours: what is not known is estimated.
                self._account(call, EMPTY_READING)

    async def _is_served(self, call: Call, client: Client, attempts: Attempts) -> bool:
        """Make one attempt; return False where the call has moved on to the next."""
        sending = call.sending
        provider = sending.provider
        try:
            response = await provider.pool.request(
                method="POST",
                path=provider.path_of(sending.endpoint),
                headers=provider.headers(call.received, sending.endpoint),
                body=sending.body,
            )
            if response.status >= 400:
                body = await response.read(self._answer_bytes_max)
                if attempts.refused(response.status, response.header("retry-after")):
                    return False
                self._refused(call, response, body, client)
            elif (response.header("content-type") or "").startswith(_STREAMS):
                if not await self._stream(call, response, client):
                    attempts.broke()
                    return True
            else:
                await self._whole(call, response, client)
            attempts.answered()
        except _LANES_FAULTS as error:
            if may_have_cost(error):
                self._keep_cost(call, attempts.number)
            if await attempts.failed(error):
                return False
            self._void(call, error.code)
            raise
        return True

    def _keep_cost(self, call: Call, number: int) -> None:
        """Book what an attempt that failed may have cost, beside the call itself."""
        used, charge = cost_row(call, number)
        try:
            self._journal.use(used, [line.rate for line in charge.lines])
        except JournalFull as error:
            log.error("journal_refused_usage", code=error.code, request=used.id)  # Settled all the same.
        self._settler.submit_call(used, charge)

    async def pass_on(
        self,
        provider: Provider,
        endpoint: Endpoint,
        headers: Sequence[tuple[str, str]],
        body: bytes,
        client: Client,
    ) -> None:
        """Pass on what costs nothing, and its answer."""
        response = await provider.pool.request(
            method="POST", path=provider.path_of(endpoint), headers=headers, body=body
        )
        answer = await response.read(self._answer_bytes_max)
        if response.status in (401, 403):
            log.error("provider_credentials_rejected", provider=provider.settings.name)
            raise ProviderRefusedKey(f"Provider '{provider.settings.name}' rejected the gateway's key.")
        client.answer(
            response.status, [("content-type", response.header("content-type") or "application/json")], answer
        )

    def _refused(self, call: Call, response: UpstreamResponse, body: bytes, client: Client) -> None:
        """Pass the provider's own refusal on; it is not billed."""
        self._void(call, f"provider_{response.status}")
        if response.status in (401, 403):
            name = call.sending.provider.settings.name
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
        reader = READERS[sending.endpoint.wire].json()
        reader.feed(body)
        reading = reader.finish()
        if not reading.complete or reading.error:
            raise ProviderAnsweredGarbage(
                f"Provider '{sending.provider.settings.name}' answered something else than its API promises."
            )
        reply = sending.translation.read(body) if sending.translation else None
        charge = self._account(call, reading)
        await self._made_durable(call)
        headers = self._headers(call, response)
        if sending.translation and reply:
            body = sending.translation.write(reply, call.usage)
            headers[0] = ("content-type", _content_type(call))
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
        await response.wait_for_body()  # Until there is something to send, another lane may answer.
        stream = client.start(response.status, headers)
        try:
            async for chunk in response.chunks():
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
        except (UpstreamError, AnswerFailed, AnswerUnreadable) as error:
            log.warning("stream_broken", code=error.code, request=call.id)
            if not call.ended:
                await self._complete(call, reader)
            with contextlib.suppress(ClientGone):
                await stream.send(stream_error(call.endpoint.shape, error, request_id=call.id))
            return False
        finally:
            stream.end()
            if not response.complete:
                await response.aclose()
        return True

    async def _complete(self, call: Call, reader: WireReader, *, client_left: bool = False) -> None:
        """Account for a stream; one that broke off before anything was generated is not billed.

        Where its client left, the provider may have gone on unheard, so what is not known is estimated.
        """
        reading = reader.finish()
        nothing_seen = reading.usage is None and reading.output_chars == 0
        if nothing_seen and (reading.error or not reading.complete) and not client_left:
            self._void(call, "provider_stream_error")
            return
        self._account(call, reading)
        await self._made_durable(call)

    async def _made_durable(self, call: Call) -> None:
        """Wait for the disk where the settings ask for it; the caller gets its answer in any case."""
        if not self._fsync:
            return
        try:
            await self._journal.durable()
        except JournalFull as error:
            log.error("journal_not_durable", code=error.code, request=call.id)  # The store has it soon.

    async def _drain(self, response: UpstreamResponse, reader: WireReader) -> None:
        """Read on after the client has left, for the provider's own counts, up to a bound."""
        try:
            async with asyncio.timeout(self._abandoned_s):
                async for chunk in response.chunks():
                    reader.feed(chunk)
                    if reader.done:
                        return
        except (TimeoutError, UpstreamError) as error:
            log.warning("drain_ended", reason=type(error).__name__)

    def _account(self, call: Call, reading: Reading) -> Charge:
        """Journal what the call used, end its hold, queue its settlement; return its charge."""
        call.ended = True
        self._serve(call, reading)
        usage = measured(call, reading)
        if call.flags:
            usage = Usage(usage.quantities, (*usage.flags, *call.flags))
        charge = charged(call, usage, reading, sheet_of=lambda model: self._sheet_of(call, model))
        call.usage = usage
        call.ticket.used(sum(usage.quantities.values()))
        used = used_by(call, usage, reading, charge)
        rates = [line.rate for line in charge.lines]
        try:
            self._journal.use(used, rates)
        except JournalFull as error:
            log.error("journal_refused_usage", code=error.code, request=call.id)  # Settled all the same.
        self._settler.submit_call(used, charge)
        return charge

    def _serve(self, call: Call, reading: Reading) -> None:
        """Where another model served than was asked for, price what was served (gateway rule 2).

        A served name without a price leaves the requested model's price standing, and is flagged; where that
        had none either, there is nothing to flag: the charge says so.
        """
        if not reading.model or reading.model == call.sheet.model:
            return
        try:
            priced = self._pricing.used(call.sheet.provider, reading.model, card=call.sheet.card, at=call.at)
        except ModelUnpriced:
            if not call.sheet.stands_in:
                call.flags = (*call.flags, SERVED_UNPRICED)
            return
        call.fast = call.fast or ("speed", "fast") in priced.name.modifiers
        if priced.sheet.price.id != call.sheet.price.id:
            call.sheet = priced.sheet

    def _sheet_of(self, call: Call, model: str) -> RateSheet | None:
        """Return the sheet of another model of the call's provider, None where it has no price."""
        try:
            return self._pricing.used(call.sheet.provider, model, card=call.sheet.card, at=call.at).sheet
        except ModelUnpriced:
            return None

    def _void(self, call: Call, reason: str) -> None:
        if call.ended:
            return
        call.ended = True
        call.held.close(0)
        call.ticket.used(0)
        try:
            self._journal.void(call.id, reason)
        except JournalFull as error:
            log.error("journal_refused_void", code=error.code, request=call.id)

    def _headers(self, call: Call, response: UpstreamResponse) -> list[tuple[str, str]]:
        """Return the answer's headers: the provider's few that clients read, and ours."""
        headers = [
            ("content-type", response.header("content-type") or "application/json"),
            ("costplus-request-id", call.id),
        ]
        if call.held.lease or call.held.caps:
            headers.append(("costplus-held", nano_text(call.held.amount_nano)))
        headers += [(name, value) for name, value in response.headers if name in _KEPT_HEADERS]
        return headers


def _content_type(call: Call) -> str:
    """Return what a translated answer is: what the caller asked for."""
    return "text/event-stream" if call.request.stream else "application/json"
