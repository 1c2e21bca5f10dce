"""The released SDK has a customer's usage watched."""

from __future__ import annotations

from typing import Any

import pytest

pytestmark = pytest.mark.e2e


def watched(shop: Any) -> None:
    shop.set_up()
    client = shop.client()
    customer = client.v1.customers.create({"name": "Metered"})
    meter = client.v1.billing.meters.create(
        {"display_name": "Calls", "event_name": "calls", "default_aggregation": {"formula": "sum"}}
    )
    alert = client.v1.billing.alerts.create(
        {
            "alert_type": "usage_threshold",
            "title": "many calls",
            "usage_threshold": {
                "filters": [{"type": "customer", "customer": customer.id}],
                "gte": 10,
                "meter": meter.id,
                "recurrence": "one_time",
            },
        }
    )
    assert alert.usage_threshold is not None
    assert (alert.status, alert.usage_threshold.gte, alert.usage_threshold.meter) == ("active", 10, meter.id)
    assert client.v1.billing.alerts.deactivate(alert.id).status == "inactive"
    assert client.v1.billing.alerts.activate(alert.id).status == "active"
    for number in range(3):
        client.v1.billing.meter_events.create(
            {
                "event_name": "calls",
                "identifier": f"call-{number}",
                "payload": {"stripe_customer_id": customer.id, "value": "6"},
            }
        )
    (event,) = client.v1.events.list({"type": "billing.alert.triggered"}).data
    fired = event.data.object
    assert (fired["object"], fired["value"], fired["alert"]["id"]) == (
        "billing.alert_triggered",
        12,
        alert.id,
    )
    assert [entry.id for entry in client.v1.billing.alerts.list({"meter": meter.id}).data] == [alert.id]
    assert client.v1.billing.alerts.archive(alert.id).status == "archived"
    assert client.v1.billing.alerts.list({"meter": meter.id}).data == []


async def test_alerts_on_usage_fire_and_are_switched(shop: Any) -> None:
    await shop.sees(watched)
