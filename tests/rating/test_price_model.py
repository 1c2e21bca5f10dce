"""A price model's parts are its amount, however the period is cut into lines."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costplus.rating.price_model import (
    Flat,
    Graduated,
    InvalidPriceModel,
    Package,
    Part,
    PerUnit,
    Place,
    PriceModel,
    Tier,
    Volume,
    open_ended,
)


def tier(up_to: int | None, unit: str, flat: str = "0", *, size: int = 1) -> Tier:
    return Tier(up_to=up_to, unit_amount=Fraction(unit), flat_amount=Fraction(flat), size=size)


def worth(parts: Sequence[Part]) -> Fraction:
    return sum((part.amount for part in parts), Fraction(0))


def in_lines(model: PriceModel, lines: Sequence[int]) -> list[Part]:
    """Return the parts of a period that is billed in these lines."""
    return [
        part for i, line in enumerate(lines) for part in model.parts(before=sum(lines[:i]), quantity=line)
    ]


TIERS = (tier(10, "10", "2"), tier(20, "5", "3"), tier(None, "1", "4"))
PACKED = (tier(1_000, "1", size=100), tier(101_000, "1", size=1_000), tier(None, "0.5", size=1_000))

GRADUATED = [(0, "0"), (1, "12"), (10, "102"), (11, "110"), (20, "155"), (21, "160"), (22, "161")]


@pytest.mark.parametrize(("quantity", "amount"), GRADUATED)
def test_graduated_prices_each_unit_in_its_own_tier(quantity: int, amount: str) -> None:
    assert Graduated(TIERS).amount(quantity) == Fraction(amount)


VOLUME = [(0, "0"), (1, "12"), (10, "102"), (11, "58"), (20, "103"), (21, "25")]


@pytest.mark.parametrize(("quantity", "amount"), VOLUME)
def test_volume_prices_all_units_in_the_tier_of_the_last_one(quantity: int, amount: str) -> None:
    assert Volume(TIERS).amount(quantity) == Fraction(amount)


def test_parts_of_a_unit_are_priced_in_the_tier_that_they_reach() -> None:
    assert Graduated(TIERS).amount(Fraction("10.5")) == Fraction("107.5")
    assert Volume(TIERS).amount(Fraction("10.5")) == Fraction("55.5")


@pytest.mark.parametrize("model", [Graduated, Volume])
def test_without_use_the_first_flat_fee_is_due_only_where_the_policy_says_so(
    model: type[Graduated | Volume],
) -> None:
    assert model(TIERS).amount(0) == 0
    assert model(TIERS).parts_at_zero() == ()
    charged = model(TIERS, charge_flat_at_zero=True)
    assert charged.amount(0) == worth(charged.parts_at_zero()) == 2
    assert charged.amount(1) == model(TIERS).amount(1)


PACKAGES = [(0, 0, 0), (1, 1, 0), (9, 1, 0), (10, 1, 1), (11, 2, 1), (20, 2, 2)]


@pytest.mark.parametrize(("quantity", "up", "down"), PACKAGES)
def test_a_started_package_counts_whole_or_under_the_policy_down_not_at_all(
    quantity: int, up: int, down: int
) -> None:
    assert Package(size=10, package_amount=Fraction(3)).amount(quantity) == 3 * up
    assert Package(size=10, package_amount=Fraction(3), rounding="down").amount(quantity) == 3 * down


PACKED_VOLUME = [(1_000, "10"), (1_001, "2"), (101_000, "101"), (101_001, "51")]


@pytest.mark.parametrize(("quantity", "amount"), PACKED_VOLUME)
def test_a_tier_sells_its_units_in_packs_of_its_own_size(quantity: int, amount: str) -> None:
    assert Volume(PACKED).amount(quantity) == Fraction(amount)
    assert Graduated(PACKED).amount(5_325) == 15


def test_a_line_across_tiers_has_a_part_for_each_slice_and_each_new_flat_fee() -> None:
    assert Graduated(TIERS).parts(before=8, quantity=5) == (
        Part(2, Fraction(10), "units 1 to 10"),
        Part(1, Fraction(3), "flat fee, units 11 to 20"),
        Part(3, Fraction(5), "units 11 to 20"),
    )


def test_free_units_stay_visible_as_a_part_that_costs_nothing() -> None:
    free_first = Graduated((tier(10, "0"), tier(None, "1")))
    assert free_first.parts(before=0, quantity=4) == (Part(4, Fraction(0), "units 1 to 10"),)


def test_a_volume_line_is_estimated_at_the_tier_reached_and_trued_up_when_the_period_ends() -> None:
    model = Volume((tier(10, "10"), tier(None, "5")))
    first, second = model.parts(before=0, quantity=10), model.parts(before=10, quantity=1)
    assert (worth(first), worth(second)) == (100, 5)
    correction = model.true_up([*first, *second], quantity=11)
    assert correction == (
        Part(-10, Fraction(10), "all units, as units 1 to 10"),
        Part(10, Fraction(5), "all units, as units over 10"),
    )
    assert model.IS_ESTIMATE
    assert not Graduated(TIERS).IS_ESTIMATE


def test_a_period_without_use_is_trued_up_to_what_is_due_at_zero() -> None:
    assert Graduated(TIERS).true_up([], quantity=0) == ()
    assert worth(Graduated(TIERS, charge_flat_at_zero=True).true_up([], quantity=0)) == 2
    assert worth(Flat(Fraction(7)).true_up([], quantity=0)) == 7


PLACES: list[tuple[Place, int, int]] = [("single", 7, 7), ("first", 7, 0), ("middle", 0, 0), ("last", 0, 7)]


@pytest.mark.parametrize(("place", "in_advance", "in_arrears"), PLACES)
def test_a_flat_fee_is_on_one_line_of_its_period(place: Place, in_advance: int, in_arrears: int) -> None:
    assert Flat(Fraction(7)).due_on(place, in_advance=True) == in_advance
    assert Flat(Fraction(7)).due_on(place, in_advance=False) == in_arrears


def test_units_beyond_a_bounded_last_tier_are_free_or_extend_it_as_was_said() -> None:
    bounded = [tier(10, "5", "1")]
    assert Graduated(open_ended(bounded, beyond="free")).amount(15) == 51
    assert Graduated(open_ended(bounded, beyond="extend")).amount(15) == 76
    assert open_ended(TIERS, beyond="free") == TIERS


REFUSED = [
    (),
    (tier(10, "1"),),
    (tier(None, "1"), tier(None, "1")),
    (tier(10, "1"), tier(10, "1"), tier(None, "1")),
    (tier(0, "1"), tier(None, "1")),
    (tier(None, "-1"),),
    (tier(None, "1", "-1"),),
    (tier(None, "1", size=0),),
]


@pytest.mark.parametrize("tiers", REFUSED)
@pytest.mark.parametrize("model", [Graduated, Volume])
def test_tiers_that_leave_a_quantity_without_a_price_are_refused_at_set_up(
    model: type[Graduated | Volume], tiers: tuple[Tier, ...]
) -> None:
    with pytest.raises(InvalidPriceModel) as refused:
        model(tiers)
    assert refused.value.code == "price_model_invalid"


def test_a_negative_amount_or_an_empty_package_is_refused_at_set_up() -> None:
    for make in (
        lambda: Flat(Fraction(-1)),
        lambda: PerUnit(Fraction(-1)),
        lambda: Package(size=10, package_amount=Fraction(-1)),
        lambda: Package(size=0, package_amount=Fraction(1)),
    ):
        with pytest.raises(InvalidPriceModel):
            make()


amounts = st.fractions(min_value=0, max_value=100, max_denominator=10**6)
sizes = st.integers(1, 7)


@st.composite
def tier_lists(draw: st.DrawFn) -> tuple[Tier, ...]:
    ends = sorted(draw(st.sets(st.integers(1, 60), max_size=4)))
    return tuple(
        Tier(up_to=end, unit_amount=draw(amounts), flat_amount=draw(amounts), size=draw(sizes))
        for end in [*ends, None]
    )


zero_policies = st.booleans()
graduated = st.builds(Graduated, tier_lists(), zero_policies)
volume = st.builds(Volume, tier_lists(), zero_policies)
packages = st.builds(
    Package, size=st.integers(1, 20), package_amount=amounts, rounding=st.sampled_from(["up", "down"])
)
cumulative: st.SearchStrategy[PriceModel] = st.one_of(
    graduated, packages, st.builds(PerUnit, amounts), st.builds(Flat, amounts)
)
quantities = st.integers(0, 90)


@given(st.one_of(cumulative, volume), quantities)
def test_the_parts_of_a_whole_period_are_its_amount(model: PriceModel, quantity: int) -> None:
    parts = model.parts(before=0, quantity=quantity) if quantity else model.parts_at_zero()
    assert worth(parts) == model.amount(quantity)
    assert all(part.quantity > 0 for part in parts)


@given(cumulative, st.lists(quantities, min_size=1, max_size=6))
def test_cutting_a_period_into_lines_changes_nothing(model: PriceModel, lines: list[int]) -> None:
    parts = in_lines(model, lines)
    total = sum(lines)
    assert worth(parts) == (model.amount(total) if total else 0)
    assert model.true_up(parts, quantity=total) == (model.parts_at_zero() if total == 0 else ())


@given(cumulative, st.integers(1, 60), quantities)
def test_a_later_line_is_worth_the_amount_after_it_less_the_amount_before(
    model: PriceModel, before: int, quantity: int
) -> None:
    line = worth(model.parts(before=before, quantity=quantity))
    assert line == model.amount(before + quantity) - model.amount(before)
    assert line >= 0  # Using more never costs less.


@given(volume, st.lists(quantities, min_size=1, max_size=6))
def test_volume_lines_with_their_true_up_are_worth_the_whole(model: Volume, lines: list[int]) -> None:
    parts = in_lines(model, lines)
    corrected = [*parts, *model.true_up(parts, quantity=sum(lines))]
    assert worth(corrected) == model.amount(sum(lines))
    assert model.true_up(corrected, quantity=sum(lines)) == ()


@given(tier_lists(), quantities)
def test_one_tier_costs_the_same_graduated_and_by_volume(tiers: tuple[Tier, ...], quantity: int) -> None:
    assert Graduated(tiers[-1:]).amount(quantity) == Volume(tiers[-1:]).amount(quantity)
