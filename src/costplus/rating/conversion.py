"""How metered quantities become the units that a price counts: converted, then less what is free.

Rule 1: rounding a quantity is not rounding money: it follows the price's own policy, before pricing.
Rule 2: converted units are rounded cumulatively: a line adds what the period's converted total grows by.
Under the policy `round_each_line` every line is rounded by itself, so that many lines cost more than one.
Rule 3: free units (included usage, a usage discount) come first in the period and are never used twice.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from costplus.rating.price_model import InvalidPriceModel, Quantity

Rounding = Literal["none", "ceil", "floor", "half_up"]
ONE = Fraction(1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversion:
    """How many billed units a metered quantity is: seconds into started minutes, bytes into gigabytes."""

    divide_by: Fraction = ONE
    multiply_by: Fraction = ONE
    rounding: Rounding = "none"
    round_each_line: bool = False

    def __post_init__(self) -> None:
        if self.divide_by <= 0 or self.multiply_by <= 0:
            raise InvalidPriceModel("A conversion multiplies and divides by more than zero.")

    def units(self, metered: Quantity) -> Quantity:
        """Return the billed units of a whole metered quantity."""
        exact = metered * self.multiply_by / self.divide_by
        if self.rounding == "ceil":
            return -(-exact // 1)
        if self.rounding == "floor":
            return exact // 1
        if self.rounding == "half_up":
            return (exact + Fraction(1, 2)) // 1
        return exact.numerator if exact.denominator == 1 else exact

    def line(self, *, before: Quantity, metered: Quantity) -> tuple[Quantity, Quantity]:
        """Return the units billed before a line and the units it adds; `before` counts as one line."""
        counted = self.units(before)
        if self.round_each_line:
            return counted, self.units(metered)
        return counted, self.units(before + metered) - counted


def after_free(*, before: Quantity, quantity: Quantity, free: Quantity) -> tuple[Quantity, Quantity]:
    """Return the payable units before a line and of it, when the period's first `free` units are free."""
    assert min(before, quantity, free) >= 0
    counted = max(before - free, 0)
    return counted, max(before + quantity - free, 0) - counted
