"""Quantities are converted and freed before pricing; a commitment bounds what the period bills."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costplus.rating.commitment import Commitment
from costplus.rating.conversion import Conversion, Rounding, after_free
from costplus.rating.price_model import InvalidPriceModel, Part, Place

USD = Fraction

CONVERTED: list[tuple[Rounding, int, Fraction | int]] = [
    ("ceil", 1_000, 1),
    ("ceil", 1_001, 2),
    ("floor", 1_999, 1),
    ("floor", 2_000, 2),
    ("half_up", 1_499, 1),
    ("half_up", 1_500, 2),
    ("none", 1_400, USD("1.4")),
    ("none", 2_000, 2),
    ("ceil", 0, 0),
]


@pytest.mark.parametrize(("rounding", "metered", "units"), CONVERTED)
def test_a_metered_quantity_is_converted_and_rounded_as_the_price_says(
    rounding: Rounding, metered: int, units: Fraction | int
) -> None:
    assert Conversion(divide_by=USD(1_000), rounding=rounding).units(metered) == units


def test_lines_are_rounded_cumulatively_unless_each_is_rounded_by_policy() -> None:
    thousands = Conversion(divide_by=USD(1_000), rounding="ceil")
    assert thousands.line(before=1_400, metered=1_300) == (2, 1)
    each = Conversion(divide_by=USD(1_000), rounding="ceil", round_each_line=True)
    assert each.line(before=1_400, metered=1_300) == (2, 2)


def test_a_conversion_by_zero_is_refused_at_set_up() -> None:
    for fields in ({"divide_by": USD(0)}, {"multiply_by": USD(0)}):
        with pytest.raises(InvalidPriceModel):
            Conversion(**fields)


counts = st.integers(0, 10_000)


@given(st.sampled_from(["none", "ceil", "floor", "half_up"]), st.lists(counts, max_size=6))
def test_cumulative_lines_add_up_to_the_whole(rounding: Rounding, lines: list[int]) -> None:
    conversion = Conversion(divide_by=USD(60), rounding=rounding)
    added = [conversion.line(before=sum(lines[:i]), metered=n)[1] for i, n in enumerate(lines)]
    assert sum(added) == conversion.units(sum(lines))


FREED = [
    (0, 30, 50, (0, 0)),
    (0, 50, 50, (0, 0)),
    (0, 51, 50, (0, 1)),
    (49, 3, 50, (0, 2)),
    (60, 5, 50, (10, 5)),
]


@pytest.mark.parametrize(("before", "quantity", "free", "payable"), FREED)
def test_free_units_come_first_and_are_never_used_twice(
    before: int, quantity: int, free: int, payable: tuple[int, int]
) -> None:
    assert after_free(before=before, quantity=quantity, free=free) == payable


TOP_UPS: list[tuple[Place, int]] = [("single", 90), ("last", 90), ("first", 0), ("middle", 0)]


@pytest.mark.parametrize(("place", "top_up"), TOP_UPS)
def test_the_minimum_is_billed_once_on_the_last_line(place: Place, top_up: int) -> None:
    line = Commitment(minimum=USD(100)).line(USD(4), before=USD(6), place=place)
    assert (line.top_up, line.net) == (top_up, 4 + top_up)


REACHED = [(99, 1), (100, 0), (101, 0)]


@pytest.mark.parametrize(("gross", "top_up"), REACHED)
def test_a_minimum_that_usage_reaches_adds_nothing(gross: int, top_up: int) -> None:
    assert Commitment(minimum=USD(100)).line(USD(gross)).top_up == top_up


ABOVE = [(90, 10, 0), (90, 11, 1), (90, 75, 65), (100, 5, 5), (120, 5, 5)]


@pytest.mark.parametrize(("before", "gross", "discount"), ABOVE)
def test_the_maximum_is_a_discount_on_what_lies_above_it(before: int, gross: int, discount: int) -> None:
    line = Commitment(maximum=USD(100)).line(USD(gross), before=USD(before))
    assert (line.gross, line.discount, line.net) == (gross, discount, gross - discount)


def test_what_a_commitment_changes_is_a_part_of_its_own() -> None:
    assert Commitment(maximum=USD(3)).line(USD(5)).parts == (Part(-1, USD(2), "above the maximum"),)
    assert Commitment(minimum=USD(7)).line(USD(5)).parts == (Part(1, USD(2), "up to the minimum"),)
    assert Commitment().line(USD(5)).parts == ()


@pytest.mark.parametrize(("minimum", "maximum"), [(-1, None), (None, -1), (2, 1)])
def test_a_commitment_that_contradicts_itself_is_refused_at_set_up(
    minimum: int | None, maximum: int | None
) -> None:
    with pytest.raises(InvalidPriceModel):
        Commitment(
            minimum=None if minimum is None else USD(minimum),
            maximum=None if maximum is None else USD(maximum),
        )


usd = st.fractions(min_value=0, max_value=1_000, max_denominator=10**6)


@given(st.lists(usd, min_size=1, max_size=6), usd, usd)
def test_the_lines_of_a_period_bill_between_minimum_and_maximum(
    lines: list[Fraction], one: Fraction, other: Fraction
) -> None:
    commitment = Commitment(minimum=min(one, other), maximum=max(one, other))
    billed = [
        commitment.line(
            gross, before=sum(lines[:i], USD(0)), place="last" if i == len(lines) - 1 else "middle"
        )
        for i, gross in enumerate(lines)
    ]
    total = sum(lines)
    assert sum(line.net for line in billed) == min(max(total, min(one, other)), max(one, other))
    assert all(sum(part.amount for part in line.parts) == line.net - line.gross for line in billed)
