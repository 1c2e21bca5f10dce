"""Sweep what nobody ended: reservations whose time is over become usage, leases of dead processes go back.

Rule 1: a reservation is swept to the estimate that was made when it was placed, flagged, never silently to
zero; only one that was placed with `on_expiry=release` is simply given back.
Rule 2: a lease is credit for calls to come, and what its calls used is in its process's journal. Only after a
day without any sign of life it is given back, and that is announced.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime

from costplus.billing.notify import announce
from costplus.billing.reservation import UNNAMED, Reservation
from costplus.billing.settle import Settlement, settle
from costplus.billing.store import Tx
from costplus.core.usage import ESTIMATED, usage_of
from costplus.ledger.reserve import expire_hold
from costplus.metering.event import UsageEvent, usage_event
from costplus.rating.item_charge import charge_of_amount

SWEPT = "swept"


def hold_steps(tx: Tx, customer: str) -> Iterator[tuple[datetime, int, str]]:
    """Yield when each of the customer's reservations ends, with its place among steps of one instant."""
    for hold in tx.placed_holds(customer=customer):
        if hold.kind == "request":
            yield hold.expires_at, 1, hold.id


def expire_reservation(tx: Tx, customer: str, id: str, *, at: datetime) -> None:
    """End a hold whose time is over; what it was estimated at is charged, unless that was not wanted."""
    hold = tx.hold(customer, id)
    if hold is None or hold.state != "placed" or at < hold.expires_at:
        return
    known = tx.find(Reservation, id)
    expire_hold(tx, customer, id, at=at)
    if known is None:
        # Whoever placed it left no word of what it was for: all of it is the estimate.
        known = Reservation(
            id=id,
            created=hold.placed_at,
            customer=customer,
            currency="",
            amount_nano=hold.amount_nano,
            expires_at=hold.expires_at,
            estimate_nano=hold.amount_nano,
        )
    rest_nano = min(known.estimate_nano, hold.amount_nano)  # Less what was captured in parts.
    if known.on_expiry == "capture" and rest_nano:
        event = _estimate(known, placed_at=hold.placed_at)
        provider, model = event.provider, event.model
        cost_nano = known.estimate_cost_nano * rest_nano // known.estimate_nano
        charge = charge_of_amount(rest_nano, provider=provider, model=model, cost_nano=cost_nano)
        settle(tx, [Settlement(event=event, charge=charge)], at=at)
        known = replace(known, swept=event.id)
    tx.save(known)
    announce(tx, "token_billing.hold.expired", known, at=at)


def _estimate(known: Reservation, *, placed_at: datetime) -> UsageEvent:
    return usage_event(
        customer=known.customer,
        at=placed_at,
        key=f"{known.id}/{SWEPT}",
        usage=usage_of({"input": known.estimate_tokens}, flags=[ESTIMATED, SWEPT]),
        source="sweep",
        provider=known.provider or "hold",
        model=known.model or UNNAMED,
        request_id=known.id,
    )


def release_lost_leases(tx: Tx, *, at: datetime) -> int:
    """Give back leases whose process has not been heard of for as long as they last; return how many."""
    count = 0
    for hold in tx.placed_holds():
        if hold.kind != "lease" or at < hold.expires_at:
            continue
        freed_nano = expire_hold(tx, hold.customer, hold.id, at=at)
        lost = Reservation(
            id=hold.id,
            created=hold.placed_at,
            customer=hold.customer,
            currency="",
            amount_nano=freed_nano,
            expires_at=hold.expires_at,
            on_expiry="release",
        )
        tx.save(lost)
        announce(tx, "token_billing.hold.expired", lost, at=at)
        count += 1
    return count
