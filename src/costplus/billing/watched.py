"""Who is watched: the marker that a customer has alerts or caps of its own.

Rule 1: where nobody has the marker, settling asks nothing about single customers.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar

from costplus.billing.alert import Alert
from costplus.billing.spend_cap import SpendCap
from costplus.billing.store import Tx
from costplus.core.records import Record

OWN_ALERTS_MAX = 100  # So many of a customer's own are looked at when its credit or usage moves,
SHARED_ALERTS_MAX = 1000  # and so many that are for everybody.
OWN_CAPS_MAX = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched(Record):
    """That the customer with this id has alerts or caps of its own."""

    KIND: ClassVar[str] = "watched"


def mark_watched(tx: Tx, customer: str, *, at: datetime) -> None:
    """Note that the customer has something of its own to be looked at; no customer means everybody."""
    if customer and tx.find(Watched, customer) is None:
        tx.save(Watched(id=customer, created=at))


def save_alert(tx: Tx, alert: Alert) -> Alert:
    """Keep an alert so that it is looked at, or no more where it is archived."""
    tx.save(alert)
    if alert.status == "archived":
        unmark_watched(tx, alert.customer)
    else:
        mark_watched(tx, alert.customer, at=alert.created)
    return alert


def unmark_watched(tx: Tx, customer: str) -> None:
    """Take the marker away where nothing of the customer's own is left."""
    if customer and not own_alerts(tx, customer) and not caps_of(tx, customer):
        tx.remove(Watched, customer)


def shared_alerts(tx: Tx) -> list[Alert]:
    """Return the alerts that are for everybody (and those of one customer from before they were apart)."""
    return list(tx.page(Alert, parent="", limit=SHARED_ALERTS_MAX))


def own_alerts(tx: Tx, customer: str) -> list[Alert]:
    """Return the customer's own alerts that are not archived."""
    return list(tx.page(Alert, parent=customer, limit=OWN_ALERTS_MAX))


def caps_of(tx: Tx, customer: str) -> list[SpendCap]:
    """Return the caps of the customer and of its keys."""
    return list(tx.page(SpendCap, parent=customer, limit=OWN_CAPS_MAX))


class Watch:
    """What is watched, read once for a batch."""

    def __init__(self, tx: Tx) -> None:
        self._tx = tx
        self._shared: list[Alert] | None = None
        self._anybody = False
        self._watched: dict[str, bool] = {}

    def alerts(self, customer: str) -> list[Alert]:
        """Return the active alerts that concern the customer."""
        shared = self._read()
        found = [alert for alert in shared if alert.watches(customer)]
        if self.is_watched(customer):
            found += [alert for alert in own_alerts(self._tx, customer) if alert.status == "active"]
        return found

    def is_watched(self, customer: str) -> bool:
        """Return whether the customer has anything of its own."""
        self._read()
        if self._anybody and customer not in self._watched:
            self._watched[customer] = self._tx.find(Watched, customer) is not None
        return self._watched.get(customer, False)

    def _read(self) -> list[Alert]:
        if self._shared is None:
            self._shared = shared_alerts(self._tx)
            self._anybody = bool(self._tx.page(Watched, limit=1))
        return self._shared
