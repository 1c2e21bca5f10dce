"""A newer release brings newer prices: they are offered like any source's, and never simply taken."""

from __future__ import annotations

from datetime import date, timedelta
from functools import partial
from typing import Any

import pytest

from costplus.billing.price_book import reject
from costplus.billing.price_record import Person

pytestmark = pytest.mark.slow

LATER = date(2026, 11, 20)


@pytest.fixture
def upgraded(world: Any, build: Any) -> Any:
    """Let the program be upgraded to one whose snapshot has other prices; no list is followed."""
    world.followed = ()

    async def upgrade(*, taken_on: date = LATER, later: Any = None, **prices: dict[str, str]) -> Any:
        known = {**build.featured, **{name.replace("_", "-"): price for name, price in prices.items()}}
        world.packaged = build.snapshot_body(known, taken_on=taken_on, later=later)
        world.at = build.begin + timedelta(days=30)
        await world.restart()
        return world

    return upgrade


async def test_the_same_release_is_no_source(world: Any) -> None:
    world.followed = ()
    await world.restart()
    report = await world.sync()
    assert report.sources == () and await world.news() == []


async def test_a_price_that_only_the_release_states_waits_a_day(upgraded: Any) -> None:
    world = await upgraded(large={"input": "3", "cached_input": "0.2", "output": "8"})
    report = await world.sync()
    assert [(s.source, s.outcome, s.models) for s in report.sources] == [("bundled", "new", 2)]
    assert world.price()["input"] == "2" and await world.statuses() == ["soaking"]
    await world.restart()
    report = await world.sync(days=1)
    assert [s.outcome for s in report.sources] == ["unchanged"]
    assert world.price()["input"] == "3" and await world.statuses() == ["applied"]
    assert (await world.changes())[0].sources.keys() == {"bundled"}
    before = await world.counts()
    await world.sync(days=1)
    assert await world.counts() == before


async def test_what_would_be_held_of_any_source_is_held_of_the_release(upgraded: Any) -> None:
    world = await upgraded(large={"input": "200", "output": "8"}, small={"input": "1.5", "output": "2"})
    await world.sync()
    await world.sync(days=3)
    assert world.price()["input"] == "2" and world.price("small")["input"] == "0.5"
    assert "held" in await world.statuses() and "held" in await world.statuses("small")


async def test_new_models_of_the_release_are_priced_at_once_unless_implausible(upgraded: Any) -> None:
    world = await upgraded(newest={"input": "4", "output": "16"}, absurd={"input": "4000000", "output": "16"})
    report = await world.sync()
    assert report.count("applied") == 1
    assert world.price("newest") == {"input": "4", "output": "16"} and world.price("absurd") == {}
    events = await world.news()
    assert events.count("model.priced") == 1 and events.count("model.discovered") == 2
    await world.sync(days=1)
    assert await world.news() == []


async def test_a_refused_price_of_the_release_stays_refused(upgraded: Any) -> None:
    world = await upgraded(large={"input": "3", "cached_input": "0.2", "output": "8"})
    await world.sync()
    (found,) = await world.changes()
    await world.write(partial(reject, id=found.id, at=world.at, by=Person(name="seller")))
    await world.restart()
    await world.sync(days=2)
    assert await world.statuses() == ["rejected"] and world.price()["input"] == "2"


async def test_live_lists_speak_before_the_release(upgraded: Any, build: Any) -> None:
    world = await upgraded(
        large={"input": "3", "cached_input": "0.2", "output": "8"}, newest={"input": "4", "output": "16"}
    )
    world.followed = (build.genai, build.litellm)
    world.state(build.genai, model="newest", input="5", output="16")
    await world.restart()
    await world.sync()
    await world.sync(days=3)
    assert world.price()["input"] == "2" and await world.statuses() == []
    assert world.price("newest") == {} and await world.statuses("newest") == ["pending"]


async def test_the_release_does_not_bring_back_what_lists_moved_away_from_and_then_dropped(
    upgraded: Any, build: Any
) -> None:
    world = await upgraded(large={"input": "3", "cached_input": "0.2", "output": "8"})
    await world.sync()
    await world.sync(days=1)
    world.followed = (build.genai, build.litellm)
    world.state(*world.followed, input="2.5")
    await world.restart()
    await world.sync()
    await world.sync(days=2)
    assert world.price()["input"] == "2.5"
    for name in world.followed:
        world.state(name, model="other", input="1", output="2")
        world.state(name, model="third", input="1", output="2")
        world.state(name, model="fourth", input="1", output="2")
    await world.sync()
    world.state(build.genai)
    world.state(build.litellm)
    await world.sync()
    await world.sync(days=3)
    assert world.price()["input"] == "2.5"


async def test_an_older_release_says_nothing(upgraded: Any, build: Any) -> None:
    world = await upgraded(taken_on=date(2026, 10, 1), large={"input": "3", "output": "8"})
    assert (await world.sync()).sources == ()


async def test_what_the_release_announces_is_scheduled_and_no_list_beside_it_is_doubled(
    upgraded: Any, build: Any
) -> None:
    day = build.begin + timedelta(days=40)
    double = {"input": "4", "output": "16"}
    world = await upgraded(later={"large": (day.replace(hour=0), double)})
    world.followed = (build.genai,)
    world.later = {"large": (day.date(), double)}
    world.publish(build.genai)
    await world.restart()
    await world.sync()
    (change,) = await world.changes()
    assert (change.status, change.announced_by) == ("scheduled", build.genai)
