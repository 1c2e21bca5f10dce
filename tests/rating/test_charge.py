"""A charge never sells below cost × factor, says what it could not price, and shows its working."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costplus.core.money import NANO, InvalidAmount, for_ledger
from costplus.core.usage import LEAVES, Usage
from costplus.rating.charge import Charge, explain, rate, unpriced_charge
from costplus.rating.rate_card import Adjustment, adjustment

TOKENS = sorted(leaf.name for leaf in LEAVES.values() if leaf.unit == "token")
adjustments = st.one_of(
    st.integers(0, 300_000_000).map(lambda n: adjustment("markup", Decimal(n).scaleb(-6))),
    st.integers(0, 99_999_999).map(lambda n: adjustment("margin", Decimal(n).scaleb(-6))),
)
usd_per_million = st.integers(0, 10**12).map(lambda n: str(Decimal(n).scaleb(-8)))  # Up to $10,000 a million.
price_lists = st.dictionaries(st.sampled_from(TOKENS), usd_per_million, max_size=6)
quantities = st.dictionaries(st.sampled_from(TOKENS), st.integers(1, 2_000_000), max_size=6)


def exact_cost(charge: Charge) -> Fraction:
    return sum((line.quantity * line.rate.unit_cost for line in charge.lines), Fraction(0)) * NANO


def test_a_four_token_embedding_costs_80_nano_and_sells_for_104_at_30_percent(build: SimpleNamespace) -> None:
    charge = build.charge({"input": 4}, {"input": "0.02"}, markup="30")
    assert (charge.cost_nano, charge.price_nano) == (80, 104)


def test_one_token_below_a_nano_is_still_charged_one(build: SimpleNamespace) -> None:
    charge = build.charge({"input": 1}, {"input": "0.0001"})
    assert (charge.cost_nano, charge.price_nano) == (1, 1)


def test_the_sum_is_rounded_and_not_each_leaf(build: SimpleNamespace) -> None:
    rates = {"input": "0.0004", "output": "0.0005"}  # 0.4 and 0.5 nano a token.
    assert build.charge({"input": 1, "output": 1}, rates).cost_nano == 1
    assert build.charge({"input": 1, "output": 2}, rates).cost_nano == 2


def test_nothing_used_is_charged_nothing_and_is_not_unpriced(build: SimpleNamespace) -> None:
    assert build.charge({}, {"input": "3"}) == Charge(price_nano=0, cost_nano=0, lines=())


def test_a_price_of_zero_is_a_price(build: SimpleNamespace) -> None:
    charge = build.charge({"input": 10}, {"input": "0"})
    assert (charge.price_nano, charge.unpriced, len(charge.lines)) == (0, (), 1)


def test_an_unpriced_leaf_is_said_and_the_priced_ones_are_charged(build: SimpleNamespace) -> None:
    charge = build.charge({"input": 2, "output": 5, "web_search": 1}, {"input": "1"})
    assert charge.unpriced == ("output", "web_search")
    assert charge.cost_nano == 2_000
    assert [line.rate.leaf for line in charge.lines] == ["input"]


def test_a_model_without_a_price_is_said_and_not_free() -> None:
    assert unpriced_charge().unpriced == ("model",)


def test_a_charge_too_large_for_the_ledger_is_an_error(build: SimpleNamespace) -> None:
    with pytest.raises(InvalidAmount):
        build.charge({"input": 10**18}, {"input": "10000"})


@given(price_lists, quantities, adjustments)
def test_the_price_is_at_least_cost_times_factor_and_less_than_a_nano_above(
    build: SimpleNamespace, rates: dict[str, str], used: dict[str, int], adjust: Adjustment
) -> None:
    charge = rate(Usage(used), build.sheet(rates, adjust=adjust))
    exact = exact_cost(charge)
    assert 0 <= charge.price_nano - exact * adjust.factor < 1
    assert 0 <= charge.cost_nano - exact < 1
    assert charge.price_nano >= charge.cost_nano  # No adjustment sells below cost.


@given(price_lists, quantities, adjustments)
def test_every_leaf_is_on_a_line_or_said_to_be_unpriced(
    build: SimpleNamespace, rates: dict[str, str], used: dict[str, int], adjust: Adjustment
) -> None:
    charge = rate(Usage(used), build.sheet(rates, adjust=adjust))
    lines = {line.rate.leaf: line.quantity for line in charge.lines}
    assert lines == {leaf: n for leaf, n in used.items() if leaf not in charge.unpriced}
    assert set(lines) | set(charge.unpriced) == set(used)


@given(price_lists, quantities, adjustments)
def test_the_working_that_is_shown_adds_up_to_the_charge(
    build: SimpleNamespace, rates: dict[str, str], used: dict[str, int], adjust: Adjustment
) -> None:
    charge = rate(Usage(used), build.sheet(rates, adjust=adjust))
    shown = explain(charge)
    assert sum((Fraction(step.price) for step in shown.steps), Fraction(0)) == Fraction(shown.exact_price)
    assert sum((Fraction(step.cost) for step in shown.steps), Fraction(0)) == Fraction(shown.exact_cost)
    assert all(step.quantity * Fraction(step.unit_price) == Fraction(step.price) for step in shown.steps)
    assert for_ledger(Fraction(shown.exact_price)) == charge.price_nano == Fraction(shown.price) * NANO
    assert for_ledger(Fraction(shown.exact_cost)) == charge.cost_nano == Fraction(shown.cost) * NANO


def test_the_working_names_quantity_rate_adjustment_and_the_leaf_that_stood_in(
    build: SimpleNamespace,
) -> None:
    step = explain(build.charge({"cached_input": 7}, {"input": "3"}, markup="30")).steps[0]
    assert step.working == "7 cached_input × 0.000003 with markup 30%, priced as input"
    assert (step.unit_price, step.price) == ("0.0000039", "0.0000273")


def test_an_explanation_repeats_what_could_not_be_priced(build: SimpleNamespace) -> None:
    assert explain(build.charge({"output": 1}, {"input": "1"})).unpriced == ("output",)


@given(st.lists(quantities, min_size=1, max_size=8), adjustments)
def test_many_events_exceed_their_exact_sum_by_less_than_a_nano_each(
    build: SimpleNamespace, events: list[dict[str, int]], adjust: Adjustment
) -> None:
    sheet = build.sheet({"input": "0.0123", "cached_input": "0.00123", "output": "0.0777"}, adjust=adjust)
    charges = [rate(Usage(used), sheet) for used in events]
    exact = sum(exact_cost(charge) for charge in charges) * adjust.factor
    assert 0 <= sum(charge.price_nano for charge in charges) - exact < len(events)
