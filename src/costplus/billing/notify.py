"""Announce events and fire alerts, inside the transaction that causes them."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from costplus.billing.alert import Alert, AlertTriggered, passed, refused_mark
from costplus.billing.event import Event
from costplus.billing.outbox import happened, tell
from costplus.billing.store import Tx
from costplus.core.ids import new_id
from costplus.core.money import nano_per_minor
from costplus.core.records import Record
from costplus.ledger.balance import Crossing
from costplus.ledger.grant import Grant


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


def cross(tx: Tx, crossing: Crossing, *, currency: str, at: datetime) -> None:
    """Fire and recover the alerts that a change of credit passed, once each."""
    if crossing.before_nano == crossing.after_nano and not crossing.refused:
        return
    balance = tx.balance_for_update(crossing.customer)
    firing, recovering = passed(
        tx.page(Alert, limit=1000),
        crossing,
        fired=balance.fired,
        nano_per_minor=nano_per_minor(currency),
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
