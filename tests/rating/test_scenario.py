"""Scenarios: supposed prices keep what they do not name, changed cards are never taken for real ones."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest

from costplus.catalog.catalogue import Catalogue
from costplus.catalog.context import ORDINARY, RequestContext
from costplus.catalog.snapshot import ModelEntry, ProviderEntry, Snapshot, VersionEntry
from costplus.core.errors import BillingError
from costplus.core.usage import usage_of
from costplus.rating.charge import rate
from costplus.rating.comparison import Comparison, Figures, percent_text
from costplus.rating.pricing import Pricing
from costplus.rating.rate_card import adjustment
from costplus.rating.scenario import Scenario, scenario_of

M = 10**6
START = datetime(2026, 11, 1, tzinfo=UTC)
HALF, END, TICK = START + timedelta(days=10), START + timedelta(days=20), timedelta(microseconds=1)
ENTRIES = (
    ("input", "3", M, None),
    ("input", "1.5", M, "processing=batch"),
    ("input", "6", M, 2000),
    ("output", "10", M, None),
    ("web_search", "0", 1000, None),
)
LATER = (("input", "2", M, None), *ENTRIES[1:])
VERSIONS = (
    VersionEntry("pv_1", START - timedelta(days=300), ENTRIES, valid_to=HALF),
    VersionEntry("pv_2", HALF, LATER, multipliers=(("1.1", "tokens", "region=eu"),)),
)
CATALOGUE = Catalogue(
    Snapshot(
        schema=1,
        taken_on=date(2026, 11, 1),
        currency="usd",
        sources={"test": "1"},
        providers={"openai": ProviderEntry({"large": ModelEntry("test", VERSIONS, aliases=("big",))}, {})},
    )
)


def cost(
    scenario: Scenario,
    build: Any,
    *,
    at: datetime = START,
    context: RequestContext = ORDINARY,
    model: str = "large",
    **quantities: int,
) -> int:
    """Return what usage would cost, in nanos."""
    catalogue = scenario.catalogue_for(CATALOGUE, start=START, end=END)
    sheet = Pricing(catalogue).used("openai", model, card=build.card(), at=at).sheet
    return rate(usage_of(quantities), sheet, context=context).cost_nano


def test_a_set_amount_moves_the_leafs_conditional_amounts_in_proportion(build: Any) -> None:
    cheap = scenario_of(CATALOGUE, at=START, prices={"openai/big": {"input": Decimal(1)}})
    batch = RequestContext(processing="batch")
    assert cost(cheap, build, input=1000) == 1_000_000
    assert cost(cheap, build, input=3000) == 6_000_000
    assert cost(cheap, build, input=1000, context=batch) == 500_000
    assert cost(cheap, build, output=1000) == 10_000_000
    third = scenario_of(CATALOGUE, at=START, prices={"openai/large": {"input": Decimal("0.1")}})
    assert cost(third, build, input=1000, at=HALF, context=batch) == 75_000  # 0.1 × 1.5 ÷ 2, exactly.


def test_a_leaf_without_a_price_of_its_own_and_a_free_one_get_one(build: Any) -> None:
    wanted = {"cached_input": Decimal("0.5"), "web_search": Decimal(10_000)}
    scenario = scenario_of(CATALOGUE, at=START, prices={"openai/large": wanted})
    assert cost(scenario, build, cached_input=1000) == 500_000
    assert cost(scenario, build, web_search=2) == 20_000_000


def test_a_factor_multiplies_each_price_of_the_window_and_keeps_its_multipliers(build: Any) -> None:
    scenario = scenario_of(CATALOGUE, at=START, factors={"openai/large": Decimal("1.5")})
    assert cost(scenario, build, input=1000, at=HALF - TICK) == 4_500_000
    assert cost(scenario, build, input=1000, at=HALF) == 3_000_000
    assert cost(scenario, build, input=1000, at=HALF, context=RequestContext(region="eu")) == 3_300_000
    assert cost(scenario, build, input=1000, at=END - TICK) == 3_000_000
    for outside in (START - TICK, END):
        real = cost(Scenario(), build, input=1000, at=outside)
        assert cost(scenario, build, input=1000, at=outside) == real


def test_a_model_without_a_price_gets_one_whole(build: Any) -> None:
    scenario = scenario_of(CATALOGUE, at=START, prices={"openai/New-1": {"input": Decimal(7)}})
    assert cost(scenario, build, model="new-1", input=1000) == 7_000_000


def test_a_changed_card_has_an_id_of_its_own_and_keeps_what_is_not_named(build: Any) -> None:
    real = build.card("30", providers={"openai": adjustment("markup", Decimal(5))}, priced_as_of=START)
    assert Scenario().card_for(real) is real
    one = Scenario(default=adjustment("markup", Decimal(40))).card_for(real)
    two = Scenario(default=adjustment("margin", Decimal(40))).card_for(real)
    assert len({real.id, one.id, two.id}) == 3
    assert one.providers == real.providers and one.priced_as_of == START
    assert Scenario(pass_on=True).card_for(real).priced_as_of is None


ASKED = [
    ({"overrides": {"nobody": adjustment("markup", Decimal(1))}}, "simulation_name_unknown"),
    ({"factors": {"openai/none": Decimal(2)}}, "simulation_name_unknown"),
    ({"prices": {"large": {"input": Decimal(2)}}}, "simulation_name_unknown"),
    ({"factors": {"openai/large": Decimal(-1)}}, "simulation_price_invalid"),
    ({"factors": {"openai/large": Decimal(1001)}}, "simulation_price_invalid"),
    ({"prices": {"openai/large": {"ink": Decimal(2)}}}, "simulation_price_invalid"),
    ({"prices": {"openai/large": {"input": Decimal(-2)}}}, "simulation_price_invalid"),
]


@pytest.mark.parametrize(("asked", "code"), ASKED)
def test_what_cannot_be_supposed_is_refused(asked: dict[str, Any], code: str) -> None:
    with pytest.raises(BillingError) as refused:
        scenario_of(CATALOGUE, at=START, **asked)
    assert refused.value.code == code


PERCENTS = [(Fraction(300, 13), "23.07"), (Fraction(-300, 13), "-23.07"), (Fraction(30), "30.00")]
PERCENTS += [(Fraction(-1, 1000), "0.00"), (Fraction(-1, 100), "-0.01")]


@pytest.mark.parametrize(("percent", "text"), PERCENTS)
def test_a_percentage_is_cut_towards_zero(percent: Fraction, text: str) -> None:
    assert percent_text(percent) == text


def test_without_revenue_there_is_no_margin_percentage() -> None:
    assert percent_text(Figures(0, 5, 0).margin_percent) is None
    both = Comparison(1, Figures(10, 7, 0), Figures(0, 5, 1), 0) + Comparison(
        2, Figures(1, 1, 1), Figures(), 1
    )
    assert both == Comparison(3, Figures(11, 8, 1), Figures(0, 5, 1), 1)
