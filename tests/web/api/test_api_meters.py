"""Meters and what they sum up."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from costplus.web.objects.wire import unix

HOUR = timedelta(hours=1)


def form(event_name: str = "calls", formula: str = "sum", **more: Any) -> dict[str, Any]:
    return {
        "display_name": "Calls",
        "event_name": event_name,
        "default_aggregation[formula]": formula,
        **more,
    }


async def report(api: Any, meter: str, customer: str, value: int, **more: Any) -> None:
    payload = {"payload[stripe_customer_id]": customer, "payload[value]": value}
    await api.post("/v1/billing/meter_events", {"event_name": meter, **payload, **more})


async def test_a_meter_keeps_its_settings_and_may_only_be_renamed(api: Any) -> None:
    keys = {"customer_mapping[type]": "by_id", "customer_mapping[event_payload_key]": "who"}
    made = await api.post(
        "/v1/billing/meters",
        form(**keys, **{"value_settings[event_payload_key]": "amount", "event_time_window": "day"}),
    )
    assert made["customer_mapping"] == {"event_payload_key": "who", "type": "by_id"}
    assert (made["value_settings"], made["event_time_window"]) == ({"event_payload_key": "amount"}, "day")
    renamed = await api.post(f"/v1/billing/meters/{made['id']}", {"display_name": "Requests"})
    assert renamed == made | {"display_name": "Requests"}
    assert await api.get(f"/v1/billing/meters/{made['id']}") == renamed
    refusal = await api.refusal("POST", f"/v1/billing/meters/{made['id']}", {"event_name": "x"})
    assert refusal == (400, "parameter_unknown", "event_name")


async def test_dimensions_are_shown_to_those_who_ask_for_preview_shapes(api: Any) -> None:
    made = await api.post("/v1/billing/meters", form(**{"dimension_payload_keys[]": ["model", "region"]}))
    assert "dimension_payload_keys" not in made
    api.check = None  # The general release has no such field.
    preview = await api.send(
        "GET", f"/v1/billing/meters/{made['id']}", Stripe_Version="2026-10-14.private-preview"
    )
    assert preview.body["dimension_payload_keys"] == ["model", "region"]


async def test_a_meter_is_switched_off_and_on_and_announced_each_time(api: Any) -> None:
    made = await api.post("/v1/billing/meters", form())
    path = f"/v1/billing/meters/{made['id']}"
    off = await api.post(f"{path}/deactivate")
    assert (off["status"], off["status_transitions"]) == ("inactive", {"deactivated_at": unix(api.now)})
    await api.post(f"{path}/deactivate")
    listed = await api.get("/v1/billing/meters", status="active")
    assert listed["data"] == []
    assert (await api.post(f"{path}/reactivate"))["status"] == "active"
    assert await api.event_types() == [
        "billing.meter.created",
        "billing.meter.deactivated",
        "billing.meter.reactivated",
    ]


async def test_an_event_name_belongs_to_one_active_meter(api: Any) -> None:
    first = await api.post("/v1/billing/meters", form())
    taken = (400, "meter_event_name_taken", "event_name")
    assert await api.refusal("POST", "/v1/billing/meters", form()) == taken
    await api.post(f"/v1/billing/meters/{first['id']}/deactivate")
    await api.post("/v1/billing/meters", form())
    assert await api.refusal("POST", f"/v1/billing/meters/{first['id']}/reactivate") == taken


@pytest.mark.parametrize(
    ("change", "code", "param"),
    [
        ({"display_name": ""}, "parameter_missing", "display_name"),
        ({"event_name": "x" * 101}, "parameter_invalid_string", "event_name"),
        (
            {"default_aggregation[formula]": "median"},
            "parameter_invalid_choice",
            "default_aggregation[formula]",
        ),
        (
            {"default_aggregation[formula]": "max", "event_time_window": "day"},
            "meter_formula_not_windowed",
            "event_time_window",
        ),
        ({"customer_mapping[type]": "by_name"}, "parameter_invalid_choice", "customer_mapping[type]"),
        (
            {"event_name": "token-billing-tokens", "event_time_window": "day"},
            "not_supported",
            "event_time_window",
        ),
    ],
)
async def test_a_meter_that_could_not_work_is_refused(
    api: Any, change: dict[str, str], code: str, param: str
) -> None:
    assert await api.refusal("POST", "/v1/billing/meters", form() | change) == (400, code, param)


async def test_a_meter_that_does_not_exist_is_missing(api: Any) -> None:
    assert await api.refusal("GET", "/v1/billing/meters/mtr_x") == (404, "resource_missing", "id")


FIGURES = [
    ("sum", 5, 7),
    ("count", 2, 1),
    ("last", 3, 7),
    ("avg", 2.5, 7),
    ("min", 2, 7),
    ("max", 3, 7),
    ("unique", 2, 1),
]


@pytest.mark.parametrize(("formula", "first", "second"), FIGURES)
async def test_summaries_follow_the_formula_per_hour_newest_first(
    api: Any, formula: str, first: float, second: float
) -> None:
    await api.set_up()
    customer = await api.customer()
    meter = await api.post("/v1/billing/meters", form(formula=formula))
    start = api.now - 3 * HOUR
    for value, minutes in ((2, 0), (3, 59), (7, 60)):
        at = unix(start + timedelta(minutes=minutes))
        await report(api, "calls", customer, value, timestamp=at)
    times = {"customer": customer, "start_time": unix(start), "end_time": unix(start + 3 * HOUR)}
    path = f"/v1/billing/meters/{meter['id']}/event_summaries"
    hours = (await api.get(path, **times, value_grouping_window="hour"))["data"]
    assert [hour["aggregated_value"] for hour in hours] == [0, second, first]
    assert [hour["start_time"] for hour in hours] == [unix(start + i * HOUR) for i in (2, 1, 0)]
    (whole,) = (await api.get(path, **times))["data"]
    expected = {"sum": 12, "count": 3, "last": 7, "avg": 4, "min": 2, "max": 7, "unique": 3}[formula]
    assert (whole["aggregated_value"], whole["end_time"]) == (expected, times["end_time"])
    page = await api.get(path, **times, value_grouping_window="hour", limit=1, starting_after=hours[0]["id"])
    assert page["data"] == [hours[1]] and page["has_more"]


async def test_within_a_time_window_the_later_event_counts(api: Any) -> None:
    await api.set_up()
    customer = await api.customer()
    meter = await api.post("/v1/billing/meters", form(event_time_window="hour"))
    start = api.now - 3 * HOUR
    for value, minutes in ((2, 0), (3, 59), (7, 60)):
        await report(api, "calls", customer, value, timestamp=unix(start + timedelta(minutes=minutes)))
    (whole,) = (
        await api.get(
            f"/v1/billing/meters/{meter['id']}/event_summaries",
            customer=customer,
            start_time=unix(start),
            end_time=unix(api.now),
        )
    )["data"]
    assert whole["aggregated_value"] == 10


@pytest.mark.parametrize(
    ("start", "end", "window", "param"),
    [
        (1, 3600, "", "start_time"),
        (0, 61, "", "start_time"),
        (60, 3600, "hour", "start_time"),
        (0, 3600, "day", "start_time"),
        (3600, 3600, "hour", "start_time"),
        (0, 3600 * 9001, "hour", "end_time"),
    ],
)
async def test_summaries_begin_and_end_on_their_windows_boundaries(
    api: Any, start: int, end: int, window: str, param: str
) -> None:
    customer = await api.customer()
    meter = await api.post("/v1/billing/meters", form())
    query = {
        "customer": customer,
        "start_time": start,
        "end_time": end,
        "value_grouping_window": window,
    }
    refusal = await api.refusal("GET", f"/v1/billing/meters/{meter['id']}/event_summaries", query)
    assert refusal == (400, "meter_event_summary_times_invalid", param)


async def test_units_may_be_below_zero_and_tokens_may_not(api: Any) -> None:
    await api.set_up()
    customer = await api.customer()
    meter = await api.post("/v1/billing/meters", form())
    start = api.now - HOUR
    for value in (5, -8):
        await report(api, "calls", customer, value, timestamp=unix(start))
    times = {"customer": customer, "start_time": unix(start), "end_time": unix(start + HOUR)}
    (whole,) = (await api.get(f"/v1/billing/meters/{meter['id']}/event_summaries", **times))["data"]
    assert whole["aggregated_value"] == -3
    refused = await api.report(customer, -8)
    assert (refused.status, refused.error["code"]) == (400, "meter_event_invalid_value")
