"""Circumstances choose the price: tiers, windows, regions and multipliers, alone and together."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from types import SimpleNamespace
from typing import TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costplus.catalog.condition import Condition, when_of
from costplus.catalog.context import ORDINARY, RequestContext
from costplus.catalog.price import Component, Minimum, Multiplier
from costplus.catalog.snapshot import price_version_id
from costplus.core.money import NANO, for_ledger
from costplus.core.usage import LEAVES, Usage
from costplus.rating.charge import explain, rate
from costplus.rating.rate_card import Adjustment, adjustment
from costplus.rating.sheet import RateSheet, compile_sheet

T = TypeVar("T")

MILLION = 1_000_000
FLEX, PRIORITY = RequestContext(service_tier="flex"), RequestContext(service_tier="priority")


def part(leaf: str, usd: str, when: str = "", *, rank: int = 0) -> Component:
    return Component(leaf, Decimal(usd), MILLION, when_of(when), rank)


def cost(sheet: RateSheet, quantities: dict[str, int], context: RequestContext = ORDINARY) -> Fraction:
    return Fraction(explain(rate(Usage(quantities), sheet, context=context)).exact_cost) * MILLION


@pytest.fixture(scope="module")
def tiered(build: SimpleNamespace) -> RateSheet:
    """Return a sheet with a long context, a cheap and a dear tier, a batch price and a dear region."""
    price = build.price(
        part("input", "4"),
        part("input", "8", "prompt_tokens>100"),
        part("input", "2", "service_tier=flex"),
        part("input", "5", "prompt_tokens>100&service_tier=flex"),
        part("input", "9", "service_tier=priority"),
        part("output", "1", "processing=batch"),
        part("output", "2"),
        Component("web_search", Decimal(10), 1_000),
        Component("web_search", Decimal(25), 1_000, when_of("search_context_size=high")),
        multipliers=(Multiplier(Decimal("1.1"), when_of("region=eu|us")),),
    )
    return compile_sheet(price, build.card("30"))


CHOICES = [
    ({"input": 100}, ORDINARY, 400),
    ({"input": 101}, ORDINARY, 808),
    ({"input": 100}, FLEX, 200),
    ({"input": 101}, FLEX, 505),
    ({"input": 100}, PRIORITY, 900),
    ({"input": 101}, PRIORITY, 909),  # Neither of the two that hold is more specific: the dearer counts.
    ({"input": 100}, RequestContext(service_tier="unheard-of"), 400),
    ({"output": 1}, RequestContext(processing="batch"), 1),
    ({"input": 10}, RequestContext(region="us"), 44),
    ({"input": 10}, RequestContext(region="ap"), 40),
    ({"input": 10, "web_search": 1}, RequestContext(region="eu"), 44 + 10_000),
    ({"web_search": 2}, RequestContext(search_context_size="high"), 50_000),
]


@pytest.mark.parametrize(("quantities", "context", "expected"), CHOICES)
def test_the_circumstances_choose_the_price(
    tiered: RateSheet, quantities: dict[str, int], context: RequestContext, expected: int
) -> None:
    assert cost(tiered, quantities, context) == expected


def test_an_explicit_rank_decides_between_equally_many_conditions(build: SimpleNamespace) -> None:
    price = build.price(
        part("input", "1"),
        part("input", "3", "service_tier=flex", rank=1),
        part("input", "7", "processing=batch"),
    )
    both = RequestContext(service_tier="flex", processing="batch")
    assert cost(compile_sheet(price, build.card()), {"input": 1}, both) == 3


def test_multipliers_that_hold_stack_and_keep_to_their_direction(build: SimpleNamespace) -> None:
    price = build.price(
        part("input", "10"),
        part("output", "10"),
        multipliers=(
            Multiplier(Decimal("1.1"), when_of("region=us")),
            Multiplier(Decimal(2), when_of("speed=fast"), "output"),
        ),
    )
    sheet = compile_sheet(price, build.card())
    context = RequestContext(region="us", speed="fast")
    assert cost(sheet, {"input": 1}, context) == 11
    assert cost(sheet, {"output": 1}, context) == 22


def test_a_peak_that_stacks_on_a_tier_is_the_component_with_both_conditions(build: SimpleNamespace) -> None:
    peak = "request_time=12345 01:00-04:00"
    price = build.price(
        part("input", "1"), part("input", "2", peak), part("input", "5", f"{peak}&speed=fast")
    )
    sheet = compile_sheet(price, build.card())
    monday, saturday = datetime(2026, 8, 17, 2, tzinfo=UTC), datetime(2026, 8, 22, 2, tzinfo=UTC)
    costs = [
        cost(sheet, {"input": 1}, RequestContext(at=at, speed=speed))
        for at in (monday, saturday)
        for speed in ("standard", "fast")
    ]
    assert costs == [2, 5, 1, 1]


def test_a_minimum_is_charged_once_something_was_used_and_never_otherwise(build: SimpleNamespace) -> None:
    price = build.price(part("input", "1"), part("output", "1"), minimums=(Minimum("input", 10),))
    sheet = compile_sheet(price, build.card())
    assert [cost(sheet, used) for used in ({"input": 3}, {"input": 11}, {"output": 3})] == [10, 11, 3]


def test_a_fee_per_request_is_charged_once_and_only_to_one_request(build: SimpleNamespace) -> None:
    price = build.price(part("input", "1"), Component("request", Decimal(12), 1_000))
    sheet = compile_sheet(price, build.card("30"))
    charge = rate(Usage({"input": 1000}), sheet)
    assert {line.rate.leaf: line.quantity for line in charge.lines} == {"request": 1, "input": 1000}
    assert charge.cost_nano == 13_000_000
    assert charge.price_nano == 16_900_000
    assert rate(Usage({"input": 1000}), sheet, is_one_request=False).cost_nano == 1_000_000
    assert rate(Usage({"input": 1000, "request": 2}), sheet).cost_nano == 25_000_000
    assert rate(Usage({}), sheet).lines == ()


def test_a_unit_rate_says_what_chose_it_and_has_an_id_of_its_own(tiered: RateSheet) -> None:
    usage = Usage({"input": 101})
    plain, flex, far = (
        rate(usage, tiered, context=context).lines[0].rate
        for context in (ORDINARY, FLEX, RequestContext(service_tier="flex", region="us"))
    )
    assert (plain.conditions, flex.conditions) == ("", "service_tier=flex")
    assert far.conditions == "service_tier=flex, ×1.1 region=eu|us"
    assert {unit.above_prompt_tokens for unit in (plain, flex, far)} == {100}
    assert len({plain.id, flex.id, far.id}) == 3
    assert (
        "service_tier=flex, ×1.1 region=eu|us"
        in explain(rate(usage, tiered, context=RequestContext(service_tier="flex", region="us")))
        .steps[0]
        .working
    )


COVERED = [
    ([part("input", "1"), part("input", "2", "service_tier=priority")], True),
    ([part("input", "1"), part("output", "1"), part("input", "2", "service_tier=priority")], False),
    ([part("input", "1")], False),
    ([part("input", "2", "service_tier=flex|priority"), Component("web_search", Decimal(1), 1)], True),
]


@pytest.mark.parametrize(("parts", "covered"), COVERED)
def test_a_tier_is_covered_where_every_token_leaf_has_its_price(
    build: SimpleNamespace, parts: list[Component], covered: bool
) -> None:
    assert build.price(*parts).covers("service_tier", "priority") is covered


def test_a_multiplier_covers_its_condition(build: SimpleNamespace) -> None:
    price = build.price(part("input", "1"), multipliers=(Multiplier(Decimal(2), when_of("speed=fast")),))
    assert price.covers("speed", "fast")
    assert not price.covers("speed", "faster")


words = ["service_tier=flex", "service_tier=priority", "processing=batch", "region=us", "speed=fast"]
words += ["prompt_tokens>100", "prompt_tokens>=50", "prompt_tokens<=20", "request_time=6 00:00-00:00"]
whens = st.sets(st.sampled_from(words), max_size=3).map(lambda found: when_of("&".join(sorted(found))))
tokens = [leaf.name for leaf in LEAVES.values() if leaf.unit == "token"]
parts = st.builds(
    Component,
    st.sampled_from([*tokens[:6], "output", "web_search"]),
    st.integers(0, 10**6).map(lambda n: Decimal(n).scaleb(-4)),
    st.just(MILLION),
    whens,
    st.integers(0, 1),
)
multipliers = st.builds(
    Multiplier,
    st.integers(50, 300).map(lambda n: Decimal(n).scaleb(-2)),
    whens,
    st.sampled_from(["tokens", "input", "output"]),
)
contexts = st.builds(
    RequestContext,
    service_tier=st.sampled_from(["standard", "flex", "priority"]),
    processing=st.sampled_from(["sync", "batch"]),
    region=st.sampled_from(["", "us"]),
    speed=st.sampled_from(["standard", "fast"]),
    at=st.sampled_from([None, datetime(2026, 8, 22, tzinfo=UTC), datetime(2026, 8, 23, tzinfo=UTC)]),
)
used = st.dictionaries(
    st.sampled_from(["input", "cached_input", "cache_write_1h", "output", "reasoning", "web_search"]),
    st.integers(1, 300),
)


minimums = st.lists(st.builds(Minimum, st.sampled_from(["input", "output"]), st.integers(1, 500)), max_size=1)
adjustments = st.one_of(
    st.integers(0, 300_000_000).map(lambda n: adjustment("markup", Decimal(n).scaleb(-6))),
    st.integers(0, 99_999_999).map(lambda n: adjustment("margin", Decimal(n).scaleb(-6))),
)
versions = st.tuples(st.lists(parts, max_size=8), st.lists(multipliers, max_size=2), minimums)
Version = tuple[list[Component], list[Multiplier], list[Minimum]]


@given(versions, adjustments, contexts, used)
def test_in_any_context_the_exact_price_is_cost_times_factor_and_only_the_sum_is_rounded_up(
    build: SimpleNamespace,
    stated: Version,
    adjust: Adjustment,
    context: RequestContext,
    quantities: dict[str, int],
) -> None:
    listed, factors, least = stated
    version = build.price(*listed, multipliers=tuple(factors), minimums=tuple(least))
    charge = rate(Usage(quantities), compile_sheet(version, build.card(adjust)), context=context)
    for line in charge.lines:
        assert line.rate.adjustment == adjust
        assert line.rate.unit_price == line.rate.unit_cost * adjust.factor >= line.rate.unit_cost
    exact = sum((line.quantity * line.rate.unit_cost for line in charge.lines), Fraction(0))
    assert (charge.cost_nano, charge.price_nano) == (for_ledger(exact), for_ledger(exact * adjust.factor))
    assert charge.price_nano >= exact * adjust.factor * NANO
    assert {line.rate.leaf for line in charge.lines} | set(charge.unpriced) == set(quantities)
    floors = {minimum.leaf: minimum.quantity for minimum in least}
    assert {line.rate.leaf: line.quantity for line in charge.lines} == {
        leaf: max(n, floors.get(leaf, 0)) for leaf, n in quantities.items() if leaf not in charge.unpriced
    }


@given(versions, contexts, used, st.randoms(use_true_random=False))
def test_the_order_of_components_conditions_and_multipliers_changes_neither_ids_nor_charges(
    build: SimpleNamespace,
    stated: Version,
    context: RequestContext,
    quantities: dict[str, int],
    chance: random.Random,
) -> None:
    def shuffled(found: Sequence[T]) -> tuple[T, ...]:
        return tuple(chance.sample(found, len(found)))

    listed, factors, least = stated
    version = build.price(*listed, multipliers=tuple(factors), minimums=tuple(least))
    other = replace(
        version,
        components=shuffled([replace(c, when=shuffled(c.when)) for c in listed]),
        multipliers=shuffled([replace(m, when=shuffled(m.when)) for m in factors]),
    )
    first, second = (
        price_version_id(
            provider=one.provider,
            model=one.model,
            currency=one.currency,
            valid_from=one.valid_from,
            components=one.components,
            multipliers=one.multipliers,
            minimums=one.minimums,
        )
        for one in (version, other)
    )
    assert first == second
    sheets = [compile_sheet(one, build.card("30")) for one in (version, other)]
    charge, again = (rate(Usage(quantities), sheet, context=context) for sheet in sheets)
    assert again == charge  # Down to the ids, the conditions and the leaf that stood in.


@given(st.lists(multipliers, max_size=3), contexts)
def test_no_multiplier_touches_a_fee_per_call(
    build: SimpleNamespace, factors: list[Multiplier], context: RequestContext
) -> None:
    price = build.price(Component("web_search", Decimal(10), 1_000), multipliers=tuple(factors))
    assert cost(compile_sheet(price, build.card()), {"web_search": 3}, context) == 30_000


def test_four_leaves_with_conditions_are_rated_in_microseconds(tiered: RateSheet) -> None:
    usage = Usage({"input": 90, "cached_input": 20, "output": 1, "web_search": 1})
    context = RequestContext(service_tier="flex", region="us", at=datetime(2026, 8, 17, tzinfo=UTC))
    rate(usage, tiered, context=context)
    rounds = []
    for _ in range(20):
        started = time.perf_counter()
        for _ in range(100):
            rate(usage, tiered, context=context)
        rounds.append(time.perf_counter() - started)
    assert min(rounds) / 100 < 60e-6  # Measured 6 µs; the rest is room for a slow or busy machine.


def test_conditions_of_a_version_are_each_named_once(tiered: RateSheet) -> None:
    assert len(tiered.conditions) == len(set(tiered.conditions)) == 6
    assert Condition("prompt_tokens", "gt", 100) in tiered.conditions
