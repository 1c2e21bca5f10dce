"""The dispatcher, on a real store, against a real receiver on a real socket; only the clock is ours."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import msgspec
import pytest
import stripe

from costplus.billing.customer import Customer
from costplus.billing.event import RETRY_PAUSES, Delivery, Event, WebhookEndpoint
from costplus.billing.notify import announce
from costplus.billing.store import T, Tx
from costplus.core.errors import Unavailable
from costplus.storage.memory import MemoryStore
from costplus.web import webhooks
from costplus.web.signature import standard_signature
from costplus.web.webhooks import Dispatcher

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


@dataclass
class Receiver:
    """An HTTP server that answers each path from its list of statuses (then 200), and remembers requests.

    A path in `held` gets no answer until its event is set; one in `endless` a body that never ends.
    """

    url: str = ""
    answers: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    held: dict[str, asyncio.Event] = field(default_factory=dict)
    endless: dict[str, bytes] = field(default_factory=dict)
    heard: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)
    open_now: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    open_most: dict[str, int] = field(default_factory=lambda: defaultdict(int))

    def at(self, path: str) -> list[str]:
        """Return the ids of the events that came to a path."""
        return [msgspec.json.decode(body)["id"] for where, _, body in self.heard if where == path]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with closing(writer.transport), suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
                headers = {k.lower(): v for k, _, v in (line.partition(": ") for line in head[1:]) if k}
                body = await reader.readexactly(int(headers["content-length"]))
                path = head[0].split()[1]
                self.heard.append((path, headers, body))
                self.open_now[path] += 1
                self.open_most[path] = max(self.open_most[path], self.open_now[path])
                try:
                    await self._answer(path, writer)
                finally:
                    self.open_now[path] -= 1

    async def _answer(self, path: str, writer: asyncio.StreamWriter) -> None:
        if path in self.held:
            await self.held[path].wait()
        await asyncio.sleep(0)
        status = self.answers[path].pop(0) if self.answers[path] else 200
        extra = f"location: {self.url}/elsewhere\r\n" if status == 302 else ""
        if path not in self.endless:
            writer.write(f"HTTP/1.1 {status} X\r\n{extra}content-length: 6\r\n\r\nthanks".encode())
            return await writer.drain()
        writer.write(f"HTTP/1.1 {status} X\r\ncontent-length: 1000000000\r\n\r\n".encode())
        while True:
            writer.write(self.endless[path])
            await writer.drain()
            await asyncio.sleep(0.001)


@pytest.fixture
async def receiver(listen: Callable[[Any], Awaitable[str]]) -> Receiver:
    receiver = Receiver()
    receiver.url = await listen(receiver.serve)
    return receiver


def render(event: Event) -> bytes:
    snapshot = msgspec.json.decode(event.snapshot)
    return msgspec.json.encode(
        {"id": event.id, "object": "event", "type": event.type, "data": {"object": snapshot}}
    )


@dataclass
class Scene:
    """A store, a receiver, and a present that only tests move."""

    receiver: Receiver
    store: MemoryStore = field(default_factory=MemoryStore)
    now: datetime = field(default_factory=lambda: datetime.now(UTC))

    @asynccontextmanager
    async def running(self, **options: Any) -> AsyncIterator[Dispatcher]:
        """Run a dispatcher, and let it finish what it has begun at the end."""
        async with httpx2.AsyncClient(trust_env=False) as client:
            options = {"render": render, "client": client, **options}
            dispatcher = Dispatcher(store=self.store, now=lambda: self.now, **options)
            task = asyncio.create_task(dispatcher.run())
            try:
                yield dispatcher
            finally:
                dispatcher.stop()
                async with asyncio.timeout(10):
                    await task

    async def add_endpoint(self, path: str = "/hook") -> WebhookEndpoint:
        url = self.receiver.url + path if path.startswith("/") else path
        endpoint = WebhookEndpoint(id=f"we_{path}", created=self.now, url=url, secret=SECRET)
        await self.store.write(lambda tx: tx.save(endpoint))
        return endpoint

    async def happen(self, name: str = "") -> Event:
        at = self.now + timedelta(days=999)  # As for a customer whose test clock is far ahead.
        subject = Customer(id="cus_1", created=at, name=name)
        return await self.store.write(lambda tx: announce(tx, "customer.updated", subject, at=at))

    async def deliveries(self, event: Event) -> list[Delivery]:
        return await self.store.read(lambda tx: list(tx.deliveries_of(event.id)))

    async def until(self, event: Event, **expected: Any) -> Delivery:
        """Wait, within bounds, until all deliveries of the event look as expected; return the first."""
        while True:
            found = await self.deliveries(event)
            if all(getattr(delivery, key) == value for delivery in found for key, value in expected.items()):
                return found[0]
            await pause()

    async def until_heard(self, path: str, *events: Event) -> None:
        """Wait, within bounds, until exactly these events have come to the path."""
        while self.receiver.at(path) != [event.id for event in events]:
            await pause()


async def pause() -> None:
    await asyncio.sleep(0.002)


@pytest.fixture
async def scene(receiver: Receiver) -> AsyncIterator[Scene]:
    async with asyncio.timeout(20):
        yield Scene(receiver)


async def test_an_event_reaches_its_endpoint_signed_in_both_schemes(scene: Scene) -> None:
    await scene.add_endpoint()
    async with scene.running(user_agent="costplus/1"):
        event = await scene.happen("Zoë")
        delivery = await scene.until(event, status="delivered")
    [(_, headers, body)] = scene.receiver.heard
    signature = headers["stripe-signature"]
    told = stripe.Webhook.construct_event(body, signature, SECRET)  # type: ignore[no-untyped-call]  # Stripe has no types here.
    assert (told.id, told.data.object["name"]) == (event.id, "Zoë")
    assert headers["webhook-signature"] == standard_signature(
        SECRET, id=event.id, timestamp_s=int(headers["webhook-timestamp"]), body=body
    )
    assert (headers["webhook-id"], headers["user-agent"]) == (event.id, "costplus/1")
    assert headers["content-type"].startswith("application/json")
    assert (delivery.attempts, delivery.response_status, delivery.error) == (1, 200, "")
    assert delivery.delivered_at == scene.now


async def test_a_delivery_is_tried_again_after_every_pause_and_then_given_up(scene: Scene) -> None:
    await scene.add_endpoint()
    scene.receiver.answers["/hook"] = [500] * 20
    async with scene.running() as dispatcher:
        event = await scene.happen()
        for attempt, pause in enumerate(RETRY_PAUSES, 1):
            delivery = await scene.until(event, attempts=attempt)
            assert (delivery.status, delivery.due_at) == ("pending", scene.now + pause)
            scene.now += pause
            dispatcher.wake()
        delivery = await scene.until(event, status="failed")
    assert delivery.attempts == len(scene.receiver.heard) == len(RETRY_PAUSES) + 1
    assert (delivery.response_status, delivery.error) == (500, "HTTP 500: thanks")
    assert len({body for _, _, body in scene.receiver.heard}) == 1


async def test_a_retry_that_succeeds_ends_the_matter(scene: Scene) -> None:
    await scene.add_endpoint()
    scene.receiver.answers["/hook"] = [503]
    async with scene.running() as dispatcher:
        event = await scene.happen()
        await scene.until(event, attempts=1)
        scene.now += RETRY_PAUSES[0]
        dispatcher.wake()
        delivery = await scene.until(event, status="delivered")
    assert (delivery.attempts, delivery.error) == (2, "")


async def test_an_endpoint_that_is_gone_is_disabled_and_hears_nothing_more(scene: Scene) -> None:
    endpoint = await scene.add_endpoint()
    scene.receiver.answers["/hook"] = [410]
    first, second = await scene.happen(), await scene.happen()
    async with scene.running():
        gone = await scene.until(first, status="failed")
        skipped = await scene.until(second, status="failed")
    assert scene.receiver.at("/hook") == [first.id]
    assert (gone.response_status, skipped.error) == (410, "The endpoint is disabled.")
    kept = await scene.store.read(lambda tx: tx.find(WebhookEndpoint, endpoint.id))
    assert kept is not None and kept.status == "disabled"
    assert await scene.deliveries(await scene.happen()) == []


async def test_a_deleted_endpoint_fails_its_deliveries_with_the_reason(scene: Scene) -> None:
    endpoint = await scene.add_endpoint()
    event = await scene.happen()
    await scene.store.write(lambda tx: tx.remove(WebhookEndpoint, endpoint.id))
    async with scene.running():
        delivery = await scene.until(event, status="failed")
    assert (delivery.error, scene.receiver.heard) == ("The endpoint was deleted.", [])


async def test_a_redirect_is_a_failure_and_is_not_followed(scene: Scene) -> None:
    await scene.add_endpoint()
    scene.receiver.answers["/hook"] = [302]
    async with scene.running():
        event = await scene.happen()
        delivery = await scene.until(event, attempts=1)
    assert (delivery.status, delivery.response_status) == ("pending", 302)
    assert scene.receiver.at("/elsewhere") == []


async def test_one_endpoint_hears_events_in_order_and_one_at_a_time(scene: Scene) -> None:
    await scene.add_endpoint()
    events = [await scene.happen(str(i)) for i in range(120)]  # More than one batch.
    async with scene.running():
        events += [await scene.happen(str(i)) for i in range(30)]
        await scene.until(events[-1], status="delivered")
    assert scene.receiver.at("/hook") == [event.id for event in events]
    assert scene.receiver.open_most["/hook"] == 1


async def test_an_endpoint_that_hangs_with_a_long_queue_holds_nobody_back(scene: Scene) -> None:
    await scene.add_endpoint("/hangs")
    scene.receiver.held["/hangs"] = asyncio.Event()
    first, *_ = [await scene.happen() for _ in range(250)]
    await scene.add_endpoint("/quick")
    async with scene.running():
        await scene.until_heard("/hangs", first)
        event = await scene.happen()
        await scene.until_heard("/quick", event)
        assert len(scene.receiver.at("/hangs")) == 1
        scene.receiver.held["/hangs"].set()


async def test_a_body_is_written_out_once_for_all_endpoints(scene: Scene) -> None:
    rendered: list[str] = []

    def counting(event: Event) -> bytes:
        rendered.append(event.id)
        return render(event)

    for path in ("/hook-1", "/hook-2", "/hook-3"):
        await scene.add_endpoint(path)
    async with scene.running(render=counting):
        event = await scene.happen()
        await scene.until(event, status="delivered")
    assert rendered == [event.id]
    assert len(scene.receiver.heard) == 3


async def test_a_crash_during_an_attempt_sends_the_delivery_again(scene: Scene) -> None:
    await scene.add_endpoint()
    scene.receiver.held["/hook"] = asyncio.Event()
    event = await scene.happen()
    crashing = asyncio.create_task(Dispatcher(store=scene.store, render=render, now=lambda: scene.now).run())
    await scene.until_heard("/hook", event)
    crashing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await crashing
    await scene.until(event, status="pending")
    scene.receiver.held["/hook"].set()
    async with scene.running():
        await scene.until(event, status="delivered")
    assert scene.receiver.at("/hook") == [event.id, event.id]


async def test_stopping_finishes_the_attempt_under_way_and_begins_no_other(scene: Scene) -> None:
    await scene.add_endpoint()
    scene.receiver.held["/hook"] = asyncio.Event()
    first, second = await scene.happen(), await scene.happen()
    async with scene.running() as dispatcher:
        await scene.until_heard("/hook", first)
        dispatcher.stop()
        scene.receiver.held["/hook"].set()
    await scene.until(first, status="delivered")
    await scene.until(second, status="pending", attempts=0)


async def test_an_unreachable_endpoint_is_tried_again_and_the_reason_kept(scene: Scene) -> None:
    await scene.add_endpoint("http://127.0.0.1:1/hook")
    await scene.add_endpoint("nonsense://[hook")
    async with scene.running():
        event = await scene.happen()
        await scene.until(event, attempts=1)
    for delivery in await scene.deliveries(event):
        assert (delivery.status, delivery.response_status) == ("pending", None)
        assert delivery.error.startswith(("ConnectError: ", "InvalidURL: ", "UnsupportedProtocol: "))


async def test_an_endpoint_that_does_not_answer_in_time_is_tried_again(scene: Scene) -> None:
    await scene.add_endpoint()
    scene.receiver.held["/hook"] = asyncio.Event()
    async with scene.running(timeout_s=1):
        event = await scene.happen()
        delivery = await scene.until(event, attempts=1)
    assert delivery.error == "No answer within 1 seconds."


@pytest.mark.parametrize("chunk", [b"", b"x" * 9999])
@pytest.mark.parametrize("status", [200, 500])
async def test_a_status_counts_though_the_answer_never_ends(scene: Scene, status: int, chunk: bytes) -> None:
    await scene.add_endpoint()
    scene.receiver.answers["/hook"], scene.receiver.endless["/hook"] = [status], chunk
    async with scene.running(timeout_s=1 if not chunk else 60):
        event = await scene.happen()
        delivery = await scene.until(event, attempts=1)
    assert (delivery.response_status, delivery.status == "delivered") == (status, status == 200)
    assert len(delivery.error) < 400


async def test_a_commit_in_another_thread_wakes_the_dispatcher(scene: Scene) -> None:
    await scene.add_endpoint()
    async with scene.running():
        event = await asyncio.to_thread(lambda: asyncio.run(scene.happen()))
        await scene.until(event, status="delivered")


async def test_an_event_that_cannot_be_written_out_keeps_no_other_waiting(scene: Scene) -> None:
    def choosy(event: Event) -> bytes:
        if b"broken" in event.snapshot:
            raise KeyError("no such field")
        return render(event)

    await scene.add_endpoint()
    async with scene.running(render=choosy):
        broken, sound = await scene.happen("broken"), await scene.happen()
        await scene.until(sound, status="delivered")
        delivery = await scene.until(broken, status="pending", attempts=1)
    assert "no such field" in delivery.error


async def test_a_delivery_that_was_made_due_later_meanwhile_waits(scene: Scene) -> None:
    await scene.add_endpoint()
    scene.receiver.held["/hook"] = asyncio.Event()
    events = [await scene.happen() for _ in range(3)]
    async with scene.running():
        await scene.until_heard("/hook", events[0])
        later = replace((await scene.deliveries(events[1]))[0], due_at=scene.now + timedelta(hours=1))
        await scene.store.write(lambda tx: tx.save_delivery(later))
        scene.receiver.held["/hook"].set()
        await scene.until(events[2], status="delivered")
    assert scene.receiver.at("/hook") == [events[0].id, events[2].id]


class FaintStore(MemoryStore):
    """A store that does not take its next few writes."""

    missing = 0

    async def write(self, verb: Callable[[Tx], T], *, customers: object = None) -> T:
        if self.missing > 0:
            self.missing -= 1
            raise Unavailable("The database is away.")
        return await super().write(verb)


async def test_an_outcome_is_recorded_once_the_store_is_back_without_sending_twice(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhooks, "STORE_PAUSE_S", 0)
    store = scene.store = FaintStore()
    await scene.add_endpoint()
    event = await scene.happen()
    store.missing = 3
    async with scene.running():
        await scene.until(event, status="delivered")
    assert scene.receiver.at("/hook") == [event.id]
