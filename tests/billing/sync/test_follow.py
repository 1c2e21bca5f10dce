"""A price change from the socket to the charge: found, waits or is confirmed, recorded, followed, rated."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from functools import partial
from typing import Any

import pytest

from costplus.billing.price_book import approve, override, reject, undo
from costplus.billing.price_record import Person
from costplus.catalog.price import Component

pytestmark = pytest.mark.slow

SELLER = Person(name="seller")
DEAR = {"input": "3", "output": "12"}


async def test_the_first_synchronisation_confirms_the_snapshot_and_the_second_changes_nothing(
    world: Any, build: Any
) -> None:
    first = await world.sync()
    assert [(s.source, s.outcome, s.models) for s in first.sources] == [
        (build.genai, "new", 2),
        (build.litellm, "new", 2),
        (build.models_dev, "new", 2),
    ]
    assert first.changes == () and await world.news() == []
    before = await world.counts()
    again = await world.sync()
    assert {s.outcome for s in again.sources} == {"unchanged"}
    assert [status for _, status in world.lists.answered] == [200] * 3 + [304] * 3
    assert await world.counts() == before and await world.news() == []


async def test_the_same_document_under_another_name_changes_nothing_and_is_asked_for_by_it_next_time(
    world: Any, build: Any
) -> None:
    await world.sync()
    before = await world.counts()
    world.lists.etags[build.litellm] = '"another"'
    report = await world.sync()
    assert {s.outcome for s in report.sources} == {"unchanged"}
    assert world.lists.answered[-2] == (build.litellm, 200)
    assert await world.counts() == before and await world.news() == []
    await world.sync()
    assert world.lists.answered[-2] == (build.litellm, 304)


async def test_one_source_against_the_others_is_held_and_a_second_one_confirms(
    world: Any, build: Any
) -> None:
    await world.sell()
    await world.sync()
    world.state(build.genai, **DEAR)
    report = await world.sync()
    assert report.count("held") == 1 and world.price()["input"] == "2"
    told = ["price.change_detected", "price.change_held", "price.source_disagreement"]
    assert await world.news() == told
    detected = world.at
    world.wait(hours=1)
    earlier = await world.use()
    world.state(build.litellm, **DEAR)
    report = await world.sync()
    (applied,) = await world.changes()
    assert report.count("applied") == 1
    assert (applied.status, applied.decided_by, applied.effective_at) == ("applied", "policy", world.at)
    assert applied.created == detected and set(applied.sources) == set(world.followed)
    assert await world.news() == ["price.change_confirmed", "price.change_applied"]
    assert world.price() == {**DEAR, "cached_input": "0.2"}
    later = await world.use()
    assert (earlier.charge.cost_nano, earlier.charge.price_nano) == (2_000_000, 4_000_000)
    assert (later.charge.cost_nano, later.charge.price_nano) == (
        3_000_000,
        4_000_000,
    )  # Only told: it sells as before.
    late = await world.use(at=world.at - timedelta(minutes=30))
    assert late.charge.cost_nano == 2_000_000
    await world.sync()
    assert await world.news() == []


async def test_a_card_that_migrates_sells_by_the_new_price_at_once(world: Any, build: Any) -> None:
    await world.sell(tracking="migrate_all")
    await world.sync()
    world.state(build.genai, build.litellm, **DEAR)
    await world.sync()
    assert world.price()["input"] == "3"
    charge = (await world.use()).charge
    assert (charge.cost_nano, charge.price_nano) == (3_000_000, 6_000_000)


async def test_a_wait_is_over_after_a_day_and_survives_a_restart(world: Any, build: Any) -> None:
    world.alone(build.genai)
    await world.sync()
    world.state(build.genai, **DEAR)
    await world.sync()
    await world.restart()
    await world.sync(hours=23, minutes=59)
    assert await world.statuses() == ["soaking"] and world.price()["input"] == "2"
    await world.restart()
    report = await world.sync(minutes=1)
    assert report.count("applied") == 1 and world.price()["input"] == "3"
    assert {s.outcome for s in report.sources} == {"unchanged"}
    (change,) = await world.changes()
    assert change.reasons == ("single_source", "soak_passed")
    events = await world.news()
    assert events.count("price.change_applied") == 1 and events.count("price.change_detected") == 1


async def test_what_its_source_takes_back_is_withdrawn(world: Any, build: Any) -> None:
    world.alone(build.genai)
    await world.sync()
    world.state(build.genai, **DEAR)
    await world.sync()
    world.state(build.genai, **build.featured["large"])
    report = await world.sync()
    assert report.withdrawn == 1 and await world.statuses() == ["withdrawn"]
    await world.sync(days=2)
    assert world.price()["input"] == "2" and await world.statuses() == ["withdrawn"]


async def test_three_times_as_much_waits_for_a_second_source_however_long(world: Any, build: Any) -> None:
    world.alone(build.genai)
    await world.sync()
    world.state(build.genai, input="7")
    await world.sync()
    await world.sync(days=3)
    assert await world.statuses() == ["held"] and world.price()["input"] == "2"
    events = await world.news()
    assert events == ["price.change_detected", "price.change_held"]
    world.state(build.models_dev, input="7")
    await world.sync()
    (change,) = await world.changes()
    assert (change.status, change.large) == ("applied", True) and world.price()["input"] == "7"


async def test_a_refused_change_is_not_found_again_not_even_inside_another(world: Any, build: Any) -> None:
    await world.sync()
    world.state(build.genai, input="3")
    await world.sync()
    (found,) = await world.changes()
    await world.write(partial(reject, id=found.id, at=world.at, by=SELLER))
    await world.sync(days=2)
    world.state(build.litellm, input="3")
    await world.sync()
    assert await world.statuses() == ["rejected"]
    world.state(build.genai, build.litellm, output="9")
    await world.sync()
    assert await world.statuses() == ["rejected", "applied"]
    assert world.price() == {"input": "2", "cached_input": "0.2", "output": "9"}


async def test_an_undone_change_is_not_found_again(world: Any, build: Any) -> None:
    await world.sync()
    world.state(build.genai, build.litellm, input="3")
    await world.sync()
    (found,) = await world.changes()
    await world.write(partial(undo, id=found.id, at=world.at, by=SELLER))
    world.wait(minutes=1)
    await world.restart()
    assert world.price()["input"] == "2"
    await world.sync(days=2)
    world.state(build.models_dev, input="3")
    await world.sync()
    assert await world.statuses() == ["superseded", "applied"] and world.price()["input"] == "2"
    world.state(*world.followed, input="3.5")  # Something else is another matter.
    await world.sync()
    assert world.price()["input"] == "3.5"


async def test_approving_moves_only_what_was_proposed_of_a_price_that_moved_since(
    world: Any, build: Any
) -> None:
    await world.sync()
    world.state(build.genai, input="7")
    await world.sync()
    (held,) = await world.changes()
    world.state(build.litellm, build.models_dev, output="9")
    await world.sync()
    assert world.price() == {"input": "2", "cached_input": "0.2", "output": "9"}
    world.wait(minutes=1)
    await world.write(partial(approve, id=held.id, at=world.at, by=SELLER))
    await world.restart()
    assert world.price() == {"input": "7", "cached_input": "0.2", "output": "9"}


async def test_a_wait_that_ends_with_another_part_confirmed_keeps_both_moves(world: Any, build: Any) -> None:
    world.alone(build.genai)
    await world.sync()
    world.state(build.genai, input="3")
    await world.sync()
    world.state(build.litellm, build.models_dev, output="9")  # Of the input they say nothing.
    report = await world.sync(days=1)
    assert report.count("applied") == 2
    assert world.price() == {"input": "3", "cached_input": "0.2", "output": "9"}
    await world.sync(days=1)
    assert world.price() == {"input": "3", "cached_input": "0.2", "output": "9"}


async def test_an_operators_price_wins_and_what_is_under_it_is_kept_up_to_date(
    world: Any, build: Any
) -> None:
    await world.sync()
    verb = partial(
        override,
        provider=build.provider,
        model="large",
        components=[Component("input", 1, 1_000_000)],
        valid_from=None,
        ends_at=world.at + timedelta(days=5),
        at=world.at,
        by=SELLER,
    )
    await world.write(verb)
    world.state(*world.followed, input="3")
    await world.sync(days=1)
    assert world.price()["input"] == "1"
    assert world.price(at=world.at + timedelta(days=5))["input"] == "3"


async def test_two_synchronisations_at_once_make_no_double_records(world: Any, build: Any) -> None:
    world.alone(build.genai, model="small")
    await world.sync()
    world.state(*world.followed, input="3")
    world.state(build.genai, model="small", input="0.6")
    world.wait(minutes=1)
    one, other = world.another(), world.another()
    reports = await asyncio.gather(one.run(world.client), other.run(world.client))
    assert sorted(report.count("applied") for report in reports) == [0, 1]
    assert await world.statuses() == ["applied"] and await world.statuses("small") == ["soaking"]
    events = await world.news()
    assert sorted(events) == [
        "price.change_applied",
        "price.change_confirmed",
        "price.change_detected",
        "price.change_detected",
    ]
    assert world.price()["input"] == "3"


async def test_what_a_person_decides_during_a_synchronisation_stands(
    world: Any, build: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.sync()
    world.state(build.genai, input="3")
    await world.sync()
    (found,) = await world.changes()
    world.state(build.genai, input="2")  # It would be withdrawn now.
    gather = type(world.prices_of._gatherer).gather

    async def overtaken(self: Any, *args: Any, **named: Any) -> Any:
        gathered = await gather(self, *args, **named)
        await world.write(
            lambda tx: (
                reject(tx, found.id, at=world.at, by=SELLER)
                if tx.find(type(found), found.id).is_open
                else None
            )
        )
        return gathered

    monkeypatch.setattr(type(world.prices_of._gatherer), "gather", overtaken)
    await world.sync()
    assert await world.statuses() == ["rejected"]


async def test_a_new_model_waits_for_a_second_source_and_then_prices_what_came_before(
    world: Any, build: Any
) -> None:
    await world.sell()
    await world.sync()
    world.state(build.genai, model="newest", input="4", output="16")
    await world.sync()
    assert await world.statuses("newest") == ["pending"] and world.price("newest") == {}
    waiting = await world.use(model="newest")
    assert waiting.charge.unpriced == ("model",)
    world.state(build.litellm, model="newest", input="4", output="16")
    await world.sync(hours=6)
    assert await world.news() == ["model.discovered", "model.priced"]
    assert world.price("newest", at=waiting.event.at) == {"input": "4", "output": "16"}
    await world.sync()
    assert await world.news() == []


async def test_a_new_model_is_discovered_once_whatever_its_first_price_becomes(
    world: Any, build: Any
) -> None:
    await world.sync()
    world.state(build.genai, model="newest", input="4", output="16")
    await world.sync()
    world.state(build.genai, model="newest", input="5", output="16")
    await world.sync()
    world.state(build.litellm, model="newest", input="6", output="16")
    await world.sync()
    world.state(build.models_dev, model="newest", input="5", output="16")
    await world.sync()
    assert world.price("newest") == {"input": "5", "output": "16"}
    events = await world.news()
    assert events.count("model.discovered") == events.count("model.priced") == 1
    assert (await world.statuses("newest")).count("applied") == 1
    assert not {"pending", "held"} & set(await world.statuses("newest"))


async def test_a_model_that_is_gone_keeps_its_price_and_is_said_to_be_gone_once(
    large_world: Any, build: Any
) -> None:
    world = large_world
    await world.sync()
    world.state(build.genai)
    await world.sync()
    await world.sync()
    assert await world.news() == ["model.retired"] and world.price()["input"] == "2"


async def test_the_last_price_of_a_kind_of_token_is_not_taken_away_by_two_sources(
    world: Any, build: Any
) -> None:
    await world.sync()
    world.state(build.genai, build.litellm, input=None)
    await world.sync()
    (change,) = await world.changes()
    assert change.status == "held" and "component_removed" in change.reasons
    assert world.price()["input"] == "2"
