"""What tests of spend share: a shop with one customer, its alerts, and what they told."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from costplus.billing.alert import Alert, AlertTriggered
from costplus.billing.event import Event
from costplus.billing.settle import Settlement
from costplus.billing.watched import save_alert


class Alerts:
    """Alerts of a shop by their ids, and the news of them."""

    def __init__(self, shop: Any) -> None:
        self.shop = shop

    def spend(self, minor: int, span: str = "day", *, id: str = "alrt_s", **changes: Any) -> Alert:
        return self.add(id, alert_type="spend_threshold", threshold_minor=minor, span=span, **changes)

    def usage(self, units: int, *, id: str = "alrt_u", event_name: str = "calls", **changes: Any) -> Alert:
        fields = {"threshold_units": units, "event_name": event_name, "threshold_minor": 0, **changes}
        return self.add(id, alert_type="usage_threshold", **fields)

    def add(self, id: str, **fields: Any) -> Alert:
        alert = Alert(id=id, created=self.shop.at, title=id, **{"currency": "usd", **fields})
        self.shop.write(lambda tx: save_alert(tx, alert))
        return alert

    def fired(self) -> list[AlertTriggered]:
        """Return every alert that fired or recovered, oldest first."""
        events = self.shop.write(lambda tx: tx.page(Event, limit=10_000))
        return [
            msgspec.json.decode(event.snapshot, type=AlertTriggered)
            for event in reversed(events)
            if event.type.startswith("billing.alert.")
        ]

    def news(self) -> list[str]:
        """Return which alerts fired (+) and recovered (-), the account's zero alert apart."""
        return [
            f"{'-' if fired.recovered else '+'}{fired.alert.id.removeprefix('alrt_')}"
            for fired in self.fired()
            if fired.alert.alert_type != "credit_balance_threshold"
        ]

    def use(self, cents: int, *, at: datetime | None = None, key: str = "", **event: Any) -> Any:
        """Settle a call that is charged so many cents."""
        made: Settlement = self.shop.settlement(cents * 10_000_000, at=at, key=key)
        return self.shop.settle(replace(made, event=replace(made.event, **event)))


@pytest.fixture
def alerts(build: SimpleNamespace) -> Alerts:
    """Return the alerts of a new shop."""
    shop = build.shop()
    shop.customer()
    return Alerts(shop)


@pytest.fixture(scope="session")
def alerts_of() -> type[Alerts]:
    """Return how to watch a shop of the test's own."""
    return Alerts
