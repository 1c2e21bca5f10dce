"""`/v1/billing/meter_events`, `/v2/billing/meter_events`, sessions and streams: usage as others report it.

Rule 1: an event without an identifier gets one from the Idempotency-Key, so that an SDK's retry, which
repeats that key, is the same event. Rule 2: the same identifier with other content is refused.
Rule 3: a stream answers for its form only, as Stripe's does: an event that cannot be used is kept with the
reason and told of in a report every ten seconds (`billing.meter_errors`); the others are kept all together.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from dataclasses import replace
from datetime import datetime

from costplus.billing.cancel_event import MeterEventAdjustment, cancel
from costplus.billing.clock import frozen_time
from costplus.billing.customer import Customer
from costplus.billing.meter_errors import RejectedMeterEvent, reject, rejected
from costplus.billing.report import report
from costplus.billing.store import Tx
from costplus.core.errors import Conflict, InvalidRequest
from costplus.core.ids import new_id
from costplus.metering.event import Source, UsageEvent
from costplus.metering.feeds.stripe import (
    NAME_MAX,
    InvalidValue,
    MissingDimensions,
    NoCustomerDefined,
    Reported,
    TimestampInFuture,
    TimestampTooOld,
    TooManyDigits,
    UnknownTokenType,
    ValueNotFound,
    customer_in,
    payload_of,
    reported_again,
    usage_event_of,
)
from costplus.metering.meter import ArchivedMeter, Meter, NoMeter
from costplus.web.api.meters import EVENT_NAME_MAX
from costplus.web.call import Call, Listing, get, post
from costplus.web.listing import records
from costplus.web.objects.meter import adjustment_object, meter_event_object
from costplus.web.objects.wire import JsonObject, rfc3339
from costplus.web.params import InvalidShape, Params
from costplus.web.sessions import LIFETIME, Session, token_of

STREAM_EVENTS_MAX = 100
IDENTIFIER_MAX = 100
METERS_MAX = 1000  # So many are looked through to tell a deactivated meter from none.


class EventCustomerNotFound(InvalidRequest):
    """The payload names a customer that does not exist."""

    code = "meter_event_customer_not_found"
    remedy = "Create the customer first, or correct its id in the payload."


# What is wrong with an event's content, not with the request: a stream reports it afterwards.
REPORTED_LATER = (
    ArchivedMeter,
    EventCustomerNotFound,
    InvalidValue,
    MissingDimensions,
    NoCustomerDefined,
    NoMeter,
    TimestampInFuture,
    TimestampTooOld,
    TooManyDigits,
    UnknownTokenType,
    ValueNotFound,
)


class IdentifierInUse(Conflict):
    """Another event was reported under the identifier."""

    code = "meter_event_identifier_in_use"
    remedy = "An identifier names one event for ever: give each event its own."


def _identifier(params: Params, call: Call, position: int) -> str:
    """Return the event's identifier: its own, the one its Idempotency-Key stands for, or a new one."""
    given = params.text("identifier", longest=IDENTIFIER_MAX)
    if given:
        return given
    if call.idempotency_key:
        named = f"{call.key.id}\x00{call.idempotency_key}\x00{position}"
        return "idmp_" + hashlib.sha256(named.encode()).hexdigest()[:32]
    return new_id("idmp", at=call.at)


def _reported(params: Params, call: Call, position: int = 0) -> Reported:
    event_name = params.required_text("event_name", longest=EVENT_NAME_MAX)
    if "payload" not in params:
        raise params.missing("payload")
    return Reported(
        event_name=event_name,
        payload=payload_of(params.mapping("payload"), param=params.name_of("payload")),
        identifier=_identifier(params, call, position),
        timestamp=params.time("timestamp"),
    )


def _meter(tx: Tx, event_name: str, *, param: str) -> Meter:
    meter = tx.find_by_lookup(Meter, event_name)
    if meter is not None:
        return meter
    if any(known.event_name == event_name for known in tx.page(Meter, limit=METERS_MAX)):
        raise ArchivedMeter(f"The meter of event_name {event_name} is deactivated.", param=param)
    raise NoMeter(f"No meter was found matching event_name {event_name}.", param=param)


def _event(tx: Tx, call: Call, params: Params, reported: Reported, source: Source) -> UsageEvent:
    """Return the usage event of what was reported, after every check."""
    meter = _meter(tx, reported.event_name, param=params.name_of("event_name"))
    param = params.name_of("payload")
    id = customer_in(reported, meter, param=param)
    customer = tx.find(Customer, id)
    if customer is None or customer.deleted:
        raise EventCustomerNotFound(f"No such customer: '{id}'", param=f"{param}[{meter.customer_key}]")
    present: datetime = frozen_time(tx, customer) or call.at
    return usage_event_of(reported, meter, present=present, received_at=call.at, source=source, param=param)


def _known(tx: Tx, event: UsageEvent) -> UsageEvent | None:
    """Return the event that this one repeats, or None; raise `IdentifierInUse` where it differs."""
    known = tx.event_by_key(event.customer, event.key)
    if known is None:
        return None
    _check_same(event, known)
    return known


def _check_same(event: UsageEvent, known: UsageEvent) -> None:
    """Raise `IdentifierInUse` where the identifier of `event` stands for something else already."""
    same = replace(event, id=known.id, at=known.at, source=known.source, raw_usage=known.raw_usage)
    if same != known or known.source not in ("meter_events_v1", "meter_events_v2"):
        raise IdentifierInUse(
            f"An event with other content already exists with identifier '{event.key}'.",
            param="identifier",
        )


def _one(tx: Tx, call: Call, source: Source, *, v2: bool) -> JsonObject:
    reported = _reported(call.params, call)
    event = _event(tx, call, call.params, reported, source)
    known = _known(tx, event)
    if known is not None:
        reported, created = reported_again(known)
        return meter_event_object(reported, call.context, created=created, at=known.at, v2=v2)
    report(tx, call.context.pricing, [event], at=call.at)
    return meter_event_object(reported, call.context, created=call.at, at=event.at, v2=v2)


def create_v1(tx: Tx, call: Call) -> object:
    """Report one event, form-encoded."""
    return _one(tx, call, "meter_events_v1", v2=False)


def create_v2(tx: Tx, call: Call) -> object:
    """Report one event, as JSON."""
    return _one(tx, call, "meter_events_v2", v2=True)


def create_session(tx: Tx, call: Call) -> object:
    """Return a token that stands for the caller's key at the event stream for fifteen minutes."""
    session = Session(call.key.id, call.at + LIFETIME)
    return {
        "id": new_id("mes", at=call.at),
        "object": "v2.billing.meter_event_session",
        "authentication_token": token_of(session, secret=call.context.link_secret),
        "created": rfc3339(call.at),
        "expires_at": rfc3339(session.expires_at),
        "livemode": call.context.livemode,
    }


def create_stream(tx: Tx, call: Call) -> object:
    """Report up to a hundred events at once."""
    entries = call.params.each("events")
    if not 1 <= len(entries) <= STREAM_EVENTS_MAX:
        raise InvalidShape(
            f"The request has {len(entries)} events.",
            param="events",
            remedy=f"Send 1 to {STREAM_EVENTS_MAX} events at a time.",
        )
    events: dict[tuple[str, str], UsageEvent] = {}
    for position, params in enumerate(entries):
        event = _usable(tx, call, params, position)
        if event is not None and _known(tx, event) is None:
            _check_same(event, events.setdefault((event.customer, event.key), event))
    report(tx, call.context.pricing, list(events.values()), at=call.at)
    return {}


def _usable(tx: Tx, call: Call, params: Params, position: int) -> UsageEvent | None:
    """Return the usage event of a streamed one, or keep it with what is wrong about it and return None."""
    identifier, timestamp = _identifier(params, call, position), params.time("timestamp")
    event_name = params.required_text("event_name", longest=EVENT_NAME_MAX)
    if "payload" not in params:
        raise params.missing("payload")
    sent = params.mapping("payload")
    try:
        payload = payload_of(sent, param=params.name_of("payload"))
        reported = Reported(
            event_name=event_name, payload=payload, identifier=identifier, timestamp=timestamp
        )
        return _event(tx, call, params, reported, "meter_events_v2")
    except REPORTED_LATER as error:
        known = [meter for meter in tx.page(Meter, limit=METERS_MAX) if meter.event_name == event_name]
        refused = rejected(
            error,
            event_name=event_name,
            identifier=identifier,
            payload={key: str(value)[:NAME_MAX] for key, value in sent.items()},
            timestamp=timestamp,
            meter=known[0].id if known else "",
            at=call.at,
        )
        reject(tx, refused, at=call.at)
        return None


def _canceled(tx: Tx, call: Call) -> MeterEventAdjustment:
    params = call.params
    event_name = params.required_text("event_name", longest=EVENT_NAME_MAX)
    params.required_choice("type", ("cancel",))
    identifier = params.within("cancel").required_text("identifier", longest=IDENTIFIER_MAX)
    return cancel(
        tx, event_name=event_name, identifier=identifier, customer=params.text("customer"), at=call.at
    )


def _customers(tx: Tx, call: Call) -> Collection[str]:
    """Return whose events are reported: of customers that exist, the others are refused."""
    found = set()
    for params in call.params.each("events") if "events" in call.params else [call.params]:
        reported = _reported(params, call)
        meter = _meter(tx, reported.event_name, param="event_name")
        found.add(customer_in(reported, meter))
    return [id for id in sorted(found) if tx.find(Customer, id) is not None]


def adjust_v1(tx: Tx, call: Call) -> object:
    """Cancel an event within 24 hours: what it was charged is taken back."""
    return adjustment_object(_canceled(tx, call), call.context, v2=False)


def adjust_v2(tx: Tx, call: Call) -> object:
    """Cancel an event within 24 hours: what it was charged is taken back."""
    return adjustment_object(_canceled(tx, call), call.context, v2=True)


def errors(tx: Tx, call: Call) -> Listing:
    """List streamed events that could not be used, newest first, each with the reason."""
    code, name = call.params.text("code"), call.params.text("event_name")

    def keep(event: RejectedMeterEvent) -> bool:
        return code in (None, event.code) and name in (None, event.event_name)

    return records(tx, call, RejectedMeterEvent, keep=keep)


ENDPOINTS = (
    post("/v2/billing/meter_events", create_v2, keeps_reply=False, customers=_customers),
    post(
        "/v2/billing/meter_event_stream",
        create_stream,
        keeps_reply=False,
        takes_sessions=True,
        customers=_customers,
    ),
    post("/v1/billing/meter_events", create_v1, keeps_reply=False, customers=_customers),
    post("/v2/billing/meter_event_session", create_session, keeps_reply=False),
    post("/v1/billing/meter_event_adjustments", adjust_v1),
    post("/v2/billing/meter_event_adjustments", adjust_v2),
    get("/v1/token_billing/meter_event_errors", errors),
)
