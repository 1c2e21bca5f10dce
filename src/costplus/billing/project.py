"""Gather what a forecast is made of: the last days' charges, credit there is and to come, the period."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from fractions import Fraction

from costplus.billing.customer import Customer
from costplus.billing.forecast import Day, Forecast, credit_end, seconds_between, unpaid
from costplus.billing.plan import Plan
from costplus.billing.spend import calendar_window, zone_of
from costplus.billing.store import Tx
from costplus.billing.subscribe import owes_fees
from costplus.billing.subscription import Subscription
from costplus.core.ids import CustomerId, GrantId, milliseconds
from costplus.core.money import for_ledger, nano_per_minor
from costplus.core.period import Period
from costplus.ledger.grant import Grant
from costplus.ledger.post import credit_of

LOOKBACK_DAYS = 7
LOOKBACK_DAYS_MAX = 90
HORIZON = timedelta(days=366)
LEAST = timedelta(hours=1)  # A rate over less says nothing.
NOW = timedelta(microseconds=1)  # What happens at `at` belongs to the past that ends there.
NANO = 10**9


def charged_in(tx: Tx, customer: str, start: datetime, end: datetime) -> int:
    """Return what usage was charged from `start` up to and including `end`."""
    _, nano = tx.usage_totals(customer, start, end + NOW)
    return nano


def measured_over(customer: Customer, *, at: datetime, days: int) -> Period:
    """Return the days that a rate is measured over, today included; no longer than the customer exists."""
    today = calendar_window("day", at, zone=zone_of(customer))
    start = max(today.start - timedelta(days=days - 1), min(customer.created, at - LEAST))
    return Period(min(start, at - LEAST), at)


def forecast_of(tx: Tx, customer: Customer, *, at: datetime, days: int = LOOKBACK_DAYS) -> Forecast:
    """Return the forecast of a customer at its present."""
    window = measured_over(customer, at=at, days=days)
    each = []
    for number in range(days - 1, -1, -1):
        day = calendar_window("day", at - timedelta(days=number), zone=zone_of(customer))
        spent_nano = charged_in(tx, customer.id, day.start, min(day.end - NOW, at))
        each.append(Day(day, spent_nano))
    subscription, plan = _plan_of(tx, customer)
    balance = tx.balance(customer.id)
    blank = Forecast(
        customer=customer.id,
        currency=customer.currency,
        at=at,
        days=tuple(each),
        window=window,
        spent_nano=charged_in(tx, customer.id, window.start, at),
        credit_nano=credit_of(tx, customer.id, at=at),
        credit_ends_at=None,
        horizon=at + HORIZON,
        owed_nano=balance.owed_total_nano + balance.carried_nano,
    )
    return _projected(tx, blank, customer, subscription, plan)


def _projected(
    tx: Tx, blank: Forecast, customer: Customer, subscription: Subscription | None, plan: Plan | None
) -> Forecast:
    at, rate = blank.at, blank.per_second
    grants = [*tx.live_grants(blank.customer), *credit_to_come(blank.customer, subscription, plan, at=at)]
    ends_at = credit_end(grants, rate, at=at, horizon=blank.horizon)
    known = replace(blank, credit_ends_at=ends_at)
    if subscription is None or plan is None:
        return known
    period = subscription.period
    spent_nano = charged_in(tx, blank.customer, period.start, at)
    ahead = rate * seconds_between(at, max(period.end, at))
    rest = unpaid(grants, rate, at=at, until=max(period.end, at))
    owed_minor = plan.fee_minor if owes_fees(customer, plan, period.end) else 0
    fee_nano = owed_minor * nano_per_minor(plan.currency)
    return replace(
        known,
        period=period,
        period_spent_nano=spent_nano,
        period_projected_nano=spent_nano + _nano(ahead),
        fee_nano=fee_nano,
        invoice_projected_nano=blank.owed_nano + _nano(rest) + fee_nano,
    )


def credit_to_come(
    customer: str, subscription: Subscription | None, plan: Plan | None, *, at: datetime
) -> list[Grant]:
    """Return the credit that the plan will give at the starts of the periods ahead."""
    if subscription is None or plan is None or not plan.credit_minor:
        return []
    nano = plan.credit_minor * nano_per_minor(plan.currency)
    grants, ordinal = [], subscription.ordinal + 1
    while (period := subscription.period_at(ordinal)).start < at + HORIZON:
        grants.append(
            Grant(
                id=GrantId(f"credgr_{milliseconds(period.start)}"),
                customer=CustomerId(customer),
                created=period.start,
                amount_nano=nano,
                remaining_nano=nano,
                currency=plan.currency,
                effective_at=period.start,
                expires_at=period.end,
                category=plan.credit_terms.category,
                priority=plan.credit_terms.priority,
                source="plan",
            )
        )
        ordinal += 1
    return grants


def _plan_of(tx: Tx, customer: Customer) -> tuple[Subscription | None, Plan | None]:
    active = (s for s in tx.page(Subscription, parent=customer.id) if s.is_live and s.prices_usage)
    subscription = next(active, None)
    return subscription, tx.find(Plan, subscription.plan) if subscription else None


def _nano(exact: Fraction) -> int:
    return for_ledger(exact / NANO)
