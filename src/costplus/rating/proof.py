"""Prove charges: recompute them from what they were made of, and say what differs.

Rule 1: a charge is Σ quantity × unit amount over its lines, rounded up once; a reversal is that, negated.
Rule 2: its lines cover the event's usage, leaf by leaf; what no line covers is named as unpriced.
Rule 3: a unit rate's id follows from its content, its price from its cost and its card, its cost from the
price version that it names.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from itertools import chain, combinations

from costplus.catalog.price import PriceVersion
from costplus.core.money import decimal_text, for_ledger
from costplus.core.usage import LEAVES, Usage
from costplus.metering.event import METER
from costplus.rating.charge import MODEL, NOT_ON_CARD, Charge
from costplus.rating.item_charge import AMOUNT, charge_of_amount, item_rate_id
from costplus.rating.rate_card import FIXED, RateCardVersion
from costplus.rating.sheet import UnitRate, unit_id
from costplus.rating.waive import list_price, waived_rate

STANDS_IN = "pv_fallback"  # What begins the id of a price that is none: it says what stands in for it.


def charge_wrongs(charge: Charge) -> Iterator[str]:
    """Yield how a charge's amounts differ from the sum of its lines."""
    price = sum((line.quantity * line.rate.unit_price for line in charge.lines), Fraction(0))
    cost = sum((line.quantity * line.rate.unit_cost for line in charge.lines), Fraction(0))
    if is_amount(charge):  # What an amount costs was estimated with it.
        cost = Fraction(charge.cost_nano)
    for name, kept, exact in (("price", charge.price_nano, price), ("cost", charge.cost_nano, cost)):
        if kept not in (for_ledger(exact), -for_ledger(-exact)):
            yield f"{name}_nano is {kept}, its lines make {decimal_text(exact)}"


def is_amount(charge: Charge) -> bool:
    """Return whether an amount was charged that follows from no usage."""
    return any(line.rate.leaf == AMOUNT for line in charge.lines)


def coverage_wrongs(charge: Charge, usage: Usage) -> Iterator[str]:
    """Yield the leaves of a model's usage that a charge has fewer or (but for minimums) other units of."""
    if {MODEL, NOT_ON_CARD} & set(charge.unpriced) or is_amount(charge):
        return
    charged: Counter[str] = Counter()
    for line in charge.lines:
        charged[line.rate.leaf] += line.quantity
    for leaf, quantity in usage.quantities.items():
        if charged[leaf] < quantity and leaf not in charge.unpriced:
            yield f"{quantity} units of {leaf} were used, {charged[leaf]} charged"
    for leaf in charged.keys() - usage.quantities.keys() - {"request"}:
        yield f"{charged[leaf]} units of {leaf} were charged, none used"


def waives(rate: UnitRate) -> UnitRate | None:
    """Return the rate that a waived one stands in for; None where its id does not follow from any."""
    parts = rate.conditions.split(", ")
    for cut in range(len(parts)):  # What it was waived for is said last, and may have commas in it.
        whole = replace(
            rate,
            unit_price=list_price(rate),
            conditions=", ".join(parts[:cut]),
            waived="",
            list_price=None,
        )
        whole = replace(whole, id=_id_of(whole))
        if waived_rate(whole, reason=rate.waived, title=", ".join(parts[cut:])) == rate:
            return whole
    return None


def _id_of(rate: UnitRate) -> str:
    if rate.leaf == AMOUNT:
        return _amount_rate(rate).id
    return item_rate_id(rate) if rate.provider == METER else unit_id(rate)


def _amount_rate(rate: UnitRate) -> UnitRate:
    return charge_of_amount(1, provider=rate.provider, model=rate.model).lines[0].rate


def rate_wrongs(
    rate: UnitRate, *, price: PriceVersion | None, basis: PriceVersion | None, card: RateCardVersion | None
) -> Iterator[str]:
    """Yield how a unit rate differs from what it names: its price versions and its card (None: not found)."""
    if rate.leaf == AMOUNT:
        if rate != _amount_rate(rate):
            yield "is not what an amount is charged at"
        return
    if rate.id != _id_of(rate):
        yield "its id does not follow from its content"
    if card is None:
        yield f"rate card version {rate.rate_card_version} does not exist"
    if rate.provider == METER or rate.price_version.startswith(STANDS_IN):
        return
    for name, version in ((rate.price_version, price), (rate.basis_version, basis)):
        if name and version is None:
            yield f"price version {name} does not exist"
    if rate.adjustment.kind == "own_key":
        yield from _own_key_wrongs(rate, price=price, card=card)
        return
    if price is not None and rate.unit_cost not in _costs(price, rate):
        yield f"unit cost {decimal_text(rate.unit_cost)} is none of price version {price.id}"
    if card is None or (rate.basis_version and basis is None):
        return
    if rate.adjustment == FIXED:
        fixed = card.fixed_for(provider=rate.provider, model=rate.model, leaf=rate.leaf)
        sells = {fixed.unit_price} if fixed else set()
    else:
        bases = _costs(basis, rate) | {rate.unit_cost} if basis else {rate.unit_cost}
        sells = {cost * rate.adjustment.factor for cost in bases}
        own = card.adjustment_for(provider=rate.provider, model=rate.model, leaf=rate.leaf)
        if own != rate.adjustment:
            yield f"{rate.adjustment.kind} {rate.adjustment.percent}% is not what card {card.id} says"
    if rate.unit_price not in sells:
        yield f"unit price {decimal_text(rate.unit_price)} does not follow from its cost and card {card.id}"


def _own_key_wrongs(
    rate: UnitRate, *, price: PriceVersion | None, card: RateCardVersion | None
) -> Iterator[str]:
    """Yield how the rate of a call with the customer's own key differs from its price and its card."""
    percent = rate.adjustment.percent
    if rate.unit_cost:
        yield "costs the seller something, with the customer's own key"
    if card is not None and percent != card.own_key_fee_percent:
        yield f"own key fee {percent}% is not what card {card.id} says"
    if price is not None and rate.unit_price not in {
        cost * Fraction(percent) / 100 for cost in _costs(price, rate)
    }:
        yield f"unit price {decimal_text(rate.unit_price)} is not {percent}% of what {price.id} says"


def _costs(price: PriceVersion, rate: UnitRate) -> set[Fraction]:
    """Return what a unit of the rate's leaf costs by a price version, under whichever of its conditions."""
    leaf = LEAVES[rate.leaf]
    factors = [Fraction(m.factor) for m in price.multipliers if m.touches(leaf)]
    stacked = chain.from_iterable(combinations(factors, size) for size in range(len(factors) + 1))
    products = {_product(chosen) for chosen in stacked}
    return {
        component.unit_cost * product
        for component in price.components
        if component.leaf in (rate.priced_as, rate.leaf)
        for product in products
    }


def _product(factors: tuple[Fraction, ...]) -> Fraction:
    product = Fraction(1)
    for factor in factors:
        product *= factor
    return product
