"""A charge: what one usage event costs and sells for, with its derivation.

Rule 1: Σ quantity × unit price over the leaves is exact; it is rounded up once, to a nano.
Rule 2: the derivation is what the rating used, not a second calculation.
Rule 3: a leaf is charged its minimum where the price has one and any was used.
Rule 4: a model's fee per request is charged once for one request that used anything.
Rule 5: a leaf that has no price makes the charge say so (`unpriced`); it is never charged as zero in silence.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction

from costplus.catalog.context import ORDINARY, RequestContext
from costplus.core.money import decimal_text, for_ledger, nano_text
from costplus.core.usage import Usage
from costplus.rating.sheet import RateSheet, UnitRate


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
    unpriced: tuple[str, ...] = ()  # Leaves (or `model`) that no price covers.


def rate(
    usage: Usage, sheet: RateSheet, *, context: RequestContext = ORDINARY, is_one_request: bool = True
) -> Charge:
    """Return the charge for `usage` under `sheet`, in the circumstances that `context` tells.

    Context bands go by a request's prompt. Usage that does not say what one request's prompt was
    (reported sums, one kind of token at a time) is charged in the base band.
    """
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


def unpriced_charge(reason: str = "model") -> Charge:
    """Return the charge of usage that has no price yet: nothing is posted, and it says why."""
    return Charge(price_nano=0, cost_nano=0, lines=(), unpriced=(reason,))


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
    band = f", prompt above {rate.above_prompt_tokens} tokens" if rate.above_prompt_tokens else ""
    because = f", {rate.conditions}" if rate.conditions else ""
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
        )
        for line in charge.lines
    )
    exact_cost = sum((line.quantity * line.rate.unit_cost for line in charge.lines), Fraction(0))
    exact_price = sum((line.quantity * line.rate.unit_price for line in charge.lines), Fraction(0))
    assert for_ledger(exact_price) == charge.price_nano
    return Derivation(
        steps=steps,
        exact_cost=decimal_text(exact_cost),
        exact_price=decimal_text(exact_price),
        price=nano_text(charge.price_nano),
        cost=nano_text(charge.cost_nano),
        unpriced=charge.unpriced,
    )
