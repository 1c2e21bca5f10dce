"""Billing thresholds: once so much is owed, an interim invoice asks for it before the period ends.

Rule 1: settling only notes that a threshold was reached, once; whoever closes periods invoices it.
Rule 2: none is due within a period's last 24 hours, nor while the ended period's invoice is still a draft.
Rule 3: what is compared is usage that credit did not pay, before tax.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import ClassVar

from costplus.billing.customer import Customer
from costplus.billing.store import ChargedEvent, Tx
from costplus.billing.subscription import Subscription
from costplus.core.errors import InvalidRequest
from costplus.core.ids import milliseconds
from costplus.core.money import nano_per_minor
from costplus.core.records import Record

THRESHOLD_MIN_MINOR = 50
QUIET = timedelta(hours=24)  # Before a period's end.
_AFTER = timedelta(milliseconds=1)


class InvalidThreshold(InvalidRequest):
    """A billing threshold that cannot be."""

    code = "billing_threshold_invalid"
    remedy = f"Give billing_thresholds[amount_gte] of at least {THRESHOLD_MIN_MINOR} minor units."


@dataclass(frozen=True, slots=True, kw_only=True)
class ThresholdReached(Record):
    """A subscription's threshold was reached: what was used before `created` is to be invoiced."""

    KIND: ClassVar[str] = "threshold_reached"

    customer: str
    subscription: str

    @property
    def parent(self) -> str:
        return self.customer


def reached_id(subscription: str) -> str:
    """Return the id of what notes that the subscription's threshold was reached."""
    return f"thr_{subscription}"


def watch_threshold(
    tx: Tx, subscription: Subscription, charged: Sequence[ChargedEvent], *, at: datetime
) -> ThresholdReached | None:
    """Note that new charges took what is owed to the subscription's threshold; return the note."""
    if not subscription.threshold_minor or not charged or subscription.status != "active":
        return None
    last = max(entry.billed_at for entry in charged)
    reached_at = max(at, last + _AFTER)
    period = subscription.period
    if reached_at >= period.end - QUIET:
        return None
    customer = tx.find(Customer, subscription.customer)
    assert customer is not None, subscription.customer
    balance = tx.balance_for_update(customer.id)
    owed_nano = balance.owed_nano.get(milliseconds(period.start), 0) + balance.carried_nano
    if owed_nano < subscription.threshold_minor * nano_per_minor(customer.currency):
        return None
    id = reached_id(subscription.id)
    if tx.find(ThresholdReached, id) is not None:
        return None
    reached = ThresholdReached(id=id, created=reached_at, customer=customer.id, subscription=subscription.id)
    tx.save(reached)
    return reached
