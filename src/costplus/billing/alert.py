"""Alerts on a customer's credit balance, and which of them a crossing fires or recovers.

Rule 1: fires when credit passes from above the threshold to it or below; once, until it is above again.
Rule 2: a call refused for want of credit fires the zero alert as well: a remainder too small for any hold
would otherwise keep its customer out without anybody being told. Such an alert recovers when credit grows:
spending the remainder on smaller calls is no recovery.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from costplus.core.records import Record
from costplus.ledger.balance import Crossing


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert(Record):
    """Fires when credit is at or below `threshold_minor`: `customer`'s, or anybody's where it is empty."""

    KIND: ClassVar[str] = "alert"

    title: str
    threshold_minor: int
    currency: str
    customer: str = ""
    status: Literal["active", "inactive", "archived"] = "active"


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertTriggered(Record):
    """That an alert fired (or recovered) for a customer, with the credit at that moment."""

    KIND: ClassVar[str] = "alert_triggered"

    alert: Alert
    customer: str
    credit_nano: int
    recovered: bool = False


def refused_mark(alert: Alert) -> str:
    """Return what `fired` remembers of an alert that a refusal fired while credit was left."""
    return f"{alert.id}/refused"


def passed(
    alerts: Sequence[Alert], crossing: Crossing, *, fired: Sequence[str], nano_per_minor: int
) -> tuple[list[Alert], list[Alert]]:
    """Return the alerts that this crossing fires and those that it recovers."""
    firing: list[Alert] = []
    recovering: list[Alert] = []
    for alert in alerts:
        if alert.status != "active" or alert.customer not in ("", crossing.customer):
            continue
        threshold_nano = alert.threshold_minor * nano_per_minor
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
