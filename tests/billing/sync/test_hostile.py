"""Whatever a list serves: prices move only through the guards, one event says why, good lists work again."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from costplus.catalog.book import PriceChange

pytestmark = pytest.mark.slow

NOT_JSON = {
    "truncated": lambda good: good[: len(good) // 2],
    "html": lambda good: b"<!doctype html><title>Sign in</title>",
    "a list": lambda good: b"[]",
    "an object": lambda good: b"{}",
    "empty": lambda good: b"",
    "null": lambda good: b"null",
    "a number": lambda good: b"1",
    "not text": lambda good: b"\xff\xfe\x00" * 100,
    "nested": lambda good: b"[" * 200_000 + b"]" * 200_000,
    "nested objects": lambda good: b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
}


def figures(raw: Any, change: Callable[[Any], Any]) -> Any:
    """Return a document in which every number is another one."""
    if isinstance(raw, dict):
        return {key: figures(value, change) for key, value in raw.items()}
    if isinstance(raw, list):
        return [figures(value, change) for value in raw]
    return change(raw) if isinstance(raw, int | float) and not isinstance(raw, bool) else raw


def renamed(raw: Any, change: Callable[[str], str], *, names: set[str]) -> Any:
    """Return a document in which keys and texts among `names` are other ones."""
    if isinstance(raw, dict):
        return {change(k) if k in names else k: renamed(v, change, names=names) for k, v in raw.items()}
    if isinstance(raw, list):
        return [renamed(value, change, names=names) for value in raw]
    return change(raw) if isinstance(raw, str) and raw in names else raw


def halved(raw: Any) -> Any:
    """Return a document with every second model gone."""
    if isinstance(raw, list):
        return [{**provider, "models": provider["models"][::2]} for provider in raw]
    if "openai" in raw:
        models = raw["openai"]["models"]
        return {"openai": {"models": dict(list(models.items())[::2])}}
    return dict(list(raw.items())[::2])


def in_text(text: str) -> Callable[[bytes], bytes]:
    """Return what puts a text in place of every figure."""
    return lambda good: json.dumps(figures(json.loads(good), lambda _: "@@")).replace('"@@"', text).encode()


def doc(change: Callable[[Any], Any]) -> Callable[[bytes], bytes]:
    return lambda good: json.dumps(change(json.loads(good))).encode()


WRONG = {
    "ten times": doc(lambda raw: figures(raw, lambda n: n * 10)),
    "a hundred thousand times": doc(lambda raw: figures(raw, lambda n: n * 100_000)),
    "a millionth": doc(lambda raw: figures(raw, lambda n: n * 1e-6)),
    "all zero": doc(lambda raw: figures(raw, lambda _: 0)),
    "all negative": doc(lambda raw: figures(raw, lambda n: -n)),
    "NaN": in_text("NaN"),
    "Infinity": in_text("-Infinity"),
    "10,000 digits": in_text("9" * 10_000),
    "10,000 decimals": in_text("0." + "3" * 10_000),
    "a huge exponent": in_text("1e999999999"),
    "null": in_text("null"),
    "true": in_text("true"),
    "lists": in_text("[1]"),
    "half gone": doc(halved),
}
RENAMED = {
    "models": lambda build: {*build.featured, *(f"filler-{n:02}" for n in range(60))},
    "keys": lambda build: {
        *("input_mtok", "cache_read_mtok", "output_mtok", "input", "cache_read", "output"),
        *("input_cost_per_token", "cache_read_input_token_cost", "output_cost_per_token"),
    },
    "provider": lambda build: {"openai"},
}


async def unmoved(world: Any, build: Any, *, source: str, good: bytes) -> list[str]:
    """Synchronise for days with what is served, assert that no price moves, then serve the good list again.

    Return the events about the wrong list.
    """
    prices = {model: world.price(model) for model in ("large", "small", "filler-07")}
    await world.news()
    for span in (timedelta(hours=6), timedelta(days=2)):
        await world.sync(seconds=span.total_seconds())
        assert {model: world.price(model) for model in prices} == prices
    events = list(await world.news())
    world.serve(source, good)
    report = await world.sync()
    (again,) = (s for s in report.sources if s.source == source)
    assert again.outcome in ("new", "unchanged"), again.why
    assert (await world.source(source)).status == "ok"
    assert {model: world.price(model) for model in prices} == prices
    world.state(*world.followed, input="3")
    await world.sync()
    assert world.price()["input"] == "3"
    return events


@pytest.mark.parametrize("source", ["genai-prices", "litellm", "models.dev"])
@pytest.mark.parametrize("wrong", [*NOT_JSON, *WRONG])
async def test_a_wrong_list_is_rejected_with_one_event(
    large_world: Any, build: Any, wrong: str, source: str
) -> None:
    world = large_world
    await world.sync()
    good = world.lists.bodies[source]
    world.serve(source, {**NOT_JSON, **WRONG}[wrong](good))
    assert await unmoved(world, build, source=source, good=good) == ["source.rejected"]


@pytest.mark.parametrize("source", ["genai-prices", "litellm", "models.dev"])
@pytest.mark.parametrize("what", RENAMED)
async def test_a_list_with_other_names_is_rejected_with_one_event(
    large_world: Any, build: Any, what: str, source: str
) -> None:
    world = large_world
    await world.sync()
    good = world.lists.bodies[source]
    names = RENAMED[what](build)
    other = renamed(json.loads(good), lambda name: f"x-{name}", names=names)
    world.serve(source, json.dumps(other).encode())
    assert await unmoved(world, build, source=source, good=good) == ["source.rejected"]


async def test_a_bomb_is_stopped_while_it_unpacks(large_world: Any, build: Any) -> None:
    world = large_world
    await world.sync()
    good = world.lists.bodies[build.litellm]
    world.serve(build.litellm, bytes(200 << 20), packed=True)
    assert await unmoved(world, build, source=build.litellm, good=good) == ["source.rejected"]


@pytest.mark.parametrize("text", ["2.0", "1e-6", "free", "0x10", "２"])
async def test_figures_written_as_text_move_nothing(large_world: Any, build: Any, text: str) -> None:
    world = large_world
    await world.sync()
    good = world.lists.bodies[build.models_dev]
    world.serve(build.models_dev, in_text(json.dumps(text))(good))
    events = await unmoved(world, build, source=build.models_dev, good=good)
    assert events.count("source.rejected") == 1


async def test_a_list_in_another_currency_is_rejected(large_world: Any, build: Any) -> None:
    world = large_world
    await world.sync()
    good = world.lists.bodies[build.litellm]
    world.serve(build.litellm, json.dumps({"currency": "EUR", **json.loads(good)}).encode())
    assert await unmoved(world, build, source=build.litellm, good=good) == ["source.rejected"]


async def test_an_unknown_kind_of_price_holds_what_comes_with_it(world: Any, build: Any) -> None:
    await world.sync()
    for name in (build.genai, build.litellm):
        world.state(name, input="3")
    raw = json.loads(world.lists.bodies[build.genai])
    raw[0]["models"][0]["prices"]["thoughts_mtok"] = 9
    world.serve(build.genai, json.dumps(raw).encode())
    await world.sync()
    assert await world.statuses() == ["held"] and world.price()["input"] == "2"
    assert "price.change_held" in await world.news()


async def test_of_a_key_that_stands_twice_no_price_moves_unguarded(world: Any, build: Any) -> None:
    await world.sync()
    good = world.lists.bodies[build.models_dev]
    twice = good.replace(b'"input": 2.0', b'"input": 2.0, "input": 900.0')
    assert twice != good
    world.serve(build.models_dev, twice)
    await world.sync()
    await world.sync(days=2)
    assert world.price()["input"] == "2" and await world.statuses() == ["held"]


async def test_a_list_that_is_no_unicode_is_rejected(large_world: Any, build: Any) -> None:
    world = large_world
    await world.sync()
    good = world.lists.bodies[build.litellm]
    world.serve(build.litellm, good.replace(b'"large"', b'"\\ud800"'))
    assert await unmoved(world, build, source=build.litellm, good=good) == ["source.rejected"]


@pytest.mark.parametrize("name", ["a\x00b", "a\nb\r\n", "x" * 200_000, "../../etc", "a\x1fb\x1ec", "", " "])
async def test_models_with_absurd_names_do_no_harm(world: Any, build: Any, name: str) -> None:
    await world.sync()
    for source in world.followed:
        world.prices[source] = {**world.prices[source], name: {"input": "1", "output": "4"}}
        world.publish(source)
    await world.sync()
    await world.sync(days=2)
    assert {len(change.model) for change in await world.records(PriceChange)} <= {len("../../etc")}
    world.state(*world.followed, input="3")
    await world.sync()
    assert world.price()["input"] == "3"


async def test_a_frozen_list_is_rejected(large_world: Any, build: Any, shared_data: Path) -> None:
    world = large_world
    await world.sync()
    good = world.lists.bodies[build.genai]
    world.serve(build.genai, (shared_data / "price_snapshots/genai-prices-frozen-v1.data.json").read_bytes())
    assert await unmoved(world, build, source=build.genai, good=good) == ["source.rejected"]


async def test_a_change_of_everything_is_taken_where_somebody_says_so(large_world: Any, build: Any) -> None:
    world = large_world
    await world.sync()
    for name in (build.genai, build.litellm):
        for number in range(30):
            world.state(name, model=f"filler-{number:02}", input="1.2")
    report = await world.sync()
    assert [s.outcome for s in report.sources] == ["rejected", "rejected", "unchanged"]
    assert await world.news() == ["source.rejected"] * 2
    report = await world.sync(build.genai)
    assert [s.outcome for s in report.sources] == ["new", "rejected", "unchanged"]
    assert report.count("held") == 30 and world.price("filler-07")["input"] == "1"
    report = await world.sync(build.litellm)
    assert report.count("applied") == 30 and world.price("filler-07")["input"] == "1.2"
    assert {s.outcome for s in (await world.sync()).sources} == {"unchanged"}
