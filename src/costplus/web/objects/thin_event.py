"""Events as v2 tells them: what happened to which object, which is fetched by whoever wants to know more.

Rule 1: a notification, which is what endpoints are sent, has no data; the event that is fetched has.
Rule 2: an event that v1 has too is the same event: `snapshot_event` is its id there.
Source: spec "Stripe's wire", §5.3 and §5.8.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from costplus.billing.event import Event, is_thin_only, thin_type
from costplus.billing.meter_errors import MeterErrorReport
from costplus.web.objects.wire import JsonObject, Surroundings, rfc3339

# What an event is about, by `Event.object_kind`: the object's name and where it is fetched.
_RELATED: Mapping[str, tuple[str, str]] = {
    "alert": ("billing.alert", "/v1/billing/alerts/{id}"),
    "alert_triggered": ("billing.alert", "/v1/billing/alerts/{id}"),
    "customer": ("customer", "/v1/customers/{id}"),
    "grant": ("billing.credit_grant", "/v1/billing/credit_grants/{id}"),
    "invoice": ("invoice", "/v1/invoices/{id}"),
    "meter": ("billing.meter", "/v1/billing/meters/{id}"),
    "meter_error_report": ("billing.meter", "/v1/billing/meters/{id}"),
    "price_change": ("token_billing.price_change", "/v1/token_billing/price_changes/{id}"),
    "rate_card": ("token_billing.rate_card", "/v1/token_billing/rate_cards/{id}"),
    "subscription": ("subscription", "/v1/subscriptions/{id}"),
    "test_clock": ("test_helpers.test_clock", "/v1/test_helpers/test_clocks/{id}"),
    "unpriced_usage": ("token_billing.unpriced_usage", "/v1/token_billing/unpriced_usage/{id}"),
    "webhook_endpoint": ("v2.core.event_destination", "/v2/core/event_destinations/{id}"),
}
_decode_report = msgspec.json.Decoder(MeterErrorReport).decode


def related_id(event: Event) -> str:
    """Return the id of the object that an event is about; a crossing's is its alert, a report's its meter."""
    if event.object_kind == "alert_triggered":
        alert: dict[str, Any] = msgspec.json.decode(event.snapshot)["alert"]
        return str(alert["id"])
    if event.object_kind == MeterErrorReport.KIND:
        return _decode_report(event.snapshot).meter
    return event.object_id


def notification_object(event: Event, *, livemode: bool) -> JsonObject:
    """Return the thin event that endpoints are sent."""
    shown: JsonObject = {
        "id": event.id,
        "object": "v2.core.event",
        "type": thin_type(event.type),
        "context": None,
        "created": rfc3339(event.created),
        "livemode": livemode,
        "reason": None,
    }
    if event.request_id is not None:
        request = {"id": event.request_id, "idempotency_key": event.idempotency_key or ""}
        shown["reason"] = {"type": "request", "request": request}
    if (id := related_id(event)) and event.object_kind in _RELATED:
        type, url = _RELATED[event.object_kind]
        shown["related_object"] = {"id": id, "type": type, "url": url.format(id=id)}
    return shown


def thin_event_object(event: Event, context: Surroundings) -> JsonObject:
    """Return the event as `/v2/core/events` has it, with its data."""
    shown = notification_object(event, livemode=context.livemode)
    if not is_thin_only(event.type):
        return {**shown, "snapshot_event": event.id}
    if event.object_kind == MeterErrorReport.KIND:
        report = _decode_report(event.snapshot)
        return {**shown, "data": _report_data(report)}
    return shown


def _report_data(report: MeterErrorReport) -> JsonObject:
    total = sum(kind.count for kind in report.errors)
    there = f"There is {total} invalid event" if total == 1 else f"There are {total} invalid events"
    return {
        "developer_message_summary": there,
        "reason": {
            "error_count": total,
            "error_types": [
                {
                    "code": kind.code,
                    "error_count": kind.count,
                    "sample_errors": [
                        {"error_message": sample.message, "request": {"identifier": sample.identifier}}
                        for sample in kind.samples
                    ],
                }
                for kind in report.errors
            ],
        },
        "validation_start": rfc3339(report.start),
        "validation_end": rfc3339(report.end),
    }
