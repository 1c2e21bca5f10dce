"""Announce events and fire alerts, inside the transaction that causes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from costplus.billing.alert import Alert, AlertTriggered, passed, refused_mark
from costplus.billing.event import Event
from costplus.billing.movement import Movement, movement
from costplus.billing.outbox import happened, tell
from costplus.billing.store import Tx
from costplus.billing.watched import Watch
from costplus.core.ids import new_id
from costplus.core.records import Record
from costplus.ledger.account import grant_in
from costplus.ledger.balance import Crossing
from costplus.ledger.grant import Grant
from costplus.ledger.transaction import Transaction


def announce(
    tx: Tx,
    type: str,
    subject: Record | Grant,
    *,
    at: datetime,
    request_id: str | None = None,
    idempotency_key: str | None = None,
) -> Event:
    """Record that `type` happened to `subject`, and queue it for every endpoint that wants it."""
    event = happened(tx, type, subject, at=at, request_id=request_id, idempotency_key=idempotency_key)
    tell(tx, event, at=at)
    return event


def announce_movements(tx: Tx, entries: Sequence[Transaction]) -> None:
    """Announce what transactions, the last ones of their customer, did to each grant."""
    after: dict[str, int] = {}
    found: list[Movement] = []
    for entry in reversed(entries):
        for posting in reversed(entry.postings):
            id = grant_in(posting.account)
            grant = tx.grant(id) if id else None
            if grant is None:
                continue
            held = after.get(grant.id, grant.remaining_nano)
            before = after[grant.id] = held - posting.amount_nano
            found.append(movement(entry, grant, posting.amount_nano, before_nano=before))
    for moved in reversed(found):
        announce(tx, "billing.credit_balance_transaction.created", moved, at=moved.created)


def cross(
    tx: Tx, crossing: Crossing, *, currency: str, at: datetime, alerts: Sequence[Alert] | None = None
) -> None:
    """Fire and recover the alerts that a change of credit passed, once each.

    `alerts` are those that concern the customer, where the caller has them at hand.
    """
    announce_movements(tx, crossing.transactions)
    if crossing.before_nano == crossing.after_nano and not crossing.refused:
        return
    if alerts is None:
        alerts = Watch(tx).alerts(crossing.customer)
    if not alerts:
        return
    balance = tx.balance_for_update(crossing.customer)
    firing, recovering = passed(
        alerts,
        crossing,
        fired=balance.fired,
        currency=currency,
    )
    if not firing and not recovering:
        return
    over = {mark for alert in recovering for mark in (alert.id, refused_mark(alert))}
    kept = [mark for mark in balance.fired if mark not in over]
    marks = (refused_mark(alert) if crossing.refused else alert.id for alert in firing)
    tx.save_balance(replace(balance, fired=(*kept, *marks)))
    for type, alerts in (("billing.alert.triggered", firing), ("billing.alert.recovered", recovering)):
        for alert in alerts:
            subject = AlertTriggered(
                id=new_id("alrtt", at=at),
                created=at,
                alert=alert,
                customer=crossing.customer,
                credit_nano=crossing.after_nano,
                recovered=type.endswith("recovered"),
            )
            announce(tx, type, subject, at=at)


def refused(tx: Tx, customer: str, *, credit_nano: int, currency: str, at: datetime) -> None:
    """Note that a call was turned away for want of credit: to its customer the credit is gone."""
    crossing = Crossing(tx.balance_for_update(customer).customer, credit_nano, credit_nano, refused=True)
    cross(tx, crossing, currency=currency, at=at)
