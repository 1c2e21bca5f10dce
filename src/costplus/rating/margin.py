"""Margins: what a model leaves over on a rate card, at the mix in which it is really used.

Rule 1: quantities keep the prompt band that they were charged in; other circumstances count as ordinary.
Rule 2: the target is what the card's own adjustments make of the present cost; a fixed price is its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from costplus.rating.impact import margin_percent
from costplus.rating.sheet import RateSheet

TOLERANCE_PERCENT = Fraction(1, 10)  # In percentage points.

Shortfall = Literal["negative", "below_target"]
Mix = Mapping[tuple[str, int], int]  # (leaf, prompt tokens above) → units used.


@dataclass(frozen=True, slots=True, kw_only=True)
class Margin:
    """A mix's exact worth at present prices, in currency units."""

    revenue: Fraction
    cost: Fraction
    target_revenue: Fraction

    @property
    def percent(self) -> Fraction | None:
        return margin_percent(self.revenue, self.cost)

    @property
    def target_percent(self) -> Fraction | None:
        return margin_percent(self.target_revenue, self.cost)

    @property
    def shortfall(self) -> Shortfall | None:
        """What is wrong with it, or None."""
        if self.revenue < self.cost:
            return "negative"
        if self.percent is None or self.target_percent is None:
            return None
        return "below_target" if self.percent < self.target_percent - TOLERANCE_PERCENT else None


def margin_of(sheet: RateSheet, mix: Mix) -> Margin:
    """Return the margin that a sheet leaves on a mix; what it has no price for does not count."""
    revenue = cost = target = Fraction(0)
    for (leaf, above), quantity in mix.items():
        found = sheet.rates_for(prompt_tokens=above + 1).by_leaf.get(leaf)
        if found is None:
            continue
        unit = found[2]
        revenue += quantity * unit.unit_price
        cost += quantity * unit.unit_cost
        is_fixed = not unit.adjustment.follows_cost
        target += quantity * (unit.unit_price if is_fixed else unit.unit_cost * unit.adjustment.factor)
    return Margin(revenue=revenue, cost=cost, target_revenue=target)
