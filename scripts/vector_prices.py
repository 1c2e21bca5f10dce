"""Runs cases of quantities with a price: tiers, packages, conversion, commitments and rounding.

Rule 1: every amount is computed by `costplus.rating` twice, whole and in parts; the two must agree.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from vector_case import Figures, Given, NotRun, Runner, fraction, whole

from costplus.core.money import NANO, for_invoice, nano_per_minor
from costplus.rating.commitment import Commitment
from costplus.rating.conversion import Conversion, after_free
from costplus.rating.percentage import Percentage
from costplus.rating.price_model import (
    Flat,
    Graduated,
    Package,
    PerUnit,
    Place,
    PriceModel,
    Quantity,
    Tier,
    Volume,
    open_ended,
)

CURRENCY = "usd"  # No case states one; all have two decimals.
EVENTS_MAX = 1_000_000
PLACES: Mapping[str, Place] = {
    "single": "single",
    "first_split": "first",
    "mid_period_split": "middle",
    "last_split": "last",
}
FREE = ("included", "free_units", "usage_discount_units")


@dataclass(frozen=True, slots=True)
class Line:
    """How much was used before a line in its period and in it, in the units that the price counts."""

    before: Quantity
    quantity: Quantity
    place: Place


def place_of(given: Given) -> Place:
    word = given.take("line", "single", kind=str)
    if word not in PLACES:
        raise NotRun(f"a line called '{word}' is not understood")
    return PLACES[word]


def line_of(given: Given) -> Line:
    """Return the case's line, converted and less what is free."""
    before: Quantity = given.number("pre_raw" if given.has("pre_raw") else "pre_line_qty", 0)
    quantity: Quantity = given.first("qty", "units", "raw_qty", "line_qty", "line_raw")
    free_units = [units for name in FREE if (units := given.optional(name)) is not None]
    check_not_negative(before, quantity, *free_units)
    if given.has("divide_by") or given.has("multiply_by"):
        conversion = Conversion(
            divide_by=given.number("divide_by", 1),
            multiply_by=given.number("multiply_by", 1),
            rounding=rounding_of(given),
            round_each_line=before > 0 and given.follows("round_each_line"),
        )
        before, quantity = conversion.line(before=before, metered=quantity)
    for free in free_units:
        before, quantity = after_free(before=before, quantity=quantity, free=free)
    return Line(before, quantity, place_of(given))


def check_not_negative(*numbers: Quantity) -> None:
    if any(number < 0 for number in numbers):
        raise NotRun("less than nothing was used")


def rounding_of(given: Given) -> Literal["none", "ceil", "floor", "half_up"]:
    word = given.take("rounding", "none")
    if word not in ("none", "ceil", "floor", "half_up"):
        raise NotRun(f"a rounding called '{word}' is not understood")
    return word  # type: ignore[no-any-return]  # It is one of the words above.


def tiers_of(given: Given, *, name: str = "tiers", size: int = 1) -> tuple[Tier, ...]:
    """Return the case's tiers; a bounded last one is opened by the policy of the case's system."""
    tiers = []
    for stated in given.rows(name, "up_to", "unit", "flat"):
        if "up_to" not in stated:
            raise NotRun("a tier does not say where it ends")
        end = stated["up_to"]
        tiers.append(
            Tier(
                up_to=None if end is None else whole(end),
                unit_amount=fraction(stated.get("unit", 0)),
                flat_amount=fraction(stated.get("flat", 0)),
                size=size,
            )
        )
    return opened(given, tiers)


def blocks_of(given: Given) -> tuple[Tier, ...]:
    """Return tiers that are stated as so many blocks of so many units, each at a price."""
    tiers, end = [], 0
    shared = given.take("block", None)
    for stated in given.rows("tiers", "block", "price", "max_blocks", "max"):
        size = whole(stated.get("block", shared))
        end += size * whole(stated.get("max_blocks", stated.get("max")))
        tiers.append(Tier(up_to=end, unit_amount=fraction(stated.get("price")), size=size))
    return opened(given, tiers)


def opened(given: Given, tiers: Sequence[Tier]) -> tuple[Tier, ...]:
    """Return the tiers without an end; refuse to guess what a system does beyond a bounded last one."""
    if not tiers or tiers[-1].up_to is None:
        return tuple(tiers)
    if given.follows("free_beyond_last_tier"):
        return open_ended(tiers, beyond="free")
    if given.follows("extend_last_tier"):
        return open_ended(tiers, beyond="extend")
    raise NotRun("the last tier has an end, and what units beyond it cost is not stated")


def at_zero(given: Given, line: Line, tiers: Sequence[Tier]) -> bool:
    """Return whether a flat fee is due without use; the policy is noted down where it matters."""
    matters = line.before + line.quantity == 0 and bool(tiers) and tiers[0].flat_amount > 0
    if "flat_at_zero" in given.inputs:
        return bool(given.take("flat_at_zero")) and given.under("flat_at_zero")
    if not matters:
        return False
    return given.follows("flat_at_zero") or not given.under("no_flat_at_zero")


def worth(given: Given, model: PriceModel, line: Line) -> Fraction:
    """Return what a line is worth: the amount after it less the amount before it."""
    is_open = line.place in ("first", "middle")
    if model.IS_ESTIMATE and (is_open or line.before) and given.follows("volume_at_period_end"):
        return Fraction(0) if is_open else model.amount(line.before + line.quantity)
    billed = model.amount(line.before) if line.before else Fraction(0)
    if line.before + line.quantity == 0 and is_open:
        return Fraction(0)
    exact = model.amount(line.before + line.quantity) - billed
    if line.before.denominator == line.quantity.denominator == 1:
        assert in_parts(model, before=int(line.before), quantity=int(line.quantity)) == exact
    return exact


def in_parts(model: PriceModel, *, before: int, quantity: int) -> Fraction:
    """Return what the line's parts come to, when the lines before it were billed as they should be."""
    whole = before + quantity
    billed = model.parts(before=0, quantity=before)
    parts = model.parts(before=before, quantity=quantity)
    corrected = model.true_up((*billed, *parts), quantity=whole)
    earlier = model.true_up(billed, quantity=before) if before else ()
    assert model.IS_ESTIMATE or not whole or not corrected
    return sum((p.amount for p in (*parts, *corrected)), Fraction(0)) - sum(p.amount for p in earlier)


def priced(given: Given, model: PriceModel, line: Line) -> Figures:
    """Return the figures of a line under its commitment, rounded where the system rounds its lines."""
    gross = worth(given, model, line)
    before = given.optional("billed_before")
    if before is None:
        before = model.amount(line.before) if line.before else Fraction(0)
    return committed(given, gross, before=before, place=line.place)


def committed(given: Given, gross: Fraction, *, before: Fraction, place: Place) -> Figures:
    maximum = given.optional("tier_cap" if given.has("tier_cap") else "maximum")
    check_not_negative(gross, before)
    commitment = Commitment(minimum=given.optional("minimum"), maximum=maximum)
    line = commitment.line(gross, before=before, place=place)
    figures = {"line": line.gross, "gross": line.gross, "discount": line.discount, "net": line.net}
    if any((exact * 100).denominator != 1 for exact in figures.values()) and given.follows("line_half_up"):
        figures = {name: half_up(exact) for name, exact in figures.items()}
    return {**figures, "amount": figures["net"]}


def half_up(exact: Fraction) -> Fraction:
    """Round one line to the currency's minor units, half up, and return it in whole units of currency."""
    minor = for_invoice(exact * NANO, currency=CURRENCY, policy="line_half_up")
    return Fraction(minor * nano_per_minor(CURRENCY), NANO)


def flat(given: Given) -> Figures:
    term = given.take("term")
    if term not in ("in_advance", "in_arrears"):
        raise NotRun(f"a term called '{term}' is not understood")
    fee = Flat(given.number("amount"))
    return {"amount": fee.due_on(place_of(given), in_advance=term == "in_advance")}


def per_unit(given: Given) -> Figures:
    if not given.has("unit_cents"):
        return priced(given, PerUnit(given.number("unit")), line_of(given))
    model, line = PerUnit(given.number("unit_cents") / 100), line_of(given)
    cap = given.optional("cap_cents")
    limit = Commitment(maximum=None if cap is None else cap / 100)
    exact = limit.line(worth(given, model, line), place=line.place).net
    word = given.take("round", None)
    if word not in (None, "half_up_to_cent"):
        raise NotRun(f"a rounding called '{word}' is not understood")
    rounded = half_up(exact) if word and given.under("line_half_up") else exact
    return {"amount": rounded * 100}


def package(given: Given) -> Figures:
    word = given.take("round", "up")
    if word not in ("up", "down"):
        raise NotRun(f"a rounding called '{word}' is not understood")
    if word == "down":
        given.under("package_rounds_down")
    model = Package(
        size=given.count("package_size"), package_amount=given.number("package_amount"), rounding=word
    )
    return priced(given, model, line_of(given))


def graduated(given: Given) -> Figures:
    if given.has("gross"):
        return committed(given, given.number("gross"), before=Fraction(0), place=place_of(given))
    given.take("unit_is_rate", None)  # A rate on money is an amount for each unit of money.
    tiers, line = tiers_of(given), line_of(given)
    return priced(given, Graduated(tiers, charge_flat_at_zero=at_zero(given, line, tiers)), line)


def volume(given: Given) -> Figures:
    line = line_of(given)
    if given.has("billing_units"):
        tiers = tiers_of(given, name="tiers_per_block", size=given.count("billing_units"))
    elif given.has("tiers"):
        tiers = tiers_of(given)
    elif line.quantity == 0:
        tiers = (Tier(up_to=None, unit_amount=Fraction(1)),)  # Nothing is left to pay, at any price.
    else:
        raise NotRun("no price is stated for the units that are not included")
    return priced(given, Volume(tiers, charge_flat_at_zero=at_zero(given, line, tiers)), line)


def graduated_blocks(given: Given) -> Figures:
    return priced(given, Graduated(blocks_of(given)), line_of(given))


def volume_blocks(given: Given) -> Figures:
    return priced(given, Volume(blocks_of(given)), line_of(given))


def bucketed(given: Given) -> Figures:
    """Price each bucket of time by itself and sum."""
    model: PriceModel = Graduated(tiers_of(given)) if given.has("tiers") else PerUnit(given.number("unit"))
    buckets = [Line(0, fraction(quantity), "single") for quantity in given.take("buckets", kind=list)]
    check_not_negative(*(line.quantity for line in buckets))
    return {"amount": sum((worth(given, model, line) for line in buckets), Fraction(0))}


def transactions_of(given: Given) -> list[Fraction]:
    """Return the amounts that the case's events had, or any that make up the totals it states."""
    events = given.take("events", 1)
    if isinstance(events, list):
        return [fraction(amount) for amount in events]
    totals = [Fraction(0), *(fraction(total) for total in given.take("running_totals", [], kind=list))]
    amounts = [after - before for before, after in itertools.pairwise(totals)]
    rest = whole(events) - len(amounts)
    left = given.number("total") - totals[-1]
    if not 0 <= rest <= EVENTS_MAX or (rest == 0 and left):
        raise NotRun("the running totals do not make up the total")
    return [*amounts, *[left / rest for _ in range(rest)]]


def percentage(given: Given) -> Figures:
    model = Percentage(
        percent=given.number("rate"),
        fixed_amount=given.number("fixed", 0),
        free_transactions=given.count("free_events")
        if given.has("free_events")
        else given.take("free_events", None),
        free_amount=given.optional("free_amount"),
        fee_min=given.optional("per_event_min"),
        fee_max=given.optional("per_event_max"),
    )
    transactions = transactions_of(given)
    check_not_negative(*transactions)
    exact = model.amount(transactions)
    assert sum(part.amount for part in model.parts(before=[], transactions=transactions)) == exact
    return {"amount": exact}


def invoice_rounding(given: Given) -> Figures:
    """Round fees and tax onto an invoice; credit pays at most its total."""
    cent = nano_per_minor(CURRENCY)
    fees_nano = [fraction(cents) * cent for cents in given.take("fees_precise_cents", kind=list)]
    tax_share = given.number("tax_percent", 0) / 100
    if given.follows("round_each_fee"):
        fees = sum(for_invoice(nano, currency=CURRENCY, policy="line_half_up") for nano in fees_nano)
        tax = for_invoice(fees * cent * tax_share, currency=CURRENCY, policy="line_half_up")
    else:
        fees = for_invoice(sum(fees_nano, Fraction(0)), currency=CURRENCY)
        tax = for_invoice(fees * cent * tax_share, currency=CURRENCY)
    credit = min(given.number("wallet_cents", 0), fees + tax)
    return {"fees_cents": fees, "tax_cents": tax, "total_cents": fees + tax, "credit_cents": credit}


RUNNERS: Mapping[str, Runner] = {
    runner.__name__: runner
    for runner in (
        flat,
        per_unit,
        package,
        graduated,
        graduated_blocks,
        volume,
        volume_blocks,
        bucketed,
        percentage,
        invoice_rounding,
    )
} | {"graduated_percentage": graduated, "bucketed_graduated": bucketed}
