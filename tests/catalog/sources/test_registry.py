"""The list of public price lists says where each is, and reads it under its own name."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from costplus.catalog.catalogue import Catalogue
from costplus.catalog.snapshot import SCHEMA, Snapshot
from costplus.catalog.sources.registry import SOURCES

AT = datetime(2026, 11, 24, tzinfo=UTC)
EMPTY = Catalogue(Snapshot(SCHEMA, AT.date(), "USD", {}, {}))
DOCUMENTS: dict[str, Any] = {
    "genai-prices": [{"id": "openai", "models": [{"id": "m", "prices": {"input_mtok": "1"}}]}],
    "litellm": {"m": {"litellm_provider": "openai", "input_cost_per_token": 1e-6}},
    "models.dev": {"openai": {"models": {"m": {"cost": {"input": 1}}}}},
    "openrouter": {"data": [{"id": "m", "pricing": {"prompt": "0.000001"}}]},
    "vercel": {"data": [{"id": "m", "pricing": {"input": "0.000001"}}]},
}


def test_the_lists_of_vendors_prices_are_on_and_those_of_routers_off() -> None:
    assert {name: source.is_on for name, source in SOURCES.items()} == {
        "genai-prices": True,
        "litellm": True,
        "models.dev": True,
        "openrouter": False,
        "vercel": False,
    }
    assert all(source.url.startswith("https://") for source in SOURCES.values())
    assert "/v2/" in SOURCES["genai-prices"].url  # The first edition is frozen and wrong.


@pytest.mark.parametrize("name", SOURCES)
def test_every_list_is_read_under_its_own_name(name: str) -> None:
    body = json.dumps(DOCUMENTS[name]).encode()
    view = SOURCES[name].view(body, catalogue=EMPTY, revision="etag:1", as_of=AT)
    assert (view.source, view.revision, view.as_of) == (name, "etag:1", AT)
    [((_, model), statement)] = view.statements.items()
    assert model == "m"
    assert [(c.leaf, c.amount) for c in statement.current.components] == [("input", 1)]
