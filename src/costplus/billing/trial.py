"""Change a trial's end: at once, or to another instant ahead.

Rule 1: the cycle is counted from the trial's end, and the first fee is asked for then.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from costplus.billing.amend import SubscriptionState, keep, restarted
from costplus.billing.customer import Customer
from costplus.billing.order import InvalidStart
from costplus.billing.store import Tx
from costplus.billing.subscription import Subscription
from costplus.core.cycle import Cycle


def _check_trialing(subscription: Subscription) -> None:
    if subscription.status != "trialing":
        raise SubscriptionState(
            f"Subscription {subscription.id} is {subscription.status}, not trialing.",
            remedy="A trial is given when a subscription is made.",
        )


def end_trial(tx: Tx, customer: Customer, subscription: Subscription, *, at: datetime) -> Subscription:
    """End the trial at `at`, its customer's present: the first period begins and is asked for at once."""
    _check_trialing(subscription)
    cycle = Cycle(at, subscription.interval, subscription.interval_count, customer.timezone)
    after = replace(_free_until(subscription, at), status="active", trial_end=at)
    after = restarted(tx, customer, subscription, after, cycle, behavior="always_invoice", at=at)
    return keep(tx, customer, after, at=at)


def move_trial_end(
    tx: Tx, customer: Customer, subscription: Subscription, to: datetime, *, at: datetime
) -> Subscription:
    """Let the trial end at another instant ahead; its end is told anew."""
    _check_trialing(subscription)
    if to <= at or to > at.replace(year=at.year + 2, day=min(at.day, 28)):
        raise InvalidStart(f"A trial cannot end at {to:%Y-%m-%dT%H:%M:%SZ}.", param="trial_end")
    moved = replace(
        _free_until(subscription, to),
        anchor=to,
        first_start=subscription.begins,
        trial_end=to,
        trial_told=False,
    )
    return keep(tx, customer, moved, at=at)


def _free_until(subscription: Subscription, end: datetime) -> Subscription:
    """Return the subscription whose free usage, if the trial has any, ends at `end`."""
    before = subscription.trial_end
    if before is None or subscription.pin_at(before).usage == subscription.pin_at(subscription.begins).usage:
        return subscription
    pins = tuple(
        replace(pin, usage="free" if pin.since < end else "billed")
        for pin in subscription.pins
        if pin.since not in (before, end)
    )
    current = replace(subscription, pins=pins).pin_at(end)
    billed = replace(current, since=end, usage="billed")
    kept = tuple(pin for pin in pins if pin.since < end)
    later = tuple(pin for pin in pins if pin.since > end)
    return replace(subscription, pins=(*kept, billed, *later))
