"""The rate sheet: one price version under one rate-card version, compiled for rating.

Rule 1: exact. All unit costs (and all unit prices) of a sheet share one denominator, so that an event's
sum is integer arithmetic; nothing rounds here.
Rule 2: the context band is chosen by the whole prompt, cached tokens included, strictly above the threshold.
Rule 3: a leaf without a component of its own is priced as its nearest ancestor, and says so.
Source: gateway rules 1, 4 and 14.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

from costplus.catalog.price import Component, PriceVersion
from costplus.core.money import decimal_text
from costplus.core.usage import LEAVES, ancestors
from costplus.rating.rate_card import Adjustment, RateCardVersion


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
    bands: tuple[tuple[int, Rates], ...]  # (prompt tokens strictly above, rates), highest first.
    cost_denominator: int
    price_denominator: int

    def rates_for(self, *, prompt_tokens: int) -> Rates:
        """Return the rates of the context band of a request with that many input tokens."""
        for threshold, rates in self.bands:
            if prompt_tokens > threshold:
                return rates
        return self.bands[-1][1]


def _unit_id(*parts: str) -> str:
    return "ur_" + hashlib.sha256("\x00".join(parts).encode()).hexdigest()[:24]


def _component_for(price: PriceVersion, leaf: str, *, prompt_tokens: int) -> Component | None:
    """Return the component that prices `leaf`: its own or its nearest ancestor's, most conditions first."""
    for name in ancestors(leaf):
        holding = [c for c in price.components if c.leaf == name and c.holds(prompt_tokens=prompt_tokens)]
        if holding:
            return max(holding, key=lambda c: (len(c.when), max((w.value for w in c.when), default=0)))
    return None


def compile_sheet(price: PriceVersion, card: RateCardVersion) -> RateSheet:
    """Return the sheet of `price` sold under `card`."""
    adjustment = card.adjustment_for(provider=price.provider, model=price.model)
    factor = adjustment.factor
    bands: list[tuple[int, list[UnitRate]]] = []
    for threshold in (*reversed(price.thresholds), 0):
        rates = []
        for leaf in LEAVES:
            component = _component_for(price, leaf, prompt_tokens=threshold + 1)
            if component is None:
                continue
            cost, sell = component.unit_cost, component.unit_cost * factor
            rate_id = _unit_id(
                price.id, card.id, leaf, str(threshold), decimal_text(cost), decimal_text(sell)
            )
            rates.append(
                UnitRate(
                    id=rate_id,
                    provider=price.provider,
                    model=price.model,
                    leaf=leaf,
                    priced_as=component.leaf,
                    above_prompt_tokens=threshold,
                    unit_cost=cost,
                    unit_price=sell,
                    adjustment=adjustment,
                    price_version=price.id,
                    rate_card_version=card.id,
                )
            )
        bands.append((threshold, rates))
    every = [rate for _, rates in bands for rate in rates]
    cost_denominator = math.lcm(*(rate.unit_cost.denominator for rate in every), 1)
    price_denominator = math.lcm(*(rate.unit_price.denominator for rate in every), 1)
    return RateSheet(
        provider=price.provider,
        model=price.model,
        price=price,
        card=card,
        adjustment=adjustment,
        bands=tuple(
            (
                threshold,
                Rates(
                    {
                        rate.leaf: (
                            int(rate.unit_cost * cost_denominator),
                            int(rate.unit_price * price_denominator),
                            rate,
                        )
                        for rate in rates
                    }
                ),
            )
            for threshold, rates in bands
        ),
        cost_denominator=cost_denominator,
        price_denominator=price_denominator,
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
