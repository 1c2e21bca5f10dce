"""Cancel subscriptions: now, at an instant, or when their period ends; and take that back before it comes.

Rule 1: what was used is invoiced, whatever else is asked for: after the grace, or at once (`invoice_now`).
Rule 2: what the fee leaves unused is given back where that is asked for (`prorates`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta

from costplus.billing.agenda import plan_ahead
from costplus.billing.amend import SubscriptionState, end_credit, keep
from costplus.billing.customer import Customer
from costplus.billing.end_period import draft_period, issue
from costplus.billing.notify import announce
from costplus.billing.order import InvalidStart
from costplus.billing.prorate import give_back
from costplus.billing.store import Tx
from costplus.billing.subscription import Subscription
from costplus.core.ids import milliseconds
from costplus.core.period import Period

_TICK = timedelta(microseconds=1)
NO_DETAILS: Mapping[str, str] = {}


def cancel(
    tx: Tx,
    customer: Customer,
    subscription: Subscription,
    *,
    prorates: bool = False,
    invoice_now: bool = False,
    details: Mapping[str, str] = NO_DETAILS,
    at: datetime,
) -> Subscription:
    """End the subscription at `at`, its customer's present."""
    if subscription.status == "canceled":
        raise SubscriptionState(f"Subscription {subscription.id} is canceled already.")
    if subscription.is_live and prorates and subscription.status != "paused":
        for item in subscription.every_item:
            subscription = give_back(tx, subscription, item, at=at)
    if subscription.is_live:
        end_credit(tx, customer, subscription, at=at)
    return ended(tx, customer, subscription, invoice_now=invoice_now, details=details, at=at)


def ended(
    tx: Tx,
    customer: Customer,
    subscription: Subscription,
    *,
    invoice_now: bool = False,
    details: Mapping[str, str] = NO_DETAILS,
    at: datetime,
) -> Subscription:
    """Return the subscription ended at `at`, its last invoice drafted where there is anything to it."""
    end = _end_of_usage(tx, subscription, at=at)
    period = replace(subscription.period, end=end)
    is_open = subscription.is_live and period.start < end
    was_paused = subscription.status == "paused"
    if is_open:
        gather_owed(tx, subscription.customer, period)
        if end < subscription.period.end:
            subscription = subscription.cut(end)
    subscription = replace(
        subscription,
        status="canceled",
        canceled_at=subscription.canceled_at or at,
        ended_at=end,
        cancel_at_period_end=False,
        scheduled=(),
        cancellation={**subscription.cancellation, **details},
    )
    tx.save(subscription)
    invoice = None
    if is_open:
        keeps_empty = not (invoice_now or was_paused)  # Who used nothing is sent nothing.
        invoice = draft_period(tx, customer, subscription, period, fees=[], keeps_empty=keeps_empty, at=at)
    if is_open and invoice is None:  # What comes late is invoiced by itself.
        subscription = replace(subscription, finalized_until=max(end, subscription.finalized_until))
        tx.save(subscription)
    if invoice is not None:
        subscription = replace(subscription, latest_invoice=invoice.id)
        tx.save(subscription)
        if invoice_now:
            issue(tx, invoice, at=at)
            subscription = tx.find(Subscription, subscription.id) or subscription
    tx.touch("config")
    announce(tx, "customer.subscription.deleted", subscription, at=at)
    plan_ahead(tx, customer)
    return subscription


def _end_of_usage(tx: Tx, subscription: Subscription, *, at: datetime) -> datetime:
    """Return `at`, or where usage was billed then or for later already, the instant after that."""
    if not (subscription.is_live and subscription.prices_usage):
        return at
    latest = tx.charged_page(customer=subscription.customer, limit=1)
    return max([at, *(entry.billed_at + _TICK for entry in latest if entry.billed_at >= at)])


def gather_owed(tx: Tx, customer: str, period: Period) -> None:
    """Let the period's invoice ask for all that is owed for usage within it, kept under any period."""
    balance = tx.balance_for_update(customer)
    first, end = milliseconds(period.start), milliseconds(period.end - _TICK)
    within = {start: nano for start, nano in balance.owed_nano.items() if first < start <= end}
    if within:
        owed = {start: nano for start, nano in balance.owed_nano.items() if start not in within}
        owed[first] = owed.get(first, 0) + sum(within.values())
        tx.save_balance(replace(balance, owed_nano=owed))


def invoice_late_usage(tx: Tx, customer: Customer, subscription: Subscription, *, at: datetime) -> None:
    """Draft an invoice for usage that came after the last invoice of a subscription that ended."""
    start = subscription.finalized_until
    end = subscription.ended_at
    if end is None or end <= start:  # No other subscription has begun since.
        latest = tx.charged_page(customer=customer.id, limit=1)
        end = max([at, *(entry.billed_at + _TICK for entry in latest)])
    period = Period(start, end)
    subscription = replace(subscription, ended_at=period.end)
    gather_owed(tx, customer.id, period)
    tx.save(subscription)
    draft_period(tx, customer, subscription, period, fees=[], keeps_empty=False, at=at)


def cancel_later(
    tx: Tx,
    customer: Customer,
    subscription: Subscription,
    *,
    cancel_at: datetime | None,
    at_period_end: bool,
    prorates: bool = False,
    details: Mapping[str, str] = NO_DETAILS,
    at: datetime,
) -> Subscription:
    """Let the subscription end at an instant ahead or with its period; neither takes that back."""
    if subscription.status == "canceled":
        raise SubscriptionState(f"Subscription {subscription.id} is canceled already.")
    if cancel_at is not None and cancel_at <= at:
        raise InvalidStart(
            f"A subscription cannot end at {cancel_at:%Y-%m-%dT%H:%M:%SZ}: that has passed.",
            param="cancel_at",
        )
    asked = cancel_at is not None or at_period_end
    subscription = replace(
        subscription,
        cancel_at=cancel_at,
        cancel_at_period_end=at_period_end,
        prorates=prorates,
        canceled_at=at if asked else None,
        cancellation=dict(details) if asked else {},
    )
    return keep(tx, customer, subscription, at=at)
