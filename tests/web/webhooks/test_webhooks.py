"""The dispatcher, on a real store, against a real receiver on a real socket; only the clock is ours."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
import stripe

from costplus.billing.event import RETRY_PAUSES, Event, WebhookEndpoint
from costplus.billing.store import T, Tx
from costplus.core.errors import Unavailable
from costplus.storage.memory import MemoryStore
from costplus.web import webhooks
from costplus.web.addresses import AddressPolicy
from costplus.web.parcel import CLAIM
from costplus.web.signature import standard_signature
from costplus.web.webhooks import Dispatcher


async def test_an_event_reaches_its_endpoint_signed_in_both_schemes(scene: Any) -> None:
    await scene.add_endpoint()
    async with scene.running(user_agent="costplus/1"):
        event = await scene.happen("Zoë")
        delivery = await scene.until(event, status="delivered")
    [(_, headers, body)] = scene.receiver.heard
    signature = headers["stripe-signature"]
    told = stripe.Webhook.construct_event(body, signature, scene.secret)  # type: ignore[no-untyped-call]  # Stripe has no types here.
    assert (told.id, told.data.object["name"]) == (event.id, "Zoë")
    assert headers["webhook-signature"] == standard_signature(
        scene.secret, id=event.id, timestamp_s=int(headers["webhook-timestamp"]), body=body
    )
    assert (headers["webhook-id"], headers["user-agent"]) == (event.id, "costplus/1")
    assert headers["content-type"].startswith("application/json")
    assert (delivery.attempts, delivery.response_status, delivery.error) == (1, 200, "")
    assert delivery.delivered_at == scene.now


async def test_a_delivery_is_tried_again_after_every_pause_and_then_given_up(scene: Any) -> None:
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


async def test_a_retry_that_succeeds_ends_the_matter(scene: Any) -> None:
    await scene.add_endpoint()
    scene.receiver.answers["/hook"] = [503]
    async with scene.running() as dispatcher:
        event = await scene.happen()
        await scene.until(event, attempts=1)
        scene.now += RETRY_PAUSES[0]
        dispatcher.wake()
        delivery = await scene.until(event, status="delivered")
    assert (delivery.attempts, delivery.error) == (2, "")


async def test_an_endpoint_that_is_gone_is_disabled_and_hears_nothing_more(scene: Any) -> None:
    endpoint = await scene.add_endpoint()
    scene.receiver.answers["/hook"] = [410]
    first, second = await scene.happen(to="cus_a"), await scene.happen(to="cus_a")
    async with scene.running():
        gone = await scene.until(first, status="failed")
        skipped = await scene.until(second, status="failed")
    assert scene.receiver.at("/hook") == [first.id]
    assert (gone.response_status, skipped.error) == (410, "The endpoint is disabled.")
    kept = await scene.store.read(lambda tx: tx.find(WebhookEndpoint, endpoint.id))
    assert kept is not None and kept.status == "disabled"
    assert await scene.deliveries(await scene.happen()) == []


async def test_a_deleted_endpoint_fails_its_deliveries_with_the_reason(scene: Any) -> None:
    endpoint = await scene.add_endpoint()
    event = await scene.happen()
    await scene.store.write(lambda tx: tx.remove(WebhookEndpoint, endpoint.id))
    async with scene.running():
        delivery = await scene.until(event, status="failed")
    assert (delivery.error, scene.receiver.heard) == ("The endpoint was deleted.", [])


async def test_a_redirect_is_a_failure_and_is_not_followed(scene: Any) -> None:
    await scene.add_endpoint()
    scene.receiver.answers["/hook"] = [302]
    async with scene.running():
        event = await scene.happen()
        delivery = await scene.until(event, attempts=1)
    assert (delivery.status, delivery.response_status) == ("pending", 302)
    assert scene.receiver.at("/elsewhere") == []


async def test_one_endpoint_hears_of_one_object_in_order_and_one_at_a_time(scene: Any) -> None:
    await scene.add_endpoint()
    events = [await scene.happen(str(i), to="cus_a") for i in range(120)]  # More than one batch.
    async with scene.running():
        events += [await scene.happen(str(i), to="cus_a") for i in range(30)]
        await scene.until(events[-1], status="delivered")
    assert scene.receiver.at("/hook") == [event.id for event in events]
    assert scene.receiver.open_most["/hook"] == 1


async def test_an_endpoint_that_hangs_with_a_long_queue_holds_nobody_back(scene: Any) -> None:
    await scene.add_endpoint("/hangs")
    scene.receiver.held["/hangs"] = asyncio.Event()
    first, *_ = [await scene.happen() for _ in range(250)]
    await scene.add_endpoint("/quick")
    async with scene.running():
        while first.id not in scene.receiver.at("/hangs"):
            await scene.pause()
        event = await scene.happen()
        await scene.until_heard("/quick", event)
        assert scene.receiver.open_most["/hangs"] == len(scene.receiver.at("/hangs")) == 4
        scene.receiver.held["/hangs"].set()


async def test_a_body_is_written_out_once_for_all_endpoints(scene: Any) -> None:
    rendered: list[str] = []

    def counting(event: Event, payload: str) -> bytes:
        rendered.append(event.id)
        return bytes(scene.render(event))

    for path in ("/hook-1", "/hook-2", "/hook-3"):
        await scene.add_endpoint(path)
    async with scene.running(render=counting):
        event = await scene.happen()
        await scene.until(event, status="delivered")
    assert rendered == [event.id]
    assert len(scene.receiver.heard) == 3


async def test_a_crash_during_an_attempt_sends_the_delivery_again(scene: Any) -> None:
    await scene.add_endpoint()
    scene.receiver.held["/hook"] = asyncio.Event()
    event = await scene.happen()
    dispatcher = Dispatcher(
        store=scene.store, render=scene.render, now=lambda: scene.now, policy=AddressPolicy(loopback=True)
    )
    crashing = asyncio.create_task(dispatcher.run())
    await scene.until_heard("/hook", event)
    crashing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await crashing
    await scene.until(event, status="pending")
    scene.receiver.held["/hook"].set()
    scene.now += CLAIM  # So long the claim of the process that died keeps others off.
    async with scene.running():
        await scene.until(event, status="delivered")
    assert scene.receiver.at("/hook") == [event.id, event.id]


async def test_stopping_finishes_the_attempt_under_way_and_begins_no_other(scene: Any) -> None:
    await scene.add_endpoint()
    scene.receiver.held["/hook"] = asyncio.Event()
    first, second = await scene.happen(to="cus_a"), await scene.happen(to="cus_a")
    async with scene.running() as dispatcher:
        await scene.until_heard("/hook", first)
        dispatcher.stop()
        scene.receiver.held["/hook"].set()
    await scene.until(first, status="delivered")
    await scene.until(second, status="pending", attempts=0)


async def test_an_unreachable_endpoint_is_tried_again_and_the_reason_kept(scene: Any) -> None:
    await scene.add_endpoint("http://127.0.0.1:1/hook")
    await scene.add_endpoint("nonsense://[hook")
    async with scene.running():
        event = await scene.happen()
        await scene.until(event, attempts=1)
    for delivery in await scene.deliveries(event):
        assert (delivery.status, delivery.response_status) == ("pending", None)
        assert delivery.error.startswith(("ConnectError: ", "InvalidURL: ", "UnsupportedProtocol: "))


async def test_an_endpoint_that_does_not_answer_in_time_is_tried_again(scene: Any) -> None:
    await scene.add_endpoint()
    scene.receiver.held["/hook"] = asyncio.Event()
    async with scene.running(timeout_s=1):
        event = await scene.happen()
        delivery = await scene.until(event, attempts=1)
    assert delivery.error == "No answer within 1 seconds."


@pytest.mark.parametrize("chunk", [b"", b"x" * 9999])
@pytest.mark.parametrize("status", [200, 500])
async def test_a_status_counts_though_the_answer_never_ends(scene: Any, status: int, chunk: bytes) -> None:
    await scene.add_endpoint()
    scene.receiver.answers["/hook"], scene.receiver.endless["/hook"] = [status], chunk
    async with scene.running(timeout_s=1 if not chunk else 60):
        event = await scene.happen()
        delivery = await scene.until(event, attempts=1)
    assert (delivery.response_status, delivery.status == "delivered") == (status, status == 200)
    assert len(delivery.error) < 400


async def test_a_commit_in_another_thread_wakes_the_dispatcher(scene: Any) -> None:
    await scene.add_endpoint()
    async with scene.running():
        event = await asyncio.to_thread(lambda: asyncio.run(scene.happen()))
        await scene.until(event, status="delivered")


async def test_an_event_that_cannot_be_written_out_keeps_no_other_waiting(scene: Any) -> None:
    def choosy(event: Event, payload: str) -> bytes:
        if b"broken" in event.snapshot:
            raise KeyError("no such field")
        return bytes(scene.render(event))

    await scene.add_endpoint()
    async with scene.running(render=choosy):
        broken, sound = await scene.happen("broken"), await scene.happen()
        await scene.until(sound, status="delivered")
        delivery = await scene.until(broken, status="pending", attempts=1)
    assert "no such field" in delivery.error


class FaintStore(MemoryStore):
    """A store that does not take its next few writes."""

    missing = 0

    async def write(self, verb: Callable[[Tx], T], *, customers: object = None) -> T:
        if self.missing > 0:
            self.missing -= 1
            raise Unavailable("The database is away.")
        return await super().write(verb)


async def test_an_outcome_is_recorded_once_the_store_is_back_without_sending_twice(
    scene: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhooks, "STORE_PAUSE_S", 0)
    store = scene.store = FaintStore()
    await scene.add_endpoint()
    event = await scene.happen()
    store.missing = 3
    async with scene.running():
        await scene.until(event, status="delivered")
    assert scene.receiver.at("/hook") == [event.id]
