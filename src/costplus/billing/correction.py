"""Price corrections: what usage was booked at between a price's effect and the day it was learned.

Rule 1: a correction reports; what was charged stays charged.
Rule 2: there is one correction per price change.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar

from costplus.core.records import Record


@dataclass(frozen=True, slots=True, kw_only=True)
class CorrectionLine:
    """One customer's usage on one rate card: as booked, and as it was or could have been."""

    customer: str
    rate_card: str
    events: int
    cost_booked_nano: int
    cost_right_nano: int  # By the price that was in force.
    price_booked_nano: int
    price_followed_nano: int  # Had the rate card followed the price when it took effect.


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceCorrection(Record):
    """The report about one change; positive sums were booked too low, negative ones too high."""

    KIND: ClassVar[str] = "price_correction"

    change: str
    provider: str
    model: str
    effective_at: datetime
    detected_at: datetime
    lines: tuple[CorrectionLine, ...]
    unrated: int = 0  # Events that the price does not fit, such as batches that it has no price for.

    @property
    def parent(self) -> str:
        return f"{self.provider}/{self.model}"

    @property
    def lookup(self) -> str:
        return self.change

    @property
    def cost_understated_nano(self) -> int:
        """By how much the booked cost is below what the provider asks for."""
        return sum(line.cost_right_nano - line.cost_booked_nano for line in self.lines)

    @property
    def price_understated_nano(self) -> int:
        """By how much the booked price is below what it would be had the cards followed."""
        return sum(line.price_followed_nano - line.price_booked_nano for line in self.lines)
