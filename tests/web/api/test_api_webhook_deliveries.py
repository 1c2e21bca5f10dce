"""The log of deliveries, sending again, replays, test events and the rotation of secrets."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from costplus.billing.event import LOG_MAX, Attempt, Delivery, WebhookEndpoint
from costplus.billing.outbox import AT_ONCE, step_replay
from costplus.billing.replay import WebhookReplay
from costplus.web.parcel import Answer, after, record

PATH = "/v1/token_billing"
ENDPOINT = "/v1/webhook_endpoints"


async def endpoint(api: Any, *types: str) -> str:
    made = await api.post(
        ENDPOINT, {"url": "https://example.com/hook", "enabled_events[]": list(types) or ["*"]}
    )
    return str(made["id"])


async def deliveries(api: Any, **query: Any) -> list[dict[str, Any]]:
    return list((await api.get(f"{PATH}/webhook_deliveries", **query))["data"])


async def attempt(api: Any, delivery: str, answer: Answer) -> None:
    def verb(tx: Any) -> None:
        known = tx.delivery(delivery)
        record(tx, after(known, answer, at=api.now), answer=answer, at=api.now)

    await api.store.write(verb)


async def test_the_log_says_what_an_endpoint_answered_and_when_it_is_tried_again(api: Any) -> None:
    await endpoint(api)
    await api.customer()
    (waiting,) = await deliveries(api, status="pending")
    assert (waiting["attempts"], waiting["response_status"], waiting["duration_ms"]) == (0, None, None)
    await attempt(api, waiting["id"], Answer(503, "busy", "busy\n" + "x" * 5000, duration_ms=12))
    tried = await api.get(f"{PATH}/webhook_deliveries/{waiting['id']}")
    assert (tried["attempts"], tried["response_status"], tried["duration_ms"]) == (1, 503, 12)
    assert (tried["error"], len(tried["response_body"])) == ("HTTP 503: busy", 1024)
    assert tried["next_attempt_at"] == int(api.now.timestamp()) + 5
    await attempt(api, waiting["id"], Answer(200, "", "ok", duration_ms=3))
    (told,) = await deliveries(api, status="delivered", event=waiting["event"])
    assert [entry["response_status"] for entry in told["attempt_log"]] == [503, 200]
    assert (told["error"], told["next_attempt_at"], told["response_body"]) == (None, None, "ok")


async def test_the_log_is_narrowed_by_endpoint_and_paged(api: Any) -> None:
    first, second = await endpoint(api), await endpoint(api)
    for _ in range(3):
        await api.customer()
    assert len(await deliveries(api, webhook_endpoint=first)) == 3
    page = await api.get(f"{PATH}/webhook_deliveries", webhook_endpoint=second, limit=2)
    assert page["has_more"]
    rest = await deliveries(api, webhook_endpoint=second, starting_after=page["data"][-1]["id"])
    assert len(rest) == 1
    refusal = await api.refusal("GET", f"{PATH}/webhook_deliveries", {"starting_after": "whd_x"})
    assert refusal == (404, "resource_missing", "starting_after")


async def test_an_event_is_sent_again_under_its_own_id(api: Any) -> None:
    first = await endpoint(api, "customer.created")
    second = await endpoint(api, "invoice.paid")
    await api.customer()
    (told,) = await deliveries(api)
    again = await api.post(f"{PATH}/webhook_deliveries/{told['id']}/resend")
    assert (again["event"], again["webhook_endpoint"]) == (told["event"], first)
    assert again["id"] != told["id"]
    event = await api.post(f"/v1/events/{told['event']}/retry", {"webhook_endpoint": second})
    assert event["pending_webhooks"] == 3
    await api.post(f"/v1/events/{told['event']}/retry")
    assert [d["webhook_endpoint"] for d in await deliveries(api)] == [first, second, first, first]
    await api.post(f"{ENDPOINT}/{second}", {"disabled": "true"})
    refusal = await api.refusal("POST", f"/v1/events/{told['event']}/retry", {"webhook_endpoint": second})
    assert refusal == (400, "webhook_endpoint_disabled", None)


async def test_a_test_event_goes_to_its_endpoint_only_whatever_that_asked_for(api: Any) -> None:
    await endpoint(api)
    chosen = await endpoint(api, "invoice.paid")
    sent = await api.post(f"{PATH}/webhook_endpoints/{chosen}/ping")
    assert sent["webhook_endpoint"] == chosen
    assert [d["id"] for d in await deliveries(api)] == [sent["id"]]
    event = await api.get(f"/v1/events/{sent['event']}")
    assert event["type"] == "token_billing.webhook_endpoint.ping"
    assert event["data"]["object"]["id"] == chosen
    kept = await api.store.read(lambda tx: tx.find(WebhookEndpoint, chosen))
    assert kept.secret.encode() not in str(event).encode()


async def test_a_rotated_secret_signs_beside_the_new_one_until_the_overlap_ends(api: Any) -> None:
    id = await endpoint(api)
    before = (await api.store.read(lambda tx: tx.find(WebhookEndpoint, id))).secret
    rotated = await api.post(f"{PATH}/webhook_endpoints/{id}/rotate_secret")
    kept: WebhookEndpoint = await api.store.read(lambda tx: tx.find(WebhookEndpoint, id))
    assert rotated["secret"] == kept.secret != before
    day = timedelta(hours=24)
    assert kept.secrets_at(api.now + day - timedelta(seconds=1)) == (kept.secret, before)
    assert kept.secrets_at(api.now + day) == (kept.secret,)
    await api.post(f"{PATH}/webhook_endpoints/{id}/rotate_secret", {"expire_old_after_s": 60})
    third: WebhookEndpoint = await api.store.read(lambda tx: tx.find(WebhookEndpoint, id))
    assert third.secrets_at(api.now) == (third.secret, kept.secret, before)
    await api.post(f"{PATH}/webhook_endpoints/{id}/rotate_secret", {"expire_old_after_s": 0})
    leaked: WebhookEndpoint = await api.store.read(lambda tx: tx.find(WebhookEndpoint, id))
    assert leaked.secrets_at(api.now) == (leaked.secret,)
    refusal = await api.refusal(
        "POST", f"{PATH}/webhook_endpoints/{id}/rotate_secret", {"expire_old_after_s": 604_801}
    )
    assert refusal == (400, "parameter_invalid_integer", "expire_old_after_s")


async def run(api: Any, replay: str) -> int:
    steps = 0
    while True:
        state = await api.store.write(lambda tx: step_replay(tx, replay, at=api.now))
        steps += 1
        if state is None or state.status != "running":
            return steps


async def test_a_range_is_replayed_oldest_first_and_once(api: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("costplus.billing.outbox.REPLAY_STEP", 3)
    start = api.now
    for i in range(10):
        api.now = start + timedelta(minutes=i)
        await api.customer(name=str(i))
        if i % 3 == 0:
            await api.post("/v1/test_helpers/test_clocks", {"frozen_time": int(start.timestamp())})
    id = await endpoint(api)
    form = {
        "created[gte]": int(start.timestamp()) + 120,
        "created[lt]": int(start.timestamp()) + 480,
        "types[]": "customer.created",
    }
    path = f"{PATH}/webhook_endpoints/{id}/replay"
    replay = await api.post(path, form)
    assert (replay["status"], replay["events_queued"]) == ("running", 0)
    assert (await api.post(path, form))["id"] == replay["id"]  # It runs already.
    assert await run(api, replay["id"]) > 5
    done = await api.get(f"{PATH}/webhook_replays/{replay['id']}")
    assert (done["status"], done["events_found"], done["events_queued"]) == ("complete", 6, 6)
    found = await deliveries(api, webhook_endpoint=id)
    events = [await api.get(f"/v1/events/{delivery['event']}") for delivery in reversed(found)]
    assert [event["data"]["object"]["name"] for event in events] == ["2", "3", "4", "5", "6", "7"]
    assert await api.store.write(lambda tx: step_replay(tx, replay["id"], at=api.now)) is None


async def test_a_replays_step_that_is_done_again_queues_nothing_twice(api: Any) -> None:
    await api.customer()
    id = await endpoint(api)
    replay = await api.post(
        f"{PATH}/webhook_endpoints/{id}/replay", {"created[gte]": int(api.now.timestamp()) - 9}
    )
    assert replay["range"]["lt"] == int(api.now.timestamp())
    api.now += timedelta(seconds=9)
    replay = await api.post(
        f"{PATH}/webhook_endpoints/{id}/replay", {"created[gte]": int(api.now.timestamp()) - 99}
    )
    await run(api, replay["id"])
    queued = len(await deliveries(api))

    def rewind(tx: Any) -> None:
        from_start = replace(tx.page(WebhookReplay, limit=1)[0], status="running", cursor="")
        tx.save(from_start)

    await api.store.write(rewind)
    await run(api, replay["id"])
    assert len(await deliveries(api)) == queued == 1


async def test_a_replay_ends_with_its_endpoint_and_needs_a_range(api: Any) -> None:
    id = await endpoint(api)
    path = f"{PATH}/webhook_endpoints/{id}/replay"
    replay = await api.post(path, {"created[gte]": 0})
    await api.delete(f"{ENDPOINT}/{id}")
    await run(api, replay["id"])
    assert (await api.get(f"{PATH}/webhook_replays/{replay['id']}"))["status"] == "canceled"
    other = await endpoint(api)
    path = f"{PATH}/webhook_endpoints/{other}/replay"
    assert await api.refusal("POST", path) == (400, "parameter_missing", "created[gte]")
    wrong = {"created[gte]": 5, "created[lt]": 5}
    assert await api.refusal("POST", path, wrong) == (400, "replay_range_invalid", "created[lt]")
    missing = await api.refusal("GET", f"{PATH}/webhook_replays/whr_x")
    assert missing == (404, "resource_missing", "id")


async def test_days_without_a_success_disable_an_endpoint_and_the_others_are_told(api: Any) -> None:
    failing, other = await endpoint(api), await endpoint(api, "token_billing.webhook_endpoint.disabled")
    await api.customer()
    (first,) = await deliveries(api, webhook_endpoint=failing)
    await attempt(api, first["id"], Answer(500))
    api.now += timedelta(days=5) - timedelta(seconds=1)
    await attempt(api, first["id"], Answer(None, "No answer."))
    assert (await api.get(f"{ENDPOINT}/{failing}"))["status"] == "enabled"
    api.now += timedelta(seconds=1)
    await attempt(api, first["id"], Answer(500))
    assert (await api.get(f"{ENDPOINT}/{failing}"))["status"] == "disabled"
    (told,) = await deliveries(api, webhook_endpoint=other)
    event = await api.get(f"/v1/events/{told['event']}")
    assert (event["type"], event["data"]["object"]["id"]) == (
        "token_billing.webhook_endpoint.disabled",
        failing,
    )


async def test_one_success_begins_the_count_of_days_anew(api: Any) -> None:
    id = await endpoint(api)
    await api.customer()
    await api.customer()
    second, first = await deliveries(api)
    await attempt(api, first["id"], Answer(500))
    api.now += timedelta(days=4)
    await attempt(api, second["id"], Answer(204))
    api.now += timedelta(days=4)
    await attempt(api, first["id"], Answer(500))
    assert (await api.get(f"{ENDPOINT}/{id}"))["status"] == "enabled"


def test_an_attempt_remembers_no_more_than_twenty_attempts() -> None:
    delivery = Delivery(id="whd_1", event="evt_1", endpoint="we_1", due_at=AT_ONCE)
    for _ in range(25):
        delivery = after(delivery, Answer(500), at=AT_ONCE)
    assert len(delivery.log) == LOG_MAX
    assert delivery.log[-1] == Attempt(at=AT_ONCE, status=500, duration_ms=0, error="HTTP 500")
