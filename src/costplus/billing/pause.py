"""Pause subscriptions and resume them.

Rule 1: a paused subscription asks for nothing, and none of its periods end. Its customer's usage is blocked
meanwhile, or free, as its plan says. What was used before is invoiced when the pause begins, unless that is
to wait.
Rule 2: what the fee leaves unused is given back, unless that is declined.
Rule 3: resuming begins a new cycle (`now`), or goes on within the old one (`unchanged`) and asks for what is
left of its period. The period that opens begins where the last one ended, so that periods tile time across
pauses too.
Rule 4: `pause_collection` is another thing: everything goes on, but invoices stay drafts, are given up or
withdrawn.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Literal

from costplus.billing.amend import SubscriptionState, end_credit, keep
from costplus.billing.customer import Customer
from costplus.billing.end_period import divide_usage, draft_period, issue
from costplus.billing.notify import announce
from costplus.billing.plan import Plan
from costplus.billing.prorate import ALL, ProrationBehavior, ask_for, give_back, invoice_at_once
from costplus.billing.store import Tx
from costplus.billing.subscribe import charged_period, include_credit, plan_of
from costplus.billing.subscription import PinUsage, Subscription
from costplus.core.cycle import Cycle

UnusedFrom = Literal["now", "none", "item_current_period_start"]


def pause(
    tx: Tx,
    customer: Customer,
    subscription: Subscription,
    *,
    unused_from: UnusedFrom = "now",
    bill_usage: bool = True,
    invoice_now: bool = False,
    resumes_at: datetime | None = None,
    usage: PinUsage | None = None,
    at: datetime,
) -> Subscription:
    """Pause the subscription at `at`, its customer's present; `usage` instead of what its plan says."""
    if subscription.status not in ("active", "past_due"):
        raise SubscriptionState(f"Subscription {subscription.id} is {subscription.status}, not active.")
    if unused_from != "none":
        for item in subscription.every_item:
            share = ALL if unused_from == "item_current_period_start" else None
            subscription = give_back(tx, subscription, item, at=at, share=share)
    if subscription.prices_usage:
        plan = tx.find(Plan, subscription.plan)
        meanwhile = usage or (plan.pause_usage if plan else "blocked")
        subscription = subscription.turned(at, lambda pin: replace(pin, usage=meanwhile))
    end_credit(tx, customer, subscription, at=at)
    if bill_usage:
        subscription = _cut_and_drafted(tx, customer, subscription, now=invoice_now, at=at)
    subscription = replace(
        subscription, status="paused", paused_at=at, resumes_at=resumes_at, resumed_at=None, scheduled=()
    )
    announce(tx, "customer.subscription.paused", subscription, at=at)
    return keep(tx, customer, subscription, at=at)


def _cut_and_drafted(
    tx: Tx, customer: Customer, subscription: Subscription, *, now: bool, at: datetime
) -> Subscription:
    """Return the subscription with its open period ended at `at` and what it used drafted."""
    ended = replace(subscription.period, end=at)
    if ended.start == at:
        return subscription
    if subscription.prices_usage:
        divide_usage(tx, customer.id, subscription.period, at=at)
    subscription = subscription.cut(at)
    tx.save(subscription)
    invoice = draft_period(tx, customer, subscription, ended, fees=[], at=at)
    if invoice is None:
        return subscription
    subscription = replace(subscription, latest_invoice=invoice.id)
    tx.save(subscription)
    if now:
        issue(tx, invoice, at=at)
    known = tx.find(Subscription, subscription.id)
    assert known is not None
    return known


def resume(
    tx: Tx,
    customer: Customer,
    subscription: Subscription,
    *,
    anchor: Literal["now", "unchanged"] = "now",
    behavior: ProrationBehavior = "create_prorations",
    at: datetime,
) -> Subscription:
    """Resume the paused subscription at `at`, its customer's present."""
    if subscription.status != "paused":
        raise SubscriptionState(
            f"Subscription {subscription.id} is {subscription.status}, not paused.",
            remedy="Only a paused subscription can be resumed.",
        )
    start = subscription.period.start
    covered_until = subscription.period.end
    if subscription.prices_usage:
        subscription = subscription.turned(at, lambda pin: replace(pin, usage="billed"))
    subscription = replace(subscription, status="active", paused_at=None, resumes_at=None, resumed_at=at)
    if anchor == "now":
        if at < covered_until:
            for item in subscription.every_item:  # What a pause without credit left covered is not lost.
                subscription = give_back(tx, subscription, item, at=at)
        lead = plan_of(tx, subscription.every_item[0])
        cycle = Cycle(at, lead.interval, lead.interval_count, customer.timezone)
        subscription = _reopened(subscription, cycle, start=start, at=at)
        subscription, fees = charged_period(tx, subscription, since=at)
        subscription = invoice_at_once(tx, customer, subscription, fees=fees, at=at)
        include_credit(tx, customer, subscription, at=at)
    else:
        subscription = _gone_on(
            tx, customer, subscription, start=start, is_covered=at < covered_until, behavior=behavior, at=at
        )
    announce(tx, "customer.subscription.resumed", subscription, at=at)
    return keep(tx, customer, subscription, at=at)


def _reopened(subscription: Subscription, cycle: Cycle, *, start: datetime, at: datetime) -> Subscription:
    """Return the subscription with the period of `cycle` open that holds `at`, from `start` on already."""
    ordinal = cycle.ordinal_at(at)
    return replace(
        subscription,
        anchor=cycle.anchor,
        interval=cycle.interval,
        interval_count=cycle.count,
        timezone=cycle.timezone,
        ordinal=ordinal,
        first_ordinal=ordinal,
        first_start=start,
        earlier=tuple(period for period in subscription.unfinal() if period.end <= start),
        started=subscription.begins,
    )


def _gone_on(
    tx: Tx,
    customer: Customer,
    subscription: Subscription,
    *,
    start: datetime,
    is_covered: bool,
    behavior: ProrationBehavior,
    at: datetime,
) -> Subscription:
    """Return the subscription going on in its old cycle, what is left of the period asked for."""
    began = subscription.begins
    subscription = replace(_reopened(subscription, subscription.cycle, start=start, at=at), started=began)
    open_items = [item for item in subscription.every_item if not (is_covered and item.covered_minor)]
    if not is_covered:
        fresh = tuple(replace(item, covered_minor=0) for item in subscription.every_item)
        subscription = replace(subscription, items=fresh, paid_minor=0, credited_minor=0, fee_invoice="")
    if behavior != "none":
        for item in open_items:
            subscription = ask_for(tx, subscription, item, at=at)
    if behavior == "always_invoice":
        subscription = invoice_at_once(tx, customer, subscription, at=at)
    include_credit(tx, customer, subscription, at=at)
    return subscription


def pause_ended(tx: Tx, customer: Customer, subscription: Subscription, *, at: datetime) -> Subscription:
    """Let a subscription's invoices be asked for again from `at` on."""
    return keep(tx, customer, replace(subscription, pause_collection=None), at=at)
