"""What was not asked for over some time: usage that was only tracked, and what plans included.

Rule 1: what is only tracked is no loss: its cost stands apart from the cost of what is billed.
Rule 2: what an attempt that gave no answer cost is cost, and nobody was given anything.
Rule 3: what plans include is paid for by their fees: its cost is cost, and what it sells for is told.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction

from costplus.billing.invoice import UsageTotal
from costplus.core.money import NANO
from costplus.rating.waive import ATTEMPT, SHADOW, list_price


@dataclass(frozen=True, slots=True, kw_only=True)
class Waived:
    """Sums in nanos, each rounded to the nearest."""

    tracked_cost_nano: int
    tracked_list_nano: int
    included_cost_nano: int
    included_list_nano: int


def on_invoices(totals: Iterable[UsageTotal]) -> list[UsageTotal]:
    """Return the totals that invoices speak of: what a failed attempt took is the seller's affair."""
    return [total for total in totals if total.rate.waived != ATTEMPT]


def waived_of(totals: Iterable[UsageTotal]) -> Waived:
    """Return the sums of units at rates that ask for nothing."""
    sums = [Fraction(0)] * 4
    for total in on_invoices(totals):
        first = 0 if total.rate.waived == SHADOW else 2
        sums[first] += total.quantity * total.rate.unit_cost
        sums[first + 1] += total.quantity * list_price(total.rate)
    tracked_cost, tracked_list, included_cost, included_list = (round(entry * NANO) for entry in sums)
    return Waived(
        tracked_cost_nano=tracked_cost,
        tracked_list_nano=tracked_list,
        included_cost_nano=included_cost,
        included_list_nano=included_list,
    )
