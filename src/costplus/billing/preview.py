"""Preview the invoice of a customer's running period: the figures of this moment, kept nowhere."""

from __future__ import annotations

from datetime import datetime

from costplus.billing.customer import Customer
from costplus.billing.invoice import Invoice
from costplus.billing.issue import figures_of
from costplus.billing.plan import NoSuchPlan, Plan
from costplus.billing.settle import subscription_of
from costplus.billing.store import Tx
from costplus.billing.subscribe import fee_for
from costplus.core.ids import new_id
from costplus.core.period import monthly_period


def preview(tx: Tx, customer: Customer, *, at: datetime) -> Invoice:
    """Return what the customer would be asked for if its period ended at `at`. Raises `NotSubscribed`."""
    subscription = subscription_of(tx, customer.id)
    plan = tx.find(Plan, subscription.plan)
    if plan is None:
        raise NoSuchPlan(f"Subscription {subscription.id} is to a pricing plan that does not exist.")
    following = monthly_period(subscription.anchor, subscription.ordinal + 1)
    figures, usage_nano, credit_nano, carried_in_nano = figures_of(
        tx,
        customer=customer.id,
        currency=plan.currency,
        period=subscription.period,
        fees=[fee_for(plan, following)] if plan.fee_minor else [],
        at=at,
    )
    return Invoice(
        id=new_id("upcoming_in", at=at),
        created=at,
        customer=customer.id,
        subscription=subscription.id,
        currency=plan.currency,
        period=subscription.period,
        billing_reason="upcoming",
        lines=figures.lines,
        usage_nano=usage_nano,
        credit_nano=credit_nano,
        carried_in_nano=carried_in_nano,
        carried_out_nano=figures.carried_out_nano,
        subtotal_minor=figures.subtotal_minor,
        credit_minor=figures.credit_minor,
        total_minor=figures.total_minor,
        test_clock=customer.test_clock,
    )
