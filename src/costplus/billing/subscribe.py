"""Put a customer on plans: its card version pinned, its first fee and credit booked.

Rule: included credit is once per plan and period, whatever the quantity, from the start of what is paid for:
not in a trial, not in a pause.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from costplus.billing.account import account_settings
from costplus.billing.agenda import UsageAfterEnd, every_of, plan_ahead
from costplus.billing.compose import open_draft
from costplus.billing.customer import Customer
from costplus.billing.include import begin_period
from costplus.billing.invoice import Invoice, draft
from costplus.billing.issue import finalize
from costplus.billing.notify import announce
from costplus.billing.order import (
    Chosen,
    InvalidStart,
    Order,
    check_alone,
    check_chosen,
    ended_until,
    live_version_of,
    new_items,
)
from costplus.billing.plan import NoSuchPlan, Plan
from costplus.billing.proration import ProrationBy, prorated, share_left
from costplus.billing.roll_over import book_credit
from costplus.billing.shadow import is_on
from costplus.billing.store import Tx
from costplus.billing.subscription import TRIAL_NOTICE, Item, Pin, Subscription
from costplus.core.cycle import Cycle
from costplus.core.ids import new_id
from costplus.core.period import Period

Fee = tuple[str, int, Period]
TICK = timedelta(microseconds=1)


def subscribe(tx: Tx, customer: Customer, plan: Plan, *, at: datetime) -> Subscription:
    """Start the customer's subscription at `at`, its present; one that it has already is returned."""
    for existing in every_of(tx, Subscription, customer.id):
        if existing.is_live and existing.plan == plan.id:
            return existing
    return start(tx, customer, Order(chosen=[Chosen(plan)]), at=at)


def start(tx: Tx, customer: Customer, order: Order, *, at: datetime) -> Subscription:
    """Subscribe the customer at `at`, its present, as of then or of when the order says."""
    pricing = check_chosen(tx, order.chosen)
    if pricing:
        _end_late_usage(tx, customer, at=at)
    starts = max(order.starts or at, ended_until(tx, customer.id) if pricing else at)
    lead = pricing or order.chosen[0].plan
    if customer.currency != lead.currency:  # A book is in one currency.
        customer = replace(customer, currency=lead.currency)
        tx.save(customer)
    cycle = Cycle(order.anchor or starts, lead.interval, lead.interval_count, customer.timezone)
    cycle = _checked(order, replace(cycle, anchor=order.trial_end or cycle.anchor), starts=starts, at=at)
    ordinal = -1 if order.trial_end else cycle.ordinal_at(starts)
    id = new_id("sub", at=at)
    subscription = Subscription(
        id=id,
        created=at,
        customer=customer.id,
        plan=lead.id,
        rate_card_version=live_version_of(tx, pricing) if pricing else "",
        anchor=cycle.anchor,
        interval=cycle.interval,
        interval_count=cycle.count,
        timezone=cycle.timezone,
        ordinal=ordinal,
        first_ordinal=ordinal,
        first_start=None if cycle.start(ordinal) == starts else starts,
        started=starts,
        finalized_until=starts,
        items=new_items(order.chosen, id=id, at=at),
        status="pending",
        trial_start=starts if order.trial_end else None,
        trial_end=order.trial_end,
        cancel_at_period_end=order.cancel_at_period_end,
        cancel_at=order.cancel_at,
        prorates=order.prorates,
        canceled_at=at if order.cancel_at or order.cancel_at_period_end else None,
        description=order.description,
        metadata=order.metadata,
    )
    subscription = order.terms(subscription)
    if pricing:
        subscription = _with_trial_pins(subscription, pricing)
        check_alone(tx, subscription)
    tx.save(subscription)
    tx.touch("config")
    announce(tx, "customer.subscription.created", subscription, at=at)
    if order.starts is None or starts <= at:
        subscription = begin(tx, customer, subscription, prorates=order.prorates, at=at)
    plan_ahead(tx, customer)
    return subscription


def _end_late_usage(tx: Tx, customer: Customer, *, at: datetime) -> None:
    """Let usage that came after a subscription's end be that one's, up to where the next one may begin."""
    for late in every_of(tx, UsageAfterEnd, customer.id):
        before = tx.find(Subscription, late.id)
        latest = tx.charged_page(customer=customer.id, limit=1)
        if before is not None:
            ends = max([at, before.ended_at or at, *(entry.billed_at + TICK for entry in latest)])
            tx.save(replace(before, ended_at=ends))


def _checked(order: Order, cycle: Cycle, *, starts: datetime, at: datetime) -> Cycle:
    """Return the cycle where everything lies as it has to. Raises `InvalidStart`."""
    latest = replace(cycle, anchor=at).start(0).replace(year=at.year + 2, day=min(at.day, 28))
    if not at <= starts <= latest:
        raise InvalidStart(f"A subscription cannot start at {starts:%Y-%m-%dT%H:%M:%SZ}.", param="start_date")
    if order.trial_end is not None and not starts < order.trial_end <= latest:
        raise InvalidStart(f"A trial cannot end at {order.trial_end:%Y-%m-%dT%H:%M:%SZ}.", param="trial_end")
    if order.anchor is not None and order.trial_end is not None:
        raise InvalidStart("A trial's end is where its cycle is counted from.", param="billing_cycle_anchor")
    if order.anchor is not None and order.anchor > replace(cycle, anchor=starts).start(1):
        raise InvalidStart(
            f"The anchor {order.anchor:%Y-%m-%dT%H:%M:%SZ} lies beyond the first period.",
            param="billing_cycle_anchor",
        )
    if order.cancel_at is not None and order.cancel_at <= starts:
        raise InvalidStart("A subscription cannot end before it starts.", param="cancel_at")
    return cycle


def _with_trial_pins(subscription: Subscription, plan: Plan) -> Subscription:
    """Return the subscription with free usage until its trial ends, where its plan says so."""
    if subscription.trial_end is None or plan.trial_usage == "billed":
        return subscription
    version = subscription.rate_card_version
    free = Pin(subscription.begins, version, usage="free")
    return replace(subscription, pins=(free, Pin(subscription.trial_end, version)))


def begin(
    tx: Tx, customer: Customer, subscription: Subscription, *, prorates: bool = True, at: datetime
) -> Subscription:
    """Let a subscription that is due begin: its trial, or its first fee and credit."""
    if (trial_end := subscription.trial_end) is not None:
        subscription = replace(subscription, status="trialing")
        if trial_end - TRIAL_NOTICE <= at:
            subscription = told_of_trial(tx, subscription, at=at)
        tx.save(subscription)
        return subscription
    subscription = replace(subscription, status="active")
    subscription, fees = charged_period(tx, subscription, prorates=prorates)
    tx.save(subscription)
    include_credit(tx, customer, subscription, at=at)
    if fees:
        plan = plan_of(tx, subscription.every_item[0])
        invoice = open_draft(tx, fee_invoice(customer, subscription, plan, fees, at=at), at=at)
        finalize(tx, invoice, at=at)
        subscription = replace(subscription, fee_invoice=invoice.id, latest_invoice=invoice.id)
        tx.save(subscription)
    return subscription


def told_of_trial(tx: Tx, subscription: Subscription, *, at: datetime) -> Subscription:
    """Return the subscription, its trial's end announced."""
    announce(tx, "customer.subscription.trial_will_end", subscription, at=at)
    return replace(subscription, trial_told=True)


def plan_of(tx: Tx, item: Item) -> Plan:
    """Return an item's plan, which is never deleted."""
    plan = tx.find(Plan, item.plan)
    if plan is None:
        raise NoSuchPlan(f"There is no pricing plan {item.plan}.")
    return plan


def charged_period(
    tx: Tx, subscription: Subscription, *, since: datetime | None = None, prorates: bool = True
) -> tuple[Subscription, list[Fee]]:
    """Return the subscription with its open period asked for, and the fees that ask for it.

    Of a stub its share of the whole period is asked for, counted from `since` where that is later; without
    `prorates` nothing.
    """
    period, whole = subscription.period, subscription.whole_period
    begun = max(period.start, since or period.start)
    fees: list[Fee] = []
    items: list[Item] = []
    customer = tx.find(Customer, subscription.customer)
    for item in subscription.every_item:
        plan = plan_of(tx, item)
        if customer is not None and not owes_fees(customer, plan, begun):
            items.append(replace(item, covered_minor=0))
            continue
        title, whole_minor, _ = fee_for(plan, period, quantity=item.quantity)
        is_stub = (begun, period.end) != (whole.start, whole.end)
        if is_stub and not prorates:
            items.append(replace(item, covered_minor=0))
            continue
        by, timezone = proration_by(tx, plan), subscription.timezone
        share = share_left(period, begun, whole=whole, by=by, timezone=timezone)
        minor = prorated(whole_minor, share) if is_stub else whole_minor
        items.append(replace(item, covered_minor=whole_minor, fee_minor=plan.fee_minor))
        if minor:
            fees.append((title, minor, Period(begun, period.end)))
    paid_minor = sum(minor for _, minor, _ in fees)
    charged = replace(
        subscription, items=tuple(items), paid_minor=paid_minor, credited_minor=0, fee_invoice=""
    )
    return charged, fees


def include_credit(tx: Tx, customer: Customer, subscription: Subscription, *, at: datetime) -> None:
    """Grant what the plans include for the open period from `at` on: of a stub its share, rounded down."""
    period, whole = subscription.period, subscription.whole_period
    period = replace(period, start=max(period.start, at))
    for item in subscription.every_item:
        plan = plan_of(tx, item)
        if plan.credit_minor and (period.start, period.end) != (whole.start, whole.end):
            by, timezone = proration_by(tx, plan), subscription.timezone
            share = share_left(period, period.start, whole=whole, by=by, timezone=timezone)
            plan = replace(plan, credit_minor=int(plan.credit_minor * share))
        grant_period_credit(tx, customer, subscription, plan, period, at=at)


def proration_by(tx: Tx, plan: Plan) -> ProrationBy:
    """Return by what the plan's fee is prorated."""
    if plan.proration_by is not None:
        return plan.proration_by
    settings = account_settings(tx)
    return settings.proration_by if settings else "second"


def fee_for(plan: Plan, period: Period, *, quantity: int = 1) -> Fee:
    """Return the plan's fee for a period as an invoice's fee line."""
    title = f"{plan.display_name} · subscription fee"
    return (title if quantity == 1 else f"{quantity} × {title}", plan.fee_minor * quantity, period)


def fee_invoice(
    customer: Customer,
    subscription: Subscription,
    plan: Plan,
    fees: Sequence[tuple[str, int, Period]],
    *,
    at: datetime,
) -> Invoice:
    """Return the draft of an invoice that asks for fees only."""
    figures = draft(
        [],
        line_ids=[new_id("il", at=at) for _ in fees],
        period=subscription.period,
        currency=plan.currency,
        usage_nano=0,
        owed_nano=0,
        carried_in_nano=0,
        fees=fees,
    )
    return Invoice(
        id=new_id("in", at=at),
        created=at,
        customer=customer.id,
        subscription=subscription.id,
        currency=plan.currency,
        period=subscription.period,
        billing_reason="subscription_create",
        lines=figures.lines,
        subtotal_minor=figures.subtotal_minor,
        total_minor=figures.total_minor,
        test_clock=customer.test_clock,
    )


def grant_period_credit(
    tx: Tx, customer: Customer, subscription: Subscription, plan: Plan, period: Period, *, at: datetime
) -> None:
    """Begin a period: fix what its plan includes, and book its credit."""
    if plan.rate_card:
        begin_period(tx, subscription, plan, period, at=at)
    book_credit(tx, customer, subscription, plan, period, at=at)


def owes_fees(customer: Customer, plan: Plan, at: datetime) -> bool:
    """Return whether fees fall due: not where usage is only tracked."""
    return not (is_on(customer.shadow, at) or is_on(plan.shadow, at))
