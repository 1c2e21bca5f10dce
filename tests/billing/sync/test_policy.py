"""What an operator may decide about sources, and what events say of a change before and after it counts."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from costplus.billing.event import Event
from costplus.billing.notice import PriceNotice
from costplus.catalog.statement import SourceName
from costplus.catalog.survey import Policy

pytestmark = pytest.mark.slow

DEAR = {"input": "3", "output": "12"}
CHEAP = {"input": "1.5", "output": "6"}


async def notice(world: Any, type: str) -> PriceNotice:
    """Return what the last event of a type shows."""
    event = next(event for event in reversed(await world.records(Event)) if event.type == type)
    return msgspec.json.decode(event.snapshot, type=PriceNotice)


async def test_whoever_protects_the_margin_takes_a_rise_at_once_and_a_fall_never(
    world: Any, build: Any
) -> None:
    world.policy = Policy(protect_margin=True)
    await world.restart()
    await world.sync()
    world.state(build.genai, **DEAR)
    await world.sync()
    assert world.price()["input"] == "3"
    (change,) = await world.changes()
    assert change.reasons == ("sources_disagree", "protects_margin")
    world.state(build.litellm, model="small", input="0.4")
    report = await world.sync()
    assert report.count("held") == 1 and world.price("small")["input"] == "0.5"


async def test_not_even_whoever_protects_the_margin_takes_what_cannot_be_right(
    world: Any, build: Any
) -> None:
    world.policy = Policy(protect_margin=True)
    await world.restart()
    await world.sync()
    world.state(build.genai, input="2000000", output="8000000")
    await world.sync()
    assert world.price()["input"] == "2" and await world.statuses() == ["held"]


@pytest.mark.parametrize(("first", "price"), [("litellm", "3"), ("genai-prices", "2")])
async def test_on_a_first_reading_the_most_trusted_source_of_a_provider_speaks(
    world: Any, build: Any, first: str, price: str
) -> None:
    order = (first, *(name for name in world.followed if name != first))
    world.policy = Policy(trust={build.provider: tuple(map(SourceName, order))})
    world.state(build.litellm, **DEAR)
    world.followed = (build.genai, build.litellm)
    await world.restart()
    await world.sync()
    found = await world.changes()
    assert [move.new for change in found for move in change.moves if move.leaf == "input"] == (
        ["0.000003"] if price == "3" else []
    )


async def test_a_change_is_announced_with_its_impact_on_past_usage_and_what_each_card_would_do(
    world: Any, build: Any
) -> None:
    await world.sell(tracking="migrate_all")
    await world.sync()
    await world.use(tokens=1_000_000)
    world.state(build.genai, **CHEAP)
    await world.sync(hours=1)
    held = await notice(world, "price.change_held")
    assert held.impact is not None
    (card,) = held.impact.cards
    figures = card.figures
    assert (figures.events, figures.revenue_now_nano, figures.revenue_followed_nano) == (
        1,
        4 * 10**9,
        3 * 10**9,
    )
    assert (figures.cost_now_nano, figures.cost_then_nano) == (2 * 10**9, 1_500_000_000)
    assert [entry.customer for entry in card.customers] == ["cus_1"]
    assert [(entry.mode, entry.version) for entry in held.cards] == [("migrate_all", "")]
    world.state(build.litellm, **CHEAP)
    await world.sync(hours=1)
    applied = await notice(world, "price.change_applied")
    assert [entry.subscriptions for entry in applied.cards] == [1]
    charged = await world.use(tokens=1_000_000)
    assert (charged.charge.price_nano, charged.charge.cost_nano) == (3 * 10**9, 1_500_000_000)


async def test_a_change_that_nobody_used_has_no_impact_to_tell(world: Any, build: Any) -> None:
    await world.sell()
    await world.sync()
    world.state(build.genai, **CHEAP)
    await world.sync()
    assert (await notice(world, "price.change_detected")).impact is None
