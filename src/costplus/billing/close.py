"""Close what is due: expire credit, end periods, finalise drafts; for real time and test clocks alike.

Everything due by an instant happens in the order of time, each step as of its own instant; doing it again
changes nothing.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from costplus.billing.account import account_settings as account_settings
from costplus.billing.account import every_customer as every_customer
from costplus.billing.agenda import (
    DueInvoice,
    UsageAfterEnd,
    due_invoices,
    every_of,
    invoice_due_at,
    plan_ahead,
)
from costplus.billing.agenda import due_customers as due_customers
from costplus.billing.cancel import ended, invoice_late_usage
from costplus.billing.credit_steps import credit_steps, turn
from costplus.billing.customer import Customer, TestClock
from costplus.billing.end_period import draft_period, issue
from costplus.billing.interim import finalize_or_fail, invoice_threshold
from costplus.billing.invoice import Invoice
from costplus.billing.issue import mark_overdue
from costplus.billing.notify import announce
from costplus.billing.pause import pause_ended, resume
from costplus.billing.preview import tell_upcoming
from costplus.billing.prorate import give_back
from costplus.billing.store import Tx
from costplus.billing.subscribe import begin, charged_period, include_credit, plan_of, told_of_trial
from costplus.billing.subscription import TRIAL_NOTICE, Subscription
from costplus.billing.threshold import ThresholdReached, reached_id
from costplus.billing.upcoming import ToTell, due_to_tell
from costplus.core.cycle import Cycle
from costplus.core.errors import InvalidRequest

Due = Invoice | Subscription | UsageAfterEnd | ThresholdReached | ToTell | str
ADVANCE_MAX = timedelta(days=366)


class ClockBackwards(InvalidRequest):
    """Time does not run backwards, and not more than a year at once."""

    code = "test_clock_frozen_time_invalid"
    remedy = "Give a frozen_time after the clock's present one and within a year of it."


def close_customer(tx: Tx, customer: Customer, *, until: datetime) -> int:
    """Do everything due for one customer by `until`, its present; return how many steps there were."""
    steps = 0
    while (step := _next_step(tx, customer, until=until)) is not None:
        due_at, subject = step
        if isinstance(subject, Invoice):
            _turn(tx, subject, at=due_at)
        elif isinstance(subject, Subscription):
            _step(tx, customer, subject, at=due_at)
        elif isinstance(subject, UsageAfterEnd):
            tx.remove(UsageAfterEnd, subject.id)
            subscription = tx.find(Subscription, subject.id)
            assert subscription is not None
            invoice_late_usage(tx, customer, subscription, at=due_at)
        elif isinstance(subject, ThresholdReached):
            invoice_threshold(tx, customer, subject, at=due_at)
        elif isinstance(subject, ToTell):
            tell_upcoming(tx, customer, subject.subscription, at=due_at)
        else:
            turn(tx, customer, subject, at=due_at)
        steps += 1
    plan_ahead(tx, customer)
    return steps


def _next_step(tx: Tx, customer: Customer, *, until: datetime) -> tuple[datetime, Due] | None:
    """Return the earliest thing due: an invoice to be final or overdue, a grant or hold (an id) to begin or
    end, a threshold to invoice, a period's end to tell of, or a subscription's turn."""
    due: list[tuple[datetime, int, Due]] = []
    drafts: set[str] = set()
    for mark in due_invoices(tx, customer.id):
        invoice = tx.find(Invoice, mark.id)
        due_at = invoice_due_at(invoice) if invoice is not None else None
        if invoice is None or due_at is None:
            tx.remove(DueInvoice, mark.id)  # Somebody finalised, paid or deleted it meanwhile.
            continue
        if invoice.status == "draft":
            drafts.add(invoice.subscription)
        due.append((due_at, 0 if invoice.status == "draft" else 4, invoice))
    subscriptions = list(reversed(list(every_of(tx, Subscription, customer.id))))
    due += [(late.created, 1, late) for late in every_of(tx, UsageAfterEnd, customer.id)]
    due += credit_steps(tx, customer.id)
    due += [
        (at, 2, subscription) for subscription in subscriptions if (at := subscription.due_at) is not None
    ]
    due += [
        (reached.created, 3, reached)
        for reached in every_of(tx, ThresholdReached, customer.id)
        if reached.subscription not in drafts
    ]
    active = [subscription for subscription in subscriptions if subscription.status == "active"]
    due += [(tell_at, 5, subject) for tell_at, subject in due_to_tell(tx, active)]
    ready = [entry for entry in due if entry[0] <= until]
    if not ready:
        return None
    due_at, _, subject = min(ready, key=lambda entry: entry[:2])
    return due_at, subject


def _turn(tx: Tx, invoice: Invoice, *, at: datetime) -> None:
    """Make a draft final, or call an open invoice overdue."""
    if invoice.status == "draft":
        issue(tx, invoice, at=at)
    else:
        mark_overdue(tx, invoice, at=at)


def _step(tx: Tx, customer: Customer, subscription: Subscription, *, at: datetime) -> None:
    """Do what a subscription's turn at `at` is for."""
    pause = subscription.pause_collection
    if subscription.status == "pending":
        begin(tx, customer, subscription, prorates=subscription.prorates, at=at)
        tx.touch("config")
    elif pause is not None and pause.resumes_at is not None and pause.resumes_at <= at:
        pause_ended(tx, customer, subscription, at=at)
    elif subscription.resumes_at is not None and subscription.resumes_at <= at:
        resume(tx, customer, subscription, at=at)
    elif _is_told(subscription, at=at):
        tx.save(told_of_trial(tx, subscription, at=at))
    elif subscription.cancel_at is not None and subscription.cancel_at <= at:
        _end(tx, customer, subscription, at=at)
    elif subscription.cancel_at_period_end:
        ended(tx, customer, subscription, at=at)
    else:
        _end_period(tx, customer, subscription)


def _is_told(subscription: Subscription, *, at: datetime) -> bool:
    """Whether it is time to say that the trial ends soon."""
    ends = subscription.trial_end
    is_open = subscription.status == "trialing" and not subscription.trial_told
    return is_open and ends is not None and ends - TRIAL_NOTICE <= at


def _end(tx: Tx, customer: Customer, subscription: Subscription, *, at: datetime) -> None:
    """End a subscription at the instant that it was to end at."""
    if subscription.prorates and subscription.status != "paused":
        for item in subscription.every_item:
            subscription = give_back(tx, subscription, item, at=at)
    ended(tx, customer, subscription, at=at)


def _end_period(tx: Tx, customer: Customer, subscription: Subscription) -> None:
    """Draft the ended period's invoice and begin the next period with its fee and credit."""
    period = subscription.period
    at = period.end
    was_trial = subscription.status == "trialing"
    tx.remove(ThresholdReached, reached_id(subscription.id))  # The period's own invoice asks for it.
    following = _following(tx, customer, subscription, at=at)
    following, fees = charged_period(tx, following)
    tx.save(following)
    invoice = draft_period(tx, customer, following, period, fees=fees, at=at)
    if invoice is not None:
        following = replace(following, latest_invoice=invoice.id, fee_invoice=invoice.id if fees else "")
        tx.save(following)
    tx.touch("config")
    include_credit(tx, customer, following, at=at)
    if was_trial or subscription.scheduled:
        announce(tx, "customer.subscription.updated", following, at=at)


def _following(tx: Tx, customer: Customer, subscription: Subscription, *, at: datetime) -> Subscription:
    """Return the subscription with its next period open: no trial any more, changed as it was to be."""
    status = "active" if subscription.status == "trialing" else subscription.status
    following = replace(subscription, status=status, ordinal=subscription.ordinal + 1)
    if not subscription.scheduled:
        return following
    plans = [plan_of(tx, item) for item in subscription.scheduled]
    lead = next((plan for plan in plans if plan.rate_card), plans[0])
    following = replace(following, items=subscription.scheduled, scheduled=(), plan=lead.id)
    if (lead.interval, lead.interval_count) == (subscription.interval, subscription.interval_count):
        return following
    # An ended period is `earlier` to the new cycle, as one is that was cut.
    return following.cut(at, cycle=Cycle(at, lead.interval, lead.interval_count, customer.timezone))


def close_account(tx: Tx, customer: Customer, *, at: datetime) -> None:
    """End the customer's subscriptions at `at`, its present: what they used is invoiced at once."""
    close_customer(tx, customer, until=at)
    for subscription in every_of(tx, Subscription, customer.id):
        if subscription.status != "canceled":
            ended(tx, customer, subscription, invoice_now=True, at=at)
    for invoice in every_of(tx, Invoice, customer.id):
        if invoice.status == "draft":
            finalize_or_fail(tx, invoice, at=at)
    tx.set_due(customer.id, None)
    tx.touch("config")


def advance(tx: Tx, clock: TestClock, *, to: datetime) -> TestClock:
    """Move a test clock to `to`; everything due for its customers on the way happens."""
    if not clock.frozen_time < to <= clock.frozen_time + ADVANCE_MAX:
        raise ClockBackwards(
            f"Test clock {clock.id} stands at {clock.frozen_time:%Y-%m-%dT%H:%M:%SZ}; "
            f"it cannot go to {to:%Y-%m-%dT%H:%M:%SZ}.",
            param="frozen_time",
        )
    for customer in every_customer(tx, clock=clock.id):
        close_customer(tx, customer, until=to)
    clock = replace(clock, frozen_time=to, status="ready")
    tx.save(clock)
    tx.touch("config")
    announce(tx, "test_helpers.test_clock.ready", clock, at=to)
    return clock
