"""The rate sheet: one price version under one rate-card version, compiled for rating.

Rule 1: exact. All unit costs (and all unit prices) of a sheet share one denominator, so that an event's
sum is integer arithmetic; nothing rounds here.
Rule 2: the context band is chosen by the whole prompt, cached tokens included, strictly above the threshold.
Rule 3: a leaf without a component of its own is priced as its nearest ancestor, and says so.
Rule 4: which conditions a request passes decides its rates; each such combination is compiled once, when it
first occurs, and kept.
Rule 5: what a leaf costs and what it sells for may follow from two versions of the price: the one in force,
and the one that its rate card sells by (the basis).
Rule 6: a sheet may stand in for a price that is not known (`rating.fallback`); its charges say so.
Source: gateway rules 1, 4, 7 and 14.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Literal

from costplus.catalog.condition import Condition, when_text
from costplus.catalog.context import ORDINARY, RequestContext
from costplus.catalog.price import PriceVersion, chosen
from costplus.core.money import decimal_text
from costplus.core.usage import LEAVES
from costplus.rating.rate_card import FIXED, Adjustment, PriceBelowFloor, RateCardVersion

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
    basis_version: str = ""  # The price version that it sells by, where that is not `price_version`.


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
    basis: PriceVersion  # What the card sells by; most often the price itself.
    card: RateCardVersion
    conditions: tuple[Condition, ...]  # All that the price depends on.
    bands: tuple[
        tuple[int, Rates], ...
    ]  # Of an ordinary request: (prompt tokens above, rates), highest first.
    minimums: Mapping[str, int]
    cost_denominator: int
    price_denominator: int
    # What its charges say is missing: `fallback` where they are by the card's fallback prices, `model` where
    # nothing is charged.
    stands_in: Literal["", "model", "fallback"] = ""
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

    def check_floor(self) -> None:
        """Raise `PriceBelowFloor` where an ordinary request would be sold below the card's floor margin."""
        floor = self.card.floor_margin_percent
        if floor is None:
            return
        least = 1 - Fraction(floor) / 100
        for leaf, (_, _, unit) in self.bands[-1][1].by_leaf.items():
            if unit.unit_cost > unit.unit_price * least:
                raise PriceBelowFloor(
                    f"{self.provider}/{self.model} {leaf} costs {decimal_text(unit.unit_cost)} and sells for "
                    f"{decimal_text(unit.unit_price)}: less than the card's floor margin of {floor} percent."
                )

    def _compiled(self, holding: Sequence[Condition]) -> Rates:
        threshold = max((_above(condition) for condition in holding), default=0)
        true = frozenset(holding)
        table: dict[str, tuple[int, int, UnitRate]] = {}
        for leaf in LEAVES:
            cost = _Figure.of(self.price, leaf, true)
            if cost is None:
                continue
            basis = cost if self.basis is self.price else _Figure.of(self.basis, leaf, true) or cost
            unit = self._unit(leaf, cost, basis, threshold)
            units = unit.unit_cost * self.cost_denominator, unit.unit_price * self.price_denominator
            assert units[0].denominator == units[1].denominator == 1
            table[leaf] = units[0].numerator, units[1].numerator, unit
        return Rates(table)

    def _unit(self, leaf: str, cost: _Figure, basis: _Figure, threshold: int) -> UnitRate:
        fixed = self.card.fixed_for(provider=self.provider, model=self.model, leaf=leaf)
        adjustment = self.card.adjustment_for(provider=self.provider, model=self.model, leaf=leaf)
        sell = fixed.unit_price if fixed else basis.unit_cost * adjustment.factor
        basis_version = "" if self.basis is self.price else self.basis.id
        parts = [self.price.id, self.card.id, leaf, str(threshold)]
        parts += [decimal_text(cost.unit_cost), decimal_text(sell)]
        parts += [text for text in (cost.conditions, basis_version) if text]
        return UnitRate(
            id=_unit_id(*parts),
            provider=self.provider,
            model=self.model,
            leaf=leaf,
            priced_as=cost.priced_as,
            above_prompt_tokens=threshold,
            unit_cost=cost.unit_cost,
            unit_price=sell,
            adjustment=FIXED if fixed else adjustment,
            price_version=self.price.id,
            rate_card_version=self.card.id,
            conditions=cost.conditions,
            basis_version=basis_version,
        )


@dataclass(frozen=True, slots=True)
class _Figure:
    """What one unit of a leaf costs by one version of the price while some conditions hold."""

    unit_cost: Fraction
    priced_as: str
    conditions: str

    @classmethod
    def of(cls, price: PriceVersion, leaf: str, true: frozenset[Condition]) -> _Figure | None:
        component = chosen(price.components, leaf, holding=true)
        if component is None:
            return None
        holding = [m for m in price.multipliers if m.touches(LEAVES[leaf]) and true.issuperset(m.when)]
        cost, said = component.unit_cost, [when_text(c for c in component.when if not _above(c))]
        for multiplier in holding:
            cost *= Fraction(multiplier.factor)
        said += sorted(f"×{decimal_text(m.factor)} {when_text(m.when)}" for m in holding)
        return cls(cost, component.leaf, ", ".join(text for text in said if text))


def _unit_id(*parts: str) -> str:
    return "ur_" + hashlib.sha256("\x00".join(parts).encode()).hexdigest()[:24]


def _above(condition: Condition) -> int:
    """Return the prompt size strictly above which the condition holds, 0 where it is of another kind."""
    if condition.field != "prompt_tokens" or not isinstance(condition.value, int):
        return 0
    return {"gt": condition.value, "gte": condition.value - 1}.get(condition.op, 0)


def compile_sheet(
    price: PriceVersion, card: RateCardVersion, *, basis: PriceVersion | None = None
) -> RateSheet:
    """Return the sheet of `price` under `card`, which sells by `basis` where that is another version."""
    basis = basis or price
    cost_denominator = _denominator(price)
    price_denominator = (
        cost_denominator if basis is price else math.lcm(cost_denominator, _denominator(basis))
    )
    factors = [
        card.adjustment_for(provider=price.provider, model=price.model, leaf=leaf).factor for leaf in LEAVES
    ]
    price_denominator *= math.lcm(*{factor.denominator for factor in factors})
    fixed = (card.fixed_for(provider=price.provider, model=price.model, leaf=leaf) for leaf in LEAVES)
    sheet = RateSheet(
        provider=price.provider,
        model=price.model,
        price=price,
        basis=basis,
        card=card,
        conditions=tuple(sorted({*price.conditions, *basis.conditions}, key=lambda c: c.text)),
        bands=(),
        minimums={minimum.leaf: minimum.quantity for minimum in price.minimums},
        cost_denominator=cost_denominator,
        price_denominator=math.lcm(price_denominator, *(f.unit_price.denominator for f in fixed if f)),
    )
    thresholds = (*sorted({*price.thresholds, *basis.thresholds}, reverse=True), 0)
    return replace(sheet, bands=tuple((over, sheet.rates_for(prompt_tokens=over + 1)) for over in thresholds))


def _denominator(price: PriceVersion) -> int:
    """Return a number that every cost of one unit, multiplied or not, is a fraction of."""
    denominator = math.lcm(*(component.unit_cost.denominator for component in price.components), 1)
    for multiplier in price.multipliers:
        denominator *= Fraction(multiplier.factor).denominator
    return denominator


class SheetCache:
    """Compiled sheets by (price, card, basis); all are immutable, so none goes stale.

    At `entries_max` the cache starts anew, which bounds its memory.
    """

    def __init__(self, *, entries_max: int = 20_000) -> None:
        self._sheets: dict[tuple[str, str, str], RateSheet] = {}
        self._entries_max = entries_max

    def sheet(
        self, price: PriceVersion, card: RateCardVersion, *, basis: PriceVersion | None = None
    ) -> RateSheet:
        """Return the sheet of `price` under `card`."""
        key = (price.id, card.id, basis.id if basis else "")
        found = self._sheets.get(key)
        if found is None:
            if len(self._sheets) >= self._entries_max:
                self._sheets.clear()
            found = self._sheets[key] = compile_sheet(price, card, basis=basis)
        return found
