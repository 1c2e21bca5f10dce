"""The rate sheet: one price version under one rate-card version, compiled for rating.

Rule 1: exact. All unit costs (and all unit prices) of a sheet share one denominator, so that an event's
sum is integer arithmetic; nothing rounds here.
Rule 2: the context band is chosen by the whole prompt, cached tokens included, strictly above the threshold.
Rule 3: a leaf without a component of its own is priced as its nearest ancestor, and says so.
Rule 4: which conditions a request passes decides its rates; each such combination is compiled once, when it
first occurs, and kept.
Source: gateway rules 1, 4, 7 and 14.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from itertools import combinations

from costplus.catalog.condition import Condition, when_text
from costplus.catalog.context import ORDINARY, RequestContext
from costplus.catalog.price import Component, Multiplier, PriceVersion, chosen
from costplus.core.money import decimal_text
from costplus.core.usage import LEAVES, ancestors
from costplus.rating.rate_card import Adjustment, RateCardVersion

_TABLES_MAX = 256  # Combinations of conditions per sheet; far more than a price list can make in practice.


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitRate:
    """What one unit of a leaf costs and sells for, and where both come from. Amounts are exact."""

    id: str  # Follows from all that is below: the same rate has the same id in every process.
    provider: str
    model: str
    leaf: str
    priced_as: str  # The leaf whose component applied: an ancestor where the model has none for `leaf`.
    above_prompt_tokens: int  # The context band: 0 is the base.
    unit_cost: Fraction
    unit_price: Fraction
    adjustment: Adjustment
    price_version: str
    rate_card_version: str
    conditions: str = ""  # What else chose it, such as `service_tier=flex` and `×1.1 region=us`.


@dataclass(frozen=True, slots=True)
class Rates:
    """Per leaf: numerators over the sheet's denominators, and the unit rate they stand for."""

    by_leaf: Mapping[str, tuple[int, int, UnitRate]]


@dataclass(frozen=True, slots=True, kw_only=True)
class RateSheet:
    """Everything needed to rate usage of one model for the customers on one card version."""

    provider: str
    model: str
    price: PriceVersion
    card: RateCardVersion
    adjustment: Adjustment
    conditions: tuple[Condition, ...]  # All that the price depends on.
    bands: tuple[
        tuple[int, Rates], ...
    ]  # Of an ordinary request: (prompt tokens above, rates), highest first.
    minimums: Mapping[str, int]
    cost_denominator: int
    price_denominator: int
    _tables: dict[tuple[bool, ...], Rates] = field(default_factory=dict, compare=False, repr=False)

    def rates_for(self, *, prompt_tokens: int, context: RequestContext = ORDINARY) -> Rates:
        """Return the rates of a request with that many input tokens under those circumstances."""
        key = tuple([c.holds(prompt_tokens=prompt_tokens, context=context) for c in self.conditions])
        found = self._tables.get(key)
        if found is None:
            if len(self._tables) >= _TABLES_MAX:
                self._tables.clear()
            holding = [c for c, holds in zip(self.conditions, key, strict=True) if holds]
            found = self._tables[key] = self._compiled(holding)
        return found

    def every_rate(self) -> Iterator[UnitRate]:
        """Yield each unit rate that any request could be given; for finding one again by its id."""
        for threshold in (0, *self.price.thresholds):
            for leaf in LEAVES:
                names = set(ancestors(leaf))
                for component in (c for c in self.price.components if c.leaf in names):
                    for multipliers in _subsets(self._touching(leaf)):
                        yield self._unit(leaf, component, multipliers, threshold)

    def _compiled(self, holding: Sequence[Condition]) -> Rates:
        threshold = max((_above(condition) for condition in holding), default=0)
        true = frozenset(holding)
        table: dict[str, tuple[int, int, UnitRate]] = {}
        for leaf in LEAVES:
            component = chosen(self.price.components, leaf, holding=true)
            if component is None:
                continue
            multipliers = [m for m in self._touching(leaf) if true.issuperset(m.when)]
            unit = self._unit(leaf, component, multipliers, threshold)
            cost, sell = unit.unit_cost * self.cost_denominator, unit.unit_price * self.price_denominator
            assert cost.denominator == sell.denominator == 1
            table[leaf] = cost.numerator, sell.numerator, unit
        return Rates(table)

    def _touching(self, leaf: str) -> list[Multiplier]:
        return [m for m in self.price.multipliers if m.touches(LEAVES[leaf])]

    def _unit(
        self, leaf: str, component: Component, multipliers: Iterable[Multiplier], threshold: int
    ) -> UnitRate:
        cost, said = component.unit_cost, [when_text(c for c in component.when if not _above(c))]
        for multiplier in multipliers:
            cost *= Fraction(multiplier.factor)
        said += sorted(f"×{decimal_text(m.factor)} {when_text(m.when)}" for m in multipliers)
        sell, conditions = cost * self.adjustment.factor, ", ".join(text for text in said if text)
        parts = [self.price.id, self.card.id, leaf, str(threshold), decimal_text(cost), decimal_text(sell)]
        stands_in = f"as {component.leaf}" if component.leaf != leaf else ""
        return UnitRate(
            id=_unit_id(*parts, *(text for text in (conditions, stands_in) if text)),
            provider=self.provider,
            model=self.model,
            leaf=leaf,
            priced_as=component.leaf,
            above_prompt_tokens=threshold,
            unit_cost=cost,
            unit_price=sell,
            adjustment=self.adjustment,
            price_version=self.price.id,
            rate_card_version=self.card.id,
            conditions=conditions,
        )


def _unit_id(*parts: str) -> str:
    return "ur_" + hashlib.sha256("\x00".join(parts).encode()).hexdigest()[:24]


def _above(condition: Condition) -> int:
    """Return the prompt size strictly above which the condition holds, 0 where it is of another kind."""
    if condition.field != "prompt_tokens" or not isinstance(condition.value, int):
        return 0
    return {"gt": condition.value, "gte": condition.value - 1}.get(condition.op, 0)


def _subsets(multipliers: Sequence[Multiplier]) -> Iterator[tuple[Multiplier, ...]]:
    for size in range(len(multipliers) + 1):
        yield from combinations(multipliers, size)


def compile_sheet(price: PriceVersion, card: RateCardVersion) -> RateSheet:
    """Return the sheet of `price` sold under `card`."""
    adjustment = card.adjustment_for(provider=price.provider, model=price.model)
    denominator = math.lcm(*(component.unit_cost.denominator for component in price.components), 1)
    for multiplier in price.multipliers:
        denominator *= Fraction(multiplier.factor).denominator
    sheet = RateSheet(
        provider=price.provider,
        model=price.model,
        price=price,
        card=card,
        adjustment=adjustment,
        conditions=price.conditions,
        bands=(),
        minimums={minimum.leaf: minimum.quantity for minimum in price.minimums},
        cost_denominator=denominator,
        price_denominator=denominator * adjustment.factor.denominator,
    )
    thresholds = (*reversed(price.thresholds), 0)
    return replace(sheet, bands=tuple((over, sheet.rates_for(prompt_tokens=over + 1)) for over in thresholds))


class SheetCache:
    """Compiled sheets by (price version, card version); both are immutable, so none goes stale.

    At `entries_max` the cache starts anew, which bounds its memory.
    """

    def __init__(self, *, entries_max: int = 20_000) -> None:
        self._sheets: dict[tuple[str, str], RateSheet] = {}
        self._entries_max = entries_max

    def sheet(self, price: PriceVersion, card: RateCardVersion) -> RateSheet:
        """Return the sheet of `price` under `card`."""
        key = (price.id, card.id)
        found = self._sheets.get(key)
        if found is None:
            if len(self._sheets) >= self._entries_max:
                self._sheets.clear()
            found = self._sheets[key] = compile_sheet(price, card)
        return found
