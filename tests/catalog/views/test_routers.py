"""Routers about themselves: OpenRouter's and Vercel's grammar of prices, and what has none."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from costplus.catalog.catalogue import Catalogue
from costplus.catalog.condition import when_text
from costplus.catalog.feeds.document import decoded
from costplus.catalog.snapshot import SCHEMA, Snapshot
from costplus.catalog.statement import SourceView
from costplus.catalog.views import routers as read

AS_OF = datetime(2026, 11, 10, 12, tzinfo=UTC)
CATALOGUE = Catalogue(Snapshot(SCHEMA, AS_OF.date(), "USD", {}, {}))
VIEWS = {"openrouter": read.openrouter_view, "vercel": read.vercel_view}


def parts(found: SourceView, provider: str, model: str) -> dict[str, str]:
    """Return the amounts that a view states for a model, by leaf and condition."""
    components = found.statements[provider, model].current.components
    return {" ".join(filter(None, (c.leaf, when_text(c.when)))): f"{c.amount:f}" for c in components}


def router(source: str, pricing: dict[str, Any], *, name: str = "a/m", **more: Any) -> SourceView:
    plain = {"id": "a/other", "pricing": {"prompt" if source == "openrouter" else "input": "0.000001"}}
    body = json.dumps({"data": [plain, {"id": name, "pricing": pricing, **more}]}).encode()
    return VIEWS[source](decoded(body, source=source), catalogue=CATALOGUE, revision="etag:1", as_of=AS_OF)


OPENROUTER = [
    (
        {
            "prompt": "0.0000025",
            "completion": "0.00001",
            "web_search": "0.005",
            "request": "0",
            "image": "0.01",
        },
        {"input": "2.5", "output": "10", "web_search": "5", "image_input": "0.01"},
    ),
    (
        {
            "prompt": "0.000001",
            "input_cache_read": "1e-7",
            "input_cache_write_1h": "0.000002",
            "discount": 0.5,
        },
        {"input": "0.5", "cached_input": "0.05", "cache_write_1h": "1"},
    ),
    (
        {"prompt": "0.000001", "overrides": [{"min_prompt_tokens": 200000, "prompt": "0.000002"}]},
        {"input": "1", "input prompt_tokens>200000": "2"},
    ),
    (
        {
            "prompt": "0.000002",
            "overrides": [
                {"utc_start": "2230", "utc_end": "0630", "utc_days": ["sat", "sun"], "prompt": "0.000001"},
                {"min_prompt_tokens": 9, "utc_start": 0, "utc_end": 600, "completion": "0.000003"},
            ],
        },
        {
            "input": "2",
            "input request_time=67 22:30-06:30": "1",
            "output prompt_tokens>9&request_time=1234567 00:00-06:00": "3",
        },
    ),
]


@pytest.mark.parametrize(("pricing", "stated"), OPENROUTER)
def test_openrouters_figures_are_what_is_paid_per_million(
    pricing: dict[str, Any], stated: dict[str, str]
) -> None:
    found = router("openrouter", pricing)
    assert parts(found, "openrouter", "a/m") == stated
    assert not found.unmapped


def test_of_openrouters_overrides_the_last_one_that_holds_counts() -> None:
    sizes = [{"min_prompt_tokens": size, "prompt": f"0.00000{cost}"} for size, cost in ((200, 3), (100, 2))]
    components = (
        router("openrouter", {"prompt": "0.000001", "overrides": sizes})
        .statements["openrouter", "a/m"]
        .current.components
    )
    assert [(c.threshold, c.rank) for c in components] == [(0, 0), (100, 2), (200, 1)]
    components = (
        router("openrouter", {"prompt": "0.000001", "overrides": sizes[::-1]})
        .statements["openrouter", "a/m"]
        .current.components
    )
    assert [(c.threshold, c.rank) for c in components] == [(0, 0), (100, 0), (200, 0)]


def test_a_price_that_depends_on_the_route_is_none() -> None:
    assert router("openrouter", {"prompt": "-1", "completion": "-1"}).left_out == {"dynamic": 1}
    assert router("vercel", {"input": "0.1", "varies_by_provider": True}).left_out == {"dynamic": 1}


def test_what_openrouter_adds_one_day_is_named() -> None:
    overrides = [
        {"moon": "full", "min_prompt_tokens": 9, "prompt": "0.000009"},
        {"utc_start": "0100", "prompt": "0.000008"},
        {"prompt": "0.000007"},
    ]
    found = router("openrouter", {"prompt": "0.000001", "dreams": "1", "overrides": overrides})
    assert parts(found, "openrouter", "a/m") == {"input": "1"}
    assert found.unmapped == {
        "pricing.dreams": 1,
        "overrides.moon": 1,
        "overrides.utc": 1,
        "overrides.unconditional": 1,
    }


VERCEL = [
    (
        {
            "input": "0.000005",
            "output": "0.000025",
            "input_cache_read": "5e-7",
            "input_cache_write": "0.00000625",
        },
        {"input": "5", "output": "25", "cached_input": "0.5", "cache_write_5m": "6.25"},
        {},
    ),
    (
        {
            "input": "0.000001",
            "input_tiers": [
                {"cost": "0.000001", "max": 200001},
                {"cost": "0.000002", "min": 200001, "max": 500000},
                {"cost": "0.000003", "min": 500000},
            ],
        },
        {"input": "1", "input prompt_tokens>200000": "2", "input prompt_tokens>499999": "3"},
        {},
    ),
    (
        {"input": "0.000001", "input_tiers": [{"cost": "0.000002", "min": 10}], "output_tiers": []},
        {"input": "1"},
        {"pricing.input_tiers": 1},
    ),
]


@pytest.mark.parametrize(("pricing", "stated", "unmapped"), VERCEL)
def test_vercels_tiers_begin_at_their_least_size(
    pricing: dict[str, Any], stated: dict[str, str], unmapped: dict[str, int]
) -> None:
    found = router("vercel", pricing)
    assert parts(found, "vercel", "a/m") == stated
    assert found.unmapped == unmapped


def test_a_routers_free_offer_costs_nothing_and_another_zero_is_no_price() -> None:
    zero = {"prompt": "0", "completion": "0"}
    assert parts(router("openrouter", zero, name="a/m:free"), "openrouter", "a/m:free") == {
        "input": "0",
        "output": "0",
    }
    assert router("openrouter", zero).left_out == {"no_price": 1}


def test_what_a_routers_picture_model_gives_out_is_not_text() -> None:
    found = router("vercel", {"input": "0.000001", "output": "0.00003"}, modalities={"output": ["image"]})
    assert parts(found, "vercel", "a/m") == {"input": "1"}
