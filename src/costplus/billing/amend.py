"""Change what a subscription consists of: plans and quantities, at once or when the period ends.

Rule 1: a change at once gives back what the old item leaves unused and asks for the rest of the period for
the new one, unless its prorations are `none`: then the new fee begins with the next period.
Rule 2: items of another interval restart the cycle: the open period ends, a new one begins and is asked for
in full.
Rule 3: usage is priced by the card of its own time: what is pinned from the change on is the new plan's live
version. A customer's own adjustment stays.
Rule 4: included credit that was granted stays until its period ends. A plan that includes more than the one
it takes the place of adds the difference for the rest of the period, rounded down; one that includes less
takes nothing back. Where the cycle restarts, what is left of the old credit ends with its period.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from costplus.billing.agenda import plan_ahead
from costplus.billing.customer import Customer
from costplus.billing.end_period import divide_usage, draft_period, issue
from costplus.billing.notify import announce, cross
from costplus.billing.order import Chosen, check_alone, check_chosen, live_version_of, new_items
from costplus.billing.plan import Plan
from costplus.billing.prorate import ProrationBehavior, ask_for, give_back, invoice_at_once, share_of
from costplus.billing.store import Tx
from costplus.billing.subscribe import charged_period, grant_period_credit, include_credit, plan_of
from costplus.billing.subscription import Item, Pin, Subscription
from costplus.core.cycle import Cycle
from costplus.core.errors import InvalidRequest
from costplus.ledger.post import expire_grant


class SubscriptionState(InvalidRequest):
    """The subscription is not in a state that allows this."""

    code = "subscription_not_in_state"
    remedy = "A canceled subscription stays as it is; a paused one is resumed first."


def change_items(
    tx: Tx,
    customer: Customer,
    subscription: Subscription,
    chosen: Sequence[Chosen],
    *,
    behavior: ProrationBehavior = "create_prorations",
    restart: bool = False,
    at: datetime,
) -> Subscription:
    """Make the subscription consist of `chosen` from `at` on, its customer's present.

    `restart` begins a new cycle with it. An item that is chosen by its id and stays equal is left alone.
    """
    if subscription.status in ("canceled", "paused"):
        raise SubscriptionState(f"Subscription {subscription.id} is {subscription.status}.")
    pricing = check_chosen(tx, chosen, known=subscription.every_item)
    lead = pricing or chosen[0].plan
    cycle = Cycle(at, lead.interval, lead.interval_count, customer.timezone)
    restarts = restart or (subscription.interval, subscription.interval_count) != (
        cycle.interval,
        cycle.count,
    )
    before = subscription
    after = _with_items(tx, subscription, chosen, pricing, at=at)
    if pricing:
        check_alone(tx, after)
    if subscription.status == "pending":
        if restarts:
            raise SubscriptionState(f"Subscription {subscription.id} has not begun, so no cycle can restart.")
    elif subscription.status == "trialing":
        after = replace(after, interval=cycle.interval, interval_count=cycle.count)
    elif restarts:
        after = restarted(tx, customer, before, after, cycle, behavior=behavior, at=at)
    elif behavior != "none":
        after = _prorated(tx, customer, before, after, at=at)
    after = replace(after, scheduled=())
    if behavior == "always_invoice" and not restarts and after.is_live:
        after = invoice_at_once(tx, customer, after, at=at)
    return keep(tx, customer, after, at=at)


def keep(tx: Tx, customer: Customer, subscription: Subscription, *, at: datetime) -> Subscription:
    """Save a subscription that was changed, and say so."""
    tx.save(subscription)
    tx.touch("config")
    announce(tx, "customer.subscription.updated", subscription, at=at)
    plan_ahead(tx, customer)
    return subscription


def _with_items(
    tx: Tx, subscription: Subscription, chosen: Sequence[Chosen], pricing: Plan | None, *, at: datetime
) -> Subscription:
    """Return the subscription with the items, and with the card that prices its usage from `at` on."""
    known = {item.id: item for item in subscription.every_item}
    items = tuple(
        replace(item, covered_minor=known[item.id].covered_minor) if item.id in known else item
        for item in new_items(chosen, id=subscription.id, at=at)
    )
    if (pricing is not None) != subscription.prices_usage:
        raise SubscriptionState(
            f"Subscription {subscription.id} cannot begin or cease to price usage.",
            remedy="Cancel it and start another.",
        )
    lead = pricing or chosen[0].plan
    after = replace(subscription, items=items, plan=lead.id)
    if pricing is None or pricing.id == subscription.plan:
        return after
    version = live_version_of(tx, pricing)
    return after.turned(max(at, after.begins), lambda pin: _to_version(pin, version))


def _to_version(pin: Pin, version: str) -> Pin:
    """Return the pin at another plan's card: moves within the old card mean nothing on it."""
    return Pin(pin.since, version, adjustment=pin.adjustment, usage=pin.usage)


def _prorated(
    tx: Tx, customer: Customer, before: Subscription, after: Subscription, *, at: datetime
) -> Subscription:
    """Return `after` with the prorations of what changed made."""
    old = {item.id: item for item in before.every_item}
    new = {item.id: item for item in after.every_item}
    changed = [id for id in {**old, **new} if _terms(old.get(id)) != _terms(new.get(id))]
    for id in changed:
        if id in old:
            gone = give_back(tx, replace(before, credited_minor=after.credited_minor), old[id], at=at)
            after = replace(after, paid_minor=gone.paid_minor, credited_minor=gone.credited_minor)
    for id in changed:
        if id in new:
            after = ask_for(tx, after, new[id], at=at)
    _more_credit(tx, customer, before, after, at=at)
    return after


def _terms(item: Item | None) -> tuple[str, int] | None:
    return None if item is None else (item.plan, item.quantity)


def _more_credit(
    tx: Tx, customer: Customer, before: Subscription, after: Subscription, *, at: datetime
) -> None:
    """Grant what the new plans include more than the old ones, for the rest of the period."""
    had = sum({item.plan: plan_of(tx, item).credit_minor for item in before.every_item}.values())
    plans = [plan_of(tx, item) for item in after.every_item]
    more = sum(plan.credit_minor for plan in plans) - had
    lead = next((plan for plan in plans if plan.credit_minor), None)
    if lead is None or more <= 0:
        return
    minor = int(more * share_of(tx, after, lead, at=at))
    period = replace(after.period, start=at)
    grant_period_credit(tx, customer, after, replace(lead, credit_minor=minor), period, at=at)


def restarted(
    tx: Tx,
    customer: Customer,
    before: Subscription,
    after: Subscription,
    cycle: Cycle,
    *,
    behavior: ProrationBehavior,
    at: datetime,
) -> Subscription:
    """Return `after` with the open period ended and a new one of `cycle` begun and asked for.

    What `before` leaves unused is given back, unless prorations are `none`.
    """
    if behavior != "none":
        for item in before.every_item:
            before = give_back(tx, before, item, at=at)
    ended = replace(before.period, end=at)
    end_credit(tx, customer, before, at=at)
    if after.prices_usage:
        divide_usage(tx, customer.id, before.period, at=at)
    after = after.cut(at, cycle=cycle)
    after, fees = charged_period(tx, after)
    if behavior == "always_invoice":
        after = invoice_at_once(tx, customer, after, fees=fees, at=at)
        fees = []
    invoice = None
    if ended.start < at:
        tx.save(after)  # Finalising reads the subscription.
        invoice = draft_period(tx, customer, after, ended, fees=fees, at=at)
    elif fees:
        after = invoice_at_once(tx, customer, after, fees=fees, at=at)
    if invoice is not None:
        after = replace(
            after,
            latest_invoice=invoice.id,
            fee_invoice=invoice.id if fees else after.fee_invoice,
        )
        if behavior == "always_invoice":
            tx.save(after)
            issue(tx, invoice, at=at)
            known = tx.find(Subscription, after.id)
            assert known is not None
            after = known
    include_credit(tx, customer, after, at=at)
    return after


def end_credit(tx: Tx, customer: Customer, subscription: Subscription, *, at: datetime) -> None:
    """End what is left of the credit that the open period included: it is the period's."""
    period = subscription.period
    for grant in tx.live_grants(customer.id):
        is_its = grant.source == "plan" and grant.expires_at == period.end
        if is_its and period.start <= grant.effective_at < period.end:
            cross(tx, expire_grant(tx, grant, at=at), currency=grant.currency, at=at)


def schedule_items(
    tx: Tx, customer: Customer, subscription: Subscription, chosen: Sequence[Chosen], *, at: datetime
) -> Subscription:
    """Make the subscription consist of `chosen` when its open period ends; none of them takes that back."""
    if not subscription.is_live or subscription.status == "paused":
        raise SubscriptionState(f"Subscription {subscription.id} is {subscription.status}.")
    end = subscription.period.end
    plain = subscription
    if subscription.scheduled and subscription.prices_usage:
        version = subscription.pin_at(at).version
        plain = subscription.turned(end, lambda pin: _to_version(pin, version))
    if not chosen:
        return keep(tx, customer, replace(plain, scheduled=()), at=at)
    pricing = check_chosen(tx, chosen, known=subscription.every_item)
    after = _with_items(tx, plain, chosen, pricing, at=end)
    plain = replace(plain, pins=after.pins)
    return keep(tx, customer, replace(plain, scheduled=after.items), at=at)
