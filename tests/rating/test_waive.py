"""What is waived keeps its cost and its price in view; rated again, as much of it stays waived."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction

from costplus.catalog.price import Component, PriceVersion
from costplus.core.usage import Usage
from costplus.rating.charge import Charge, ChargeLine, rate, reversal_of
from costplus.rating.rate_card import RateCardVersion, adjustment
from costplus.rating.sheet import compile_sheet
from costplus.rating.waive import (
    SHADOW,
    is_tracked,
    list_nano,
    shadowed,
    waived_like,
    waived_rate,
    with_lines,
)

AT = datetime(2026, 1, 1, tzinfo=UTC)


def charge(tokens: int, *, markup: str = "30") -> Charge:
    parts = (Component("input", Decimal(1), 1_000_000), Component("output", Decimal(3), 1_000_000))
    price = PriceVersion("pv_m", "openai", "m", "usd", AT, None, parts)
    card = RateCardVersion(
        id=f"rcv_{markup}", created=AT, rate_card="rcd", default=adjustment("markup", Decimal(markup))
    )
    return rate(Usage({"input": tokens, "output": tokens}), compile_sheet(price, card))


def partly(made: Charge, quantity: int) -> Charge:
    """Return the charge with so many of its first line's units waived."""
    first, *others = made.lines
    given = waived_rate(first.rate, reason="included/a", title="included in plan: a")
    return with_lines(
        made, [ChargeLine(quantity, given), ChargeLine(first.quantity - quantity, first.rate), *others]
    )


def test_a_waived_rate_is_one_of_its_own_and_the_same_every_time() -> None:
    was = charge(1).lines[0].rate
    made = waived_rate(was, reason=SHADOW, title="cost tracking only")
    assert made == waived_rate(replace(was), reason=SHADOW, title="cost tracking only")
    assert made.id != was.id
    assert (made.unit_cost, made.unit_price, made.list_price) == (was.unit_cost, 0, was.unit_price)
    assert made.id != waived_rate(was, reason="included/a", title="cost tracking only").id


def test_a_tracked_charge_asks_for_nothing_and_says_what_it_would() -> None:
    made, tracked = charge(1000), shadowed(charge(1000))
    assert (tracked.price_nano, tracked.cost_nano) == (0, made.cost_nano)
    assert list_nano(tracked) == list_nano(made) == made.price_nano
    assert is_tracked(tracked) and not is_tracked(made)
    assert shadowed(tracked) is tracked
    assert list_nano(reversal_of(tracked)) == -made.price_nano


def test_rated_again_as_many_units_stay_waived() -> None:
    was, again = partly(charge(100), 60), charge(100, markup="50")
    kept = waived_like(again, was)
    assert [(line.quantity, line.rate.waived) for line in kept.lines] == [
        (60, "included/a"),
        (40, ""),
        (100, ""),
    ]
    assert kept.price_nano == (40 + 300) * 1500
    assert kept.lines[0].rate.list_price == Fraction(15, 10_000_000)
    assert waived_like(again, charge(100)) is again


def test_where_less_is_rated_again_no_more_is_waived_than_there_is() -> None:
    kept = waived_like(charge(10), partly(charge(100), 60))
    assert [(line.quantity, line.rate.waived) for line in kept.lines] == [(10, "included/a"), (10, "")]


def test_the_same_terms_give_the_same_charge_again() -> None:
    was = partly(charge(7), 3)
    assert waived_like(charge(7), was) == was
