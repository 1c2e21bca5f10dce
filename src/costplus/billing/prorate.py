"""Make the invoice items of a change: what is given back for the old, what is asked for the new.

Rule 1: what is given back is a part of what was asked for: never more than the open period's fees, less what
was given back of them already, and nothing of an invoice that was withdrawn.
Rule 2: items wait for the customer's next invoice. `always_invoice` asks for them at once; where they come to
nothing or less they wait all the same, since no invoice asks for less than nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from fractions import Fraction
from typing import Literal

from costplus.billing.agenda import every_of
from costplus.billing.compose import open_draft
from costplus.billing.customer import Customer
from costplus.billing.invoice import Invoice
from costplus.billing.invoice_item import InvoiceItem
from costplus.billing.issue import finalize
from costplus.billing.plan import Plan
from costplus.billing.proration import capped_credit, prorated, share_left
from costplus.billing.store import Tx
from costplus.billing.subscribe import fee_invoice, plan_of, proration_by
from costplus.billing.subscription import Item, Subscription
from costplus.core.ids import new_id
from costplus.core.period import Period

ProrationBehavior = Literal["create_prorations", "always_invoice", "none"]
ALL = Fraction(1)


def covered_minor(plan: Plan, item: Item) -> int:
    """Return the whole period's fee by which the rest of the open period has been asked for."""
    return plan.fee_minor * item.quantity if item.covered_minor is None else item.covered_minor


def share_of(tx: Tx, subscription: Subscription, plan: Plan, *, at: datetime) -> Fraction:
    """Return which share of a whole period is left of the open one at `at`, by the plan's rule."""
    by = proration_by(tx, plan)
    period, whole = subscription.period, subscription.whole_period
    return share_left(period, at, whole=whole, by=by, timezone=subscription.timezone)


def give_back(
    tx: Tx, subscription: Subscription, item: Item, *, at: datetime, share: Fraction | None = None
) -> Subscription:
    """Give back what `item` was asked for and leaves unused; its rest of the period is then covered no more.

    `share` of a whole period instead of what is left of it.
    """
    plan = plan_of(tx, item)
    covered = covered_minor(plan, item)
    share = share_of(tx, subscription, plan, at=at) if share is None else share
    paid_minor = _paid_minor(tx, subscription)
    credit_minor = capped_credit(
        prorated(covered, share), paid_minor=paid_minor, credited_minor=subscription.credited_minor
    )
    if credit_minor:
        name = plan.display_name if item.quantity == 1 else f"{item.quantity} × {plan.display_name}"
        title = f"Unused time on {name} after {at:%-d %b %Y}"
        _keep_item(tx, subscription, plan, title, -credit_minor, quantity=item.quantity, at=at)
    items = tuple(
        replace(known, covered_minor=0) if known.id == item.id else known for known in subscription.every_item
    )
    return replace(
        subscription,
        items=items,
        paid_minor=subscription.paid_minor if subscription.paid_minor is not None else paid_minor,
        credited_minor=subscription.credited_minor + credit_minor,
    )


def ask_for(tx: Tx, subscription: Subscription, item: Item, *, at: datetime) -> Subscription:
    """Ask for what is left of the period for an item that is not covered yet."""
    plan = plan_of(tx, item)
    whole_minor = plan.fee_minor * item.quantity
    minor = prorated(whole_minor, share_of(tx, subscription, plan, at=at))
    if minor:
        name = plan.display_name if item.quantity == 1 else f"{item.quantity} × {plan.display_name}"
        title = f"Remaining time on {name} after {at:%-d %b %Y}"
        _keep_item(tx, subscription, plan, title, minor, quantity=item.quantity, at=at)
    items = tuple(
        replace(known, covered_minor=whole_minor) if known.id == item.id else known
        for known in subscription.every_item
    )
    return replace(subscription, items=items, paid_minor=_asked_minor(tx, subscription) + minor)


def _asked_minor(tx: Tx, subscription: Subscription) -> int:
    """Return the fees that were asked for the open period."""
    if subscription.paid_minor is not None:
        return subscription.paid_minor
    return sum(covered_minor(plan_of(tx, item), item) for item in subscription.every_item)


def _paid_minor(tx: Tx, subscription: Subscription) -> int:
    """Return what was asked for the open period and stands: of an invoice that was withdrawn nothing."""
    minor = _asked_minor(tx, subscription)
    invoice = tx.find(Invoice, subscription.fee_invoice) if subscription.fee_invoice else None
    if invoice is not None and invoice.status in ("void", "uncollectible"):
        start = subscription.period.start
        minor -= sum(
            line.amount_minor for line in invoice.lines if line.kind == "fee" and line.period.start >= start
        )
    return minor


def _keep_item(
    tx: Tx, subscription: Subscription, plan: Plan, title: str, minor: int, *, quantity: int, at: datetime
) -> None:
    """Keep a proration for the customer's next invoice."""
    item = InvoiceItem(
        id=new_id("ii", at=at),
        created=at,
        customer=subscription.customer,
        currency=plan.currency,
        description=title,
        amount_minor=minor,
        period=Period(at, max(subscription.period.end, at)),
        quantity=quantity,
        subscription=subscription.id,
        is_proration=True,
    )
    tx.save(item)


def waiting_items(tx: Tx, subscription: Subscription) -> list[InvoiceItem]:
    """Return the subscription's items that no invoice has yet, oldest first."""
    found = every_of(tx, InvoiceItem, subscription.customer)
    kept = [item for item in found if item.subscription == subscription.id and not item.invoice]
    return kept[::-1]


def invoice_at_once(
    tx: Tx,
    customer: Customer,
    subscription: Subscription,
    *,
    fees: Sequence[tuple[str, int, Period]] = (),
    at: datetime,
) -> Subscription:
    """Ask for the fees and for what waits of the subscription in an invoice that is final at once."""
    items = waiting_items(tx, subscription)
    takes_items = sum(minor for _, minor, _ in fees) + sum(item.amount_minor for item in items) > 0
    if not takes_items and not fees:  # A credit above the fee waits for an invoice that it fits on.
        return subscription
    plan = plan_of(tx, subscription.every_item[0])
    invoice = fee_invoice(customer, subscription, plan, fees, at=at)
    invoice = replace(invoice, billing_reason="subscription_update")
    invoice = open_draft(tx, invoice, at=at, takes_items=takes_items)
    finalize(tx, invoice, at=at)
    return replace(
        subscription,
        latest_invoice=invoice.id,
        fee_invoice=invoice.id if fees else subscription.fee_invoice,
    )
