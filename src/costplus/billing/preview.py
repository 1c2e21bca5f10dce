"""Preview the invoice of a customer's running period: the figures of this moment, kept nowhere."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from costplus.billing.compose import item_line, prepared, waiting_items, with_figures
from costplus.billing.customer import Customer
from costplus.billing.invoice import Invoice
from costplus.billing.notify import announce
from costplus.billing.plan import NoSuchPlan, Plan
from costplus.billing.settle import subscription_of
from costplus.billing.store import Tx
from costplus.billing.subscribe import Fee, fee_for, fee_invoice, owes_fees, plan_of
from costplus.billing.subscription import Subscription
from costplus.billing.upcoming import told_of
from costplus.core.ids import new_id
from costplus.core.period import Period


def preview(tx: Tx, customer: Customer, *, at: datetime) -> Invoice:
    """Return what the customer would be asked for if its period ended at `at`. Raises `NotSubscribed`."""
    return preview_of(tx, customer, subscription_of(tx, customer.id), at=at)


def preview_of(tx: Tx, customer: Customer, subscription: Subscription, *, at: datetime) -> Invoice:
    """Return what a subscription's customer would be asked for if its period ended at `at`."""
    plan = tx.find(Plan, subscription.plan)
    if plan is None:
        raise NoSuchPlan(f"Subscription {subscription.id} is to a pricing plan that does not exist.")
    following = subscription.period_at(subscription.ordinal + 1)
    fees = (
        []
        if subscription.ends or subscription.status == "paused"
        else _fees(tx, customer, subscription, following)
    )
    invoice = replace(
        fee_invoice(customer, subscription, plan, fees, at=at),
        id=new_id("upcoming_in", at=at),
        billing_reason="upcoming",
    )
    invoice = with_figures(tx, prepared(tx, invoice), at=at)
    lines = [item_line(item, at=at) for item in waiting_items(tx, invoice)]
    return with_figures(tx, replace(invoice, lines=(*invoice.lines, *lines)), at=at) if lines else invoice


def tell_upcoming(tx: Tx, customer: Customer, subscription: Subscription, *, at: datetime) -> None:
    """Announce a subscription's next invoice as it would be now."""
    tx.save(told_of(subscription, at=at))
    announce(tx, "invoice.upcoming", preview_of(tx, customer, subscription, at=at), at=at)


def _fees(tx: Tx, customer: Customer, subscription: Subscription, following: Period) -> list[Fee]:
    """Return the fees of the next period, of the items that the subscription will then consist of."""
    items = subscription.scheduled or subscription.every_item
    known = [(plan_of(tx, item), item) for item in items]
    fees = [
        fee_for(plan, following, quantity=item.quantity)
        for plan, item in known
        if owes_fees(customer, plan, following.start)
    ]
    return [fee for fee in fees if fee[1]]
