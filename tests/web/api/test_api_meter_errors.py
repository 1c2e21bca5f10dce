"""Streamed meter events that cannot be used: kept with the reason, told of every ten seconds."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec
import pytest
import stripe

from costplus.billing.meter_errors import announce_reports, has_reports
from costplus.web.objects.wire import rfc3339

METER = "token-billing-tokens"
SECOND = timedelta(seconds=1)


@pytest.fixture
async def customer(api: Any) -> str:
    await api.set_up()
    return str(await api.customer())


def entry(customer: str, identifier: str, **change: Any) -> dict[str, Any]:
    payload = {
        "stripe_customer_id": customer,
        "value": "1",
        "model": "openai/gpt-4o",
        "token_type": "input",
        **change.pop("payload", {}),
    }
    return {"event_name": METER, "identifier": identifier, "payload": payload, **change}


async def stream(api: Any, *events: dict[str, Any]) -> Any:
    made = await api.send("POST", "/v2/billing/meter_event_session", json={})
    token = made.body["authentication_token"]
    return await api.send("POST", "/v2/billing/meter_event_stream", json={"events": list(events)}, key=token)


async def announce_at(api: Any, seconds: int) -> int:
    api.now += seconds * SECOND
    return int(await api.store.write(lambda tx: announce_reports(tx, at=api.now)))


BAD: list[tuple[dict[str, Any], str]] = [
    ({"payload": {"value": "x"}}, "meter_event_invalid_value"),
    ({"payload": {"value": ""}}, "meter_event_value_not_found"),
    ({"payload": {"value": "9" * 16}}, "meter_event_value_too_many_digits"),
    ({"payload": {"value": ["1"]}}, "meter_event_invalid_value"),
    ({"payload": {"stripe_customer_id": ""}}, "meter_event_no_customer_defined"),
    ({"payload": {"stripe_customer_id": "cus_x"}}, "meter_event_customer_not_found"),
    ({"payload": {"model": ""}}, "missing_dimension_payload_keys"),
    ({"payload": {"token_type": "thoughts"}}, "meter_event_token_type_unknown"),
    ({"timestamp": "2026-11-20T12:05:01Z"}, "timestamp_in_future"),
    ({"timestamp": "2026-10-16T11:59:59Z"}, "timestamp_too_far_in_past"),
    ({"event_name": "unheard-of"}, "no_meter"),
]


@pytest.mark.parametrize(("change", "code"), BAD)
async def test_an_event_that_cannot_be_used_is_kept_with_its_reason_and_the_others_count(
    api: Any, customer: str, change: dict[str, Any], code: str
) -> None:
    answer = await stream(api, entry(customer, "good"), entry(customer, "bad", **change))
    assert (answer.status, answer.body) == (200, {})
    (kept,) = (await api.get("/v1/token_billing/meter_event_errors"))["data"]
    assert (kept["code"], kept["identifier"]) == (code, "bad")
    assert kept["message"] and kept["payload"]
    used = await api.get("/v1/token_billing/usage_events", customer=customer)
    assert len(used["data"]) == 1
    assert (await api.get("/v1/token_billing/meter_event_errors", code="other"))["data"] == []


async def test_the_form_of_a_stream_is_answered_for_at_once(api: Any, customer: str) -> None:
    for wrong, code in (
        ({"payload": {}}, "parameter_missing"),
        ({"event_name": METER}, "parameter_missing"),
        ({"event_name": METER, "payload": {}, "timestamp": "soon"}, "parameter_invalid_time"),
        ({"event_name": METER, "payload": {}, "extra": "1"}, "parameter_unknown"),
    ):
        answer = await stream(api, entry(customer, "good"), wrong)
        assert (answer.status, answer.error["code"]) == (400, code)
    used = await api.get("/v1/token_billing/usage_events", customer=customer)
    assert used["data"] == []


async def test_a_windows_errors_make_one_report_counted_by_code_with_samples(api: Any, customer: str) -> None:
    bad = [entry(customer, f"id-{i}", payload={"value": "x"}) for i in range(7)]
    unknown = entry(customer, "id-7", payload={"stripe_customer_id": "cus_x"})
    await stream(api, *bad[:4])
    api.now += 9 * SECOND
    await stream(api, *bad[4:], unknown)
    assert await announce_at(api, 0) == 0
    assert not await api.store.read(lambda tx: has_reports(tx, at=api.now))
    assert await announce_at(api, 1) == 1
    assert await announce_at(api, 1) == 0
    (event,) = (await api.get("/v2/core/events"))["data"][:1]
    (meter,) = (await api.get("/v1/billing/meters"))["data"]
    assert event["type"] == "v1.billing.meter.error_report_triggered"
    related = {
        "id": meter["id"],
        "type": "billing.meter",
        "url": f"/v1/billing/meters/{meter['id']}",
    }
    assert event["related_object"] == related
    data = event["data"]
    assert data["developer_message_summary"] == "There are 8 invalid events"
    first, second = data["reason"]["error_types"]
    assert (first["code"], first["error_count"]) == ("meter_event_customer_not_found", 1)
    assert (second["code"], second["error_count"], len(second["sample_errors"])) == (
        "meter_event_invalid_value",
        7,
        5,
    )
    assert second["sample_errors"][0]["request"] == {"identifier": "id-0"}
    start = api.now - 11 * SECOND
    assert (data["validation_start"], data["validation_end"]) == (
        rfc3339(start),
        rfc3339(start + 10 * SECOND),
    )


async def test_events_without_a_meter_make_a_report_of_their_own(api: Any, customer: str) -> None:
    await stream(api, entry(customer, "a", event_name="unheard-of"))
    await announce_at(api, 10)
    (event,) = (await api.get("/v2/core/events", **{"types[]": "v1.billing.meter.no_meter_found"}))["data"]
    assert "related_object" not in event
    (kind,) = event["data"]["reason"]["error_types"]
    assert (kind["code"], kind["error_count"]) == ("no_meter", 1)
    assert event["data"]["developer_message_summary"] == "There is 1 invalid event"
    assert (await api.get("/v1/events", type="v1.*"))["data"] == []  # v1 has no snapshot of it.


async def test_the_sdk_reads_a_report_with_its_own_classes(api: Any, customer: str) -> None:
    await stream(api, entry(customer, "a", payload={"value": "x"}))
    await announce_at(api, 10)
    (event,) = (await api.get("/v2/core/events", limit=1))["data"]
    client = stripe.StripeClient("sk_test_x")
    notified = client.parse_event_notification_without_verification(
        msgspec.json.encode({key: value for key, value in event.items() if key != "data"})
    )
    assert type(notified).__name__ == "V1BillingMeterErrorReportTriggeredEventNotification"
    read: Any = client.deserialize(  # type: ignore[no-untyped-call]  # Stripe has no types here.
        stripe.StripeResponse(msgspec.json.encode(event).decode(), 200, {}), api_mode="V2"
    )
    assert type(read).__name__ == "V1BillingMeterErrorReportTriggeredEvent"
    assert read.data.reason.error_types[0].code == "meter_event_invalid_value"
