"""Reported usage: counted once, charged exactly, refused with a code where it cannot be read."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from costplus.metering.event import UsageEvent
from costplus.metering.feeds.stripe import FUTURE_MAX, PAST_MAX
from costplus.web.api.meter_events import STREAM_EVENTS_MAX
from costplus.web.objects.wire import rfc3339, unix

SECOND = timedelta(seconds=1)
METER = "token-billing-tokens"


@pytest.fixture
async def customer(api: Any) -> str:
    await api.set_up()
    return str(await api.customer())


async def usage(api: Any, customer: str) -> list[dict[str, Any]]:
    listed = await api.get("/v1/token_billing/usage_events", customer=customer)
    return list(listed["data"])


def form(customer: str, **changes: str) -> dict[str, str]:
    payload = {
        "stripe_customer_id": customer,
        "value": "25",
        "model": "openai/gpt-4o-mini",
        "token_type": "output",
    } | {name: value for name, value in changes.items() if name != "identifier"}
    fields = {f"payload[{name}]": value for name, value in payload.items() if value}
    return {"event_name": METER, "identifier": changes.get("identifier", "id-1"), **fields}


async def test_a_token_event_is_charged_at_cost_plus_markup(api: Any, customer: str) -> None:
    answer = await api.report(customer, 1_000_000)
    assert answer.status == 200
    assert answer.body["object"] == "v2.billing.meter_event"
    assert (answer.body["timestamp"], answer.body["payload"]["value"]) == (rfc3339(api.now), "1000000")
    (event,) = await usage(api, customer)
    assert (event["provider"], event["model"]) == ("openai", "gpt-4o-mini")
    assert (event["cost"], event["price"], event["quantities"]) == ("0.15", "0.195", {"input": 1_000_000})


async def test_a_v1_event_is_form_encoded_and_answers_unix_times(api: Any, customer: str) -> None:
    at = unix(api.now - SECOND)
    made = await api.post("/v1/billing/meter_events", form(customer) | {"timestamp": str(at)})
    assert (made["object"], made["timestamp"], made["created"]) == (
        "billing.meter_event",
        at,
        unix(api.now),
    )
    assert (made["identifier"], made["payload"]["token_type"]) == ("id-1", "output")


async def test_the_same_identifier_again_is_the_same_event(api: Any, customer: str) -> None:
    first = await api.post("/v1/billing/meter_events", form(customer))
    api.now += 2 * SECOND
    assert await api.post("/v1/billing/meter_events", form(customer)) == first
    again = await api.report(customer, 25, token_type="output", identifier="id-1")
    assert again.body["timestamp"] == rfc3339(api.now - 2 * SECOND)
    assert len(await usage(api, customer)) == 1


async def test_an_identifier_with_other_content_is_refused(api: Any, customer: str) -> None:
    await api.post("/v1/billing/meter_events", form(customer))
    in_use = (400, "meter_event_identifier_in_use", "identifier")
    for change in ({"value": "26"}, {"token_type": "input"}, {"model": "openai/gpt-4o"}):
        assert await api.refusal("POST", "/v1/billing/meter_events", form(customer, **change)) == in_use


async def test_without_an_identifier_the_idempotency_key_tells_a_retry(api: Any, customer: str) -> None:
    first = await api.report(customer, 12, Idempotency_Key="stripe-node-retry-1")
    api.now += SECOND
    again = await api.report(customer, 12, Idempotency_Key="stripe-node-retry-1")
    other = await api.report(customer, 12, Idempotency_Key="stripe-node-retry-2")
    assert again.body == first.body
    assert other.body["identifier"] != first.body["identifier"]
    assert len(await usage(api, customer)) == 2


async def test_without_either_every_report_is_an_event(api: Any, customer: str) -> None:
    await api.report(customer, 12)
    await api.report(customer, 12)
    assert len(await usage(api, customer)) == 2


async def test_a_model_without_a_price_is_kept_and_announced_never_charged_as_nothing(
    api: Any, customer: str
) -> None:
    answer = await api.report(customer, 5, model="openai/no-such-model")
    assert answer.status == 200
    (event,) = await usage(api, customer)
    assert (event["unpriced"], event["price"]) == (["model"], "0")
    (announced,) = (await api.get("/v1/events", type="token_billing.usage.unpriced"))["data"]
    assert announced["data"]["object"]["model"] == "no-such-model"


REFUSED = [
    ({"value": ""}, "meter_event_value_not_found", "payload"),
    ({"value": "1.5"}, "meter_event_invalid_value", "payload[value]"),
    ({"value": "-1"}, "meter_event_invalid_value", "payload[value]"),
    ({"value": "1e3"}, "meter_event_invalid_value", "payload[value]"),
    ({"value": "٣"}, "meter_event_invalid_value", "payload[value]"),
    ({"value": "9" * 16}, "meter_event_value_too_many_digits", "payload[value]"),
    ({"stripe_customer_id": ""}, "meter_event_no_customer_defined", "payload"),
    ({"stripe_customer_id": "cus_x"}, "meter_event_customer_not_found", "payload[stripe_customer_id]"),
    ({"model": ""}, "missing_dimension_payload_keys", "payload"),
    ({"token_type": ""}, "missing_dimension_payload_keys", "payload"),
    ({"token_type": "thoughts"}, "meter_event_token_type_unknown", "payload[token_type]"),
    ({"model": "m" * 257}, "meter_event_invalid_value", "payload[model]"),
]


@pytest.mark.parametrize(("change", "code", "param"), REFUSED)
async def test_a_payload_that_cannot_be_read_is_refused_by_code(
    api: Any, customer: str, change: dict[str, str], code: str, param: str
) -> None:
    refusal = await api.refusal("POST", "/v1/billing/meter_events", form(customer, **change))
    assert refusal == (400, code, param)
    assert await usage(api, customer) == []


async def test_an_event_needs_a_meter_that_is_active(api: Any, customer: str) -> None:
    unknown = form(customer) | {"event_name": "no-such-meter"}
    assert await api.refusal("POST", "/v1/billing/meter_events", unknown) == (404, "no_meter", "event_name")
    (meter,) = (await api.get("/v1/billing/meters"))["data"]
    await api.post(f"/v1/billing/meters/{meter['id']}/deactivate")
    refusal = await api.refusal("POST", "/v1/billing/meter_events", form(customer))
    assert refusal == (400, "archived_meter", "event_name")


@pytest.mark.parametrize(
    ("offset", "code"),
    [
        (FUTURE_MAX, None),
        (FUTURE_MAX + SECOND, "timestamp_in_future"),
        (-PAST_MAX, None),
        (-PAST_MAX - SECOND, "timestamp_too_far_in_past"),
    ],
)
async def test_a_timestamp_lies_within_35_days_and_5_minutes_ahead(
    api: Any, customer: str, offset: timedelta, code: str | None
) -> None:
    sent = form(customer) | {"timestamp": str(unix(api.now + offset))}
    answer = await api.send("POST", "/v1/billing/meter_events", form=sent)
    assert (answer.error["code"] if answer.status == 400 else None) == code


async def test_a_customer_on_a_test_clock_uses_at_the_clocks_time(api: Any) -> None:
    await api.set_up()
    then = api.now - timedelta(days=200)
    clock = await api.post("/v1/test_helpers/test_clocks", {"frozen_time": unix(then)})
    customer = await api.customer(test_clock=clock["id"])
    assert (await api.report(customer, 1)).body["timestamp"] == rfc3339(then)
    late = await api.report(customer, 1, timestamp=rfc3339(api.now))
    assert late.error["code"] == "timestamp_in_future"


async def test_usage_of_a_customer_without_a_plan_is_refused_not_lost(api: Any) -> None:
    customer = await api.customer()
    await api.post(
        "/v1/billing/meters",
        {"display_name": "t", "event_name": METER, "default_aggregation[formula]": "sum"},
    )
    refusal = await api.refusal("POST", "/v1/billing/meter_events", form(customer))
    assert refusal == (400, "customer_not_subscribed", None)


async def session(api: Any) -> str:
    made = await api.send("POST", "/v2/billing/meter_event_session", json={})
    assert made.body["expires_at"] == rfc3339(api.now + timedelta(minutes=15))
    return str(made.body["authentication_token"])


async def stream(api: Any, token: str, events: list[dict[str, Any]]) -> Any:
    return await api.send("POST", "/v2/billing/meter_event_stream", json={"events": events}, key=token)


def entry(customer: str, identifier: str, value: str = "1") -> dict[str, Any]:
    payload = {
        "stripe_customer_id": customer,
        "value": value,
        "model": "openai/gpt-4o",
        "token_type": "input",
    }
    return {"event_name": METER, "identifier": identifier, "payload": payload}


async def test_a_session_streams_up_to_a_hundred_events(api: Any, customer: str) -> None:
    token = await session(api)
    events = [entry(customer, f"id-{i}") for i in range(STREAM_EVENTS_MAX)]
    answer = await stream(api, token, events)
    assert (answer.status, answer.body) == (200, {})
    await stream(api, token, events)
    kept: list[UsageEvent] = await api.store.read(
        lambda tx: tx.events_between(customer, api.now, api.now + SECOND)
    )
    assert len(kept) == STREAM_EVENTS_MAX
    for count in (0, STREAM_EVENTS_MAX + 1):
        refused = await stream(api, token, events[:1] * count)
        assert (refused.status, refused.error["code"]) == (400, "parameter_invalid_shape")


async def test_a_stream_that_gives_one_identifier_to_two_events_is_refused(api: Any, customer: str) -> None:
    token = await session(api)
    refused = await stream(api, token, [entry(customer, "a", "1"), entry(customer, "a", "2")])
    assert refused.error["code"] == "meter_event_identifier_in_use"
    assert (await stream(api, token, [entry(customer, "a"), entry(customer, "a")])).status == 200
    assert len(await usage(api, customer)) == 1


async def test_a_session_ends_after_fifteen_minutes_and_opens_nothing_else(api: Any, customer: str) -> None:
    token = await session(api)
    assert await api.refusal("GET", "/v1/customers", key=token) == (401, "api_key_invalid", None)
    api.now += timedelta(minutes=15)
    answer = await stream(api, token, [entry(customer, "a")])
    assert (answer.status, answer.error["type"]) == (400, "temporary_session_expired")
    assert answer.error["code"] == "billing_meter_event_session_expired"


async def test_a_session_ends_with_its_key(api: Any, customer: str) -> None:
    second = await api.post("/v1/token_billing/keys")
    made = await api.send("POST", "/v2/billing/meter_event_session", json={}, key=second["secret"])
    await api.delete(f"/v1/token_billing/keys/{second['id']}")
    answer = await stream(api, made.body["authentication_token"], [entry(customer, "a")])
    assert (answer.status, answer.error["code"]) == (401, "api_key_invalid")
