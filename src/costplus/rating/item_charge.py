"""Charges of items: what more units of a meter add to a period, and what the period's end corrects.

Rule 1: an event is worth the period's amount after it less the amount before it, in linear lines: exact, and
rounded up once, as every charge.
Rule 2: what was billed so far is known in nanos. A maximum takes off what an event would bill above it, a
minimum adds at the end what is lacking; both as whole nanos, so that a limit is met to the nano.
Rule 3: a volume price is estimated at the tier reached by then; the end takes the estimates back at the rates
they were billed at and bills the units at the tier that the whole period reached.
Rule 4: units are priced by the card version of their own time, and counted over all of them: each version's
units pay its own price of the tier reached, and the newest version used bears that tier's flat fee. The
limits are those of the version in force at the end, unprorated.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from costplus.core.money import NANO, decimal_text, for_ledger
from costplus.metering.event import METER
from costplus.rating.charge import Charge, ChargeLine, charge_of
from costplus.rating.conversion import after_free
from costplus.rating.item import CardItem
from costplus.rating.price_model import ZERO, Part, Quantity
from costplus.rating.rate_card import FIXED
from costplus.rating.sheet import UnitRate

UNIT, PACKAGE, FLAT_FEE, MAXIMUM, MINIMUM = "unit", "package", "flat_fee", "maximum", "minimum"
_LEAF_ORDER = (UNIT, PACKAGE, FLAT_FEE, MAXIMUM, MINIMUM)
AMOUNT = "amount"  # What was agreed on outside and is charged as it is.
LIMITS = (MAXIMUM, MINIMUM, AMOUNT)  # Leaves whose lines are amounts: a quantity of nanos at one nano each.
INCLUDED, USED = "included", "units used"
ABOVE_MAXIMUM, UP_TO_MINIMUM = "above the maximum", "up to the minimum"
ONE_NANO = Fraction(1, NANO)


@dataclass(frozen=True, slots=True)
class Metered:
    """What a meter counted in a billing period, and what it was charged."""

    units: int = 0
    price_nano: int = 0


def item_rate_id(rate: UnitRate) -> str:
    """Return the id that follows from what an item's rate says."""
    parts = (METER, rate.rate_card_version, rate.model, rate.leaf, rate.conditions)
    figures = (decimal_text(rate.unit_cost), decimal_text(rate.unit_price))
    return "ur_" + hashlib.sha256("\x00".join((*parts, *figures)).encode()).hexdigest()[:24]


@dataclass(frozen=True, slots=True)
class PricedItem:
    """An item as one card version (by id) sells it."""

    card: str
    item: CardItem

    def line(
        self, quantity: int, *, leaf: str, price: Fraction, title: str, cost: bool = False
    ) -> ChargeLine:
        """Return a line at the rate that follows from the item and the slice."""
        unit_cost = Fraction(self.item.unit_cost) if cost else ZERO
        rate = UnitRate(
            id="",
            provider=METER,
            model=self.item.event_name,
            leaf=leaf,
            priced_as=leaf,
            above_prompt_tokens=0,
            unit_cost=unit_cost,
            unit_price=price,
            adjustment=FIXED,
            price_version="",
            rate_card_version=self.card,
            conditions=title,
        )
        return ChargeLine(quantity, replace(rate, id=item_rate_id(rate)))

    def of_part(self, part: Part) -> ChargeLine:
        """Return the line of a part of the price; lines of single units bear the unit's cost."""
        is_flat = part.title.startswith("flat fee")
        leaf = FLAT_FEE if is_flat else PACKAGE if self.item.kind == "package" else UNIT
        return self.line(
            part.quantity, leaf=leaf, price=part.unit_amount, title=part.title, cost=leaf == UNIT
        )

    def payable(self, *, before: int, metered: int) -> tuple[int, int, int]:
        """Return (payable units before, payable units added, free units added) of metered quantities."""
        counted, units = self.item.conversion.line(before=before, metered=metered)
        free = self.item.included_units
        paid_before, paid = after_free(before=counted, quantity=units, free=free)
        return _whole(paid_before), _whole(paid), _whole(units - paid)

    def with_free(self, units: int) -> PricedItem:
        """Return the item with so many more units of a period included."""
        if not units:
            return self
        return replace(self, item=replace(self.item, included_units=self.item.included_units + units))

    def worth(self, metered: int) -> Fraction:
        """Return what the period's units are worth before any limit."""
        return self.item.model.amount(self.payable(before=0, metered=metered)[1])


def rate_item(priced: PricedItem, *, before: Metered, metered: int) -> Charge:
    """Return what `metered` more units are charged, after what the period counted and charged before.

    Below zero they give back what the last units so far were worth, line by line. A period that counted less
    than nothing counts as nothing.
    """
    low, high = sorted(max(units, 0) for units in (before.units, before.units + metered))
    if metered < 0:
        return _given_back(priced, low=low, high=high)
    item = priced.item
    lines = _units_lines(priced, before=low, metered=high - low)
    billed = Fraction(before.price_nano, NANO)
    discount = item.commitment.line(_worth(lines), before=max(billed, ZERO), place="middle").discount
    if discount:  # Rounded up, and the charge after it as well: what is left is the room to the nano.
        lines.append(_limit(priced, -for_ledger(discount), leaf=MAXIMUM, title=ABOVE_MAXIMUM))
    return charge_of(lines)


def _units_lines(priced: PricedItem, *, before: int, metered: int) -> list[ChargeLine]:
    item = priced.item
    paid_before, paid, free = priced.payable(before=before, metered=metered)
    lines = [priced.of_part(part) for part in item.model.parts(before=paid_before, quantity=paid)]
    if item.kind == "package" and item.unit_cost and paid + free:
        lines.append(priced.line(paid + free, leaf=UNIT, price=ZERO, title=USED, cost=True))
    elif free:
        lines.append(priced.line(free, leaf=UNIT, price=ZERO, title=INCLUDED, cost=True))
    return lines


def _given_back(priced: PricedItem, *, low: int, high: int) -> Charge:
    """Return what takes the units above `low` back, and of a maximum's discount what they had of it."""
    lines = [
        ChargeLine(-line.quantity, line.rate) for line in _units_lines(priced, before=low, metered=high - low)
    ]
    maximum = priced.item.commitment.maximum
    if maximum is not None:
        above = [max(priced.worth(units) - maximum, ZERO) for units in (low, high)]
        if returned := for_ledger(above[1]) - for_ledger(above[0]):
            lines.append(_limit(priced, returned, leaf=MAXIMUM, title=ABOVE_MAXIMUM))
    return charge_of(lines)


def corrected(
    billed: Sequence[ChargeLine], metered: Metered, *, sold: Sequence[PricedItem], last: PricedItem | None
) -> Charge | None:
    """Return what an item's period is still charged (or given back) at its end, None where it is right.

    `billed` are the period's lines so far, `sold` what they were priced by, oldest first; `last` is the item
    of the version in force at the end.
    """
    lines: list[ChargeLine] = []
    estimated = [
        (priced, own)
        for priced in sold
        if priced.item.model.IS_ESTIMATE
        and (own := [line for line in billed if _is_estimate(line, card=priced.card)])
    ]
    for priced, own in estimated:
        lines += _true_up(priced, own, metered, bears_flat=priced is estimated[-1][0])
    net_nano = metered.price_nano + for_ledger(_worth(lines))
    if last is not None:
        commitment = last.item.commitment
        if commitment.maximum is not None and (above := net_nano - for_ledger(commitment.maximum)) > 0:
            lines.append(_limit(last, -above, leaf=MAXIMUM, title=ABOVE_MAXIMUM))
        if commitment.minimum is not None and (lacking := for_ledger(commitment.minimum) - net_nano) > 0:
            lines.append(_limit(last, lacking, leaf=MINIMUM, title=UP_TO_MINIMUM))
    kept = merged(lines)
    return charge_of(kept) if kept else None


def _true_up(
    priced: PricedItem, own: Sequence[ChargeLine], metered: Metered, *, bears_flat: bool
) -> Iterable[ChargeLine]:
    """Take one version's estimates back and bill its units at the tier that the period reached."""
    yield from (ChargeLine(-line.quantity, line.rate) for line in own)
    units = sum(line.quantity for line in own if line.rate.leaf == UNIT)
    _, reached, _ = priced.payable(before=0, metered=max(metered.units, 0))
    for part in priced.item.model.parts(before=0, quantity=reached) if units else ():
        line = priced.of_part(part)
        if line.rate.leaf == UNIT:
            yield ChargeLine(units, line.rate)
        elif bears_flat:
            yield line


def _is_estimate(line: ChargeLine, *, card: str) -> bool:
    """Return whether a line of a volume price may be taken back: all but what is free and the minimum."""
    rate = line.rate
    is_asked = rate.conditions != INCLUDED and not rate.waived
    return rate.rate_card_version == card and rate.leaf != MINIMUM and is_asked


def merged(lines: Iterable[ChargeLine]) -> list[ChargeLine]:
    """Return one line a rate, without those whose quantities cancel out."""
    rates: dict[str, UnitRate] = {}
    quantities: dict[str, int] = {}
    for line in lines:
        rates[line.rate.id] = line.rate
        quantities[line.rate.id] = quantities.get(line.rate.id, 0) + line.quantity
    return [ChargeLine(quantity, rates[id]) for id, quantity in quantities.items() if quantity]


def line_order(rate: UnitRate) -> tuple[object, ...]:
    """Return the sort key of a rate's line: an item's slices in the order in which units fill them."""
    if rate.provider != METER:
        return rate.provider, rate.model, rate.leaf, not rate.waived, rate.id
    slices = [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in rate.conditions.split()]
    is_late = rate.conditions != INCLUDED and not rate.waived
    return rate.provider, rate.model, _LEAF_ORDER.index(rate.leaf), is_late, slices, rate.id


def charge_of_amount(nano: int, *, provider: str, model: str, cost_nano: int = 0) -> Charge:
    """Return the charge of an amount that follows from no rate: agreed on, or estimated as a whole."""
    parts = (AMOUNT, provider, model)
    rate = UnitRate(
        id=f"ur_{hashlib.sha256(chr(0).join(parts).encode()).hexdigest()[:24]}",
        provider=provider,
        model=model,
        leaf=AMOUNT,
        priced_as=AMOUNT,
        above_prompt_tokens=0,
        unit_cost=ZERO,
        unit_price=ONE_NANO,
        adjustment=FIXED,
        price_version="",
        rate_card_version="",
    )
    lines = (ChargeLine(nano, rate),) if nano else ()
    return Charge(price_nano=nano, cost_nano=cost_nano, lines=lines)


def priced_items(name: str, cards: Mapping[str, Mapping[str, CardItem]]) -> list[PricedItem]:
    """Return the item of that event name on each of the cards that sell it."""
    return [PricedItem(card, items[name]) for card, items in cards.items() if name in items]


def _limit(priced: PricedItem, nano: int, *, leaf: str, title: str) -> ChargeLine:
    return priced.line(nano, leaf=leaf, price=ONE_NANO, title=title)


def _worth(lines: Iterable[ChargeLine]) -> Fraction:
    return sum((line.quantity * line.rate.unit_price for line in lines), ZERO)


def _whole(quantity: Quantity) -> int:
    assert quantity.denominator == 1
    return int(quantity)
