"""Tell webhook endpoints about events: take what is due from the outbox, post it, record what came of it.

Rule 1: at least once. A delivery is pending until its outcome is recorded, so a crash sends it again.
Rule 2: one endpoint hears one delivery at a time, in the outbox's order; a delivery that waits for its next
attempt does not hold back younger ones. Endpoints do not wait for each other.
Rule 3: only 2xx within the time limit is success. A redirect is not followed and is a failure like any
other; 410 disables the endpoint.
Rule 4: an event's body is written out once and is the same, byte by byte, for every endpoint and attempt.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, replace
from datetime import datetime
from functools import lru_cache

import httpx2
import msgspec
import structlog

from costplus.billing.event import Delivery, Event, WebhookEndpoint, next_due
from costplus.billing.store import Store, Tx
from costplus.core.errors import BillingError, Unavailable
from costplus.core.ids import milliseconds
from costplus.web.signature import signed_headers

ANSWER_BYTES_MAX = 64 * 1024
ERROR_CHARS_MAX = 300
BODIES_KEPT = 128
BATCH = 100  # How many deliveries are read beyond those in hand.
IN_HAND_PER_S = 20_000  # Reading again costs as much as there is in hand: the more, the rarer.
PAUSE_S_MAX = 60  # Look again at least this often, whatever the clock does.
BUSY_PAUSE_S = 1  # With deliveries in hand the store cannot say when the next other one is due.
STORE_PAUSE_S = 1

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

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Answer:
    """What an endpoint answered; `status` is None where it did not, and `text` says why."""

    status: int | None
    text: str = ""

    @property
    def accepts(self) -> bool:
        return self.status is not None and 200 <= self.status < 300

    @property
    def is_gone(self) -> bool:
        """Whether the endpoint asks never to be called again."""
        return self.status == 410

    @property
    def fault(self) -> str:
        """One line about what went wrong, for lists."""
        if self.status is None:
            return self.text
        return f"HTTP {self.status}: {self.text}" if self.text else f"HTTP {self.status}"


@dataclass(frozen=True, slots=True)
class Parcel:
    """A delivery as it stands now, with what is to be delivered and to whom."""

    delivery: Delivery
    endpoint: WebhookEndpoint | None
    event: Event | None

    @property
    def obstacle(self) -> str:
        """Why there is nothing to attempt, or empty."""
        if self.endpoint is None:
            return "The endpoint was deleted."
        if self.endpoint.status == "disabled":
            return "The endpoint is disabled."
        return "" if self.event is not None else "The event no longer exists."


def parcel_of(tx: Tx, delivery: Delivery) -> Parcel:
    """Look up the present state of everything that a delivery names."""
    states = {found.id: found for found in tx.deliveries_of(delivery.event)}
    return Parcel(
        states.get(delivery.id, delivery),
        tx.find(WebhookEndpoint, delivery.endpoint),
        tx.find(Event, delivery.event),
    )


def after(delivery: Delivery, answer: Answer, *, at: datetime) -> Delivery:
    """Return the delivery after an attempt that ended at `at` with `answer`."""
    tried = replace(
        delivery, attempts=delivery.attempts + 1, response_status=answer.status, error=answer.fault
    )
    if answer.accepts:
        return replace(tried, status="delivered", delivered_at=at, error="")
    due_at = None if answer.is_gone else next_due(tried.attempts, at=at)
    return replace(tried, status="failed") if due_at is None else replace(tried, due_at=due_at)


def record(tx: Tx, delivery: Delivery, *, disables: bool) -> None:
    """Keep an attempt's outcome; `disables` says that the endpoint is not to be called again."""
    tx.save_delivery(delivery)
    endpoint = tx.find(WebhookEndpoint, delivery.endpoint) if disables else None
    if endpoint is not None:
        tx.save(replace(endpoint, status="disabled"))


class Dispatcher:
    """Delivers what is in the outbox until it is stopped or cancelled; one runs per store.

    `render` writes an event out as JSON. Retries follow `now`, which must be real time.
    """

    def __init__(
        self,
        *,
        store: Store,
        render: Callable[[Event], bytes],
        now: Callable[[], datetime],
        client: httpx2.AsyncClient | None = None,
        timeout_s: int = 20,
        concurrency: int = 16,
        user_agent: str = "costplus",
    ) -> None:
        self._store = store
        self._body_of = lru_cache(maxsize=BODIES_KEPT)(render)
        self._now = now
        self._client = client
        self._timeout_s = timeout_s
        self._slots = asyncio.Semaphore(concurrency)
        self._user_agent = user_agent
        self._queues: dict[str, deque[Delivery]] = {}  # Endpoint id → what its courier has to carry.
        self._in_hand: set[str] = set()  # Ids of all deliveries in those queues.
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
                    client = await stack.enter_async_context(httpx2.AsyncClient())
                while not self._stopping:
                    self._woken.clear()
                    pause_s = await self._take(couriers, client)
                    await asyncio.sleep(len(self._in_hand) / IN_HAND_PER_S)
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
        """Hand everything that is due to couriers; return for how many seconds nothing else can be."""
        at = self._now()
        limit = len(self._in_hand) + BATCH
        try:
            due, next_at = await self._store.read(
                lambda tx: (tx.due_deliveries(at, limit=limit), tx.next_delivery_at())
            )
        except Unavailable as error:
            log.warning("webhooks.store_unavailable", error=str(error))
            return STORE_PAUSE_S
        for delivery in due:
            if delivery.id not in self._in_hand:
                self._hand(delivery, couriers, client)
        if len(due) == limit:
            return 0
        if self._in_hand:
            return BUSY_PAUSE_S
        wait_s = (next_at - at).total_seconds() if next_at else PAUSE_S_MAX
        return min(max(wait_s, 0), PAUSE_S_MAX)

    def _hand(self, delivery: Delivery, couriers: asyncio.TaskGroup, client: httpx2.AsyncClient) -> None:
        """Queue the delivery with its endpoint's courier; call one where there is none."""
        self._in_hand.add(delivery.id)
        queue = self._queues.get(delivery.endpoint)
        if queue is None:
            queue = self._queues[delivery.endpoint] = deque()
            couriers.create_task(self._carry(delivery.endpoint, client))
        queue.append(delivery)

    async def _carry(self, endpoint: str, client: httpx2.AsyncClient) -> None:
        """Be the courier of one endpoint: deliver its queue in order, one by one."""
        queue = self._queues[endpoint]
        try:
            while queue and not self._stopping:
                try:
                    await self._deliver(queue[0], client)
                except Unavailable as error:
                    log.warning("webhooks.store_unavailable", error=str(error))
                    await asyncio.sleep(STORE_PAUSE_S)
                else:
                    self._in_hand.discard(queue.popleft().id)
        finally:
            self._in_hand.difference_update(delivery.id for delivery in queue)
            del self._queues[endpoint]
            self._woken.set()  # A retry may now be what is due next.

    async def _deliver(self, delivery: Delivery, client: httpx2.AsyncClient) -> None:
        """Make one attempt and record its outcome. Raises `Unavailable` before the attempt only."""
        parcel = await self._store.read(lambda tx: parcel_of(tx, delivery))
        delivery, endpoint, event = parcel.delivery, parcel.endpoint, parcel.event
        if delivery.status != "pending" or delivery.due_at > self._now():
            return  # Somebody saw to it since it was taken.
        if parcel.obstacle or endpoint is None or event is None:
            await self._record(replace(delivery, status="failed", error=parcel.obstacle))
            return
        async with self._slots:
            answer = await self._attempt(endpoint, event, client)
        outcome = after(delivery, answer, at=self._now())
        if outcome.status == "failed":
            log.warning("webhooks.gave_up", delivery=delivery.id, endpoint=endpoint.id, error=outcome.error)
        await self._record(outcome, disables=answer.is_gone)

    async def _record(self, outcome: Delivery, *, disables: bool = False) -> None:
        """Keep the outcome, however long the store takes to come back: unrecorded, it would go out again."""
        while True:
            try:
                return await self._store.write(lambda tx: record(tx, outcome, disables=disables))
            except Unavailable as error:
                log.warning("webhooks.outcome_not_recorded", delivery=outcome.id, error=str(error))
                if self._stopping:
                    return None
                await asyncio.sleep(STORE_PAUSE_S)

    async def _attempt(self, endpoint: WebhookEndpoint, event: Event, client: httpx2.AsyncClient) -> Answer:
        try:
            body = self._body_of(event)
        except _UNRENDERABLE as error:
            log.error("webhooks.event_not_renderable", event_id=event.id, type=event.type, error=repr(error))
            return Answer(None, f"The event cannot be written out: {type(error).__name__}: {error}")
        headers = {
            "content-type": "application/json; charset=utf-8",
            "user-agent": self._user_agent,
            "accept-encoding": "identity",
            **signed_headers(
                endpoint.secret, id=event.id, timestamp_s=milliseconds(self._now()) // 1000, body=body
            ),
        }
        return await self._post(endpoint.url, body, headers, client)

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
        except _UNREACHABLE as error:
            if status is None:
                return Answer(None, f"{type(error).__name__}: {error}"[:ERROR_CHARS_MAX])
        return Answer(status, _readable(received))


def _readable(received: bytes | bytearray) -> str:
    """Return the beginning of an answer as one line of printable text."""
    text = received[: 4 * ERROR_CHARS_MAX].decode("utf-8", "replace")
    printable = "".join(char if char.isprintable() else " " for char in text)
    return " ".join(printable.split())[:ERROR_CHARS_MAX]
