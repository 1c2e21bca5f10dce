"""A receiver on a real socket and a dispatcher on a real store; only the clock is the tests'."""

from __future__ import annotations

import asyncio
import itertools
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import msgspec
import pytest

from costplus.billing.customer import Customer
from costplus.billing.event import Delivery, Event, WebhookEndpoint
from costplus.billing.notify import announce
from costplus.storage.memory import MemoryStore
from costplus.web.objects import notification_object
from costplus.web.webhooks import Dispatcher

FRESH = itertools.count(1)
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


def render(event: Event, payload: str = "snapshot") -> bytes:
    if payload == "thin":
        return msgspec.json.encode(notification_object(event, livemode=False))
    snapshot = msgspec.json.decode(event.snapshot)
    return msgspec.json.encode(
        {"id": event.id, "object": "event", "type": event.type, "data": {"object": snapshot}}
    )


@dataclass
class Scene:
    """A store, a receiver, and a present that only tests move."""

    receiver: Receiver
    secret: str = SECRET
    store: Any = field(default_factory=MemoryStore)
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

    async def add_endpoint(self, path: str = "/hook", **changes: Any) -> WebhookEndpoint:
        url = self.receiver.url + path if path.startswith("/") else path
        fields = {"id": f"we_{path}", "secret": SECRET, **changes}
        endpoint = WebhookEndpoint(created=self.now, url=url, **fields)
        await self.store.write(lambda tx: tx.save(endpoint))
        return endpoint

    async def happen(self, name: str = "", *, to: str = "") -> Event:
        """Let something happen to a customer: to one of its own, or to the one that is named."""
        at = self.now + timedelta(days=999)  # As for a customer whose test clock is far ahead.
        subject = Customer(id=to or f"cus_{next(FRESH)}", created=at, name=name)
        return await self.store.write(lambda tx: announce(tx, "customer.updated", subject, at=at))

    async def deliveries(self, event: Event) -> list[Delivery]:
        return await self.store.read(lambda tx: list(tx.deliveries_of(event.id)))

    async def until(self, event: Event, **expected: Any) -> Delivery:
        """Wait, within bounds, until all deliveries of the event look as expected; return the first."""
        async with asyncio.timeout(10):
            while True:
                found = await self.deliveries(event)
                met = [getattr(one, key) == value for one in found for key, value in expected.items()]
                if all(met):
                    return found[0]
                await pause()

    async def pause(self) -> None:
        await pause()

    def render(self, event: Event, payload: str = "snapshot") -> bytes:
        return render(event, payload)

    async def until_heard(self, path: str, *events: Event) -> None:
        """Wait, within bounds, until exactly these events have come to the path."""
        async with asyncio.timeout(10):
            while self.receiver.at(path) != [event.id for event in events]:
                await pause()


async def pause() -> None:
    await asyncio.sleep(0.002)


@pytest.fixture
async def scene(receiver: Receiver) -> AsyncIterator[Scene]:
    yield Scene(receiver)
