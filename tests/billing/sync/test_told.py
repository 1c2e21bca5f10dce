"""What a synchronisation tells of parts that come and go, of models that end, of lists that stand still."""

from __future__ import annotations

import json
from typing import Any

import pytest

from costplus.catalog.book import ModelMark

pytestmark = pytest.mark.slow


async def test_a_part_that_two_lists_add_or_drop_is_told(world: Any, build: Any) -> None:
    await world.sync()
    world.state(build.genai, build.litellm, model="small", cached_input="0.4")
    await world.sync()
    assert "price.component_added" in await world.news()
    assert world.price("small")["cached_input"] == "0.4"
    world.state(build.genai, build.litellm, model="small", cached_input=None)
    await world.sync()
    told = await world.news()
    assert "price.component_removed" in told and "price.component_added" not in told
    assert "cached_input" not in world.price("small")


def ends(world: Any, build: Any, day: str) -> None:
    """Let a list say on which day a model goes out of service."""
    document = json.loads(world.lists.bodies[build.litellm])
    document["large"]["deprecation_date"] = day
    world.serve(build.litellm, json.dumps(document).encode())


async def test_a_models_end_is_told_when_it_is_announced_when_it_moves_and_when_it_has_come(
    world: Any, build: Any
) -> None:
    await world.sync()
    ends(world, build, "2026-11-20")
    await world.sync()
    assert await world.news() == ["model.deprecation_announced"]
    await world.sync()
    assert await world.news() == []
    ends(world, build, "2026-11-10")
    await world.sync()
    assert await world.news() == ["model.deprecation_announced"]
    await world.sync(days=10)
    assert await world.news() == ["model.retired"]
    await world.sync()
    assert await world.news() == [] and world.price()["input"] == "2"
    (mark,) = await world.records(ModelMark)
    assert f"{mark.deprecated_at:%Y-%m-%d}" == "2026-11-10" and mark.is_over


async def test_a_list_without_a_new_revision_for_over_thirty_days_is_told_once_and_again_after_one(
    world: Any, build: Any
) -> None:
    await world.sync()
    await world.sync(days=30)
    assert await world.news() == []
    await world.sync(minutes=2)
    assert await world.news() == ["source.stale"] * 3
    await world.sync()
    assert await world.news() == []
    world.state(build.genai, model="small", output="2.0001")  # Too little to be another price.
    await world.sync()
    assert not (await world.source(build.genai)).stale
    await world.sync(days=31)
    assert await world.news() == ["source.stale"]


async def test_a_kind_of_price_that_nothing_here_expresses_is_told_once_and_named(
    world: Any, build: Any
) -> None:
    await world.sync()
    document = json.loads(world.lists.bodies[build.litellm])
    document["large"]["input_cost_per_dream"] = 0.25
    world.serve(build.litellm, json.dumps(document).encode())
    await world.sync()
    assert await world.news() == ["source.keys_unknown"]
    assert (await world.source(build.litellm)).unknown_keys == ("input_cost_per_dream",)
    document["small"]["input_cost_per_dream"] = 0.5
    world.serve(build.litellm, json.dumps(document).encode())
    await world.sync()
    assert await world.news() == []
