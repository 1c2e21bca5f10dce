"""Random operations on good lists: no price moves by ten times, to nothing or below, and nothing fails."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from costplus.catalog.agreement import components_of

pytestmark = pytest.mark.slow

LEAF = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**30), 10**30),
    st.floats(),
    st.sampled_from(["", "2", "openai", "-1", "1e9", "input", "../x", "free"]),
    st.sampled_from([[], {}, [[]], [{}], {"input": 1}, {"base": 1, "tiers": [{"start": 5, "price": 9}]}]),
    st.sampled_from([0, 0.0, -0.0, 1e-9, 19.9, 20, 200, 2e7, 2e-6, 2e-5, 2e-12]),
)


def places(raw: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of everything in a document."""
    if path:
        yield path
    items = raw.items() if isinstance(raw, dict) else enumerate(raw) if isinstance(raw, list) else ()
    for key, value in items:
        yield from places(value, (*path, key))


def operated(raw: Any, path: tuple[Any, ...], how: str, value: Any) -> Any:
    """Return a document with one thing replaced, deleted, renamed or repeated."""
    raw = copy.deepcopy(raw)
    owner = raw
    for key in path[:-1]:
        owner = owner[key]
    last = path[-1]
    if how == "replace":
        owner[last] = copy.deepcopy(value)
    elif how == "delete":
        del owner[last]
    elif how == "scale" and isinstance(owner[last], int | float):
        owner[last] = owner[last] * 10.0
    elif how == "repeat" and isinstance(owner, list):
        owner.append(copy.deepcopy(owner[last]))
    elif how == "rename" and isinstance(owner, dict):
        owner[str(value)] = owner.pop(last)
    return raw


def in_place(raw: Any, choices: list[tuple[float, str, Any]]) -> Any:
    """Return a document after several operations."""
    for where, how, value in choices:
        found = list(places(raw))
        if not found:
            break
        raw = operated(raw, found[int(where * len(found)) % len(found)], how, value)
    return raw


SURGERY = st.lists(
    st.tuples(
        st.floats(0, 1, exclude_max=True),
        st.sampled_from(["replace", "delete", "scale", "repeat", "rename"]),
        LEAF,
    ),
    min_size=1,
    max_size=4,
)


class Served(httpx2.AsyncBaseTransport):
    """Answers with the world's documents without a socket, for many examples."""

    def __init__(self, bodies: dict[str, bytes]) -> None:
        self.bodies = bodies

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        body = self.bodies[request.url.path.strip("/")]
        return httpx2.Response(200, stream=httpx2.ByteStream(body))


@settings(max_examples=120, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    sources=st.sets(st.sampled_from(["genai-prices", "litellm", "models.dev"]), min_size=1),
    surgery=SURGERY,
)
async def test_no_operation_on_a_list_moves_a_price_by_ten_times_or_to_nothing(
    sources: set[str], surgery: list[tuple[float, str, Any]], lists: Any, tmp_path: Path, build: Any
) -> None:
    world = build.world(build.memory(), lists, None, tmp_path / "prices", prices=build.featured)
    await world.begin()
    bodies = world.lists.bodies
    async with httpx2.AsyncClient(transport=Served(bodies)) as client:
        world.client = client
        await world.sync()
        before = costs_of(world)
        for source in sources:
            bodies[source] = json.dumps(in_place(json.loads(bodies[source]), surgery)).encode()
        await world.sync()
        await world.sync(days=1)
        await world.sync(days=1)
    for model, parts in costs_of(world).items():
        for part, cost in parts.items():
            known = before.get(model, {}).get(part)
            assert cost > 0, (model, part)
            assert known is None or known / 10 < cost < known * 10, (model, part)
        gone = before.get(model, {}).keys() - parts.keys()
        assert not {part for part in gone if part[0] in ("input", "output")}


def costs_of(world: Any) -> dict[str, Any]:
    catalogue = world.pricing.catalogue
    return {v.model: components_of(v) for v in catalogue.models(at=world.at)}
