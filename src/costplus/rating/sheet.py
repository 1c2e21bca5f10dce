"""The rate sheet: one price version under one rate-card version, compiled for rating.

Rule 1: exact. All unit costs (and all unit prices) of a sheet share one denominator, so that an event's
sum is integer arithmetic; nothing rounds here.
Rule 2: the context band is chosen by the whole prompt, cached tokens included, strictly above the threshold.
Rule 3: a leaf without a component of its own is priced as its nearest ancestor, and says so.
Rule 4: which conditions a request passes decides its rates; those of each such combination are made once, a
leaf at a time when it first occurs, and kept: most are never asked for.
Source: gateway rules 1, 4, 7 and 14.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import combinations
from typing import TypeAlias, TypeVar

from costplus.catalog.condition import Condition, selector, when_text
from costplus.catalog.context import ORDINARY, RequestContext
from costplus.catalog.price import Component, Multiplier, PriceVersion, chosen, standing_in
from costplus.core.money import decimal_text
from costplus.core.usage import LEAVES, ancestors
from costplus.rating.rate_card import Adjustment, RateCardVersion

K = TypeVar("K", bound=Hashable)

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


LeafRate: TypeAlias = tuple[int, int, UnitRate]
"""Numerators of cost and price over the sheet's denominators, and the unit rate that they stand for."""


@dataclass(frozen=True, slots=True)
class Rates:
    """The rates of all requests that pass the same conditions; each leaf's is made when first asked for."""

    _make: Callable[[str], LeafRate | None]
    _made: dict[str, LeafRate | None] = field(default_factory=dict)

    def of(self, leaf: str) -> LeafRate | None:
        """Return the rate of a leaf, None where it has no price."""
        if leaf in self._made:
            return self._made[leaf]
        made = self._made[leaf] = self._make(leaf)
        return made

    @property
    def by_leaf(self) -> dict[str, LeafRate]:
        """The rates of all leaves that have a price."""
        return {leaf: found for leaf in LEAVES if (found := self.of(leaf)) is not None}


@dataclass(frozen=True, slots=True)
class _Worth:
    """What one unit under a component and its multipliers costs and sells for, and why."""

    priced_as: str
    cost: Fraction
    sell: Fraction
    texts: tuple[str, str]  # Of both amounts.
    conditions: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RateSheet:
    """Everything needed to rate usage of one model for the customers on one card version."""

    provider: str
    model: str
    price: PriceVersion
    card: RateCardVersion
    adjustment: Adjustment
    conditions: tuple[Condition, ...]  # All that the price depends on.
    is_banded: bool  # Whether the size of the prompt is among it.
    has_request_fee: bool
    minimums: Mapping[str, int]
    cost_denominator: int
    price_denominator: int
    _select: Callable[[int, RequestContext], Hashable] = field(compare=False, repr=False)
    _selected: dict[Hashable, Rates] = field(default_factory=dict, compare=False, repr=False)
    _tables: dict[tuple[bool, ...], Rates] = field(default_factory=dict, compare=False, repr=False)

    def rates_for(self, *, prompt_tokens: int, context: RequestContext = ORDINARY) -> Rates:
        """Return the rates of a request with that many input tokens under those circumstances."""
        selected = self._select(prompt_tokens, context)
        found = self._selected.get(selected)
        if found is None:
            # Others choose the words of a context. Those that no condition asks for share one table, so that
            # little is compiled however many words there are.
            found = self._table(prompt_tokens, context)
            _remember(self._selected, selected, found)
        return found

    @property
    def bands(self) -> tuple[tuple[int, Rates], ...]:
        """The rates of an ordinary request as (prompt tokens above, rates), highest first."""
        thresholds = (*reversed(self.price.thresholds), 0)
        return tuple((over, self.rates_for(prompt_tokens=over + 1)) for over in thresholds)

    def every_rate(self) -> Iterator[UnitRate]:
        """Yield each unit rate that any request could be given; for finding one again by its id."""
        for threshold in (0, *self.price.thresholds):
            for leaf in LEAVES:
                names = set(ancestors(leaf))
                for component in (c for c in self.price.components if c.leaf in names):
                    for multipliers in _subsets(self._touching(leaf, self.price.multipliers)):
                        yield self._unit(leaf, self._worth(component, multipliers), threshold)

    def _table(self, prompt_tokens: int, context: RequestContext) -> Rates:
        key = tuple([c.holds(prompt_tokens=prompt_tokens, context=context) for c in self.conditions])
        found = self._tables.get(key)
        if found is None:
            holding = [c for c, holds in zip(self.conditions, key, strict=True) if holds]
            found = self._rates(holding)
            _remember(self._tables, key, found)
        return found

    def _rates(self, holding: Sequence[Condition]) -> Rates:
        true = frozenset(holding)
        components = chosen(self.price.components, holding=true)
        held = [m for m in self.price.multipliers if true.issuperset(m.when)]
        threshold = max((_above(condition) for condition in holding), default=0)

        def make(leaf: str) -> LeafRate | None:
            component = standing_in(components, leaf) if leaf in LEAVES else None
            if component is None:
                return None
            worth = self._worth(component, self._touching(leaf, held))
            cost = _numerator(worth.cost, over=self.cost_denominator)
            sell = _numerator(worth.sell, over=self.price_denominator)
            return cost, sell, self._unit(leaf, worth, threshold)

        return Rates(make)

    def _touching(self, leaf: str, multipliers: Iterable[Multiplier]) -> tuple[Multiplier, ...]:
        return tuple(m for m in multipliers if m.touches(LEAVES[leaf]))

    def _worth(self, component: Component, multipliers: Iterable[Multiplier]) -> _Worth:
        cost, said = component.unit_cost, [when_text(c for c in component.when if not _above(c))]
        for multiplier in multipliers:
            cost *= Fraction(multiplier.factor)
        said += sorted(f"×{decimal_text(m.factor)} {when_text(m.when)}" for m in multipliers)
        sell, conditions = cost * self.adjustment.factor, ", ".join(text for text in said if text)
        return _Worth(component.leaf, cost, sell, (decimal_text(cost), decimal_text(sell)), conditions)

    def _unit(self, leaf: str, worth: _Worth, threshold: int) -> UnitRate:
        stands_in = f"as {worth.priced_as}" if worth.priced_as != leaf else ""
        parts = [self.price.id, self.card.id, leaf, str(threshold), *worth.texts]
        return UnitRate(
            id=_unit_id(*parts, *(text for text in (worth.conditions, stands_in) if text)),
            provider=self.provider,
            model=self.model,
            leaf=leaf,
            priced_as=worth.priced_as,
            above_prompt_tokens=threshold,
            unit_cost=worth.cost,
            unit_price=worth.sell,
            adjustment=self.adjustment,
            price_version=self.price.id,
            rate_card_version=self.card.id,
            conditions=worth.conditions,
        )


def _numerator(exact: Fraction, *, over: int) -> int:
    """Return the amount's numerator over a denominator that all amounts of the sheet share."""
    times, rest = divmod(over, exact.denominator)
    assert rest == 0
    return times * exact.numerator


def _remember(tables: dict[K, Rates], key: K, rates: Rates) -> None:
    """Keep a table; at `_TABLES_MAX` what was kept is forgotten, which bounds the memory."""
    if len(tables) >= _TABLES_MAX:
        tables.clear()
    tables[key] = rates


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
    conditions = price.conditions
    adjustment = card.adjustment_for(provider=price.provider, model=price.model)
    denominator = math.lcm(*(component.unit_cost.denominator for component in price.components), 1)
    for multiplier in price.multipliers:
        denominator *= Fraction(multiplier.factor).denominator
    return RateSheet(
        provider=price.provider,
        model=price.model,
        price=price,
        card=card,
        adjustment=adjustment,
        conditions=conditions,
        is_banded=any(condition.field == "prompt_tokens" for condition in conditions),
        has_request_fee=any(component.leaf == "request" for component in price.components),
        minimums={minimum.leaf: minimum.quantity for minimum in price.minimums},
        cost_denominator=denominator,
        price_denominator=denominator * adjustment.factor.denominator,
        _select=selector(conditions),
    )


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
