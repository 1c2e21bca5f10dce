"""Include credit in a period, and let what is left of it at the period's end go on or lapse.

Rule 1: what a period's credit becomes is fixed when the period begins, and happens once: when its grant ends,
or, where nothing was left, when the next period begins.
Rule 2: what goes on is a grant of its own that expires with the last period it is for; it does not go on
again. All else of the old grant is breakage.
Rule 3: a plan's credit is paid for by the plan's fee, whatever it is called: no payment of its own is booked.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from costplus.billing.allowance import CreditRollover
from costplus.billing.customer import Customer
from costplus.billing.include import end_after
from costplus.billing.notify import announce, cross
from costplus.billing.plan import Plan
from costplus.billing.store import Tx
from costplus.billing.subscription import Subscription
from costplus.core.ids import CustomerId, GrantId, new_id
from costplus.core.money import nano_per_minor
from costplus.core.period import Period
from costplus.ledger import account
from costplus.ledger.balance import Crossing
from costplus.ledger.grant import Grant
from costplus.ledger.post import credit_of, expire_grant, grant_credit, move
from costplus.ledger.transaction import Transaction

PENDING_MAX = 100


def book_credit(
    tx: Tx, customer: Customer, subscription: Subscription, plan: Plan, period: Period, *, at: datetime
) -> None:
    """Book the plan's credit of one period, after what is still due of the credit of the one before."""
    for pending in tx.page(CreditRollover, parent=subscription.id, limit=PENDING_MAX):
        grant = tx.grant(pending.id)
        if pending.due_at <= at and grant is not None and grant.expired_at is None and not grant.voided_at:
            _settle_end(tx, customer, grant, pending, at=at)
        elif pending.due_at <= at:
            tx.remove(CreditRollover, pending.id)  # Voided or expired by hand: then nothing goes on.
    if not plan.credit_minor:
        return
    grant = _grant(customer, plan, period, at=at)
    crossing = grant_credit(tx, grant, at=at)
    if plan.credit_terms.rollover.periods:
        tx.save(
            CreditRollover(
                id=grant.id,
                created=at,
                subscription=subscription.id,
                terms=plan.credit_terms,
                name=f"{plan.display_name} · rolled over credit",
                minor_amount=plan.credit_minor,
                due_at=period.end,
                expires_at=end_after(subscription, period, plan.credit_terms.rollover.periods),
            )
        )
    announce(tx, "billing.credit_grant.created", grant, at=at)
    cross(tx, crossing, currency=plan.currency, at=at)


def _grant(customer: Customer, plan: Plan, period: Period, *, at: datetime) -> Grant:
    nano = plan.credit_minor * nano_per_minor(plan.currency)
    return Grant(
        id=GrantId(new_id("credgr", at=at)),
        customer=CustomerId(customer.id),
        created=at,
        updated=at,
        amount_nano=nano,
        remaining_nano=nano,
        currency=plan.currency,
        effective_at=period.start,
        expires_at=period.end,
        category=plan.credit_terms.category,
        priority=plan.credit_terms.priority,
        name=f"{plan.display_name} · included credit",
        source="plan",
        minor_amount=plan.credit_minor,
    )


def end_grant(tx: Tx, customer: Customer, grant: Grant, *, at: datetime) -> None:
    """End a grant that expires at `at`: what may go on goes on, the rest is breakage."""
    pending = tx.find(CreditRollover, grant.id)
    if pending is None or pending.due_at > at:
        cross(tx, expire_grant(tx, grant, at=at), currency=customer.currency, at=at)
    else:
        _settle_end(tx, customer, grant, pending, at=at)


def _settle_end(tx: Tx, customer: Customer, grant: Grant, pending: CreditRollover, *, at: datetime) -> None:
    tx.balance_for_update(customer.id)
    tx.remove(CreditRollover, pending.id)
    before = credit_of(tx, customer.id, at=at) + grant.remaining_nano  # At its end it burns no more.
    rollover, per_minor = pending.terms.rollover, nano_per_minor(grant.currency)
    cap_nano = rollover.cap(pending.minor_amount * per_minor, scale=per_minor)
    moved_nano = min(grant.remaining_nano, cap_nano)
    goes_on_nano = max(moved_nano, rollover.least * per_minor)
    entries: list[Transaction] = []
    if moved_nano:
        postings = [
            (account.credit(customer.id, grant.id), -moved_nano),
            (account.book("promotions"), moved_nano),
        ]
        entries.append(
            move(
                tx, customer=customer.id, kind="grant_rollover", reference=grant.id, postings=postings, at=at
            )
        )
        grant = replace(grant, remaining_nano=grant.remaining_nano - moved_nano, updated=at)
        tx.save_grant(grant)
    if grant.remaining_nano:
        entries += expire_grant(tx, grant, at=at).transactions
    else:
        tx.save_grant(replace(grant, expired_at=at, updated=at))
    if goes_on_nano:
        following = _following(grant, pending, nano=goes_on_nano, at=at)
        entries += grant_credit(tx, following, at=at).transactions
        announce(tx, "billing.credit_grant.created", following, at=at)
    after = credit_of(tx, customer.id, at=at)
    crossing = Crossing(CustomerId(customer.id), before, after, transactions=tuple(entries))
    cross(tx, crossing, currency=grant.currency, at=at)


def _following(grant: Grant, pending: CreditRollover, *, nano: int, at: datetime) -> Grant:
    return Grant(
        id=GrantId(f"{grant.id}_rolled"),
        customer=grant.customer,
        created=at,
        updated=at,
        amount_nano=nano,
        remaining_nano=nano,
        currency=grant.currency,
        effective_at=at,
        expires_at=pending.expires_at,
        category=grant.category,
        priority=grant.priority,
        name=pending.name,
        # A plan's own credit pays for its own period only; this may pay what the ended one owes.
        source="rollover" if pending.terms.rollover.pays_overage else "plan",
        minor_amount=nano // nano_per_minor(grant.currency),
    )
