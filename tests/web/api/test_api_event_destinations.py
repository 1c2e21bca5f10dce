"""Event destinations and v2's events: whole objects or names of objects, read by the official SDK."""

from __future__ import annotations

from typing import Any

import pytest

from costplus.billing.event import Event, WebhookEndpoint
from costplus.web.objects import notification_object

PATH = "/v2/core/event_destinations"


def destination(**changes: Any) -> dict[str, Any]:
    return {
        "name": "mine",
        "type": "webhook_endpoint",
        "event_payload": "thin",
        "enabled_events": ["*"],
        "webhook_endpoint": {"url": "https://example.com/thin"},
        **changes,
    }


async def make(api: Any, **changes: Any) -> dict[str, Any]:
    answer = await api.send("POST", PATH, json=destination(**changes))
    assert answer.status == 200, answer.body
    return dict(answer.body)


async def told(api: Any, id: str) -> list[str]:
    """Return the types of the events that are on their way to an endpoint, oldest first."""
    log = await api.get("/v1/token_billing/webhook_deliveries", webhook_endpoint=id, limit=100)
    events = {event.id: event for event in await api.store.read(lambda tx: tx.page(Event, limit=100))}
    return [events[entry["event"]].type for entry in reversed(log["data"])]


async def test_a_destination_shows_its_address_and_secret_only_where_they_are_asked_for(api: Any) -> None:
    plain = await make(api)
    assert plain["webhook_endpoint"] == {"signing_secret": None, "url": None}
    both = ["webhook_endpoint.signing_secret", "webhook_endpoint.url"]
    open = await make(api, include=both, description="d", metadata={"a": "1"})
    assert open["webhook_endpoint"]["url"] == "https://example.com/thin"
    assert open["webhook_endpoint"]["signing_secret"].startswith("whsec_")
    again = await api.get(f"{PATH}/{open['id']}", **{"include[]": both})
    assert again["webhook_endpoint"] == {"signing_secret": None, "url": "https://example.com/thin"}
    assert (again["description"], again["metadata"], again["status_details"]) == ("d", {"a": "1"}, None)
    assert (again["event_payload"], again["name"]) == ("thin", "mine")


async def test_a_destination_is_changed_disabled_enabled_and_deleted(api: Any) -> None:
    made = await make(api)
    path = f"{PATH}/{made['id']}"
    changed = await api.send(
        "POST",
        path,
        json={
            "name": "other",
            "enabled_events": ["v1.invoice.paid"],
            "webhook_endpoint": {"url": "http://localhost:9000/x"},
            "include": ["webhook_endpoint.url"],
        },
    )
    assert (changed.body["name"], changed.body["enabled_events"]) == ("other", ["v1.invoice.paid"])
    assert changed.body["webhook_endpoint"]["url"] == "http://localhost:9000/x"
    disabled = (await api.send("POST", f"{path}/disable", json={})).body
    assert (disabled["status"], disabled["status_details"]) == ("disabled", {"disabled": {"reason": "user"}})
    refused = await api.send("POST", f"{path}/ping", json={})
    assert refused.error["code"] == "webhook_endpoint_disabled"
    assert (await api.send("POST", f"{path}/enable", json={})).body["status"] == "enabled"
    assert (await api.delete(path))["id"] == made["id"]
    assert await api.refusal("GET", path) == (404, "resource_missing", "id")


async def test_both_lists_show_their_own_endpoints_page_by_page(api: Any) -> None:
    made = [(await make(api, name=str(i)))["id"] for i in range(3)]
    await api.post("/v1/webhook_endpoints", {"url": "https://example.com/x", "enabled_events[]": "*"})
    assert len((await api.get("/v1/webhook_endpoints"))["data"]) == 1
    first = await api.get(PATH, limit=2, **{"include[]": "webhook_endpoint.url"})
    assert [entry["id"] for entry in first["data"]] == made[:0:-1]
    second = await api.send("GET", first["next_page_url"])
    assert [entry["id"] for entry in second.body["data"]] == made[:1]
    assert second.body["data"][0]["webhook_endpoint"]["url"] == "https://example.com/thin"
    assert second.body["next_page_url"] is None


@pytest.mark.parametrize(
    ("change", "code", "param"),
    [
        ({"type": "amazon_eventbridge"}, "not_supported", "type"),
        ({"event_payload": "fat"}, "parameter_invalid_choice", "event_payload"),
        ({"webhook_endpoint": {}}, "parameter_missing", "webhook_endpoint[url]"),
        ({"webhook_endpoint": {"url": "ftp://x"}}, "url_invalid", "webhook_endpoint[url]"),
        (
            {"webhook_endpoint": {"url": "http://10.0.0.1/"}},
            "webhook_address_forbidden",
            "webhook_endpoint[url]",
        ),
        ({"name": ""}, "parameter_missing", "name"),
        ({"enabled_events": []}, "parameter_missing", "enabled_events"),
    ],
)
async def test_a_destination_that_could_not_be_told_is_refused(
    api: Any, change: dict[str, Any], code: str, param: str
) -> None:
    answer = await api.send("POST", PATH, json=destination(**change))
    assert (answer.status, answer.error["code"], answer.error["param"]) == (400, code, param)


async def test_thin_destinations_hear_what_has_no_snapshot_and_snapshot_endpoints_do_not(api: Any) -> None:
    thin = (await make(api))["id"]
    named = (await make(api, enabled_events=["v1.customer.created"]))["id"]
    snapshot = (await make(api, event_payload="snapshot", enabled_events=["*"]))["id"]
    await api.customer()
    pinged = await api.send("POST", f"{PATH}/{thin}/ping", json={})
    assert pinged.body["type"] == "v2.core.event_destination.ping"
    assert pinged.body["related_object"] == {
        "id": thin,
        "type": "v2.core.event_destination",
        "url": f"{PATH}/{thin}",
    }
    assert await told(api, thin) == ["customer.created", "v2.core.event_destination.ping"]
    assert await told(api, named) == await told(api, snapshot) == ["customer.created"]


async def test_v2_lists_events_by_type_time_and_object_and_pages_through_them(api: Any) -> None:
    customers = [await api.customer() for _ in range(5)]
    await api.post(f"/v1/customers/{customers[0]}", {"name": "x"})

    async def types(**query: Any) -> list[str]:
        return [event["type"] for event in (await api.get("/v2/core/events", **query))["data"]]

    assert await types(object_id=customers[0]) == ["v1.customer.updated", "v1.customer.created"]
    assert await types(**{"types[]": "v1.customer.updated"}) == ["v1.customer.updated"]
    assert await types(**{"created[gt]": "2026-11-20T12:00:00Z"}) == []
    assert len(await types(**{"created[gte]": "2026-11-20T12:00:00Z", "types[]": "v1.customer.*"})) == 6
    first = await api.get("/v2/core/events", limit=2, **{"types[]": "v1.customer.created"})
    seen = [event["related_object"]["id"] for event in first["data"]]
    url = first["next_page_url"]
    while url:
        page = (await api.send("GET", url)).body
        seen += [event["related_object"]["id"] for event in page["data"]]
        url = page["next_page_url"]
    assert seen == customers[::-1]
    (event,) = (await api.get("/v2/core/events", object_id=customers[1]))["data"]
    assert event["snapshot_event"] == event["id"]
    assert event["reason"]["type"] == "request"
    assert await api.get(f"/v2/core/events/{event['id']}") == event
    assert await api.refusal("GET", "/v2/core/events", {"page": "evt_x"}) == (404, "resource_missing", "page")


async def test_v1_lists_events_by_time_and_by_what_became_of_their_deliveries(api: Any) -> None:
    made = await api.post(
        "/v1/webhook_endpoints", {"url": "https://example.com/x", "enabled_events[]": "customer.created"}
    )
    await api.customer(name="a")
    await api.post("/v1/test_helpers/test_clocks", {"frozen_time": 1_790_000_000})
    now = int(api.now.timestamp())

    async def types(**query: Any) -> list[str]:
        return [event["type"] for event in (await api.get("/v1/events", **query))["data"]]

    clock = "test_helpers.test_clock.created"
    assert await types(delivery_success="false") == ["customer.created"]
    assert await types(delivery_success="true") == [clock]
    assert await types(**{"created[gte]": now, "type": "customer.*"}) == ["customer.created"]
    assert await types(**{"created[gt]": now}) == []
    assert await types(created=now, type="customer.created") == ["customer.created"]
    refusal = await api.refusal("GET", "/v1/events", {"types[]": [f"a.b{i}" for i in range(21)]})
    assert refusal == (400, "event_types_limit", "types")
    assert made["status"] == "enabled"


async def test_a_thin_event_never_carries_the_object(api: Any) -> None:
    await api.customer(name="secret name")
    event: Event = await api.store.read(lambda tx: tx.page(Event, limit=1)[0])
    assert "secret name" not in str(notification_object(event, livemode=False))
    endpoint = WebhookEndpoint(id="we_1", created=api.now, url="https://x.example", secret="whsec_x")
    assert endpoint.sealed().secret == ""
