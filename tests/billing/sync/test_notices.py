"""What is told ahead of a price's end, and that sources differ: once each."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Any

import pytest

from costplus.billing.price_book import override
from costplus.billing.price_record import Person
from costplus.catalog.book import ModelMark
from costplus.catalog.price import Component

pytestmark = pytest.mark.slow

T = datetime(2026, 12, 1, tzinfo=UTC)
WEEK, SECOND = timedelta(days=7), timedelta(seconds=1)


@pytest.mark.parametrize(("prices", "times"), [({"input": "4", "output": "8"}, 1), ({"input": "1"}, 0)])
async def test_a_rise_is_told_a_week_ahead_and_a_fall_is_not(
    world: Any, build: Any, prices: dict[str, str], times: int
) -> None:
    await world.sync()
    world.later = {"large": (T.date(), prices)}
    world.publish(build.genai)
    await world.sync()
    world.at = T - WEEK - 2 * SECOND
    await world.sync(seconds=1)
    assert "price.promo_ending" not in await world.news()
    world.at = T - WEEK - SECOND
    await world.sync(seconds=1)
    assert (await world.news()).count("price.promo_ending") == times
    await world.sync(days=1)
    await world.restart()
    await world.sync(days=1)
    assert "price.promo_ending" not in await world.news()


async def test_the_end_of_an_operators_price_is_told_a_week_ahead(world: Any, build: Any) -> None:
    await world.sync()
    verb = partial(
        override,
        provider=build.provider,
        model="large",
        components=[Component("input", Decimal(1), 1_000_000)],
        valid_from=None,
        ends_at=T,
        at=world.at,
        by=Person(name="seller"),
    )
    await world.write(verb)
    await world.sync()
    assert "price.promo_ending" not in await world.news()
    for day in (6, 5, 0, -1):
        world.at = T - timedelta(days=day)
        await world.sync()
    assert (await world.news()).count("price.promo_ending") == 1


async def test_sources_that_differ_from_the_beginning_are_no_news(world: Any, build: Any) -> None:
    world.state(build.models_dev, input="3")
    await world.sync()
    assert await world.news() == []
    (mark,) = await world.records(ModelMark)
    assert (mark.id, mark.disputed) == ("openai/large", ("input",))
    await world.sync()
    assert await world.news() == []


async def test_a_source_that_moves_away_is_told_of_once_with_what_it_proposes(world: Any, build: Any) -> None:
    await world.sync()
    world.state(build.models_dev, input="3")
    await world.sync()
    assert (await world.news()).count("price.source_disagreement") == 1
    world.state(build.models_dev, input="2")
    await world.sync()
    assert [mark.disputed for mark in await world.records(ModelMark)] == [()]


async def test_an_agreement_that_ends_because_the_others_followed_is_told_of(world: Any, build: Any) -> None:
    await world.sync()
    world.state(build.genai, build.litellm, input="3")
    await world.sync()
    assert world.price()["input"] == "3"
    assert (await world.news()).count("price.source_disagreement") == 1  # The third stays where it was.
    await world.sync(days=1)
    assert await world.news() == []
