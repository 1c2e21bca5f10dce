"""Tell webhook endpoints about events: claim what is due in the outbox, post it, record what came of it.

Rule 1: at least once. A delivery is pending until its outcome is recorded, so a crash sends it again, under
the same id, once the claim of the process that died has ended.
Rule 2: deliveries of one object go to an endpoint one by one, in order (`billing.event`, rule 3), different
objects side by side. Endpoints do not wait for each other.
Rule 3: only 2xx within the time limit is success. A redirect is not followed and is a failure like any
other; 410 disables the endpoint, and so do days without a success.
Rule 4: an event's body is written out once a payload and is the same, byte by byte, for every endpoint and
attempt.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from datetime import datetime, timedelta
from functools import lru_cache, partial

import httpx2
import msgspec
import structlog

from costplus.billing.event import BODY_MAX, Delivery, Event, Payload, WebhookEndpoint
from costplus.billing.store import Store
from costplus.core.errors import BillingError, Unavailable
from costplus.core.ids import milliseconds
from costplus.web.addresses import AddressForbidden, AddressPolicy
from costplus.web.network import guarded_client
from costplus.web.parcel import (
    Answer,
    after,
    claim,
    give_back,
    hold_back,
    is_claimed,
    parcel_of,
    record,
    renew,
)
from costplus.web.signature import signed_headers

ANSWER_BYTES_MAX = 64 * 1024
ERROR_CHARS_MAX = 300
BODIES_KEPT = 128
BATCH = 100  # How many deliveries are claimed at a time.
IN_HAND_MAX = 64  # An endpoint that has so many waiting here gets no more until it has taken some.
PAUSE_S_MAX = 60  # Look again at least this often, whatever the clock does.
BUSY_PAUSE_S = 1  # With deliveries in hand the store cannot say when the next other one is due.
STORE_PAUSE_S = 1
MARGIN = timedelta(seconds=10)  # A claim must outlast an attempt by this.

# What a renderer raises over one event it cannot write out; that event must not keep the others waiting.
_UNRENDERABLE = (
    BillingError,
    msgspec.MsgspecError,
    AssertionError,
    AttributeError,
    LookupError,
    TypeError,
    ValueError,
)
_UNREACHABLE = (httpx2.HTTPError, httpx2.InvalidURL, OSError, UnicodeError)
Render = Callable[[Event, Payload], bytes]
Lane = tuple[str, str]  # An endpoint, and the object whose deliveries go one by one.

log = structlog.get_logger(__name__)


class Dispatcher:
    """Delivers what is in the outbox until it is stopped or cancelled; any number may share a store.

    `render` writes an event out as JSON. Retries follow `now`, which must be real time. `concurrency` is how
    many deliveries one endpoint gets at once.
    """

    def __init__(
        self,
        *,
        store: Store,
        render: Render,
        now: Callable[[], datetime],
        client: httpx2.AsyncClient | None = None,
        policy: AddressPolicy | None = None,
        timeout_s: int = 20,
        concurrency: int = 4,
        user_agent: str = "costplus",
    ) -> None:
        self._store = store
        self._body_of = lru_cache(maxsize=BODIES_KEPT)(render)
        self._now = now
        self._client = client
        self._policy = policy or AddressPolicy()
        self._timeout_s = timeout_s
        self._concurrency = concurrency
        self._user_agent = user_agent
        self._lanes: dict[Lane, deque[Delivery]] = {}  # What each courier has to carry.
        self._in_hand: Counter[str] = Counter()  # Endpoint id → how many deliveries are in its lanes.
        self._slots: dict[str, asyncio.Semaphore] = {}
        self._woken = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping = False

    async def run(self) -> None:
        """Deliver until `stop`; attempts under way are then finished and recorded."""
        self._loop = asyncio.get_running_loop()
        self._store.listen("outbox", self._wake_from_any_thread)
        try:
            async with AsyncExitStack() as stack, asyncio.TaskGroup() as couriers:
                client = self._client
                if client is None:
                    client = await asyncio.to_thread(guarded_client, self._policy)
                    await stack.enter_async_context(client)
                while not self._stopping:
                    self._woken.clear()
                    pause_s = await self._take(couriers, client)
                    with suppress(TimeoutError):
                        async with asyncio.timeout(pause_s):
                            await self._woken.wait()
        finally:
            self._loop = None

    def stop(self) -> None:
        """Take nothing more; `run` returns when the attempts under way have ended."""
        self._stopping = True
        self._woken.set()

    def wake(self) -> None:
        """Look at the outbox now: the clock was moved, or a delivery was made due."""
        self._woken.set()

    def _wake_from_any_thread(self) -> None:
        loop = self._loop
        if loop is not None:
            with suppress(RuntimeError):  # The loop was closed meanwhile: nobody waits any more.
                loop.call_soon_threadsafe(self._woken.set)

    async def _take(self, couriers: asyncio.TaskGroup, client: httpx2.AsyncClient) -> float:
        """Hand what is due to couriers; return for how many seconds nothing else can be."""
        at = self._now()
        busy = sorted(id for id, count in self._in_hand.items() if count >= IN_HAND_MAX)
        try:
            due, next_at = await self._store.read(
                lambda tx: (tx.due_deliveries(at, limit=1), tx.next_delivery_at())
            )
            if due:
                due = await self._store.write(partial(claim, at=at, limit=BATCH, but_of=busy), customers=())
        except Unavailable as error:
            log.warning("webhooks.store_unavailable", error=str(error))
            return STORE_PAUSE_S
        for delivery in due:
            self._hand(delivery, couriers, client)
        if len(due) == BATCH:
            return 0
        if self._in_hand:
            return BUSY_PAUSE_S
        wait_s = (next_at - at).total_seconds() if next_at else PAUSE_S_MAX
        return min(max(wait_s, 0), PAUSE_S_MAX)

    def _hand(self, delivery: Delivery, couriers: asyncio.TaskGroup, client: httpx2.AsyncClient) -> None:
        """Queue the delivery in its object's lane; call a courier where there is none."""
        self._in_hand[delivery.endpoint] += 1
        key = (delivery.endpoint, delivery.object or delivery.id)
        lane = self._lanes.get(key)
        if lane is None:
            lane = self._lanes[key] = deque()
            couriers.create_task(self._carry(key, client))
        lane.append(delivery)

    def _let_go(self, delivery: Delivery) -> None:
        self._in_hand[delivery.endpoint] -= 1
        if not self._in_hand[delivery.endpoint]:
            del self._in_hand[delivery.endpoint]

    async def _carry(self, key: Lane, client: httpx2.AsyncClient) -> None:
        """Be the courier of one lane: deliver it in order, one by one; give back what a stop leaves."""
        lane, endpoint = self._lanes[key], key[0]
        slots = self._slots.setdefault(endpoint, asyncio.Semaphore(self._concurrency))
        try:
            while lane:
                async with slots:
                    if self._stopping:
                        break
                    try:
                        done = await self._deliver(lane[0], lane, client)
                    except Unavailable as error:
                        log.warning("webhooks.store_unavailable", error=str(error))
                        await asyncio.sleep(STORE_PAUSE_S)
                        continue
                if done:
                    self._let_go(lane.popleft())
        finally:
            left = tuple(lane)
            for delivery in left:
                self._let_go(delivery)
            del self._lanes[key]
            self._woken.set()  # A retry may now be what is due next.
        if left:
            with suppress(Unavailable):  # Then their claims end by themselves.
                await self._store.write(partial(give_back, deliveries=left, at=self._now()), customers=())

    async def _deliver(self, delivery: Delivery, lane: deque[Delivery], client: httpx2.AsyncClient) -> bool:
        """Make one attempt and record its outcome; False where another of the lane has to go first.

        Raises `Unavailable` before the attempt only.
        """
        parcel = await self._store.read(lambda tx: parcel_of(tx, delivery))
        known, endpoint, event = parcel.delivery, parcel.endpoint, parcel.event
        if not is_claimed(known, delivery):
            return True  # Somebody saw to it since it was taken.
        if parcel.obstacle or endpoint is None or event is None:
            await self._record(replace(known, status="failed", error=parcel.obstacle), None)
            return True
        ahead = parcel.ahead
        if ahead is not None and _moved_to_front(lane, ahead):
            return False
        if ahead is not None:
            await self._store.write(lambda tx: hold_back(tx, known, ahead, at=self._now()), customers=())
            return True
        if known.due_at - self._now() < timedelta(seconds=self._timeout_s) + MARGIN:
            renewed = await self._store.write(lambda tx: renew(tx, known, at=self._now()), customers=())
            if renewed is None:
                return True
            known = renewed
        answer = await self._attempt(endpoint, event, client)
        outcome = after(known, answer, at=self._now())
        if outcome.status == "failed":
            log.warning("webhooks.gave_up", delivery=known.id, endpoint=endpoint.id, error=outcome.error)
        await self._record(outcome, answer)
        return True

    async def _record(self, outcome: Delivery, answer: Answer | None) -> None:
        """Keep the outcome, however long the store takes to come back: unrecorded, it would go out again."""
        while True:
            try:
                disabled = await self._store.write(
                    lambda tx: record(tx, outcome, answer=answer, at=self._now()), customers=()
                )
            except Unavailable as error:
                log.warning("webhooks.outcome_not_recorded", delivery=outcome.id, error=str(error))
                if self._stopping:
                    return
                await asyncio.sleep(STORE_PAUSE_S)
                continue
            if disabled is not None:
                log.warning(
                    "webhooks.endpoint_disabled", endpoint=disabled.id, because=disabled.disabled_because
                )
            return

    async def _attempt(self, endpoint: WebhookEndpoint, event: Event, client: httpx2.AsyncClient) -> Answer:
        try:
            body = self._body_of(event, endpoint.payload)
        except _UNRENDERABLE as error:
            log.error("webhooks.event_not_renderable", event_id=event.id, type=event.type, error=repr(error))
            return Answer(None, f"The event cannot be written out: {type(error).__name__}: {error}")
        at = self._now()
        headers = {
            "content-type": "application/json; charset=utf-8",
            "user-agent": self._user_agent,
            "accept-encoding": "identity",
            **signed_headers(
                endpoint.secrets_at(at), id=event.id, timestamp_s=milliseconds(at) // 1000, body=body
            ),
        }
        began = time.monotonic()
        answer = await self._post(endpoint.url, body, headers, client)
        return replace(answer, duration_ms=round((time.monotonic() - began) * 1000))

    async def _post(
        self, url: str, body: bytes, headers: dict[str, str], client: httpx2.AsyncClient
    ) -> Answer:
        """Post once. A status counts as soon as it arrives, whatever becomes of the rest of the answer."""
        status: int | None = None
        received = bytearray()
        try:
            async with (
                asyncio.timeout(self._timeout_s),
                client.stream(
                    "POST",
                    url,
                    content=body,
                    headers=headers,
                    follow_redirects=False,
                    timeout=self._timeout_s,
                ) as response,
            ):
                status = response.status_code
                async for chunk in response.aiter_raw():
                    received += chunk[: ANSWER_BYTES_MAX - len(received)]
                    if len(received) == ANSWER_BYTES_MAX:
                        break
        except (TimeoutError, httpx2.TimeoutException):
            if status is None:
                return Answer(None, f"No answer within {self._timeout_s} seconds.")
        except AddressForbidden as error:
            return Answer(None, f"{error.sentence} [{error.code}]")
        except _UNREACHABLE as error:
            if status is None:
                return Answer(None, f"{type(error).__name__}: {error}"[:ERROR_CHARS_MAX])
        text = received[: 4 * BODY_MAX].decode("utf-8", "replace").replace("\x00", "\ufffd")
        return Answer(status, _readable(text), text[:BODY_MAX])


def _moved_to_front(lane: deque[Delivery], ahead: Delivery) -> bool:
    """Let what has to go first go first, where it waits in the lane too."""
    for position, waiting in enumerate(lane):
        if waiting.id == ahead.id and position:
            del lane[position]
            lane.appendleft(waiting)
            return True
    return False


def _readable(text: str) -> str:
    """Return the beginning of an answer as one line of printable text."""
    printable = "".join(char if char.isprintable() else " " for char in text)
    return " ".join(printable.split())[:ERROR_CHARS_MAX]
