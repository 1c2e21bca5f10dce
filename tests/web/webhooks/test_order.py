"""The order of deliveries, several dispatchers, rotated secrets, thin events, guarded addresses."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import pytest
import stripe

from costplus.billing.event import HOLDS_ATTEMPTS, RETRY_PAUSES, Event, RetiringSecret, WebhookEndpoint
from costplus.billing.store import Store
from costplus.storage.postgres import PostgresStore
from costplus.storage.sqlite import SqliteStore
from costplus.web.addresses import AddressPolicy
from costplus.web.parcel import CLAIM
from costplus.web.webhooks import Dispatcher


async def pass_time(scene: Any, dispatcher: Dispatcher, step: timedelta) -> None:
    scene.now += step
    dispatcher.wake()


async def test_a_later_event_waits_for_an_earlier_one_of_its_object_and_no_other_does(scene: Any) -> None:
    await scene.add_endpoint()
    scene.receiver.answers["/hook"] = [500]
    async with scene.running() as dispatcher:
        first = await scene.happen("1", to="cus_a")
        await scene.until(first, attempts=1)
        second = await scene.happen("2", to="cus_a")
        other = await scene.happen("3", to="cus_b")
        await scene.until_heard("/hook", first, other)
        assert (await scene.deliveries(second))[0].attempts == 0
        await pass_time(scene, dispatcher, RETRY_PAUSES[0])
        await scene.until(second, status="delivered")
    assert scene.receiver.at("/hook") == [first.id, other.id, first.id, second.id]


async def test_an_event_that_fails_again_and_again_is_overtaken_after_four_attempts(scene: Any) -> None:
    await scene.add_endpoint()
    poisoned = await scene.happen("poisoned", to="cus_a")
    scene.receiver.answers["/hook"] = [500] * HOLDS_ATTEMPTS
    async with scene.running() as dispatcher:
        await scene.until(poisoned, attempts=1)
        later = await scene.happen("later", to="cus_a")
        for attempt in range(2, HOLDS_ATTEMPTS + 1):
            assert (await scene.deliveries(later))[0].attempts == 0
            await pass_time(scene, dispatcher, RETRY_PAUSES[attempt - 2])
            await scene.until(poisoned, attempts=attempt)
        await pass_time(scene, dispatcher, timedelta(seconds=1))
        await scene.until(later, status="delivered")
        assert (await scene.deliveries(poisoned))[0].status == "pending"
        await pass_time(scene, dispatcher, RETRY_PAUSES[HOLDS_ATTEMPTS - 1])
        await scene.until(poisoned, status="delivered")
    assert scene.receiver.at("/hook") == [poisoned.id] * HOLDS_ATTEMPTS + [later.id, poisoned.id]


async def test_different_objects_go_side_by_side_up_to_the_endpoints_limit(scene: Any) -> None:
    await scene.add_endpoint()
    scene.receiver.held["/hook"] = asyncio.Event()
    events = [await scene.happen() for _ in range(5)]
    async with scene.running(concurrency=3):
        while scene.receiver.open_most["/hook"] < 3:
            await scene.pause()
        assert len(scene.receiver.heard) == 3
        scene.receiver.held["/hook"].set()
        for event in events:
            await scene.until(event, status="delivered")
    assert scene.receiver.open_most["/hook"] == 3


@pytest.fixture(params=["sqlite", "postgres"])
async def pair(
    request: pytest.FixtureRequest, tmp_path: Path, new_postgres: Callable[[], Awaitable[PostgresStore]]
) -> AsyncIterator[tuple[Store, Store]]:
    """Return two stores on one database, as two processes have them."""
    one: Store
    two: Store
    if request.param == "sqlite":
        one, two = [await SqliteStore.open(tmp_path / "costplus.db") for _ in range(2)]
    else:
        one = await new_postgres()
        two = await PostgresStore.open(one._workers[0].shared.url, writers=2, readers=1)
    yield one, two
    await two.close()
    await one.close()


async def test_two_dispatchers_on_one_database_send_everything_once_and_in_order(
    scene: Any, pair: tuple[Store, Store]
) -> None:
    one, two = pair
    scene.store = one
    await scene.add_endpoint()
    async with httpx2.AsyncClient(trust_env=False) as client:
        both = [
            # What the other one has in hand is looked at again a second later, so time has to pass.
            Dispatcher(store=store, render=scene.render, now=lambda: datetime.now(UTC), client=client)
            for store in (one, two)
        ]
        running = [asyncio.create_task(dispatcher.run()) for dispatcher in both]
        events = [await scene.happen(str(i), to=f"cus_{i % 10}") for i in range(60)]
        for i in range(10):
            both[1].wake()  # Nobody tells it what the other process committed.
            await scene.until(events[50 + i], status="delivered")
        for dispatcher in both:
            dispatcher.stop()
        await asyncio.gather(*running)
    heard = scene.receiver.at("/hook")
    assert sorted(heard) == sorted(event.id for event in events)
    for i in range(10):
        of_one = [event.id for event in events[i::10]]
        assert [id for id in heard if id in of_one] == of_one


async def test_a_claim_that_was_lost_is_not_attempted(scene: Any) -> None:
    await scene.add_endpoint()
    scene.receiver.held["/hook"] = asyncio.Event()
    first = await scene.happen("1", to="cus_a")
    second = await scene.happen("2", to="cus_a")
    async with scene.running() as dispatcher:
        await scene.until_heard("/hook", first)
        await scene.store.write(
            lambda tx: tx.claim_deliveries(scene.now + CLAIM, scene.now + 9 * CLAIM)
        )  # By somebody else, whose clock is ahead.
        scene.receiver.held["/hook"].set()
        await scene.until(first, status="delivered")
        dispatcher.wake()
        await scene.pause()
    assert scene.receiver.at("/hook") == [first.id]
    (waiting,) = await scene.deliveries(second)
    assert (waiting.status, waiting.due_at) == ("pending", scene.now + 9 * CLAIM)


async def test_a_claim_that_ends_soon_is_renewed_before_the_attempt(scene: Any) -> None:
    await scene.add_endpoint()
    scene.receiver.held["/hook"] = asyncio.Event()
    first = await scene.happen("1", to="cus_a")
    second = await scene.happen("2", to="cus_a")
    async with scene.running():
        await scene.until_heard("/hook", first)
        scene.now += CLAIM - timedelta(seconds=20)
        scene.receiver.held.pop("/hook").set()
        scene.receiver.held["/hook"] = asyncio.Event()
        await scene.until_heard("/hook", first, second)
        (held,) = await scene.deliveries(second)
        assert held.due_at == scene.now + CLAIM
        scene.receiver.held["/hook"].set()
        await scene.until(second, status="delivered")


async def test_while_a_secret_is_replaced_both_sign_in_both_schemes(scene: Any) -> None:
    old = "whsec_" + base64.b64encode(b"old" * 8).decode()
    gone = RetiringSecret(secret="whsec_gone", until=scene.now)
    kept = RetiringSecret(secret=old, until=scene.now + timedelta(hours=1))
    await scene.add_endpoint(retiring=(kept, gone))
    async with scene.running():
        await scene.until(await scene.happen(), status="delivered")
    [(_, headers, body)] = scene.receiver.heard
    assert headers["stripe-signature"].count("v1=") == 2
    for secret in (scene.secret, old):
        stripe.Webhook.construct_event(body, headers["stripe-signature"], secret)  # type: ignore[no-untyped-call]  # Stripe has no types here.
        signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
        key = base64.b64decode(secret.removeprefix("whsec_"))
        digest = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
        assert f"v1,{digest}" in headers["webhook-signature"].split(" ")


async def test_a_thin_destination_is_sent_a_notification_that_the_sdk_verifies(scene: Any) -> None:
    await scene.add_endpoint("/thin", payload="thin")
    await scene.add_endpoint("/whole")
    async with scene.running():
        event = await scene.happen("Zoë")
        await scene.until(event, status="delivered")
    bodies = {path: (headers, body) for path, headers, body in scene.receiver.heard}
    headers, body = bodies["/thin"]
    client = stripe.StripeClient("sk_test_x")
    notified: Any = client.parse_event_notification(body, headers["stripe-signature"], scene.secret)
    assert (notified.id, notified.type) == (event.id, "v1.customer.updated")
    assert notified.related_object.url == f"/v1/customers/{event.object_id}"
    assert b"Zo" not in body and b"Zo" in bodies["/whole"][1]
    assert msgspec.json.decode(body)["object"] == "v2.core.event"


async def test_a_forbidden_address_is_told_in_the_delivery_and_nothing_is_sent(scene: Any) -> None:
    await scene.add_endpoint()
    async with scene.running(client=None, policy=AddressPolicy()):
        delivery = await scene.until(await scene.happen(), attempts=1)
    assert "[webhook_address_forbidden]" in delivery.error
    assert (delivery.status, delivery.response_status, scene.receiver.heard) == ("pending", None, [])


async def test_the_event_that_says_so_is_sent_when_an_endpoint_is_gone(scene: Any) -> None:
    gone = await scene.add_endpoint("/gone")
    await scene.add_endpoint("/other", enabled_events=("token_billing.webhook_endpoint.disabled",))
    scene.receiver.answers["/gone"] = [410]
    async with scene.running():
        await scene.until(await scene.happen(), status="failed")
        while not scene.receiver.at("/other"):
            await scene.pause()
    told: Event = await scene.store.read(lambda tx: tx.find(Event, scene.receiver.at("/other")[0]))
    assert (told.object_id, told.type) == (gone.id, "token_billing.webhook_endpoint.disabled")
    kept: WebhookEndpoint = await scene.store.read(lambda tx: tx.find(WebhookEndpoint, gone.id))
    assert (kept.status, kept.disabled_because) == ("disabled", "gone")
