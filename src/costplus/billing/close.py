"""Close what is due: expire credit, end periods, finalise drafts; for real time and test clocks alike.

Everything due by an instant happens in the order of time, each step as of its own instant; doing it again
changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta

from costplus.billing.clock import frozen_time
from costplus.billing.credit_steps import credit_steps, turn
from costplus.billing.customer import Customer, TestClock
from costplus.billing.invoice import Invoice
from costplus.billing.issue import finalize, with_figures
from costplus.billing.notify import announce
from costplus.billing.plan import Plan, Settings
from costplus.billing.store import Tx
from costplus.billing.subscribe import fee_for, fee_invoice, grant_period_credit, owes_fees
from costplus.billing.subscription import Subscription
from costplus.core.errors import InvalidRequest
from costplus.core.ids import new_id
from costplus.core.period import monthly_period

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
    settings = account_settings(tx)
    grace = timedelta(seconds=settings.invoice_grace_s if settings else 0)
    steps = 0
    while (step := _next_step(tx, customer, until=until, grace=grace)) is not None:
        due_at, subject = step
        if isinstance(subject, Invoice):
            finalize(tx, subject, at=due_at)
        elif isinstance(subject, Subscription):
            _end_period(tx, customer, subject, grace=grace)
        else:
            turn(tx, customer, subject, at=due_at)
        steps += 1
    return steps


def _next_step(
    tx: Tx, customer: Customer, *, until: datetime, grace: timedelta
) -> tuple[datetime, Invoice | Subscription | str] | None:
    """Return the earliest thing due: a draft to finalise, a period to end, a grant or hold (an id)."""
    due: list[tuple[datetime, int, Invoice | Subscription | str]] = [
        (invoice.finalizes_at, 0, invoice)
        for invoice in tx.page(Invoice, parent=customer.id)
        if invoice.status == "draft" and invoice.finalizes_at is not None
    ]
    due += credit_steps(tx, customer.id)
    due += [
        (subscription.period.end, 2, subscription)
        for subscription in tx.page(Subscription, parent=customer.id)
        if subscription.status == "active"
    ]
    ready = [entry for entry in due if entry[0] <= until]
    if not ready:
        return None
    due_at, _, subject = min(ready, key=lambda entry: entry[:2])
    return due_at, subject


def _end_period(tx: Tx, customer: Customer, subscription: Subscription, *, grace: timedelta) -> None:
    """Draft the ended period's invoice and begin the next period with its fee and credit."""
    ended = subscription.period
    at = ended.end
    plan = tx.find(Plan, subscription.plan)
    assert plan is not None
    begun = monthly_period(subscription.anchor, subscription.ordinal + 1)
    fees = [fee_for(plan, begun)] if plan.fee_minor and owes_fees(customer, plan, at) else []
    invoice = replace(
        fee_invoice(customer, subscription, plan, fees, at=at),
        id=new_id("in", at=at),
        billing_reason="subscription_cycle",
        finalizes_at=at + grace,
    )
    invoice = with_figures(tx, invoice, at=at)
    tx.save(invoice)
    announce(tx, "invoice.created", invoice, at=at)
    subscription = replace(subscription, ordinal=subscription.ordinal + 1)
    tx.save(subscription)
    tx.touch("config")
    grant_period_credit(tx, customer, subscription, plan, begun, at=at)


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
        invoice = with_figures(tx, invoice, at=at)
        if invoice.lines:  # A customer that used nothing is sent nothing.
            tx.save(invoice)
            announce(tx, "invoice.created", invoice, at=at)
        tx.save(replace(subscription, status="canceled"))
    for invoice in tx.page(Invoice, parent=customer.id):
        if invoice.status == "draft":
            finalize(tx, invoice, at=at)
    tx.touch("config")


def due_customers(tx: Tx, *, at: datetime) -> list[str]:
    """Return the ids of the customers in real time for whom something is due by `at`."""
    settings = account_settings(tx)
    grace = timedelta(seconds=settings.invoice_grace_s if settings else 0)
    return [
        customer.id
        for customer in every_customer(tx)
        if frozen_time(tx, customer) is None and _next_step(tx, customer, until=at, grace=grace) is not None
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
