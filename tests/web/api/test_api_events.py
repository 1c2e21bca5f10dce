"""Events and the endpoints they are sent to."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from costplus.billing.alert import Alert, AlertTriggered
from costplus.billing.event import Event
from costplus.billing.notify import announce
from costplus.web.objects import API_VERSION, event_object

PATH = "/v1/webhook_endpoints"


async def endpoint(api: Any, **form: Any) -> dict[str, Any]:
    return dict(await api.post(PATH, {"url": "https://example.com/hook", "enabled_events[]": "*", **form}))


async def test_an_endpoints_secret_is_told_on_creation_and_never_again(api: Any) -> None:
    made = await endpoint(api, description="mine", api_version=API_VERSION, **{"metadata[a]": "1"})
    secret = made.pop("secret")
    assert secret.startswith("whsec_") and len(secret) == len("whsec_") + 32
    assert await api.get(f"{PATH}/{made['id']}") == made
    assert (await api.get(PATH))["data"] == [made]
    assert (made["status"], made["enabled_events"], made["metadata"]) == ("enabled", ["*"], {"a": "1"})


async def test_an_endpoint_is_changed_disabled_and_deleted(api: Any) -> None:
    made = await endpoint(api)
    path = f"{PATH}/{made['id']}"
    changed = await api.post(
        path,
        {"url": "http://localhost:9000/x", "enabled_events[]": ["invoice.paid", "customer.created"]},
    )
    assert changed["url"] == "http://localhost:9000/x"
    assert changed["enabled_events"] == ["invoice.paid", "customer.created"]
    assert (await api.post(path, {"disabled": "true"}))["status"] == "disabled"
    assert (await api.post(path, {"disabled": "false", "description": ""}))["status"] == "enabled"
    assert (await api.delete(path))["deleted"] is True
    assert await api.refusal("GET", path) == (404, "resource_missing", "id")


@pytest.mark.parametrize(
    ("form", "code", "param"),
    [
        ({"url": "ftp://example.com", "enabled_events[]": "*"}, "url_invalid", "url"),
        ({"url": "/hook", "enabled_events[]": "*"}, "url_invalid", "url"),
        ({"url": "https://", "enabled_events[]": "*"}, "url_invalid", "url"),
        ({"url": "https://example.com:99999/", "enabled_events[]": "*"}, "url_invalid", "url"),
        ({"url": "https://example.com/a b", "enabled_events[]": "*"}, "url_invalid", "url"),
        ({"url": "https://example.com"}, "parameter_missing", "enabled_events"),
        ({"url": "https://example.com", "enabled_events[]": "paid"}, "event_type_invalid", "enabled_events"),
        ({"url": "https://example.com", "enabled_events[]": ""}, "parameter_missing", "enabled_events[0]"),
    ],
)
async def test_an_endpoint_that_could_not_be_told_is_refused(
    api: Any, form: dict[str, str], code: str, param: str
) -> None:
    assert await api.refusal("POST", PATH, form) == (400, code, param)


async def test_an_account_has_at_most_a_hundred_endpoints(api: Any) -> None:
    for _ in range(100):
        await endpoint(api)
    refusal = await api.refusal("POST", PATH, {"url": "https://example.com", "enabled_events[]": "*"})
    assert refusal == (400, "webhook_endpoints_limit", None)


async def test_an_event_names_the_request_that_caused_it_and_counts_who_is_still_to_be_told(api: Any) -> None:
    await endpoint(api)
    await endpoint(api, **{"enabled_events[]": "invoice.paid"})
    answer = await api.send("POST", "/v1/customers", form={"name": "Ann"}, Idempotency_Key="k1")
    (event,) = (await api.get("/v1/events"))["data"]
    assert event["request"] == {"id": answer.headers["Request-Id"], "idempotency_key": "k1"}
    assert (event["type"], event["pending_webhooks"]) == ("customer.created", 1)
    assert (event["data"]["object"], event["api_version"]) == (answer.body, API_VERSION)
    assert await api.get(f"/v1/events/{event['id']}") == event


async def test_events_show_the_object_as_it_was(api: Any) -> None:
    customer = await api.customer(name="before")
    await api.post(f"/v1/customers/{customer}", {"name": "after"})
    (event,) = (await api.get("/v1/events", type="customer.created"))["data"]
    assert event["data"]["object"]["name"] == "before"


async def test_events_are_listed_by_type_by_types_and_by_prefix(api: Any) -> None:
    await api.set_up()
    customer = await api.customer()
    await api.delete(f"/v1/customers/{customer}")

    async def types(**query: Any) -> list[str]:
        return [event["type"] for event in (await api.get("/v1/events", **query))["data"]]

    life = [
        "customer.deleted",
        "customer.subscription.deleted",
        "customer.subscription.created",
        "customer.created",
    ]
    assert await types() == [*life, "billing.meter.created"]
    assert await types(type="customer.created") == ["customer.created"]
    assert await types(type="customer.*") == life
    both = ["billing.meter.created", "customer.deleted"]
    assert await types(**{"types[]": both}) == both[::-1]
    page = await api.get("/v1/events", type="customer.*", limit=1)
    assert page["has_more"]
    assert await types(type="customer.*", limit=1, starting_after=page["data"][0]["id"]) == life[1:2]


async def test_an_event_that_does_not_exist_is_missing(api: Any) -> None:
    assert await api.refusal("GET", "/v1/events/evt_x") == (404, "resource_missing", "id")


async def test_an_event_can_be_shown_outside_of_a_request(api: Any) -> None:
    alert = Alert(id="alrt_1", created=api.now, title="low", threshold_minor=0, currency="usd")
    fired = AlertTriggered(
        id="alrtt_1", created=api.now, alert=alert, customer="cus_1", credit_nano=-10_000_001
    )
    event: Event = await api.store.write(
        lambda tx: announce(tx, "billing.alert.triggered", fired, at=api.now + timedelta(seconds=1))
    )
    shown = event_object(event, livemode=True, pending_webhooks=2, api_version="2026-01-01.x")
    assert (shown["livemode"], shown["pending_webhooks"], shown["api_version"]) == (True, 2, "2026-01-01.x")
    assert shown["data"]["object"]["value"] == -2
