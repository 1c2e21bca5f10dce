"""`/v1/billing/meters`."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from costplus.billing.store import Tx
from costplus.core.errors import NotFound
from costplus.core.ids import new_id
from costplus.metering.aggregate import FORMULAS, WINDOWED
from costplus.metering.event import TOKEN_METER
from costplus.metering.meter import FormulaNotWindowed, Meter, MeterExists
from costplus.web.call import Call, Listing, get, post
from costplus.web.errors import NotSupported
from costplus.web.listing import records
from costplus.web.objects.meter import meter_object
from costplus.web.params import Params

EVENT_NAME_MAX = 100
_WINDOWS: tuple[Literal["day", "hour"], ...] = ("day", "hour")


class NoSuchMeter(NotFound):
    """The meter does not exist."""

    code = "resource_missing"


def meter_of(tx: Tx, id: str) -> Meter:
    """Return the meter, or raise `NoSuchMeter`."""
    meter = tx.find(Meter, id)
    if meter is None:
        raise NoSuchMeter(f"No such billing meter: '{id}'", param="id")
    return meter


def shown(meter: Meter, call: Call) -> dict[str, object]:
    """Return the meter's object; its dimensions are shown to those who ask for preview shapes."""
    fields = meter_object(meter, call.context)
    return fields | {"dimension_payload_keys": list(meter.dimensions)} if call.is_preview else fields


def _check_free(tx: Tx, event_name: str) -> None:
    """Raise `MeterExists` where an active meter has the event name."""
    holder = tx.find_by_lookup(Meter, event_name)
    if holder is not None:
        raise MeterExists(f"Meter {holder.id} has the event name '{event_name}'.", param="event_name")


def _keys(params: Params) -> tuple[str, str]:
    """Return the payload keys of the customer and of the value."""
    mapping, value = params.within("customer_mapping"), params.within("value_settings")
    mapping.choice("type", ("by_id",))
    customer_key = mapping.text("event_payload_key", longest=EVENT_NAME_MAX) or "stripe_customer_id"
    return customer_key, value.text("event_payload_key", longest=EVENT_NAME_MAX) or "value"


def create(tx: Tx, call: Call) -> object:
    """Create a meter; its event name is its own for ever."""
    params = call.params
    event_name = params.required_text("event_name", longest=EVENT_NAME_MAX)
    customer_key, value_key = _keys(params)
    window = params.choice("event_time_window", _WINDOWS)
    if window and event_name == TOKEN_METER:
        raise NotSupported(
            "Token events are billed one by one, not as pre-aggregated windows.",
            param="event_time_window",
            remedy="Leave event_time_window out.",
        )
    formula = params.within("default_aggregation").required_choice("formula", FORMULAS)
    if window and formula not in WINDOWED:
        raise FormulaNotWindowed(
            f"A meter of formula {formula} is not pre-aggregated.", param="event_time_window"
        )
    if formula != "sum" and event_name == TOKEN_METER:
        raise NotSupported(
            "Tokens add up.", param="default_aggregation[formula]", remedy="Use formula sum for tokens."
        )
    meter = Meter(
        id=new_id("mtr", at=call.at),
        created=call.at,
        updated=call.at,
        display_name=params.required_text("display_name", longest=250),
        event_name=event_name,
        formula=formula,
        customer_key=customer_key,
        value_key=value_key,
        dimensions=tuple(params.texts("dimension_payload_keys")),
        event_time_window=window,
    )
    _check_free(tx, event_name)
    tx.save(meter)
    call.announce(tx, "billing.meter.created", meter, at=call.at)
    return shown(meter, call)


def retrieve(tx: Tx, call: Call) -> object:
    """Return a meter."""
    return shown(meter_of(tx, call.path["id"]), call)


def update(tx: Tx, call: Call) -> object:
    """Rename a meter; nothing else about it changes."""
    meter = meter_of(tx, call.path["id"])
    name = call.params.text("display_name", longest=250)
    meter = replace(meter, display_name=name or meter.display_name, updated=call.at)
    tx.save(meter)
    call.announce(tx, "billing.meter.updated", meter, at=call.at)
    return shown(meter, call)


def deactivate(tx: Tx, call: Call) -> object:
    """Stop taking events under the meter's name."""
    meter = meter_of(tx, call.path["id"])
    if meter.status == "active":
        meter = replace(meter, status="inactive", deactivated_at=call.at, updated=call.at)
        tx.save(meter)
        call.announce(tx, "billing.meter.deactivated", meter, at=call.at)
    return shown(meter, call)


def reactivate(tx: Tx, call: Call) -> object:
    """Take events under the meter's name again."""
    meter = meter_of(tx, call.path["id"])
    if meter.status == "inactive":
        _check_free(tx, meter.event_name)
        meter = replace(meter, status="active", deactivated_at=None, updated=call.at)
        tx.save(meter)
        call.announce(tx, "billing.meter.reactivated", meter, at=call.at)
    return shown(meter, call)


def index(tx: Tx, call: Call) -> Listing:
    """List meters, newest first."""
    status = call.params.choice("status", ("active", "inactive"))
    page = records(tx, call, Meter, keep=lambda meter: status is None or meter.status == status)
    return Listing([shown(meter, call) for meter in page.entries if isinstance(meter, Meter)], page.has_more)


ENDPOINTS = (
    post("/v1/billing/meters", create),
    get("/v1/billing/meters", index),
    get("/v1/billing/meters/{id}", retrieve),
    post("/v1/billing/meters/{id}", update),
    post("/v1/billing/meters/{id}/deactivate", deactivate),
    post("/v1/billing/meters/{id}/reactivate", reactivate),
)
