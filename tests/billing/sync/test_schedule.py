"""Announced prices: they wait for their day, and count only where live sources still state them then."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest

from costplus.billing.price_book import approve
from costplus.billing.price_record import Person

pytestmark = pytest.mark.slow

T = datetime(2026, 12, 1, tzinfo=UTC)
DOUBLE = {"input": "4", "output": "16"}
HALF = {"input": "1", "output": "4"}


@pytest.fixture
async def announced(world: Any, build: Any) -> Any:
    """Return a world in which one list announces a price of `large` for the first of December."""

    async def announce(prices: dict[str, str]) -> Any:
        world.at = T - timedelta(days=20)
        await world.sync()
        world.later = {"large": (T.date(), prices)}
        world.publish(build.genai)
        await world.sync()
        assert await world.news() == ["price.scheduled"] and await world.statuses() == ["scheduled"]
        return world

    return announce


async def test_a_rise_that_two_newer_revisions_state_counts_from_its_day(announced: Any, build: Any) -> None:
    world = await announced(DOUBLE)
    await world.sync(days=10)
    assert await world.statuses() == ["scheduled"] and await world.news() == []
    world.state(build.genai, model="small", input="0.55")  # A newer revision that still announces it.
    world.at = T + timedelta(hours=6)
    world.state(build.litellm, **DOUBLE)
    await world.sync()
    assert "price.change_applied" in await world.news()
    assert world.price() == {**DOUBLE, "cached_input": "0.2"}
    assert world.price(at=T)["input"] == "4"
    assert world.price(at=T - timedelta(microseconds=1))["input"] == "2"
    assert (await world.changes())[0].effective_at == T


async def test_a_rise_that_nobody_else_confirms_is_due_once_and_the_old_price_stays(
    announced: Any, build: Any
) -> None:
    world = await announced(DOUBLE)
    world.at = T - timedelta(hours=47)
    await world.sync()
    assert (await world.news()).count("price.schedule_due") == 1
    for _ in range(3):
        await world.sync(days=1)
    assert "price.schedule_due" not in await world.news()
    assert world.price()["input"] == "2" and "scheduled" in await world.statuses()


async def test_a_fall_needs_one_newer_revision(announced: Any, build: Any) -> None:
    world = await announced(HALF)
    world.state(build.genai, model="small", input="0.55")
    world.at = T - timedelta(hours=3)
    await world.sync()
    assert world.price()["input"] == "2"
    world.at = T
    await world.sync()
    assert world.price() == {**HALF, "cached_input": "0.2"} and world.price(at=T)["input"] == "1"
    assert world.price(at=T - timedelta(microseconds=1))["input"] == "2"


async def test_an_announcement_that_vanishes_is_cancelled_once(announced: Any, build: Any) -> None:
    world = await announced(DOUBLE)
    world.later = {}
    world.publish(build.genai)
    await world.sync()
    await world.sync(days=25)
    events = await world.news()
    assert events.count("price.schedule_cancelled") == 1 and await world.statuses() == ["cancelled"]
    assert world.price()["input"] == "2"


async def test_an_announcement_approved_early_is_not_announced_again(announced: Any, build: Any) -> None:
    world = await announced({**DOUBLE, "cached_input": "0.2"})
    (change,) = await world.changes()
    person = Person(name="seller")
    await world.write(partial(approve, id=change.id, at=world.at, by=person))
    await world.news()
    world.state(build.genai, model="small", input="0.55")
    await world.sync()
    assert world.price()["input"] == "2" and world.price(at=T)["input"] == "4"
    assert await world.statuses() == ["applied"]
    world.at = T + timedelta(days=1)
    world.state(*world.followed, **DOUBLE)
    await world.sync()
    assert world.price() == {**DOUBLE, "cached_input": "0.2"} and await world.statuses() == ["applied"]


async def test_a_cancelled_rise_in_a_frozen_list_never_counts(world: Any, build: Any) -> None:
    """Claude Sonnet 5: 3/15 was announced for September, taken back in August; one list still has it."""
    day = datetime(2026, 9, 1, tzinfo=UTC)
    model = "claude-sonnet-5"
    world.at = day - timedelta(days=30)
    world.state(*world.followed, model=model, input="2", output="10")
    await world.sync()
    assert world.price(model) == {"input": "2", "output": "10"}
    world.later = {model: (day.date(), {"input": "3", "output": "15"})}
    world.publish(build.genai)
    await world.sync()
    for days in (1, 26, 1, 1, 1, 1, 1, 5, 60):
        world.lists.etags[build.genai] = f'"{world.at:%s}"'  # The frozen bytes come under new names.
        await world.sync(days=days)
        assert world.price(model) == {"input": "2", "output": "10"}
    world.state(build.genai, model="small", input="0.5")
    assert (await world.news()).count("price.schedule_due") <= 1
    # Read for the first time now, as a mirror that still carries it would be:
    world.at = day + timedelta(days=70)
    world.state(build.genai, model="other", input="1", output="2")
    for days in (0, 2, 30):
        await world.sync(days=days, minutes=1)
        assert world.price(model) == {"input": "2", "output": "10"}
