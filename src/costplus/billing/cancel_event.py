"""Cancel a reported meter event: what it was charged is taken back, and it counts no more.

Rule 1: once. The reversal is a usage event whose id follows from the event that it cancels.
Rule 2: what is taken back is what the event is charged now: its own charge, or the later one where its price
was learned afterwards. While the period is open the reversal lessens what it owes; once the period's invoice
is final it stays as it is, and the amount comes back as credit, which pays the next one (as `billing.resolve`
does it). Rule 3: within 24 hours of the event's arrival. Source: spec "Stripe's wire", §5.3.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import ClassVar

from costplus.billing.clock import frozen_time
from costplus.billing.customer import Customer
from costplus.billing.enqueue import count_unpriced
from costplus.billing.notify import announce, cross
from costplus.billing.settle import Settlement, billed_by, settle
from costplus.billing.store import ChargedEvent, Tx
from costplus.billing.unpriced import UnpricedUsage, WaitingUsage, correction_grant, model_name
from costplus.core.errors import InvalidRequest, NotFound
from costplus.core.ids import new_id
from costplus.core.records import Record
from costplus.ledger.post import grant_credit
from costplus.metering.event import METER, TOKEN_METER, UsageEvent, canceled_event
from costplus.metering.feeds.stripe import reported_again
from costplus.rating.charge import Charge, reversal_of
from costplus.rating.item_charge import Metered

CANCEL_WITHIN = timedelta(hours=24)


class NoSuchMeterEvent(NotFound):
    """No meter event was reported under the identifier."""

    code = "meter_event_not_found"
    remedy = "Give the identifier that the event was reported with, and its event_name."


class CancelTooLate(InvalidRequest):
    """A meter event can be canceled within 24 hours of its arrival."""

    code = "meter_event_cancel_too_late"
    remedy = "Grant the customer credit of the same amount with POST /v1/billing/credit_grants."


class IdentifierAmbiguous(InvalidRequest):
    """Several customers have an event of this identifier."""

    code = "meter_event_identifier_ambiguous"
    remedy = "Name the customer whose event it is: customer=cus_…"


@dataclass(frozen=True, slots=True, kw_only=True)
class MeterEventAdjustment(Record):
    """That a meter event was canceled; `reversal` is the usage event, `grant` the credit it came back as."""

    KIND: ClassVar[str] = "meter_event_adjustment"

    customer: str
    event: str  # The usage event's id.
    event_name: str
    identifier: str
    reversal: str
    grant: str = ""

    @property
    def lookup(self) -> str:
        return f"{self.customer}/{self.event}"


def cancel(
    tx: Tx, *, event_name: str, identifier: str, customer: str | None, at: datetime
) -> MeterEventAdjustment:
    """Cancel the event that was reported under the identifier; one that is canceled already stays so."""
    event = _named(tx, event_name=event_name, identifier=identifier, customer=customer)
    tx.balance_for_update(event.customer)
    known = tx.find_by_lookup(MeterEventAdjustment, f"{event.customer}/{event.id}")
    if known is not None:
        return known
    _, received_at = reported_again(event)
    if at - received_at > CANCEL_WITHIN:
        raise CancelTooLate(f"The event '{identifier}' arrived at {received_at:%Y-%m-%dT%H:%M:%SZ}.")
    adjustment = MeterEventAdjustment(
        id=new_id("mtradj", at=at),
        created=at,
        customer=event.customer,
        event=event.id,
        event_name=event_name,
        identifier=identifier,
        reversal=canceled_event(event).id,
    )
    adjustment = replace(adjustment, grant=take_back(tx, event, at=at))
    tx.save(adjustment)
    return adjustment


def _named(tx: Tx, *, event_name: str, identifier: str, customer: str | None) -> UsageEvent:
    found = [
        event
        for event in tx.reported_as(identifier)
        if event.meter == event_name and customer in (None, event.customer)
    ]
    if not found:
        raise NoSuchMeterEvent(f"No event of {event_name} has the identifier '{identifier}'.")
    if len({event.customer for event in found}) > 1:
        raise IdentifierAmbiguous(f"Several customers have an event '{identifier}' of {event_name}.")
    return found[0]


def take_back(tx: Tx, event: UsageEvent, *, at: datetime) -> str:
    """Take back what the event is charged; return the id of the credit grant where it came back as credit."""
    record = tx.find(Customer, event.customer)
    assert record is not None  # Its usage was settled.
    subscription = billed_by(tx, event.customer)
    entry = tx.find(UnpricedUsage, event.id)
    charged = _charged_now(tx, event, entry)
    name = f"Canceled usage: {model_name(event)}"
    grant, is_final = "", charged.billed_at < subscription.finalized_until
    if is_final:
        reversal = Charge(price_nano=0, cost_nano=-charged.charge.cost_nano, lines=())
        if charged.charge.price_nano > 0:
            grant = _credit(tx, record, charged, name=name, at=frozen_time(tx, record) or at)
    else:
        reversal = reversal_of(charged.charge)
        if event.provider == METER and event.meter != TOKEN_METER:
            start = subscription.billed_in(charged.billed_at).start
            units = event.usage.quantities.get("unit", 0)
            tx.add_metered(event.customer, event.model, start, Metered(-units, 0))
    back = Settlement(
        event=canceled_event(event), charge=reversal, reverses=charged.transaction, credit_name=name
    )
    settle(tx, [back], at=at)
    if entry is not None and entry.resolved_at is None:
        _leave_queue(tx, entry, taken_back=grant or back.event.id, at=at)
    return grant


def _charged_now(tx: Tx, event: UsageEvent, entry: UnpricedUsage | None) -> ChargedEvent:
    id = entry.adjustment if entry is not None and entry.adjustment else event.id
    charged = tx.charge_of(event.customer, id)
    assert charged is not None  # Events and their charges are written together.
    return charged


def _credit(tx: Tx, record: Customer, charged: ChargedEvent, *, name: str, at: datetime) -> str:
    event = charged.event
    grant = correction_grant(
        event,
        id=canceled_event(event).id,
        nano=charged.charge.price_nano,
        currency=record.currency,
        at=at,
        name=name,
    )
    crossing = grant_credit(tx, grant, at=at)
    announce(tx, "billing.credit_grant.created", grant, at=at)
    cross(tx, crossing, currency=record.currency, at=at)
    return grant.id


def _leave_queue(tx: Tx, entry: UnpricedUsage, *, taken_back: str, at: datetime) -> None:
    """Close an entry of the unpriced queue: what was canceled needs no price."""
    tx.save(replace(entry, resolved_at=at, taken_back=taken_back))
    if tx.find(WaitingUsage, entry.id) is not None:
        tx.remove(WaitingUsage, entry.id)
        count_unpriced(tx, (entry.provider, entry.model), waiting=-1, at=at)
