"""Calls with a customer's own key cost nothing; they sell for nothing, or for a share of the list price."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costplus.catalog.price import Component, PriceVersion
from costplus.core.usage import OWN_KEY, Usage
from costplus.rating.charge import Charge, explain, rate
from costplus.rating.proof import charge_wrongs, coverage_wrongs, rate_wrongs
from costplus.rating.rate_card import RateCardVersion, adjustment
from costplus.rating.sheet import RateSheet, compile_sheet, sheet_for

AT = datetime(2026, 1, 1, tzinfo=UTC)
PARTS = (Component("input", Decimal("0.15"), 1_000_000), Component("output", Decimal("0.6"), 1_000_000))
PRICE = PriceVersion("pv_m", "openai", "m", "usd", AT, None, PARTS)


def card(fee: str | Decimal = "0", *, floor: str | None = None) -> RateCardVersion:
    return RateCardVersion(
        id="rcv_1",
        created=AT,
        rate_card="rcd_1",
        default=adjustment("markup", Decimal(30)),
        own_key_fee_percent=Decimal(fee),
        floor_margin_percent=None if floor is None else Decimal(floor),
    )


def sheet(fee: str | Decimal = "0") -> RateSheet:
    return compile_sheet(PRICE, card(fee))


def wrongs(charge: Charge, usage: Usage, own_card: RateCardVersion) -> list[str]:
    found = [*charge_wrongs(charge), *coverage_wrongs(charge, usage)]
    for line in charge.lines:
        found += rate_wrongs(line.rate, price=PRICE, basis=None, card=own_card)
    return found


def test_by_default_nothing_is_charged_and_everything_is_counted() -> None:
    usage = Usage({"input": 1000, "output": 10}, (OWN_KEY,))
    charge = rate(usage, sheet())
    assert (charge.price_nano, charge.cost_nano, charge.unpriced) == (0, 0, ())
    assert [line.quantity for line in charge.lines] == [1000, 10]
    assert {line.rate.conditions for line in charge.lines} == {"customer's own key"}
    assert not wrongs(charge, usage, card())
    assert "with the customer's own key" in explain(charge).steps[0].working


@given(
    fee=st.decimals(0, 10_000, places=6, allow_nan=False),
    tokens=st.tuples(st.integers(0, 10**9), st.integers(0, 10**9)),
)
def test_a_fee_is_its_share_of_the_list_rounded_up_once(fee: Decimal, tokens: tuple[int, int]) -> None:
    usage = Usage(dict(zip(("input", "output"), tokens, strict=True)), (OWN_KEY,))
    charge = rate(usage, sheet(fee))
    listed = tokens[0] * PARTS[0].unit_cost + tokens[1] * PARTS[1].unit_cost
    exact = listed * Fraction(fee) / 100 * 10**9
    assert charge.price_nano == -(-exact.numerator // exact.denominator)
    assert charge.cost_nano == 0
    assert not wrongs(charge, usage, card(fee))


def test_usage_without_the_flag_is_sold_as_ever() -> None:
    usage = Usage({"input": 1000})
    assert rate(usage, sheet("5")) == rate(usage, sheet("0"))
    assert rate(usage, sheet()).cost_nano == 150_000


def test_rated_by_its_own_sheet_or_by_its_flag_it_is_the_same() -> None:
    usage = Usage({"input": 7, "output": 3}, (OWN_KEY,))
    own = sheet_for(sheet("2.5"), usage.flags)
    assert rate(usage, own) == rate(usage, sheet("2.5")) == rate(Usage(usage.quantities), own)


def test_a_floor_holds_because_nothing_is_lost() -> None:
    sheet_for(compile_sheet(PRICE, card(floor="50")), (OWN_KEY,)).check_floor()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"unit_cost": Fraction(1)}, "costs the seller something"),
        ({"unit_price": Fraction(1)}, "is not 5% of what pv_m says"),
    ],
)
def test_a_rate_that_does_not_follow_is_found(change: dict[str, Fraction], said: str) -> None:
    (line,) = rate(Usage({"input": 1}, (OWN_KEY,)), sheet("5")).lines
    found = rate_wrongs(replace(line.rate, **change), price=PRICE, basis=None, card=card("5"))  # type: ignore[arg-type]  # The fields are those above.
    assert any(said in wrong for wrong in found)


def test_another_cards_fee_is_found() -> None:
    (line,) = rate(Usage({"input": 1}, (OWN_KEY,)), sheet("5")).lines
    found = list(rate_wrongs(line.rate, price=PRICE, basis=None, card=card("6")))
    assert found == ["own key fee 5% is not what card rcv_1 says"]
