"""Close what is due: expire credit, end periods, finalise drafts; for real time and test clocks alike.

Everything due by an instant happens in the order of time, each step as of its own instant; doing it again
changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from costplus.billing.clock import frozen_time
from costplus.billing.compose import open_draft, waiting_items, with_figures
from costplus.billing.customer import Customer, TestClock
from costplus.billing.interim import finalize_or_fail, invoice_threshold
from costplus.billing.invoice import Invoice
from costplus.billing.invoice_policy import GRACE_MAX_S
from costplus.billing.issue import mark_overdue
from costplus.billing.notify import announce, cross
from costplus.billing.plan import Plan, Settings
from costplus.billing.store import Tx
from costplus.billing.subscribe import fee_for, fee_invoice, grant_period_credit
from costplus.billing.subscription import Subscription
from costplus.billing.threshold import ThresholdReached, reached_id
from costplus.billing.upcoming import ToTell, due_to_tell, tell
from costplus.core.errors import InvalidRequest
from costplus.core.ids import new_id
from costplus.core.period import monthly_period
from costplus.ledger.post import expire_grant

PAGE = 500
ADVANCE_MAX = timedelta(days=366)


class ClockBackwards(InvalidRequest):
    """Time does not run backwards, and not more than a year at once."""

    code = "test_clock_frozen_time_invalid"
    remedy = "Give a frozen_time after the clock's present one and within a year of it."


def account_settings(tx: Tx) -> Settings | None:
    """Return the account's settings, or None before the set-up."""
    return next(iter(tx.page(Settings, limit=1)), None)


def every_customer(tx: Tx, *, clock: str | None = None) -> Iterator[Customer]:
    """Yield all customers that are not deleted (of one test clock, or all), newest first."""
    cursor: str | None = None
    while True:
        page = tx.page(Customer, parent=clock, limit=PAGE, older_than=cursor)
        yield from (customer for customer in page if not customer.deleted)
        if len(page) < PAGE:
            return
        cursor = page[-1].id


def close_customer(tx: Tx, customer: Customer, *, until: datetime) -> int:
    """Do everything due for one customer by `until`, its present; return how many steps there were."""
    steps = 0
    while (step := _next_step(tx, customer, until=until)) is not None:
        due_at, subject = step
        if isinstance(subject, Invoice):
            if subject.status == "draft":
                finalize_or_fail(tx, subject, at=due_at)
            else:
                mark_overdue(tx, subject, at=due_at)
        elif isinstance(subject, Subscription):
            _end_period(tx, customer, subject)
        elif isinstance(subject, ThresholdReached):
            invoice_threshold(tx, customer, subject, at=due_at)
        elif isinstance(subject, ToTell):
            tell(tx, customer, subject.subscription, at=due_at)
        else:
            grant = tx.grant(subject)
            assert grant is not None
            crossing = expire_grant(tx, grant, at=due_at)
            cross(tx, crossing, currency=customer.currency, at=due_at)
        steps += 1
    return steps


Subject = Invoice | Subscription | ThresholdReached | ToTell | str  # A grant by its id.
Due = tuple[datetime, int, Subject]


def _next_step(tx: Tx, customer: Customer, *, until: datetime) -> tuple[datetime, Subject] | None:
    """Return the earliest thing due: a draft to finalise, an invoice that is overdue, a threshold to invoice,
    a period to end or to tell of, or a grant to expire."""
    invoices = tx.page(Invoice, parent=customer.id)
    drafts = {invoice.subscription for invoice in invoices if invoice.status == "draft"}
    subscriptions = [
        subscription
        for subscription in tx.page(Subscription, parent=customer.id)
        if subscription.status == "active"
    ]
    due: list[Due] = [*_due_invoices(invoices)]
    due += [
        (grant.expires_at, 1, grant.id)
        for grant in tx.live_grants(customer.id)
        if grant.expires_at is not None
    ]
    due += [(subscription.period.end, 2, subscription) for subscription in subscriptions]
    due += [
        (reached.created, 3, reached)
        for subscription in subscriptions
        if subscription.threshold_minor and subscription.id not in drafts
        if (reached := tx.find(ThresholdReached, reached_id(subscription.id))) is not None
    ]
    due += [(tell_at, 5, subject) for tell_at, subject in due_to_tell(tx, subscriptions)]
    ready = [entry for entry in due if entry[0] <= until]
    if not ready:
        return None
    due_at, _, subject = min(ready, key=lambda entry: entry[:2])
    return due_at, subject


def _due_invoices(invoices: Sequence[Invoice]) -> Iterator[Due]:
    """Yield when drafts are to be made final, and when open invoices are overdue."""
    for invoice in invoices:
        if invoice.status == "draft" and invoice.finalizes_at is not None:
            yield invoice.finalizes_at, 0, invoice
        if invoice.status == "open" and invoice.due_date is not None and invoice.overdue_at is None:
            yield invoice.due_date, 4, invoice


def grace_of(tx: Tx, subscription: Subscription, plan: Plan) -> timedelta:
    """Return how long an ended period's draft waits for late usage: by the subscription, its plan or the
    account; never longer than the period that follows."""
    settings = account_settings(tx)
    grace_s = settings.invoice_grace_s if settings else 0
    for own in (plan.invoice_grace_s, subscription.invoice_grace_s):
        grace_s = grace_s if own is None else own
    following = monthly_period(subscription.anchor, subscription.ordinal + 1)
    return min(timedelta(seconds=min(grace_s, GRACE_MAX_S)), following.end - following.start)


def _end_period(tx: Tx, customer: Customer, subscription: Subscription) -> None:
    """Draft the ended period's invoice and begin the next period with its fee and credit."""
    ended = subscription.period
    at = ended.end
    plan = tx.find(Plan, subscription.plan)
    assert plan is not None
    begun = monthly_period(subscription.anchor, subscription.ordinal + 1)
    fees = [fee_for(plan, begun)] if plan.fee_minor else []
    invoice = replace(
        fee_invoice(customer, subscription, plan, fees, at=at),
        id=new_id("in", at=at),
        billing_reason="subscription_cycle",
        finalizes_at=at + grace_of(tx, subscription, plan),
    )
    open_draft(tx, invoice, at=at)
    tx.remove(ThresholdReached, reached_id(subscription.id))  # The period's own invoice asks for it.
    tx.save(replace(subscription, ordinal=subscription.ordinal + 1))
    tx.touch("config")
    grant_period_credit(tx, customer, plan, begun, at=at)


def close_account(tx: Tx, customer: Customer, *, at: datetime) -> None:
    """End the customer's subscriptions at `at`, its present: what they used is invoiced at once."""
    close_customer(tx, customer, until=at)
    for subscription in tx.page(Subscription, parent=customer.id):
        if subscription.status != "active":
            continue
        plan = tx.find(Plan, subscription.plan)
        assert plan is not None
        invoice = replace(
            fee_invoice(customer, subscription, plan, [], at=at), billing_reason="subscription_cycle"
        )
        # A customer that used nothing is sent nothing.
        if with_figures(tx, invoice, at=at).lines or any(waiting_items(tx, invoice)):
            open_draft(tx, invoice, at=at)
        tx.save(replace(subscription, status="canceled"))
    for invoice in tx.page(Invoice, parent=customer.id):
        if invoice.status == "draft":
            finalize_or_fail(tx, invoice, at=at)
    tx.touch("config")


def due_customers(tx: Tx, *, at: datetime) -> list[str]:
    """Return the ids of the customers in real time for whom something is due by `at`."""
    return [
        customer.id
        for customer in every_customer(tx)
        if frozen_time(tx, customer) is None and _next_step(tx, customer, until=at) is not None
    ]


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
