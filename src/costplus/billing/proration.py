"""Proration: what a part of a period is worth, rounded once for every item.

Rule 1: a share is exact: seconds left ÷ seconds of the whole period, or days left ÷ days, the running day
counted as left (days are counted from the period's start by the customer's clocks).
Rule 2: each item is rounded to the minor unit, a half away from zero. The credit for what a change leaves
unused and the charge for what it begins are two items, so that n items are within n halves of the exact
integral of price × time. Where one amount is split over several items they are rounded by largest remainder
(`split`).
Rule 3: the credits of a period never exceed what was asked for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from fractions import Fraction
from typing import Literal

from costplus.core.cycle import days_of, days_passed
from costplus.core.money import spread
from costplus.core.period import Period

ProrationBy = Literal["second", "day"]
NOTHING = Fraction(0)
_TICK = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Proration:
    """What a change gives back for the old and asks for the new, both 0 or above, in minor units."""

    credit_minor: int
    charge_minor: int

    @property
    def net_minor(self) -> int:
        """What the change comes to for the customer, below zero where it gets something back."""
        return self.charge_minor - self.credit_minor


@dataclass(frozen=True, slots=True)
class ProratedTier:
    """A step of a graduated price, up to and including unit `up_to`; its flat amount is due once reached."""

    up_to: int | None
    unit_amount: Fraction
    flat_amount: Fraction = NOTHING


def to_minor(exact: Fraction | int) -> int:
    """Return the whole minor units nearest to the amount, a half away from zero."""
    if exact < 0:
        return -to_minor(-exact)
    doubled = 2 * Fraction(exact) + 1
    return doubled.numerator // (doubled.denominator * 2)


def share_left(
    period: Period,
    at: datetime,
    *,
    whole: Period | None = None,
    by: ProrationBy = "second",
    timezone: str = "UTC",
) -> Fraction:
    """Return which share of a whole period is left of `period` at `at`, exact.

    `whole` is the period that the price is for, where `period` is cut shorter than that (a stub).
    """
    whole = whole or period
    at = min(max(at, period.start), period.end)
    if by == "second":
        return Fraction((period.end - at) // _TICK, (whole.end - whole.start) // _TICK)
    left = days_of(period, timezone=timezone) - days_passed(period, at, timezone=timezone)
    return Fraction(left, days_of(whole, timezone=timezone))


def prorated(amount_minor: Fraction | int, share: Fraction) -> int:
    """Return the share of an amount, rounded as an item."""
    return to_minor(Fraction(amount_minor) * share)


def capped_credit(potential_minor: int, *, paid_minor: int, credited_minor: int = 0) -> int:
    """Return what may be given back of a period that so much was asked for and given back of already."""
    return max(min(potential_minor, paid_minor - credited_minor), 0)


def change(
    *,
    old_minor: Fraction | int,
    new_minor: Fraction | int,
    share: Fraction,
    paid_minor: int | None = None,
    credited_minor: int = 0,
    restarts: bool = False,
) -> Proration:
    """Return what a change comes to with such a share of the period left.

    `old_minor` and `new_minor` are for whole periods. `restarts`: a new period begins with the change and is
    asked for in full. `paid_minor`: what was asked for the running one, where that is known.
    """
    credit_minor = prorated(old_minor, share)
    if paid_minor is not None:
        credit_minor = capped_credit(credit_minor, paid_minor=paid_minor, credited_minor=credited_minor)
    return Proration(credit_minor, prorated(new_minor, Fraction(1) if restarts else share))


def split(amount_minor: int, parts: Sequence[Fraction | int]) -> list[int]:
    """Return the amount in proportion to the parts by largest remainder: the items add up to it exactly."""
    return spread(amount_minor, parts)


def credited_with_tax(
    net_minor: Fraction | int, *, share: Fraction, tax_percent: Fraction
) -> tuple[int, int]:
    """Return what is given back of a net amount and of the tax on it, each rounded once."""
    net = prorated(net_minor, share)
    return net, to_minor(net * tax_percent / 100)


def prorated_graduated(tiers: Sequence[ProratedTier], changes: Sequence[tuple[int, Fraction]]) -> Fraction:
    """Return the unrounded price of units that come and go within a period, never below zero.

    A change is (units added or, below zero, taken away; how many units its rest of the period is worth). It
    is placed in the tiers by its whole units and priced by the prorated ones; a tier's flat amount is asked
    for once units reached it, the first one's always.
    """
    total, count, most = NOTHING, 0, 0
    for units, worth in changes:
        if units:
            total += worth / units * _amount_between(tiers, count, count + units)
        count = max(count + units, 0)
        most = max(most, count)
    below = [0, *(tier.up_to for tier in tiers if tier.up_to is not None)]
    flats = (tier.flat_amount for tier, floor in zip(tiers, below, strict=True) if floor == 0 or most > floor)
    return max(total + sum(flats), NOTHING)


def _amount_between(tiers: Sequence[ProratedTier], start: int, end: int) -> Fraction:
    """Return what the units between two counts cost; below zero where the count falls."""
    low, high, sign = min(start, end), max(start, end), 1 if end >= start else -1
    amount, floor = NOTHING, min(low, 0)  # Units below none are priced as the first ones.
    for tier in tiers:
        top = high if tier.up_to is None else min(tier.up_to, high)
        amount += max(top - max(floor, low), 0) * tier.unit_amount
        floor = max(floor, top)
    return sign * amount
