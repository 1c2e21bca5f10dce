"""What a customer committed to: the least and the most that a period's usage is billed.

Rule 1: the minimum is billed once, on the period's last line, as far as the period's usage stays below it.
Rule 2: the maximum is a discount on the line that crosses it and on those after, so that usage stays visible.
Rule 3: exact; both count what the usage is worth (gross), not what was discounted before.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from costplus.rating.price_model import ZERO, InvalidPriceModel, Part, Place


@dataclass(frozen=True, slots=True, kw_only=True)
class CommittedLine:
    """A line under a commitment: its usage, what the maximum takes off and what the minimum adds."""

    gross: Fraction
    discount: Fraction
    top_up: Fraction

    @property
    def net(self) -> Fraction:
        """What the line bills."""
        return self.gross - self.discount + self.top_up

    @property
    def parts(self) -> tuple[Part, ...]:
        """What to bill besides the usage's own parts."""
        found = Part(-1, self.discount, "above the maximum"), Part(1, self.top_up, "up to the minimum")
        return tuple(part for part in found if part.unit_amount)


@dataclass(frozen=True, slots=True, kw_only=True)
class Commitment:
    """The least and the most that a period bills; None where there is no such limit."""

    minimum: Fraction | None = None
    maximum: Fraction | None = None

    def __post_init__(self) -> None:
        limits = [limit for limit in (self.minimum, self.maximum) if limit is not None]
        if any(limit < 0 for limit in limits) or limits != sorted(limits):
            raise InvalidPriceModel("A commitment needs 0 ≤ minimum ≤ maximum.", param="minimum")

    def line(self, gross: Fraction, *, before: Fraction = ZERO, place: Place = "single") -> CommittedLine:
        """Return the line of usage worth `gross`, after usage worth `before` in the same period."""
        assert min(gross, before) >= 0
        total = before + gross
        is_last = place in ("single", "last")
        return CommittedLine(
            gross=gross,
            discount=self._above(total) - self._above(before),
            top_up=max((self.minimum or ZERO) - total, ZERO) if is_last else ZERO,
        )

    def _above(self, total: Fraction) -> Fraction:
        return ZERO if self.maximum is None else max(total - self.maximum, ZERO)
