"""Interim invoices: what is owed once a subscription's threshold is reached, before its period ends.

Rule 1: it asks for all usage up to its instant; the period's own invoice asks for what comes after.
Rule 2: where the threshold resets the anchor, the period ends with it and the next begins at its instant.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from costplus.billing.compose import open_draft, usage_period, with_figures
from costplus.billing.customer import Customer
from costplus.billing.invoice import Invoice
from costplus.billing.issue import fail_finalization, finalize
from costplus.billing.store import Tx
from costplus.billing.subscribe import Fee, charged_period, fee_invoice, include_credit, plan_of
from costplus.billing.subscription import Subscription
from costplus.billing.tax import TaxLocationMissing
from costplus.billing.threshold import ThresholdReached
from costplus.billing.true_up import true_up
from costplus.core.ids import new_id
from costplus.core.period import Period


def invoice_threshold(tx: Tx, customer: Customer, reached: ThresholdReached, *, at: datetime) -> None:
    """Invoice what the subscription owes at `at`, if it is still as much as its threshold."""
    tx.remove(ThresholdReached, reached.id)
    subscription = tx.find(Subscription, reached.subscription)
    if subscription is None:
        return
    period = subscription.period
    if not period.start < at < period.end or not subscription.threshold_minor:
        return
    window = Period(usage_period(subscription, period).start, at)
    begun, fees = subscription, list[Fee]()
    if subscription.threshold_resets_anchor:
        begun, fees = charged_period(tx, subscription.cut(at, cycle=replace(subscription.cycle, anchor=at)))
    invoice = replace(
        fee_invoice(customer, subscription, plan_of(tx, subscription.every_item[0]), fees, at=at),
        id=new_id("in", at=at),
        billing_reason="subscription_threshold",
        period=window,
        billing_period=period,
        threshold_minor=subscription.threshold_minor,
    )
    if with_figures(tx, invoice, at=at).usage_due_minor < subscription.threshold_minor:
        return
    if subscription.threshold_resets_anchor:
        true_up(tx, subscription, Period(period.start, at), at=at)
    invoice = finalize_or_fail(tx, open_draft(tx, invoice, at=at), at=at)
    if subscription.threshold_resets_anchor:
        closed = tx.find(Subscription, subscription.id)
        assert closed is not None
        begun = replace(begun, finalized_until=closed.finalized_until, latest_invoice=invoice.id)
        tx.save(replace(begun, fee_invoice=invoice.id if fees else ""))
        tx.touch("config")
        include_credit(tx, customer, begun, at=at)


def finalize_or_fail(tx: Tx, invoice: Invoice, *, at: datetime) -> Invoice:
    """Make a draft final; where its tax cannot be found, say so and wait for a person."""
    try:
        return finalize(tx, invoice, at=at)
    except TaxLocationMissing as error:
        return fail_finalization(tx, invoice, reason=error.sentence, at=at)
