"""Meters, reported events and their sums."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime
from fractions import Fraction

from costplus.billing.cancel_event import MeterEventAdjustment
from costplus.billing.meter_errors import RejectedMeterEvent
from costplus.core.period import Period
from costplus.metering.feeds.stripe import Reported
from costplus.metering.meter import Meter
from costplus.web.objects.wire import JsonObject, Surroundings, rfc3339, unix, unix_or_none


def meter_object(meter: Meter, surroundings: Surroundings) -> JsonObject:
    """Return a meter as Stripe writes it; its dimensions are a preview field, left to the caller."""
    return {
        "id": meter.id,
        "object": "billing.meter",
        "created": unix(meter.created),
        "customer_mapping": {"event_payload_key": meter.customer_key, "type": "by_id"},
        "default_aggregation": {"formula": meter.formula},
        "display_name": meter.display_name,
        "event_name": meter.event_name,
        "event_time_window": meter.event_time_window,
        "livemode": surroundings.livemode,
        "status": meter.status,
        "status_transitions": {"deactivated_at": unix_or_none(meter.deactivated_at)},
        "updated": unix(meter.updated),
        "value_settings": {"event_payload_key": meter.value_key},
    }


def meter_event_object(
    reported: Reported, surroundings: Surroundings, *, created: datetime, at: datetime, v2: bool
) -> JsonObject:
    """Return a reported event as v1 or v2 of Stripe's API writes it."""
    write = rfc3339 if v2 else unix
    return {
        "object": "v2.billing.meter_event" if v2 else "billing.meter_event",
        "created": write(created),
        "event_name": reported.event_name,
        "identifier": reported.identifier,
        "livemode": surroundings.livemode,
        "payload": dict(reported.payload),
        "timestamp": write(at),
    }


def adjustment_object(
    adjustment: MeterEventAdjustment, surroundings: Surroundings, *, v2: bool
) -> JsonObject:
    """Return a cancellation as v1 or v2 of Stripe's API writes it; ours are complete at once."""
    shown: JsonObject = {
        "object": "v2.billing.meter_event_adjustment" if v2 else "billing.meter_event_adjustment",
        "cancel": {"identifier": adjustment.identifier},
        "event_name": adjustment.event_name,
        "livemode": surroundings.livemode,
        "status": "complete",
        "type": "cancel",
    }
    return {"id": adjustment.id, **shown, "created": rfc3339(adjustment.created)} if v2 else shown


def rejected_event_object(event: RejectedMeterEvent, surroundings: Surroundings) -> JsonObject:
    """Return a meter event that could not be used: token_billing.meter_event_error."""
    return {
        "id": event.id,
        "object": "token_billing.meter_event_error",
        "code": event.code,
        "created": unix(event.created),
        "event_name": event.event_name,
        "identifier": event.identifier,
        "livemode": surroundings.livemode,
        "message": event.message,
        "meter": event.meter or None,
        "payload": dict(event.payload),
        "timestamp": unix_or_none(event.timestamp),
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class MeterSum:
    """One customer's value on a meter over a window."""

    meter: str
    customer: str
    window: Period
    value: Fraction

    @property
    def id(self) -> str:
        named = f"{self.meter}\x00{self.customer}\x00{unix(self.window.start)}\x00{unix(self.window.end)}"
        return "mtrusg_" + hashlib.sha256(named.encode()).hexdigest()[:24]


def meter_sum_object(total: MeterSum, surroundings: Surroundings) -> JsonObject:
    """Return a sum as Stripe writes it: billing.meter_event_summary."""
    return {
        "id": total.id,
        "object": "billing.meter_event_summary",
        # Stripe's is a number; of a fraction what JSON's numbers can hold.
        "aggregated_value": int(total.value) if total.value.denominator == 1 else float(total.value),
        "end_time": unix(total.window.end),
        "livemode": surroundings.livemode,
        "meter": total.meter,
        "start_time": unix(total.window.start),
    }
