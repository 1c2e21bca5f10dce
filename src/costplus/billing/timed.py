"""Alerts about the present: how fast money is spent, and when credit ends at that rate.

Rule 1: they are looked at as time passes: by the worker every minute, and while a test clock advances at
every hour of the way (every day once nothing that was used can count any more), and where it stops.
Rule 2: looking twice at the same state tells nothing new.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from costplus.billing.alert import TIMED, Alert, AlertFiring, firing_id
from costplus.billing.close import ADVANCE_MAX, advance, close_customer, every_customer
from costplus.billing.customer import Customer, TestClock
from costplus.billing.project import charged_in, forecast_of
from costplus.billing.spend import ALL_TIME
from costplus.billing.spending import set_firing
from costplus.billing.store import Tx
from costplus.billing.watched import Watch, Watched, own_alerts, shared_alerts
from costplus.catalog.load import every
from costplus.core.period import hour_ceil

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
RATE_OVER = {"hour": HOUR, "day": DAY}
EXPIRING_MAX = 100_000


def timed_alerts(tx: Tx, customer: str) -> list[Alert]:
    """Return the active alerts about the present that concern the customer."""
    return [alert for alert in Watch(tx).alerts(customer) if alert.alert_type in TIMED]


@dataclass(frozen=True, slots=True)
class _State:
    """What an alert measures at a moment: nanos, or days of credit."""

    alert: Alert
    value: int
    fires: bool

    @property
    def in_units(self) -> bool:
        return self.alert.alert_type == "credit_run_out"


def _states(tx: Tx, customer: Customer, alerts: Sequence[Alert], *, at: datetime) -> Iterator[_State]:
    for alert in alerts:
        if alert.alert_type == "burn_rate" and alert.currency == customer.currency:
            rate_nano = charged_in(tx, customer.id, at - RATE_OVER[alert.per], at)
            yield _State(alert, rate_nano, rate_nano >= alert.threshold_nano)
        elif alert.alert_type == "credit_run_out":
            forecast = forecast_of(tx, customer, at=at, days=alert.lookback_days)
            ends_at = forecast.credit_ends_at
            if forecast.credit_nano > 0:  # Credit that is gone is another alert's news, and no recovery.
                fires = ends_at is not None and ends_at <= at + timedelta(days=alert.days)
                yield _State(alert, ((ends_at or forecast.horizon) - at) // DAY, fires)


def look(tx: Tx, customer: Customer, alerts: Sequence[Alert], *, at: datetime) -> int:
    """Fire and recover the alerts by the state at `at`, the customer's present; return how many were told."""
    return sum(
        set_firing(
            tx,
            state.alert,
            customer.id,
            ALL_TIME,
            value=state.value,
            fires=state.fires,
            in_units=state.in_units,
            at=at,
        )
        for state in _states(tx, customer, alerts, at=at)
    )


def has_news(tx: Tx, customer: str, *, at: datetime) -> bool:
    """Return whether looking at a customer in real time would tell anything. Only reads."""
    record = tx.find(Customer, customer)
    if record is None or record.deleted or record.test_clock is not None:
        return False
    for state in _states(tx, record, timed_alerts(tx, customer), at=at):
        known = tx.find(AlertFiring, firing_id(state.alert.id, customer, ALL_TIME.start))
        if state.fires is not (known is not None and known.recovered_at is None):
            return True
    return False


def look_at(tx: Tx, customer: str, *, at: datetime) -> int:
    """Look at one customer that lives in real time."""
    record = tx.find(Customer, customer)
    if record is None or record.deleted or record.test_clock is not None:
        return 0
    return look(tx, record, timed_alerts(tx, customer), at=at)


def to_look_at(tx: Tx, *, at: datetime) -> list[str]:
    """Return the customers for whom an alert about the present could fire or recover at `at`, by id."""
    found: set[str] = set()
    for alert in shared_alerts(tx):
        if alert.status == "active" and alert.alert_type in TIMED and not alert.customer:
            lookback = timedelta(days=alert.lookback_days) or RATE_OVER[alert.per]
            found.update(tx.users_since(at - lookback))
            found.update(
                firing.customer
                for firing in every(tx, AlertFiring, parent=alert.id)
                if firing.recovered_at is None
            )
            if alert.alert_type == "credit_run_out":
                soon = at + timedelta(days=alert.days)
                found.update(grant.customer for grant in tx.grants_expiring(soon, limit=EXPIRING_MAX))
    for watched in every(tx, Watched):
        if any(a.status == "active" and a.alert_type in TIMED for a in own_alerts(tx, watched.id)):
            found.add(watched.id)
    return sorted(found)


def elapse(tx: Tx, clock: TestClock, *, to: datetime) -> TestClock:
    """Move a test clock to `to`, looking at its customers' alerts on the way. Raises `ClockBackwards`."""
    if clock.frozen_time < to <= clock.frozen_time + ADVANCE_MAX:
        for customer in list(every_customer(tx, clock=clock.id)):
            alerts = timed_alerts(tx, customer.id)
            for instant in _instants(alerts, start=clock.frozen_time, end=to):
                close_customer(tx, customer, until=instant)
                look(tx, customer, alerts, at=instant)
    return advance(tx, clock, to=to)


def _instants(alerts: Sequence[Alert], *, start: datetime, end: datetime) -> Iterator[datetime]:
    """Yield when alerts are looked at while time passes from `start` (not included) to `end`."""
    if not alerts:
        return
    days = max(max(alert.lookback_days, 1) for alert in alerts)
    hourly_until = start + timedelta(days=days + 1)
    instant = hour_ceil(start + timedelta(microseconds=1))
    while instant < end:
        yield instant
        instant += HOUR if instant < hourly_until else DAY
    yield end
