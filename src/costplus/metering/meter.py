"""Meters: how reported events with one event name are read and summed (Stripe's billing meters).

Rule 1: an event name belongs to one active meter.   Rule 2: a meter changes only its display name and status.
Source: spec "Stripe's wire", §5.3.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar, Literal

from costplus.core.errors import Conflict, InvalidRequest, NotFound
from costplus.core.records import Record
from costplus.metering.aggregate import Formula, TimeWindow


class NoMeter(NotFound):
    """No meter has the event's name."""

    code = "no_meter"
    remedy = "Create one with POST /v1/billing/meters, or run the token billing set-up."


class ArchivedMeter(InvalidRequest):
    """The meter was deactivated."""

    code = "archived_meter"
    remedy = "Reactivate the meter or report under another event name."


class FormulaNotWindowed(InvalidRequest):
    """The formula does not know time windows."""

    code = "meter_formula_not_windowed"
    remedy = "Leave event_time_window out, or use sum, count or last."


class MeterExists(Conflict):
    """Another active meter has this event name."""

    code = "meter_event_name_taken"
    remedy = "Use that meter, or deactivate it first."


@dataclass(frozen=True, slots=True, kw_only=True)
class Meter(Record):
    """A billing meter; `dimensions` are the payload keys that split its value (model, token_type)."""

    KIND: ClassVar[str] = "meter"

    display_name: str
    event_name: str
    updated: datetime
    formula: Formula = "sum"
    value_key: str = "value"
    customer_key: str = "stripe_customer_id"
    dimensions: tuple[str, ...] = ()
    event_time_window: TimeWindow | None = None
    status: Literal["active", "inactive"] = "active"
    deactivated_at: datetime | None = None

    @property
    def lookup(self) -> str:
        return self.event_name if self.status == "active" else ""
