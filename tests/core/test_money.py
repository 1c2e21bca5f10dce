"""Money is exact, rounds up once into the ledger and down once onto an invoice."""

from __future__ import annotations

import itertools
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costplus.core.money import (
    NANO,
    NANO_MAX,
    InvalidAmount,
    checked_nano,
    decimal_text,
    for_invoice,
    for_ledger,
    minor_exponent,
    nano_per_minor,
    nano_text,
    parse_decimal,
    parse_exact,
    spread,
)

CENT = 10_000_000

fractions = st.fractions(min_value=-9_000_000_000, max_value=9_000_000_000, max_denominator=10**15)
nanos = st.integers(-NANO_MAX, NANO_MAX)

LEDGER_EDGES = [
    (Fraction(0), 0),
    (Fraction(1, NANO), 1),
    (Fraction(1, NANO) - Fraction(1, 10**30), 1),
    (Fraction(1, NANO) + Fraction(1, 10**30), 2),
    (Fraction(1, 10**30), 1),
    (Fraction(-1, 10**30), 0),
    (Fraction(-1, NANO), -1),
    (Fraction(-3, 2 * NANO), -1),
    (Fraction(1, 3), 333_333_334),
    (Fraction(-1, 3), -333_333_333),
    (7, 7 * NANO),
    (-7, -7 * NANO),
    (Fraction(NANO_MAX, NANO), NANO_MAX),
]


@pytest.mark.parametrize(("exact", "nano"), LEDGER_EDGES)
def test_an_amount_is_rounded_up_to_the_next_nano(exact: Fraction | int, nano: int) -> None:
    assert for_ledger(exact) == nano


@given(fractions)
def test_rounding_for_the_ledger_adds_less_than_one_nano_and_never_takes_away(exact: Fraction) -> None:
    assert 0 <= for_ledger(exact) - exact * NANO < 1


TOO_LARGE = [Fraction(NANO_MAX, NANO) + Fraction(1, 10**30), 2**63, -(2**63), Fraction(-(2**63), NANO)]


@pytest.mark.parametrize("exact", TOO_LARGE)
def test_an_amount_beyond_an_int64_of_nanos_is_an_error_and_not_a_wrap(exact: Fraction | int) -> None:
    with pytest.raises(InvalidAmount):
        for_ledger(exact)


def test_the_largest_amounts_of_either_sign_still_fit() -> None:
    assert checked_nano(NANO_MAX) == NANO_MAX
    assert checked_nano(-NANO_MAX) == -NANO_MAX


INVOICE_EDGES = [
    ("usd", 0, 0),
    ("usd", 9_999_999, 0),
    ("usd", 10_000_000, 1),
    ("usd", 10_000_001, 1),
    ("usd", -1, -1),
    ("jpy", NANO - 1, 0),
    ("jpy", NANO, 1),
    ("kwd", 999_999, 0),
    ("kwd", 1_000_000, 1),
]


@pytest.mark.parametrize(("currency", "nano", "minor"), INVOICE_EDGES)
def test_an_invoice_total_is_rounded_down_to_the_currencys_minor_unit(
    currency: str, nano: int, minor: int
) -> None:
    assert for_invoice(nano, currency=currency) == minor


HALF_UP = [
    (Fraction(CENT, 2) - Fraction(1, 10**30), 0),
    (CENT // 2, 1),
    (CENT + CENT // 2 - 1, 1),
    (199 * CENT + CENT // 2, 200),
    (-CENT // 2, -1),
    (-CENT // 2 + 1, 0),
    (0, 0),
]


@pytest.mark.parametrize(("nano", "minor"), HALF_UP)
def test_a_line_can_be_rounded_half_up_to_the_nearest_minor_unit(nano: int | Fraction, minor: int) -> None:
    assert for_invoice(nano, currency="usd", policy="line_half_up") == minor


@given(nanos, st.sampled_from(["usd", "jpy", "kwd"]))
def test_what_an_invoice_does_not_ask_for_is_less_than_one_minor_unit(nano: int, currency: str) -> None:
    rest = nano - for_invoice(nano, currency=currency) * nano_per_minor(currency)
    assert 0 <= rest < nano_per_minor(currency)


def test_minor_units_follow_iso_4217_whatever_the_case() -> None:
    assert [minor_exponent(c) for c in ("usd", "EUR", "JPY", "kwd")] == [2, 2, 0, 3]
    assert [nano_per_minor(c) for c in ("usd", "jpy", "kwd")] == [10**7, 10**9, 10**6]


SPREADS = [
    (0, [], []),
    (0, [1, 2], [0, 0]),
    (5, [0, 0], [5, 0]),
    (1, [1, 1], [1, 0]),
    (2, [1, 1, 1], [1, 1, 0]),
    (10, [0, 1, 0], [0, 10, 0]),
    (3, [Fraction(1, 3), Fraction(2, 3)], [1, 2]),
    (100, [1, 1, 4], [17, 17, 66]),
]


@pytest.mark.parametrize(("total", "weights", "parts"), SPREADS)
def test_the_largest_remainder_gets_the_odd_unit_and_ties_go_to_the_earlier(
    total: int, weights: list[int | Fraction], parts: list[int]
) -> None:
    assert spread(total, weights) == parts


def test_nothing_can_be_spread_over_nobody_but_zero() -> None:
    with pytest.raises(AssertionError):
        spread(1, [])


@given(st.integers(0, 10**20), st.lists(st.integers(0, 10**12), min_size=1, max_size=12))
def test_spread_parts_sum_to_the_total_and_are_each_within_one_of_their_share(
    total: int, weights: list[int]
) -> None:
    parts = spread(total, weights)
    assert sum(parts) == total
    whole = sum(weights)
    if whole:
        assert all(abs(p - Fraction(total) * w / whole) < 1 for p, w in zip(parts, weights, strict=True))


@given(st.integers(0, 10**9), st.lists(st.integers(0, 10**6), min_size=2, max_size=8))
def test_spread_never_gives_the_heavier_less_than_the_lighter(total: int, weights: list[int]) -> None:
    pairs = sorted(zip(weights, spread(total, weights), strict=True))
    if sum(weights):
        assert all(b[1] >= a[1] for a, b in itertools.pairwise(pairs) if a[0] < b[0])


TEXTS = [
    (Fraction(0), "0"),
    (Decimal("1.50"), "1.5"),
    (Fraction(1, 8), "0.125"),
    (Fraction(-1, 8), "-0.125"),
    (Fraction(1, 3), "1/3"),
    (Fraction(-10, 7), "-10/7"),
    (Decimal("1E+3"), "1000"),
    (Decimal("1E-12"), "0.000000000001"),
    (12, "12"),
]


@pytest.mark.parametrize(("exact", "text"), TEXTS)
def test_exact_amounts_are_written_as_decimals_where_finite_and_else_as_a_fraction(
    exact: Fraction | Decimal | int, text: str
) -> None:
    assert decimal_text(exact) == text


@given(fractions)
def test_an_exact_amount_survives_being_written_and_read(exact: Fraction) -> None:
    assert parse_exact(decimal_text(exact)) == exact


@given(st.integers(-(10**30), 10**30), st.integers(0, 30))
def test_a_finite_decimal_is_never_written_as_a_fraction_or_with_an_exponent(
    digits: int, places: int
) -> None:
    text = decimal_text(Fraction(digits, 10**places))
    assert set(text) <= set("-.0123456789")
    assert Fraction(text) == Fraction(digits, 10**places)


@pytest.mark.parametrize(
    ("nano", "text"),
    [(0, "0"), (1, "0.000000001"), (-1, "-0.000000001"), (1500, "0.0000015"), (NANO, "1"), (-NANO, "-1")],
)
def test_a_ledger_amount_is_written_with_all_of_its_digits(nano: int, text: str) -> None:
    assert nano_text(nano) == text


@given(nanos)
def test_a_ledger_amount_survives_being_written_and_read(nano: int) -> None:
    assert Fraction(nano_text(nano)) * NANO == nano


@pytest.mark.parametrize("text", ["", "x", "1,5", "--1", "NaN", "Infinity", "-inf", "sNaN"])
def test_text_that_is_not_a_finite_number_is_refused_and_names_its_parameter(text: str) -> None:
    with pytest.raises(InvalidAmount) as caught:
        parse_decimal(text, param="amount")
    assert caught.value.param == "amount"


def test_a_decimal_is_read_with_every_digit_it_has() -> None:
    text = "0.123456789012345678901234567890123456789"
    assert parse_decimal(text).as_tuple().digits == tuple(int(d) for d in text[2:])
