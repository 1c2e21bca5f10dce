"""A card's decision about a change looks at the parts that move, and at nothing else."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from types import SimpleNamespace
from typing import Any

import pytest

from costplus.catalog.condition import Condition
from costplus.catalog.price import Component, Multiplier, PriceVersion
from costplus.rating.following import PartMove, parts_between
from costplus.rating.margin import Margin

MILLION = 1_000_000


def moved(build: SimpleNamespace, old: Any, new: Any) -> list[tuple[str, str, str, str]]:
    """Return leaf, conditions, old and new in dollars per million."""
    parts = parts_between(old, new)
    return [
        (part.leaf, part.when, str(part.old and part.old * MILLION), str(part.new and part.new * MILLION))
        for part in parts
    ]


def price(build: SimpleNamespace, *components: Component, **fields: Any) -> PriceVersion:
    made: PriceVersion = build.price(*components, **fields)
    return made


def test_equal_prices_move_nothing_whatever_their_order_and_scale(build: SimpleNamespace) -> None:
    one = price(build, build.component("input", "2"), build.component("output", "8"))
    per_thousand = Component("input", Decimal("0.0020"), 1000)
    other = price(build, build.component("output", "8.0"), per_thousand, id="pv_2")
    assert parts_between(one, other) == ()


def test_a_part_of_its_own_is_compared_with_what_stood_in_for_it(build: SimpleNamespace) -> None:
    plain = price(build, build.component("input", "2"))
    cached = price(build, build.component("input", "2"), build.component("cached_input", "0.5"))
    assert moved(build, plain, cached) == [("cached_input", "", "2", "1/2")]
    assert moved(build, cached, plain) == [("cached_input", "", "1/2", "2")]


def test_a_longer_bound_is_compared_with_the_shorter_one_that_it_passes(build: SimpleNamespace) -> None:
    short = price(build, build.component("input", "2"), build.component("input", "4", above=128))
    long = price(build, build.component("input", "2"), build.component("input", "4", above=200))
    assert moved(build, short, long) == [("input", "prompt_tokens>128", "4", "2")]


def test_what_has_no_price_before_comes_from_nothing_and_what_goes_has_none(build: SimpleNamespace) -> None:
    plain = price(build, build.component("input", "2"))
    more = price(build, build.component("input", "2"), build.component("output", "8"))
    (came,), (went,) = parts_between(plain, more), parts_between(more, plain)
    assert (came.old, came.rises, came.falls, came.percent) == (None, True, False, None)
    assert (went.new, went.rises, went.falls, went.percent) == (None, False, False, None)


def test_a_multiplier_moves_against_one(build: SimpleNamespace) -> None:
    us = (Condition("region", "eq", "us"),)
    plain = price(build, build.component("input", "2"))
    dearer = price(build, build.component("input", "2"), multipliers=(Multiplier(Decimal("1.1"), us),))
    assert parts_between(plain, dearer) == (PartMove("tokens", "×region=us", Fraction(1), Fraction(11, 10)),)


def test_a_meter_that_no_usage_counts_moves_nothing(build: SimpleNamespace) -> None:
    plain = price(build, build.component("input", "2"))
    assert (
        parts_between(plain, price(build, build.component("input", "2"), build.component("page", "9"))) == ()
    )


@pytest.mark.parametrize(
    ("revenue", "cost", "target", "shortfall"),
    [
        ("100", "100", "100", None),
        ("99.999", "100", "100", "negative"),
        ("0", "0", "0", None),
        ("0", "1", "2", "negative"),
        ("200", "100", "200", None),
        ("199.601", "100", "200", None),  # 49.90 %
        ("199.6", "100", "200", "below_target"),
    ],
)
def test_a_margin_falls_short_more_than_a_tenth_of_a_point_below_its_target(
    revenue: str, cost: str, target: str, shortfall: str | None
) -> None:
    margin = Margin(revenue=Fraction(revenue), cost=Fraction(cost), target_revenue=Fraction(target))
    assert margin.shortfall == shortfall
