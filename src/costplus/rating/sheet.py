"""The rate sheet: one price version under one rate-card version, compiled for rating.

Rule 1: exact. All unit costs (and all unit prices) of a sheet share one denominator, so that an event's
sum is integer arithmetic; nothing rounds here.
Rule 2: the context band is chosen by the whole prompt, cached tokens included, strictly above the threshold.
Rule 3: a leaf without a component of its own is priced as its nearest ancestor, and says so.
Rule 4: which conditions a request passes decides its rates; those of each such combination are made once, a
leaf at a time when it first occurs, and kept: most are never asked for.
Rule 5: what a leaf costs and what it sells for may follow from two versions of the price: the one in force,
and the one that its rate card sells by (the basis).
Rule 6: a sheet may stand in for a price that is not known (`rating.fallback`); its charges say so.
Source: gateway rules 1, 4, 7 and 14.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Literal, TypeAlias, TypeVar

from costplus.catalog.condition import Condition, selector, when_text
from costplus.catalog.context import ORDINARY, RequestContext
from costplus.catalog.exchange import FxRate, converted
from costplus.catalog.price import PriceVersion, chosen, standing_in
from costplus.core.money import decimal_text
from costplus.core.usage import LEAVES, OWN_KEY
from costplus.rating.rate_card import FIXED, Adjustment, PriceBelowFloor, RateCardVersion

K = TypeVar("K", bound=Hashable)

OWN_KEY_TITLE = "customer's own key"
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
    waived: str = ""  # Why nothing is asked for it (`rating.waive`); then `unit_price` is 0 …
    list_price: Fraction | None = None  # … and this is what it sells for otherwise.


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
class _Figure:
    """What one unit of a leaf costs by one version of the price, and why."""

    priced_as: str
    unit_cost: Fraction
    conditions: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RateSheet:
    """Everything needed to rate usage of one model for the customers on one card version."""

    provider: str
    model: str
    price: PriceVersion
    basis: PriceVersion  # What the card sells by; most often the price itself.
    card: RateCardVersion
    conditions: tuple[Condition, ...]  # All that cost and price depend on.
    is_banded: bool  # Whether the size of the prompt is among it.
    has_request_fee: bool
    minimums: Mapping[str, int]
    cost_denominator: int
    price_denominator: int
    # What its charges say is missing: `fallback` where they are by the card's fallback prices, `model` where
    # nothing is charged.
    stands_in: Literal["", "model", "fallback"] = ""
    own_key: bool = False  # Whether it is for calls with the customer's own key.
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
        thresholds = (*sorted({*self.price.thresholds, *self.basis.thresholds}, reverse=True), 0)
        return tuple((over, self.rates_for(prompt_tokens=over + 1)) for over in thresholds)

    def check_floor(self) -> None:
        """Raise `PriceBelowFloor` where an ordinary request would be sold below the card's floor margin."""
        floor = self.card.floor_margin_percent
        if floor is None:
            return
        least = 1 - Fraction(floor) / 100
        for leaf, (_, _, unit) in self.rates_for(prompt_tokens=1).by_leaf.items():
            if unit.unit_cost > unit.unit_price * least:
                raise PriceBelowFloor(
                    f"{self.provider}/{self.model} {leaf} costs {decimal_text(unit.unit_cost)} and sells for "
                    f"{decimal_text(unit.unit_price)}: less than the card's floor margin of {floor} percent."
                )

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
        costs = _Figures(self.price, true)
        basis = costs if self.basis is self.price else _Figures(self.basis, true)
        threshold = max((_above(condition) for condition in holding), default=0)

        def make(leaf: str) -> LeafRate | None:
            cost = costs.of(leaf)
            if cost is None:
                return None
            unit = self._unit(leaf, cost, cost if basis is costs else basis.of(leaf) or cost, threshold)
            return (
                _numerator(unit.unit_cost, over=self.cost_denominator),
                _numerator(unit.unit_price, over=self.price_denominator),
                unit,
            )

        return Rates(make)

    def _unit(self, leaf: str, cost: _Figure, basis: _Figure, threshold: int) -> UnitRate:
        if self.own_key:
            return self._own_key_unit(leaf, cost, threshold)
        fixed = self.card.fixed_for(provider=self.provider, model=self.model, leaf=leaf)
        adjustment = self.card.adjustment_for(provider=self.provider, model=self.model, leaf=leaf)
        sell = fixed.unit_price if fixed else basis.unit_cost * adjustment.factor
        unit = UnitRate(
            id="",
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
            basis_version="" if self.basis is self.price else self.basis.id,
        )
        return replace(unit, id=unit_id(unit))

    def _own_key_unit(self, leaf: str, cost: _Figure, threshold: int) -> UnitRate:
        """Return the rate of a call that the customer pays the provider for: a share of that, or nothing."""
        percent = self.card.own_key_fee_percent
        unit = UnitRate(
            id="",
            provider=self.provider,
            model=self.model,
            leaf=leaf,
            priced_as=cost.priced_as,
            above_prompt_tokens=threshold,
            unit_cost=Fraction(0),
            unit_price=cost.unit_cost * Fraction(percent) / 100,
            adjustment=Adjustment("own_key", percent),
            price_version=self.price.id,
            rate_card_version=self.card.id,
            conditions=", ".join(text for text in (cost.conditions, OWN_KEY_TITLE) if text),
        )
        return replace(unit, id=unit_id(unit))


class _Figures:
    """What one unit of each leaf costs by one version of the price while some conditions hold."""

    def __init__(self, price: PriceVersion, true: frozenset[Condition]) -> None:
        self._components = chosen(price.components, holding=true)
        self._converted = price.converted
        self._multipliers = [m for m in price.multipliers if true.issuperset(m.when)]

    def of(self, leaf: str) -> _Figure | None:
        component = standing_in(self._components, leaf) if leaf in LEAVES else None
        if component is None:
            return None
        touching = [m for m in self._multipliers if m.touches(LEAVES[leaf])]
        cost, said = component.unit_cost, [when_text(c for c in component.when if not _above(c))]
        for multiplier in touching:
            cost *= Fraction(multiplier.factor)
        said += sorted(f"×{decimal_text(m.factor)} {when_text(m.when)}" for m in touching)
        said.append(self._converted)
        return _Figure(component.leaf, cost, ", ".join(text for text in said if text))


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


def unit_id(rate: UnitRate) -> str:
    """Return the id that follows from what a model's rate says."""
    stands_in = f"as {rate.priced_as}" if rate.priced_as != rate.leaf else ""
    parts = [rate.price_version, rate.rate_card_version, rate.leaf, str(rate.above_prompt_tokens)]
    parts += [decimal_text(rate.unit_cost), decimal_text(rate.unit_price)]
    parts += [text for text in (rate.conditions, stands_in, rate.basis_version) if text]
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
    conditions = price.conditions
    if basis is not price:
        conditions = tuple(sorted({*conditions, *basis.conditions}, key=lambda c: c.text))
    denominator = _denominator(price)
    return RateSheet(
        provider=price.provider,
        model=price.model,
        price=price,
        basis=basis,
        card=card,
        conditions=conditions,
        is_banded=any(condition.field == "prompt_tokens" for condition in conditions),
        has_request_fee=any(component.leaf == "request" for component in price.components),
        minimums={minimum.leaf: minimum.quantity for minimum in price.minimums},
        cost_denominator=denominator,
        price_denominator=_price_denominator(price, basis, card, denominator),
        _select=selector(conditions),
    )


def sheet_for(sheet: RateSheet, flags: Collection[str]) -> RateSheet:
    """Return the sheet by which usage with these flags is rated: another with the customer's own key."""
    if OWN_KEY not in flags or sheet.own_key:
        return sheet
    share = Fraction(sheet.card.own_key_fee_percent) / 100
    return replace(
        sheet,
        own_key=True,
        price_denominator=sheet.cost_denominator * share.denominator,
        _selected={},
        _tables={},
    )


def _denominator(price: PriceVersion) -> int:
    """Return a number that every cost of one unit, multiplied or not, is a fraction of."""
    denominator = math.lcm(*(component.unit_cost.denominator for component in price.components), 1)
    for multiplier in price.multipliers:
        denominator *= Fraction(multiplier.factor).denominator
    return denominator


def _price_denominator(
    price: PriceVersion, basis: PriceVersion, card: RateCardVersion, denominator: int
) -> int:
    """Return a number that every price of one unit is a fraction of."""
    if basis is not price:
        denominator = math.lcm(denominator, _denominator(basis))
    leaves = tuple(LEAVES) if card.token_types or card.fixed else ("",)
    model = {"provider": price.provider, "model": price.model}
    factors = {card.adjustment_for(**model, leaf=leaf).factor.denominator for leaf in leaves}
    fixed = (card.fixed_for(**model, leaf=leaf) for leaf in leaves)
    return math.lcm(denominator * math.lcm(*factors), *(f.unit_price.denominator for f in fixed if f))


class SheetCache:
    """Compiled sheets by (price, card, basis, exchange rate); all are immutable, so none goes stale.

    At `entries_max` the cache starts anew, which bounds its memory.
    """

    def __init__(self, *, entries_max: int = 20_000) -> None:
        self._sheets: dict[tuple[str, str, str, str], RateSheet] = {}
        self._entries_max = entries_max

    def sheet(
        self,
        price: PriceVersion,
        card: RateCardVersion,
        *,
        basis: PriceVersion | None = None,
        exchange: FxRate | None = None,
    ) -> RateSheet:
        """Return the sheet of `price` under `card`, converted by `exchange` where there is one."""
        key = (price.id, card.id, basis.id if basis else "", exchange.id if exchange else "")
        found = self._sheets.get(key)
        if found is None:
            if len(self._sheets) >= self._entries_max:
                self._sheets.clear()
            if exchange is not None:
                price, basis = converted(price, exchange), converted(basis, exchange) if basis else None
            found = self._sheets[key] = compile_sheet(price, card, basis=basis)
        return found
