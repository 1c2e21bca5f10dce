"""Sum what customers spend and use, and fire what that reaches: in the transaction that settles it.

Rule 1: a sum is kept per watcher and window, so a batch costs the same however much was used before. Where a
window is touched for the first time its sum is taken from the books, this batch included.
Rule 2: what fired is remembered by a record whose id follows from alert, customer and window: the same state
is told once, in whatever order its events come.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from costplus.billing.alert import Alert, AlertFiring, AlertTriggered, firing_id
from costplus.billing.customer import Customer
from costplus.billing.notify import announce
from costplus.billing.spend import ALL_TIME, Scope, Span, calendar_window, zone_of
from costplus.billing.spend_cap import (
    CapReached,
    CapWindow,
    SpendCap,
    cap_window_id,
    reservation_of,
)
from costplus.billing.store import ChargedEvent, Tx
from costplus.billing.subscription import Subscription
from costplus.billing.watched import Watch, caps_of
from costplus.core.ids import new_id
from costplus.core.money import nano_per_minor
from costplus.core.period import Period
from costplus.rating.item_charge import Metered

COUNTER_LENGTH = 101  # One more than a meter's name can have, so that no meter is ever meant.


@dataclass(frozen=True, slots=True)
class Moved:
    """A window's sum before and after a batch."""

    window: Period
    before_nano: int
    after_nano: int


def counter_name(counter: str) -> str:
    """Return the name under which a running sum is kept beside the meters' own."""
    return f"spend/{counter}".ljust(COUNTER_LENGTH, ".")


def window_at(span: Span, at: datetime, *, customer: Customer, subscription: Subscription | None) -> Period:
    """Return the window of a customer that holds `at`; billing periods are the subscription's."""
    if span == "all_time":
        return ALL_TIME
    if span == "billing":
        return subscription.billed_in(at) if subscription else ALL_TIME
    return calendar_window(span, at, zone=zone_of(customer))


def from_the_books(tx: Tx, customer: str, window: Period, scope: Scope, *, span: Span) -> Metered:
    """Return what the charges themselves say was spent in a window."""
    provider, model = scope.provider_and_model
    if span == "all_time" and not scope.api_key:
        totals = tx.model_totals(customer, window.start, window.end)
        kept = [t for t in totals if not scope.model or (t.provider, t.model) == (provider, model)]
        return Metered(len(kept), sum(total.price_nano for total in kept))
    return tx.spent_between(
        customer,
        window.start,
        window.end,
        provider=provider,
        model=model,
        api_key=scope.api_key,
        by_billing=span == "billing",
    )


def spent_in(tx: Tx, customer: str, window: Period, *, counter: str, scope: Scope, span: Span) -> int:
    """Return what was spent in a window: its running sum, or before there is one what the books say."""
    known = tx.metered(customer, counter_name(counter), window.start)
    if known.units:
        return known.price_nano
    return from_the_books(tx, customer, window, scope, span=span).price_nano


class _Batch:
    """One customer's new charges, summed for whoever watches them."""

    def __init__(
        self, tx: Tx, customer: Customer, subscription: Subscription, charged: Sequence[ChargedEvent]
    ) -> None:
        self._tx = tx
        self._customer = customer
        self._subscription = subscription
        self._charged = charged

    def moved(self, span: Span, scope: Scope, *, counter: str) -> list[Moved]:
        """Add the charges that a scope covers to its sums; return the windows' ways, oldest first."""
        parts: dict[datetime, Metered] = defaultdict(Metered)
        windows: dict[datetime, Period] = {}
        for entry in self._charged:
            if scope.covers(entry.event):
                at = entry.billed_at if span == "billing" else entry.event.at
                window = window_at(span, at, customer=self._customer, subscription=self._subscription)
                windows[window.start] = window
                part = parts[window.start]
                parts[window.start] = Metered(part.units + 1, part.price_nano + entry.charge.price_nano)
        customer, name = self._customer.id, counter_name(counter)
        ways = []
        for start in sorted(windows):
            window, part = windows[start], parts[start]
            known = self._tx.metered(customer, name, start)
            if known.units:
                after_nano = known.price_nano + part.price_nano
                self._tx.add_metered(customer, name, start, part)
            else:
                total = from_the_books(self._tx, customer, window, scope, span=span)
                after_nano = total.price_nano
                self._tx.add_metered(customer, name, start, total)
            ways.append(Moved(window, after_nano - part.price_nano, after_nano))
        return ways

    def used(self, alert: Alert) -> list[Moved]:
        """Add the units that a usage alert counts to its sums; the ways are units, not nanos."""
        on_clock = self._customer.test_clock is not None
        span: Span = "billing" if alert.recurrence == "recurring" else "all_time"
        parts: dict[datetime, int] = defaultdict(int)
        windows: dict[datetime, Period] = {}
        for entry in self._charged:
            units = alert.units_of(entry.event, on_clock=on_clock)
            if units:
                window = window_at(
                    span, entry.billed_at, customer=self._customer, subscription=self._subscription
                )
                windows[window.start] = window
                parts[window.start] += units
        customer, name = self._customer.id, counter_name(alert.counter)
        ways = []
        for start in sorted(windows):
            before = self._tx.metered(customer, name, start).units
            self._tx.add_metered(customer, name, start, Metered(parts[start], 0))
            ways.append(Moved(windows[start], before, before + parts[start]))
        return ways


def watch_spending(
    tx: Tx,
    customer: Customer,
    subscription: Subscription,
    charged: Sequence[ChargedEvent],
    *,
    watch: Watch,
    alerts: Sequence[Alert],
    at: datetime,
) -> None:
    """Count a customer's new charges, which are kept already, and tell what they reach."""
    if not charged:
        return
    batch = _Batch(tx, customer, subscription, charged)
    for alert in alerts:
        if alert.alert_type == "usage_threshold":
            for way in batch.used(alert):
                _judge(tx, alert, customer.id, way, threshold=alert.threshold_units, at=at)
        elif alert.alert_type == "spend_threshold" and alert.currency == customer.currency:
            for way in batch.moved(alert.span, alert.scope, counter=alert.counter):
                _judge(tx, alert, customer.id, way, threshold=alert.threshold_nano, at=at)
    if watch.is_watched(customer.id):
        for cap in caps_of(tx, customer.id):
            for way in batch.moved(cap.span, cap.scope, counter=cap.counter):
                _judge_cap(tx, cap, way, at=at)


def _judge(tx: Tx, alert: Alert, customer: str, way: Moved, *, threshold: int, at: datetime) -> None:
    """Fire or recover an alert in a window, once each."""
    reached = way.after_nano >= threshold
    if not reached and way.before_nano < threshold:
        return
    set_firing(
        tx,
        alert,
        customer,
        way.window,
        value=way.after_nano,
        fires=reached,
        in_units=alert.alert_type == "usage_threshold",
        at=at,
    )


def set_firing(
    tx: Tx,
    alert: Alert,
    customer: str,
    window: Period,
    *,
    value: int,
    fires: bool,
    in_units: bool,
    at: datetime,
) -> bool:
    """Let an alert fire, or recover, for a customer in a window; return whether that is new, and told."""
    id = firing_id(alert.id, customer, window.start)
    known = tx.find(AlertFiring, id)
    if fires is (known is not None and known.recovered_at is None):
        return False
    firing = known or AlertFiring(id=id, created=at, alert=alert.id, customer=customer)
    tx.save(replace(firing, recovered_at=None if fires else at))
    subject = AlertTriggered(
        id=new_id("alrtt", at=at),
        created=at,
        alert=alert,
        customer=customer,
        credit_nano=0 if in_units else value,
        units=value if in_units else 0,
        recovered=not fires,
        window=window,
    )
    announce(tx, "billing.alert.triggered" if fires else "billing.alert.recovered", subject, at=at)
    return True


def _judge_cap(tx: Tx, cap: SpendCap, way: Moved, *, at: datetime) -> None:
    """Tell once a window that spend reached a cap, and once that it is above a hard one."""
    cap_nano = cap.amount_minor * nano_per_minor(cap.currency)
    if way.after_nano >= cap_nano:
        reach_cap(tx, cap, way.window, spent_nano=way.after_nano, at=at)
    elif way.before_nano >= cap_nano:
        tx.remove(CapReached, cap_window_id(cap.id, way.window))  # Reaching it again is news again.


def reach_cap(
    tx: Tx, cap: SpendCap, window: Period, *, spent_nano: int, refused: bool = False, at: datetime
) -> None:
    """Note that a cap is reached in a window, by what was spent or by a call that found no room."""
    id = cap_window_id(cap.id, window)
    known = tx.find(CapReached, id)
    exceeded = spent_nano > cap.amount_minor * nano_per_minor(cap.currency)
    reached = CapReached(
        id=id, created=at, cap=cap, window=window, spent_nano=spent_nano, exceeded=exceeded, refused=refused
    )
    if known is None:
        tx.save(reached)
        announce(tx, "token_billing.spend_cap.reached", reached, at=at)
    if exceeded and cap.mode == "hard" and (known is None or not known.exceeded):
        tx.save(reached)
        announce(tx, "token_billing.spend_cap.exceeded", reached, at=at)


def free_reservations(tx: Tx, releases: Sequence[tuple[str, int]]) -> None:
    """Give back what calls had reserved of caps: they are spent now, or were never made."""
    freed: dict[str, int] = defaultdict(int)
    for reservation, nano in releases:
        freed[reservation] += nano
    for reservation in sorted(freed):
        owner, id = reservation_of(reservation)
        known = tx.find(CapWindow, id)
        if known is None or owner not in known.reserved_nano:
            continue  # A process that was given up had its part taken back.
        rest = max(known.reserved_nano[owner] - freed[reservation], 0)
        kept = {name: nano for name, nano in {**known.reserved_nano, owner: rest}.items() if nano}
        if kept:
            tx.save(replace(known, reserved_nano=kept))
        else:
            tx.remove(CapWindow, id)
