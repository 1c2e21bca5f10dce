"""Alerts, and which of them a change fires or recovers.

Rule 1: a credit alert fires when credit passes from above the threshold to it or below; once, until it is
above again. Credit in another currency than the alert's passes nothing.
Rule 2: a call refused for want of credit fires the zero alert as well: a remainder too small for any hold
would otherwise keep its customer out without anybody being told. Such an alert recovers when credit grows:
spending the remainder on smaller calls is no recovery.
Rule 3: a spend alert fires once a window in which spend is at its threshold or above, whenever that is found;
it recovers where spend falls below again. Each window is counted by itself and ends in silence.
Rule 4: a usage alert counts what a meter counts from the alert's creation on, over all time (`one_time`) or
in each billing period (`recurring`).
Rule 5: a burn rate and a run-out forecast concern the present; they are looked at as time passes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar, Literal

from costplus.billing.spend import Scope, Span
from costplus.core.ids import milliseconds
from costplus.core.money import nano_per_minor
from costplus.core.period import Period
from costplus.core.records import Record
from costplus.ledger.balance import Crossing
from costplus.metering.event import UsageEvent

AlertType = Literal[
    "credit_balance_threshold", "spend_threshold", "usage_threshold", "burn_rate", "credit_run_out"
]
ALERT_TYPES: tuple[AlertType, ...] = (
    "credit_balance_threshold",
    "spend_threshold",
    "usage_threshold",
    "burn_rate",
    "credit_run_out",
)
TIMED: tuple[AlertType, ...] = ("burn_rate", "credit_run_out")
Recurrence = Literal["one_time", "recurring"]
Rate = Literal["hour", "day"]
ARCHIVED = "archived"  # The parent of those that nobody looks at any more.


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert(Record):
    """Watches `customer`, or everybody where that is empty.

    `threshold_minor` is the credit, the spend or the burn rate that it is about. `since` is when it was
    created or activated last, in its customer's time where it has one customer.
    """

    KIND: ClassVar[str] = "alert"

    title: str
    threshold_minor: int
    currency: str
    customer: str = ""
    status: Literal["active", "inactive", "archived"] = "active"
    alert_type: AlertType = "credit_balance_threshold"
    custom_pricing_unit: str = ""  # Credit counted in a unit of the seller's own instead of money.
    span: Span = "month"  # Of a spend alert.
    api_key: str = ""
    model: str = ""  # provider/model
    meter: str = ""  # Of a usage alert: the meter, the event name that it counts, how, and how much.
    event_name: str = ""
    counts_events: bool = False
    threshold_units: int = 0
    recurrence: Recurrence = "one_time"
    per: Rate = "hour"  # Of a burn rate.
    days: int = 0  # Of a run-out: how near the end of credit may come,
    lookback_days: int = 0  # at the rate of how many last days.
    since: datetime | None = None

    @property
    def parent(self) -> str:
        return ARCHIVED if self.status == "archived" else self.customer

    @property
    def scope(self) -> Scope:
        return Scope(api_key=self.api_key, model=self.model)

    @property
    def counter(self) -> str:
        """What its running sum is kept under; a spend alert that is activated again begins a new one."""
        return self.id if self.alert_type == "usage_threshold" else f"{self.id}/{milliseconds(self._begun)}"

    @property
    def _begun(self) -> datetime:
        return self.since or self.created

    @property
    def threshold_nano(self) -> int:
        return self.threshold_minor * nano_per_minor(self.currency)

    def watches(self, customer: str) -> bool:
        """Return whether it is active and about this customer."""
        return self.status == "active" and self.customer in ("", customer)

    def units_of(self, event: UsageEvent, *, on_clock: bool) -> int | None:
        """Return how many units a usage alert counts of an event, None where it does not count it.

        An alert for everybody was created in real time, which a customer on a test clock does not live in.
        """
        if event.meter != self.event_name or event.is_correction:
            return None
        if event.at < self._begun and not (on_clock and not self.customer):
            return None
        return 1 if self.counts_events else sum(event.usage.quantities.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertTriggered(Record):
    """That an alert fired (or recovered) for a customer, with what it measured at that moment.

    `credit_nano` is the credit, the spend or the rate in money; `units` are a meter's, or days of credit.
    """

    KIND: ClassVar[str] = "alert_triggered"

    alert: Alert
    customer: str
    credit_nano: int
    recovered: bool = False
    units: int = 0
    window: Period | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertFiring(Record):
    """That an alert has fired for a customer in a window, which is told once.

    It stays for ever; one of an alert that looks at the present goes when that recovers.
    """

    KIND: ClassVar[str] = "alert_firing"

    alert: str
    customer: str
    recovered_at: datetime | None = None

    @property
    def parent(self) -> str:
        return self.alert


def firing_id(alert: str, customer: str, start: datetime) -> str:
    """Return the id of an alert's firing for a customer in the window that begins at `start`."""
    return f"{alert}/{customer}/{milliseconds(start)}"


def refused_mark(alert: Alert) -> str:
    """Return what `fired` remembers of an alert that a refusal fired while credit was left."""
    return f"{alert.id}/refused"


def passed(
    alerts: Sequence[Alert], crossing: Crossing, *, fired: Sequence[str], currency: str
) -> tuple[list[Alert], list[Alert]]:
    """Return the alerts on credit that this crossing fires and those that it recovers."""
    firing: list[Alert] = []
    recovering: list[Alert] = []
    for alert in alerts:
        is_credit = alert.alert_type == "credit_balance_threshold" and not alert.custom_pricing_unit
        if not is_credit or not alert.watches(crossing.customer) or alert.currency != currency:
            continue
        threshold_nano = alert.threshold_nano
        above_before = crossing.before_nano > threshold_nano
        above_after = crossing.after_nano > threshold_nano
        if alert.id in fired:
            if above_after and not crossing.refused:
                recovering.append(alert)
        elif refused_mark(alert) in fired:
            if above_after and crossing.after_nano > crossing.before_nano:
                recovering.append(alert)
        elif above_before and (not above_after or (crossing.refused and alert.threshold_minor == 0)):
            firing.append(alert)
    return firing, recovering
