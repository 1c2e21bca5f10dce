"""The released SDK hears of events, and takes meter events back."""

from __future__ import annotations

from typing import Any

import pytest
import stripe

pytestmark = pytest.mark.e2e


def destinations(shop: Any) -> None:
    core = shop.client().v2.core
    wanted: Any = {
        "name": "thin",
        "type": "webhook_endpoint",
        "event_payload": "thin",
        "enabled_events": ["*"],
        "webhook_endpoint": {"url": "http://localhost:9000/thin"},
        "include": ["webhook_endpoint.signing_secret"],
    }
    made = core.event_destinations.create(wanted)
    assert made.webhook_endpoint is not None
    assert str(made.webhook_endpoint.signing_secret).startswith("whsec_")
    assert core.event_destinations.disable(made.id).status == "disabled"
    assert core.event_destinations.enable(made.id).status == "enabled"
    assert core.event_destinations.update(made.id, {"name": "other"}).name == "other"
    pinged: Any = core.event_destinations.ping(made.id)
    assert type(pinged).__name__ == "V2CoreEventDestinationPingEvent"
    assert pinged.fetch_related_object().id == made.id
    for i in range(5):
        shop.client().v1.customers.create({"name": str(i)})
    listed = core.events.list({"limit": 2, "types": ["v1.customer.created"]})
    events = list(listed.auto_paging_iter())
    assert len(events) == 5 and len({event.id for event in events}) == 5
    assert core.events.retrieve(events[0].id).type == "v1.customer.created"
    assert [entry.id for entry in core.event_destinations.list().auto_paging_iter()] == [made.id]
    core.event_destinations.delete(made.id)
    with pytest.raises(stripe.InvalidRequestError, match="No such event destination"):
        core.event_destinations.retrieve(made.id)


async def test_event_destinations_are_managed_and_thin_events_read(shop: Any) -> None:
    await shop.sees(destinations)


def cancellations(shop: Any) -> None:
    shop.set_up()
    client = shop.client()
    customer = client.v1.customers.create({})
    event: Any = {"event_name": shop.meter, "payload": shop.payload(customer.id, 5), "identifier": "one"}
    client.v2.billing.meter_events.create(event)
    canceled = client.v1.billing.meter_event_adjustments.create(
        {"event_name": shop.meter, "type": "cancel", "cancel": {"identifier": "one"}}
    )
    assert canceled.status == "complete"
    again = client.v2.billing.meter_event_adjustments.create(
        {"event_name": shop.meter, "type": "cancel", "cancel": {"identifier": "one"}}
    )
    assert (again.status, again.cancel.identifier) == ("complete", "one")
    filtered = client.v1.events.list({"created": {"gte": 0}, "delivery_success": True, "limit": 1})
    assert filtered.has_more


async def test_meter_events_are_canceled_and_events_filtered(shop: Any) -> None:
    await shop.sees(cancellations)
