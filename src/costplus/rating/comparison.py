"""Comparisons: the figures of the same usage now and then, as it was charged and as a scenario charges it.

Rule 1: sums are whole nanos, shares exact fractions; only `percent_text` cuts, towards zero.
Rule 2: a comparison can be added to another: totals are sums of parts, never counted a second time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from fractions import Fraction


@dataclass(frozen=True, slots=True)
class Figures:
    """What usage is worth: nanos sold and spent, and how many events have no price, wholly or in part."""

    revenue_nano: int = 0
    cost_nano: int = 0
    unpriced: int = 0

    @property
    def margin_nano(self) -> int:
        return self.revenue_nano - self.cost_nano

    @property
    def margin_percent(self) -> Fraction | None:
        """The margin's share of the revenue, None where there is none."""
        return Fraction(100 * self.margin_nano, self.revenue_nano) if self.revenue_nano else None

    def __add__(self, other: Figures) -> Figures:
        return Figures(
            self.revenue_nano + other.revenue_nano,
            self.cost_nano + other.cost_nano,
            self.unpriced + other.unpriced,
        )


@dataclass(frozen=True, slots=True)
class Comparison:
    """The figures of some events now and then; `newly_priced` had no price and would have one."""

    events: int = 0
    now: Figures = field(default_factory=Figures)
    then: Figures = field(default_factory=Figures)
    newly_priced: int = 0

    def __add__(self, other: Comparison) -> Comparison:
        return Comparison(
            self.events + other.events,
            self.now + other.now,
            self.then + other.then,
            self.newly_priced + other.newly_priced,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulation:
    """What a scenario would have made of the usage in `[start, end)`.

    `by_model` goes by the `provider/model` that was used, `by_customer` by the customer's id. `skipped`
    counts events that the scenario charges nothing for, or leaves as they were, by the reason's code.
    """

    start: datetime
    end: datetime
    total: Comparison
    by_model: Mapping[str, Comparison]
    by_customer: Mapping[str, Comparison]
    skipped: Mapping[str, int]


class Tally:
    """Comparisons being added up, event by event."""

    def __init__(self) -> None:
        self._by_model: dict[str, Comparison] = {}
        self._by_customer: dict[str, Comparison] = {}
        self.skipped: Counter[str] = Counter()

    def add(self, customer: str, parts: Iterable[tuple[str, Comparison]]) -> None:
        """Count a customer's comparisons, each with its model."""
        for model, part in parts:
            self._by_model[model] = self._by_model.get(model, Comparison()) + part
            self._by_customer[customer] = self._by_customer.get(customer, Comparison()) + part

    def simulation(self, *, start: datetime, end: datetime) -> Simulation:
        """Return the sums so far, what sells most first."""
        by_model, by_customer = _dearest_first(self._by_model), _dearest_first(self._by_customer)
        total = sum(by_model.values(), Comparison())
        assert total == sum(by_customer.values(), Comparison())  # Both are sums of the same parts.
        return Simulation(
            start=start,
            end=end,
            total=total,
            by_model=by_model,
            by_customer=by_customer,
            skipped=dict(sorted(self.skipped.items())),
        )


def _dearest_first(sums: Mapping[str, Comparison]) -> dict[str, Comparison]:
    def order(item: tuple[str, Comparison]) -> tuple[int, int, str]:
        name, sum_ = item
        return -max(sum_.now.revenue_nano, sum_.then.revenue_nano), -sum_.events, name

    return dict(sorted(sums.items(), key=order))


def percent_text(percent: Fraction | None) -> str | None:
    """Write a share with two decimals, the rest cut off towards zero; None where there is none."""
    if percent is None:
        return None
    whole, rest = divmod(abs(percent.numerator) * 100 // percent.denominator, 100)
    sign = "-" if percent < 0 and (whole or rest) else ""
    return f"{sign}{whole}.{rest:02d}"
