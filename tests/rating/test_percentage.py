"""A share of transactions: the free part ends at the limit met first, and each fee has its own limits."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costplus.rating.percentage import Percentage
from costplus.rating.price_model import InvalidPriceModel, Part

USD = Fraction
TRANSACTIONS = [USD(50), USD(100), USD(250), USD(400)]

FREE = [
    (None, None, "18.4"),
    (3, None, "7.2"),
    (None, "250", "11.15"),
    (3, "250", "11.15"),
    (1, "250", "15.75"),
    (None, "150", "12.45"),  # The second transaction ends exactly at the limit and is free.
    (4, None, "0"),
    (0, None, "18.4"),
    (None, "800", "0"),
]


@pytest.mark.parametrize(("count", "amount", "fees"), FREE)
def test_the_free_part_ends_at_whichever_limit_is_met_first(
    count: int | None, amount: str | None, fees: str
) -> None:
    price = Percentage(
        percent=USD("1.3"),
        fixed_amount=USD(2),
        free_transactions=count,
        free_amount=None if amount is None else USD(amount),
    )
    assert price.amount(TRANSACTIONS) == USD(fees)


LIMITS: list[tuple[dict[str, Fraction], str]] = [
    ({}, "301.691"),
    ({"fee_min": USD("1.75"), "fee_max": USD(12)}, "16.142"),
    ({"fee_min": USD("1.75"), "fee_max": USD(12), "fixed_amount": USD(2)}, "18.691"),
]


@pytest.mark.parametrize(("limits", "fees"), LIMITS)
def test_each_fee_keeps_its_minimum_and_maximum(limits: dict[str, Fraction], fees: str) -> None:
    price = Percentage(percent=USD("2.99"), **limits)  # type: ignore[arg-type]  # The fields are those above.
    assert price.amount([USD(10), USD(80), USD(10_000)]) == USD(fees)


def test_a_line_has_one_part_for_each_transaction_that_bears_a_fee() -> None:
    price = Percentage(percent=USD("2.9"), free_transactions=1)
    assert price.parts(before=[], transactions=[USD(5), USD(4)]) == (Part(1, USD("0.116"), "fee of 2.9 %"),)


BAD: list[dict[str, Any]] = [
    {"percent": USD(-1)},
    {"percent": USD(1), "fixed_amount": USD(-1)},
    {"percent": USD(1), "free_amount": USD(-1)},
    {"percent": USD(1), "fee_min": USD(2), "fee_max": USD(1)},
]


@pytest.mark.parametrize("fields", BAD)
def test_a_percentage_that_cannot_price_is_refused_at_set_up(fields: dict[str, Any]) -> None:
    with pytest.raises(InvalidPriceModel):
        Percentage(**fields)


money = st.fractions(min_value=0, max_value=1_000, max_denominator=100)
prices = st.builds(
    Percentage,
    percent=money,
    fixed_amount=money,
    free_transactions=st.none() | st.integers(0, 6),
    free_amount=st.none() | money,
    fee_min=st.none() | st.just(USD(1)),
    fee_max=st.none() | st.just(USD(500)),
)


@given(prices, st.lists(money, max_size=8), st.integers(0, 8))
def test_cutting_the_transactions_into_two_lines_changes_nothing(
    price: Percentage, transactions: list[Fraction], cut: int
) -> None:
    before, after = transactions[:cut], transactions[cut:]
    parts = price.parts(before=[], transactions=before) + price.parts(before=before, transactions=after)
    assert sum(part.amount for part in parts) == price.amount(transactions)
