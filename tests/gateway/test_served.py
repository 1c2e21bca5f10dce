"""What was served decides the price; what was asked for decides the hold."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from costplus.catalog.condition import when_of
from costplus.catalog.context import RequestContext, served
from costplus.catalog.price import Component, Multiplier, PriceVersion
from costplus.core.usage import Usage
from costplus.gateway.call import runs_of
from costplus.gateway.served import asked_for, kept_for, served_as
from costplus.gateway.wire import Reading
from costplus.gateway.wire.anthropic import usage_from_raw
from costplus.gateway.wire.base import EMPTY_READING
from costplus.gateway.wire.request import parse_request
from costplus.rating.charge import uncovered

AT = datetime(2026, 11, 24, tzinfo=UTC)


def reading(tier: str | None, **usage: Any) -> Reading:
    return replace(EMPTY_READING, service_tier=tier, raw_usage=msgspec.json.encode(usage))


def body(**fields: Any) -> bytes:
    return msgspec.json.encode({"model": "m", **fields})


SERVED = [
    ({}, None, {}, {}),
    ({"service_tier": "priority"}, "default", {}, {}),
    ({"service_tier": "priority"}, None, {}, {"service_tier": "priority"}),
    ({"service_tier": "auto"}, "flex", {}, {"service_tier": "flex"}),
    ({"speed": "fast"}, "standard", {}, {"speed": "fast"}),
    ({"speed": "fast"}, "standard", {"speed": "standard"}, {}),
    ({}, "standard", {"inference_geo": "us"}, {"region": "us"}),
    ({}, "standard", {"inference_geo": "global", "speed": "fast"}, {"speed": "fast"}),
    ({}, None, {"inference_geo": 7, "speed": None}, {}),
    ({"service_tier": 7}, None, {}, {}),
    ({"service_tier": "batch"}, "default", {}, {}),
    ({"service_tier": "priority"}, "default", {}, {}),
]


@pytest.mark.parametrize(("asked", "tier", "usage", "expected"), SERVED)
def test_the_answers_words_beat_the_requests(
    asked: dict[str, Any], tier: str | None, usage: dict[str, Any], expected: dict[str, str]
) -> None:
    request = parse_request(body(**asked))
    context = served_as(request, reading(tier, **usage), asked=asked_for(request, at=AT))
    assert context == RequestContext(at=AT, **expected)  # type: ignore[arg-type]  # Words only.


def test_a_hold_is_made_for_what_was_asked() -> None:
    request = parse_request(body(service_tier="priority", speed="fast"))
    assert asked_for(request, at=AT) == RequestContext(service_tier="priority", speed="fast", at=AT)


def price(*tiers: str, region: bool = False) -> PriceVersion:
    parts = [Component("input", Decimal(1), 1, when_of(when)) for when in ("", *tiers)]
    multipliers = (Multiplier(Decimal("1.1"), when_of("region=us")),) if region else ()
    return PriceVersion("pv", "p", "m", "usd", AT, None, tuple(parts), multipliers=multipliers)


UNPRICED = [
    (price(), {}, []),
    (price(), {"service_tier": "priority"}, [("service_tier", "priority")]),
    (price("service_tier=priority"), {"service_tier": "priority"}, []),
    (price(), {"service_tier": "flex"}, []),  # Never dearer than the list price.
    (price(), {"service_tier": "batch"}, []),
    (price(), {"speed": "fast", "region": "us"}, [("speed", "fast"), ("region", "us")]),
    (price("speed=fast", region=True), {"speed": "fast", "region": "us"}, []),
]


@pytest.mark.parametrize(("version", "told", "missing"), UNPRICED)
def test_only_what_may_cost_more_and_has_no_price_is_unpriced(
    version: PriceVersion, told: dict[str, str], missing: list[tuple[str, str]]
) -> None:
    assert list(uncovered(version, served(**told))) == missing


LIFETIMES = [
    ("24h", {"cache_write_5m": 5}, {"cache_write_12h": 5}),
    ("above_12hr", {"cache_write_5m": 5, "input": 1}, {"cache_write_12h": 5, "input": 1}),
    ("1h", {"cache_write_5m": 5}, {"cache_write_1h": 5}),
    ("in_memory", {"cache_write_5m": 5}, {"cache_write_5m": 5}),
    ("", {"cache_write_5m": 5}, {"cache_write_5m": 5}),
    ("24h", {"input": 5}, {"input": 5}),
    ("24h", {"cache_write_5m": 5, "cache_write_1h": 2}, {"cache_write_5m": 5, "cache_write_1h": 2}),
]


@pytest.mark.parametrize(("lifetime", "counted", "kept"), LIFETIMES)
def test_cache_writes_go_to_the_lifetime_asked_for_unless_the_provider_tells_them_apart(
    lifetime: str, counted: dict[str, int], kept: dict[str, int]
) -> None:
    assert kept_for(Usage(counted, ("flag",)), lifetime) == Usage(kept, ("flag",))


RUNS = {
    "input_tokens": 30,
    "output_tokens": 12,
    "iterations": [
        {"input_tokens": 10, "output_tokens": 5},
        {"input_tokens": 7, "output_tokens": 3, "model": "advisor"},
        {"input_tokens": 20, "output_tokens": 7},
    ],
    "server_tool_use": {"web_search_requests": 2},
}


def test_runs_on_another_model_are_told_apart_and_add_up_to_the_usage() -> None:
    raw = msgspec.json.encode(RUNS)
    usage, _ = usage_from_raw(raw)
    assert usage is not None
    runs = runs_of(usage, reading("standard", **RUNS))
    assert [(model, dict(run.quantities)) for model, run in runs] == [
        ("", {"input": 10, "output": 5}),
        ("advisor", {"input": 7, "output": 3}),
        ("", {"input": 20, "output": 7}),
        ("", {"web_search": 2}),
    ]
    total: Counter[str] = Counter()
    for _, run in runs:
        total.update(run.quantities)
    assert total == Counter(usage.quantities)


def test_runs_on_one_model_are_priced_together() -> None:
    same = {**RUNS, "iterations": [{"input_tokens": 30, "output_tokens": 12}] * 2}
    usage, _ = usage_from_raw(msgspec.json.encode(same))
    assert usage is not None
    assert runs_of(usage, reading("standard", **same)) == []
