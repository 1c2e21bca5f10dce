"""Margin alarms: which card version sold which price version below what it should leave over.

Rule 1: an alarm fires once per card version and price version; it recovers, and comes back, in silence.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar

from costplus.core.records import Record
from costplus.rating.margin import Shortfall


def alarm_lookup(shortfall: Shortfall, rate_card_version: str, price_version: str) -> str:
    """Return what an alarm is found by."""
    return f"{shortfall}:{rate_card_version}:{price_version}"


@dataclass(frozen=True, slots=True, kw_only=True)
class MarginAlarm(Record):
    """One alarm that fired; percentages are exact text, amounts those of the window's mix."""

    KIND: ClassVar[str] = "margin_alarm"

    shortfall: Shortfall
    rate_card: str
    rate_card_version: str  # With `~` and the adjustment where it is one customer's own.
    provider: str
    model: str
    price_version: str
    margin_percent: str | None
    target_percent: str | None
    revenue_nano: int
    cost_nano: int
    recovered_at: datetime | None = None

    @property
    def parent(self) -> str:
        return self.rate_card

    @property
    def lookup(self) -> str:
        return alarm_lookup(self.shortfall, self.rate_card_version, self.price_version)
