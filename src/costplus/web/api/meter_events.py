"""`/v1/billing/meter_events`, `/v2/billing/meter_events`, sessions and streams: usage as others report it.

Rule 1: an event without an identifier gets one from the Idempotency-Key, so that an SDK's retry, which
repeats that key, is the same event. Rule 2: the same identifier with other content is refused.
Rule 3: events of a stream are kept all together or not at all.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from dataclasses import replace
from datetime import datetime

from costplus.billing.clock import frozen_time
from costplus.billing.customer import Customer
from costplus.billing.report import report
from costplus.billing.store import Tx
from costplus.core.errors import Conflict, InvalidRequest
from costplus.core.ids import new_id
from costplus.metering.event import Source, UsageEvent
from costplus.metering.feeds.stripe import Reported, customer_in, payload_of, reported_again, usage_event_of
from costplus.metering.meter import ArchivedMeter, Meter, NoMeter
from costplus.web.api.meters import EVENT_NAME_MAX
from costplus.web.call import Call, post
from costplus.web.errors import NoSuchUrl
from costplus.web.objects.meter import meter_event_object
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
        event = _event(tx, call, params, _reported(params, call, position), "meter_events_v2")
        if _known(tx, event) is None:
            _check_same(event, events.setdefault((event.customer, event.key), event))
    report(tx, call.context.pricing, list(events.values()), at=call.at)
    return {}


def adjust(tx: Tx, call: Call) -> object:
    """Refuse: an event that moved money is not taken back yet."""
    raise NoSuchUrl(
        "Cancelling meter events is not available yet.",
        remedy="Grant the customer credit of the same amount with POST /v1/billing/credit_grants.",
    )


def _customers(tx: Tx, call: Call) -> Collection[str]:
    """Return whose events are reported."""
    found = []
    for params in call.params.each("events") if "events" in call.params else [call.params]:
        reported = _reported(params, call)
        meter = _meter(tx, reported.event_name, param="event_name")
        found.append(customer_in(reported, meter))
    return found


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
    post("/v1/billing/meter_event_adjustments", adjust, keeps_reply=False),
    post("/v2/billing/meter_event_adjustments", adjust, keeps_reply=False),
)
