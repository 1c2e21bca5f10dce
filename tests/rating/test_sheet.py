"""A sheet is exact, chooses the context band by the whole prompt, and says what stands in for what."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from types import SimpleNamespace

import pytest

from costplus.catalog.condition import Condition
from costplus.catalog.context import RequestContext
from costplus.catalog.price import Component
from costplus.core.usage import LEAVES, Usage
from costplus.rating.charge import rate
from costplus.rating.rate_card import adjustment
from costplus.rating.sheet import RateSheet, SheetCache, UnitRate, compile_sheet


def rates_at(sheet: RateSheet, prompt_tokens: int) -> dict[str, UnitRate]:
    by_leaf = sheet.rates_for(prompt_tokens=prompt_tokens).by_leaf
    return {leaf: found[2] for leaf, found in by_leaf.items()}


@pytest.fixture(scope="module")
def banded(build: SimpleNamespace) -> RateSheet:
    """Return a sheet whose input doubles above 200,000 prompt tokens and again above 500,000."""
    price = build.price(
        build.component("input", "3"),
        build.component("input", "6", above=200_000),
        build.component("input", "12", above=500_000),
        build.component("output", "15"),
        build.component("output", "22.5", above=200_000),
    )
    return compile_sheet(price, build.card("30"))


BANDS = [
    (0, "3"),
    (1, "3"),
    (199_999, "3"),
    (200_000, "3"),
    (200_001, "6"),
    (500_000, "6"),
    (500_001, "12"),
    (10**9, "12"),
]


@pytest.mark.parametrize(("prompt_tokens", "usd_per_million"), BANDS)
def test_a_band_begins_strictly_above_its_threshold(
    banded: RateSheet, prompt_tokens: int, usd_per_million: str
) -> None:
    found = rates_at(banded, prompt_tokens)["input"]
    assert found.unit_cost == Fraction(usd_per_million) / 1_000_000
    assert found.unit_price == found.unit_cost * Fraction(13, 10)


def test_the_highest_band_that_a_leaf_knows_applies_above_it(banded: RateSheet) -> None:
    output = rates_at(banded, 500_001)["output"]
    assert (output.unit_cost, output.above_prompt_tokens) == (Fraction("22.5") / 1_000_000, 500_000)


def test_cached_tokens_count_toward_the_prompt_that_chooses_the_band(banded: RateSheet) -> None:
    at = rate(Usage({"input": 1, "cached_input": 199_999, "output": 1}), banded)
    over = rate(Usage({"input": 1, "cached_input": 200_000, "output": 1}), banded)
    assert {line.rate.above_prompt_tokens for line in at.lines} == {0}
    assert {line.rate.above_prompt_tokens for line in over.lines} == {200_000}


def test_output_tokens_do_not_count_toward_the_prompt(banded: RateSheet) -> None:
    lines = rate(Usage({"input": 200_000, "output": 500_000}), banded).lines
    assert {line.rate.above_prompt_tokens for line in lines} == {0}


def test_the_whole_request_is_priced_in_its_band_not_only_the_part_above(banded: RateSheet) -> None:
    assert rate(Usage({"input": 200_001}), banded).cost_nano == 200_001 * 6_000


def test_usage_that_is_not_one_requests_is_priced_in_the_base_band(banded: RateSheet) -> None:
    assert rate(Usage({"input": 10**6}), banded, is_one_request=False).cost_nano == 10**6 * 3_000


@pytest.mark.parametrize(
    ("leaf", "priced_as"),
    [
        ("input", "input"),
        ("cached_input", "cached_input"),
        ("cached_input_audio", "cached_input"),
        ("cache_write_1h", "input"),
        ("input_image", "input"),
        ("reasoning", "output"),
    ],
)
def test_a_leaf_without_its_own_price_is_priced_as_its_nearest_ancestor_and_says_so(
    build: SimpleNamespace, leaf: str, priced_as: str
) -> None:
    sheet = build.sheet({"input": "3", "cached_input": "0.3", "output": "15"})
    assert rates_at(sheet, 1)[leaf].priced_as == priced_as


def test_a_leaf_priced_only_in_the_long_band_falls_back_below_it(build: SimpleNamespace) -> None:
    price = build.price(build.component("input", "3"), build.component("cached_input", "1", above=100))
    sheet = compile_sheet(price, build.card())
    assert rates_at(sheet, 100)["cached_input"].priced_as == "input"
    assert rates_at(sheet, 101)["cached_input"].priced_as == "cached_input"


def test_calls_and_units_have_no_ancestor_and_stay_unpriced(build: SimpleNamespace) -> None:
    assert not {"web_search", "unit"} & set(rates_at(build.sheet({"input": "3", "output": "15"}), 1))


def test_without_any_component_nothing_is_priced(build: SimpleNamespace) -> None:
    assert rates_at(compile_sheet(build.price(), build.card()), 1) == {}


def test_among_components_that_hold_the_one_with_most_conditions_wins(build: SimpleNamespace) -> None:
    two = (Condition("prompt_tokens", "gt", 5), Condition("prompt_tokens", "gt", 10))
    price = build.price(
        Component("input", Decimal(1), 1),
        Component("input", Decimal(2), 1, two),
        Component("input", Decimal(3), 1, (Condition("prompt_tokens", "gt", 20),)),
    )
    sheet = compile_sheet(price, build.card())
    costs = [rates_at(sheet, n)["input"].unit_cost for n in (10, 11, 21)]
    assert costs == [1, 2, 2]


def test_unit_ids_are_the_same_in_every_process_and_tell_every_rate_apart(build: SimpleNamespace) -> None:
    price = build.price(
        build.component("input", "3"), build.component("input", "6", above=9), build.component("output", "3")
    )
    one, again = (compile_sheet(price, build.card("30")) for _ in range(2))
    ids = [found[2].id for _, rates in one.bands for found in rates.by_leaf.values()]
    assert ids == [found[2].id for _, rates in again.bands for found in rates.by_leaf.values()]
    assert len(ids) == len(set(ids))
    assert all(id.startswith("ur_") and len(id) == 27 for id in ids)


def test_another_price_version_card_version_or_markup_makes_other_unit_ids(build: SimpleNamespace) -> None:
    parts = [build.component("input", "3")]
    sheets = [
        compile_sheet(build.price(*parts), build.card("30")),
        compile_sheet(build.price(*parts, id="pv_2"), build.card("30")),
        compile_sheet(build.price(*parts), build.card("30", id="rcv_2")),
        compile_sheet(build.price(*parts), build.card("31")),
        compile_sheet(build.price(build.component("input", "3.1")), build.card("30")),
    ]
    assert len({rates_at(sheet, 1)["input"].id for sheet in sheets}) == len(sheets)


def test_a_rate_that_stands_in_has_another_id_than_the_leafs_own_of_the_same_price(
    build: SimpleNamespace,
) -> None:
    own = rates_at(build.sheet({"input": "3", "cached_input": "3"}), 1)["cached_input"]
    other = rates_at(build.sheet({"input": "3"}), 1)["cached_input"]
    assert (own.unit_cost, own.price_version) == (other.unit_cost, other.price_version)
    assert (own.priced_as, other.priced_as) == ("cached_input", "input")
    assert own.id != other.id


def test_words_that_no_condition_names_share_the_rates_of_an_ordinary_request(
    build: SimpleNamespace,
) -> None:
    flex = Component("input", Decimal(1), 1, (Condition("service_tier", "eq", "flex"),))
    sheet = compile_sheet(build.price(build.component("input", "3"), flex), build.card())
    ordinary, cheaper = (
        sheet.rates_for(prompt_tokens=1, context=RequestContext(service_tier=tier))
        for tier in ("standard", "flex")
    )
    for number in range(1_000):  # More words than a sheet remembers.
        context = RequestContext(service_tier=f"word-{number}")
        assert sheet.rates_for(prompt_tokens=1, context=context) is ordinary
    assert sheet.rates_for(prompt_tokens=1, context=RequestContext(service_tier="flex")) is cheaper
    assert cheaper is not ordinary
    assert ordinary.of("unheard-of") is None


def test_a_margin_that_makes_no_finite_decimals_stays_exact(build: SimpleNamespace) -> None:
    sheet = build.sheet({"input": "3", "output": "10"}, adjust=adjustment("margin", Decimal(30)))
    for leaf, (cost, sell, unit) in sheet.bands[0][1].by_leaf.items():
        assert leaf in LEAVES
        assert Fraction(cost, sheet.cost_denominator) == unit.unit_cost
        assert Fraction(sell, sheet.price_denominator) == unit.unit_price == unit.unit_cost * Fraction(10, 7)


def test_the_cache_compiles_a_pair_once_and_forgets_rather_than_grows(build: SimpleNamespace) -> None:
    cache, card = SheetCache(entries_max=2), build.card()
    prices = [build.price(build.component("input", "3"), id=f"pv_{n}") for n in range(3)]
    first = cache.sheet(prices[0], card)
    assert cache.sheet(prices[0], card) is first
    assert cache.sheet(prices[1], card) is not first
    cache.sheet(prices[2], card)  # The third pair starts the cache anew.
    assert cache.sheet(prices[0], card) is not first
    assert cache.sheet(prices[0], card) == first
