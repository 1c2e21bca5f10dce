"""Put a customer on a plan: its card version pinned, its first fee and credit booked."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from costplus.billing.customer import Customer
from costplus.billing.include import begin_period
from costplus.billing.invoice import Invoice, draft
from costplus.billing.issue import finalize
from costplus.billing.notify import announce
from costplus.billing.plan import NoSuchPlan, Plan
from costplus.billing.roll_over import include_credit
from costplus.billing.shadow import is_on
from costplus.billing.store import Tx
from costplus.billing.subscription import Subscription
from costplus.core.ids import new_id
from costplus.core.period import Period
from costplus.rating.rate_card import RateCard


def subscribe(tx: Tx, customer: Customer, plan: Plan, *, at: datetime) -> Subscription:
    """Start the customer's subscription at `at`, its present; one that it has already is returned."""
    for existing in tx.page(Subscription, parent=customer.id):
        if existing.status == "active" and existing.plan == plan.id:
            return existing
    card = tx.find(RateCard, plan.rate_card)
    if card is None:
        raise NoSuchPlan(f"Pricing plan {plan.id} has no rate card.")
    subscription = Subscription(
        id=new_id("sub", at=at),
        created=at,
        customer=customer.id,
        plan=plan.id,
        rate_card_version=card.live_version,
        anchor=at,
        finalized_until=at,
    )
    tx.save(subscription)
    tx.touch("config")
    grant_period_credit(tx, customer, subscription, plan, subscription.period, at=at)
    if plan.fee_minor and owes_fees(customer, plan, at):
        fees = [fee_for(plan, subscription.period)]
        invoice = fee_invoice(customer, subscription, plan, fees, at=at)
        tx.save(invoice)
        announce(tx, "invoice.created", invoice, at=at)
        finalize(tx, invoice, at=at)
    return subscription


def fee_for(plan: Plan, period: Period) -> tuple[str, int, Period]:
    """Return the plan's fee for a period as an invoice's fee line."""
    return (f"{plan.display_name} · subscription fee", plan.fee_minor, period)


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
    begin_period(tx, subscription, plan, period, at=at)
    include_credit(tx, customer, subscription, plan, period, at=at)


def owes_fees(customer: Customer, plan: Plan, at: datetime) -> bool:
    """Return whether fees fall due: not where usage is only tracked."""
    return not (is_on(customer.shadow, at) or is_on(plan.shadow, at))
