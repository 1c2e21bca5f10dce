"""A charge: what one usage event costs and sells for, with its derivation.

Rule 1: Σ quantity × unit price over the leaves is exact; it is rounded up once, to a nano.
Rule 2: the derivation is what the rating used, not a second calculation.
Rule 3: a leaf is charged its minimum where the price has one and any was used.
Rule 4: a model's fee per request is charged once for one request that used anything.
Rule 5: a leaf that has no price makes the charge say so (`unpriced`); it is never charged as zero in silence.
Rule 6: a reversal is a charge with every figure negated: its rounding is that of what it takes back.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

from costplus.catalog.condition import Field
from costplus.catalog.context import ORDINARY, STANDARD, RequestContext
from costplus.catalog.price import PriceVersion
from costplus.core.money import decimal_text, for_ledger, nano_text
from costplus.core.usage import Usage
from costplus.rating.sheet import OWN_KEY_TITLE, RateSheet, UnitRate, sheet_for

# Why a whole charge is open, beside the single leaves and circumstances that may be: the model has no price;
# it has none and the card's fallback prices were charged; the card does not sell it.
MODEL: Final = "model"
FALLBACK: Final = "fallback"
NOT_ON_CARD: Final = "not_on_card"

_CHEAPER = frozenset({"flex", "batch"})  # Known to cost less than the list price, wherever they exist.


@dataclass(frozen=True, slots=True)
class ChargeLine:
    """One leaf's part: `quantity` units at `rate`."""

    quantity: int
    rate: UnitRate


@dataclass(frozen=True, slots=True, kw_only=True)
class Charge:
    """The worth of one event in nanos: `cost_nano` to the provider, `price_nano` to the customer."""

    price_nano: int
    cost_nano: int
    lines: tuple[ChargeLine, ...]
    unpriced: tuple[str, ...] = ()  # Leaves that no price covers, and other reasons: see below.


def rate(
    usage: Usage, sheet: RateSheet, *, context: RequestContext = ORDINARY, is_one_request: bool = True
) -> Charge:
    """Return the charge for `usage` under `sheet`, in the circumstances that `context` tells.

    Context bands go by a request's prompt. Usage that does not say what one request's prompt was
    (reported sums, one kind of token at a time) is charged in the base band.
    """
    sheet = sheet_for(sheet, usage.flags)
    if sheet.stands_in == MODEL:
        return unpriced_charge()
    prompt_tokens = usage.input_tokens if is_one_request and sheet.is_banded else 1
    rate_of = sheet.rates_for(prompt_tokens=prompt_tokens, context=context).of
    minimums = sheet.minimums
    cost = price = 0
    lines: list[ChargeLine] = []
    unpriced: list[str] = []
    quantities = usage.quantities
    if sheet.has_request_fee and is_one_request and quantities and rate_of("request"):
        quantities = {"request": 1, **quantities}
    for leaf, quantity in quantities.items():
        found = rate_of(leaf)
        if found is None:
            unpriced.append(leaf)
            continue
        if minimums:
            quantity = max(quantity, minimums.get(leaf, 0))
        cost += quantity * found[0]
        price += quantity * found[1]
        lines.append(ChargeLine(quantity, found[2]))
    if sheet.stands_in:
        unpriced.append(sheet.stands_in)
    return Charge(
        price_nano=for_ledger(price, over=sheet.price_denominator),
        cost_nano=for_ledger(cost, over=sheet.cost_denominator),
        lines=tuple(lines),
        unpriced=tuple(unpriced),
    )


def charge_of(lines: Iterable[ChargeLine], *, unpriced: Iterable[str] = ()) -> Charge:
    """Return the charge of lines that may stem from several models' sheets; the sum is rounded once."""
    kept = tuple(lines)
    return Charge(
        price_nano=for_ledger(sum((line.quantity * line.rate.unit_price for line in kept), Fraction(0))),
        cost_nano=for_ledger(sum((line.quantity * line.rate.unit_cost for line in kept), Fraction(0))),
        lines=kept,
        unpriced=tuple(dict.fromkeys(unpriced)),
    )


def unpriced_charge(reason: str = MODEL) -> Charge:
    """Return the charge of usage that has no price yet: nothing is posted, and it says why."""
    return Charge(price_nano=0, cost_nano=0, lines=(), unpriced=(reason,))


def reversal_of(charge: Charge) -> Charge:
    """Return what takes a charge back: together both are nothing, line by line."""
    return Charge(
        price_nano=-charge.price_nano,
        cost_nano=-charge.cost_nano,
        lines=tuple(ChargeLine(-line.quantity, line.rate) for line in charge.lines),
    )


def uncovered(price: PriceVersion, context: RequestContext) -> Iterator[tuple[Field, str]]:
    """Yield each circumstance that may cost more than the price version says."""
    is_dear = context.service_tier != STANDARD and context.service_tier not in _CHEAPER
    if is_dear and not price.covers("service_tier", context.service_tier):
        yield "service_tier", context.service_tier
    if context.speed != STANDARD and not price.covers("speed", context.speed):
        yield "speed", context.speed
    if context.region and not price.covers("region", context.region):
        yield "region", context.region


@dataclass(frozen=True, slots=True)
class Step:
    """One line of an explanation, ready to show: every figure is exact text."""

    leaf: str
    quantity: int
    unit_cost: str
    unit_price: str
    cost: str
    price: str
    working: str
    list_price: str = ""  # What one unit sells for where this one is not asked for.


@dataclass(frozen=True, slots=True, kw_only=True)
class Derivation:
    """How a charge came about: its steps, the unrounded sums and the rounded result."""

    steps: tuple[Step, ...]
    exact_cost: str
    exact_price: str
    price: str
    cost: str
    unpriced: tuple[str, ...]


def _working(line: ChargeLine) -> str:
    rate, adjustment = line.rate, line.rate.adjustment
    how = "a fixed price" if adjustment.kind == "fixed" else f"{adjustment.kind} {adjustment.percent}%"
    if adjustment.kind == "own_key":
        share = f", a fee of {adjustment.percent}% of what the provider charges" if adjustment.percent else ""
        how = f"the customer's own key{share}"
    if rate.waived:
        how = f"nothing to pay for it ({rate.conditions.rpartition(', ')[2]})"
    band = f", prompt above {rate.above_prompt_tokens} tokens" if rate.above_prompt_tokens else ""
    says = rate.conditions.removesuffix(OWN_KEY_TITLE).removesuffix(", ")
    because = f", {says}" if says and not rate.waived else ""
    as_leaf = f", priced as {rate.priced_as}" if rate.priced_as != rate.leaf else ""
    return f"{line.quantity} {rate.leaf} × {decimal_text(rate.unit_cost)} with {how}{band}{because}{as_leaf}"


def explain(charge: Charge) -> Derivation:
    """Return the charge's derivation from the very rates it was made of."""
    steps = tuple(
        Step(
            leaf=line.rate.leaf,
            quantity=line.quantity,
            unit_cost=decimal_text(line.rate.unit_cost),
            unit_price=decimal_text(line.rate.unit_price),
            cost=decimal_text(line.quantity * line.rate.unit_cost),
            price=decimal_text(line.quantity * line.rate.unit_price),
            working=_working(line),
            list_price="" if line.rate.list_price is None else decimal_text(line.rate.list_price),
        )
        for line in charge.lines
    )
    exact_cost = sum((line.quantity * line.rate.unit_cost for line in charge.lines), Fraction(0))
    exact_price = sum((line.quantity * line.rate.unit_price for line in charge.lines), Fraction(0))
    # What is taken back is rounded as what it takes back, what negative usage is worth is rounded up.
    assert charge.price_nano in (for_ledger(exact_price), -for_ledger(-exact_price))
    return Derivation(
        steps=steps,
        exact_cost=decimal_text(exact_cost),
        exact_price=decimal_text(exact_price),
        price=nano_text(charge.price_nano),
        cost=nano_text(charge.cost_nano),
        unpriced=charge.unpriced,
    )
