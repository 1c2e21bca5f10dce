"""What if, exactly: the real terms give the real charges; a scenario gives what really happens under it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from costplus.rating.rate_card import FixedPrice, adjustment
from costplus.rating.scenario import Scenario, scenario_of

pytestmark = pytest.mark.slow

M = 10**6
START = datetime(2026, 11, 1, tzinfo=UTC)
HALF, END, TICK = START + timedelta(days=10), START + timedelta(days=20), timedelta(microseconds=1)
Fields = dict[str, Any]  # Of a use or of a shop.

NAMES = ["openai/large", "openai/BIG", "openai/large:batch", "openai/small", "mistral/tiny", "openai/secret"]
LEAVES = ["input", "cached_input", "cache_write_5m", "output", "reasoning", "web_search"]
WORDS = ["", "", "region=eu", "service_tier=priority", "processing=batch", "region=eu&service_tier=flex"]
percents = st.sampled_from(["0", "12.5", "30", "33.333333", "99.9"]).map(Decimal)
adjustments = st.builds(adjustment, st.sampled_from(["markup", "margin"]), percents)
uses = st.builds(
    dict,
    customer=st.sampled_from(["cus_1", "cus_2"]),
    name=st.sampled_from(NAMES),
    quantities=st.dictionaries(st.sampled_from(LEAVES), st.integers(0, 5000), max_size=4),
    at=st.sampled_from([START - TICK, START, HALF - TICK, HALF, END - TICK, END]),
    words=st.sampled_from(WORDS),
    source=st.sampled_from(["gateway", "gateway", "meter_events_v2"]),
)
cards = st.fixed_dictionaries(
    {},
    optional={
        "providers": st.dictionaries(st.sampled_from(["openai", "mistral"]), adjustments, max_size=2),
        "model_overrides": st.dictionaries(st.just("openai/large"), adjustments),
        "token_types": st.dictionaries(st.sampled_from(["output", "openai/small:input"]), adjustments),
        "fixed": st.dictionaries(st.just("cached_input"), st.just(FixedPrice(Decimal("0.7"), M))),
        "models": st.just(("openai/large", "openai/small")),
    },
)
shops = st.builds(dict, default=adjustments, card=cards, own=st.dictionaries(st.just("cus_2"), adjustments))
anything = given(happened=st.lists(uses, max_size=25), shop=shops)
FEW = settings(max_examples=10)
SOME = settings(max_examples=40)


@SOME
@anything
def test_the_real_terms_give_what_was_charged_to_the_nano(
    world: Any, happened: list[Fields], shop: Fields
) -> None:
    holds_exactly(world, happened, shop, on_file=False)


@FEW
@anything
def test_on_sqlite_too_the_real_terms_give_what_was_charged(
    world: Any, happened: list[Fields], shop: Fields
) -> None:
    holds_exactly(world, happened, shop, on_file=True)


def holds_exactly(world: Any, happened: list[Fields], shop: Fields, *, on_file: bool) -> None:
    made, really = world.run(happened, shop=shop, on_file=on_file)
    for place in (0, 1):
        assert world.sums_of(made, place) == world.sums_of(made, place, side="now") == world.by(place, really)
    assert made.total.newly_priced == 0
    assert made.total.now.unpriced == made.total.then.unpriced


@SOME
@anything
def test_a_simulated_markup_is_what_the_same_usage_is_charged_under_it(
    world: Any, happened: list[Fields], shop: Fields
) -> None:
    other = adjustment("margin", Decimal(17))
    for_large = adjustment("markup", Decimal(55))
    scenario = Scenario(default=other, models={"openai/large": for_large})
    made, _ = world.run(happened, scenario, shop=shop)
    models = {**shop["card"].get("model_overrides", {}), "openai/large": for_large}
    changed = {**shop, "default": other, "card": {**shop["card"], "model_overrides": models}}
    _, really = world.run(happened, shop=changed)
    for place in (0, 1):
        assert world.sums_of(made, place) == world.by(place, really)


@SOME
@anything
def test_a_simulated_price_costs_what_it_really_costs_once_it_is_recorded(
    world: Any, happened: list[Fields], shop: Fields
) -> None:
    wanted = {"mistral/tiny": {"input": Decimal("0.4"), "output": Decimal("0.9")}}
    wanted["openai/secret"] = {"input": Decimal(3)}
    known = {**shop, "card": {**shop["card"], "models_as_of": None}}
    scenario = scenario_of(world.catalogue, at=START, prices=wanted)
    made, _ = world.run(happened, scenario, shop=known)
    further = [world.recorded("mistral/tiny", [("input", "0.4", M, None), ("output", "0.9", M, None)])]
    further += [world.recorded("openai/secret", [("input", "3", M, None)])]
    _, really = world.run(happened, shop=known, catalogue=world.catalogue.with_recorded(further))
    for place in (0, 1):
        assert world.sums_of(made, place) == world.by(place, really)
