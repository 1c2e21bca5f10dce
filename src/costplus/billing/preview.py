"""Preview the invoice of a customer's running period: the figures of this moment, kept nowhere."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from costplus.billing.customer import Customer
from costplus.billing.invoice import Invoice
from costplus.billing.issue import with_figures
from costplus.billing.plan import NoSuchPlan, Plan
from costplus.billing.settle import subscription_of
from costplus.billing.store import Tx
from costplus.billing.subscribe import fee_for, fee_invoice, owes_fees
from costplus.core.ids import new_id
from costplus.core.period import monthly_period


def preview(tx: Tx, customer: Customer, *, at: datetime) -> Invoice:
    """Return what the customer would be asked for if its period ended at `at`. Raises `NotSubscribed`."""
    subscription = subscription_of(tx, customer.id)
    plan = tx.find(Plan, subscription.plan)
    if plan is None:
        raise NoSuchPlan(f"Subscription {subscription.id} is to a pricing plan that does not exist.")
    following = monthly_period(subscription.anchor, subscription.ordinal + 1)
    fees = [fee_for(plan, following)] if plan.fee_minor and owes_fees(customer, plan, at) else []
    invoice = replace(
        fee_invoice(customer, subscription, plan, fees, at=at),
        id=new_id("upcoming_in", at=at),
        billing_reason="upcoming",
    )
    return with_figures(tx, invoice, at=at)
