"""Real lists of three sources, served one after the other: what a seller's book makes of six weeks."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import Counter
from contextlib import suppress
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from costplus.catalog.agreement import components_of
from costplus.catalog.book import PriceChange
from costplus.catalog.sources.bundled import bundled_body

pytestmark = pytest.mark.slow

FIRST = {
    "genai-prices": "genai-prices-0.1.9-2026-09-25.data.json",
    "litellm": "litellm-1.103.2-2026-10-01.model_prices.json",
    "models.dev": "modelsdev-2026-07-02.api.json",
}
SECOND = {
    "genai-prices": "genai-prices-0.2.3-2026-11-10.data.json",
    "litellm": "litellm-1.109.1-2026-11-12.model_prices.json",
    "models.dev": "modelsdev-2026-09-30.api.json",
}
PRICES = {
    ("anthropic", "claude-sonnet-5"): ("2", "10"),
    ("openai", "gpt-5.6-luna"): ("0.2", "1.2"),
    ("openai", "gpt-5.6-terra"): ("2", "12"),
    ("openai", "gpt-5.6-sol"): ("4", "20"),
    ("openai", "gpt-4o"): ("2.5", "10"),
    ("anthropic", "claude-haiku-4-5"): ("1", "5"),
    ("google", "gemini-4-argon"): ("2", "10"),
}
DAYS = [
    (FIRST, datetime(2026, 10, 1, tzinfo=UTC)),
    (SECOND, datetime(2026, 11, 12, tzinfo=UTC)),
    (SECOND, datetime(2026, 11, 14, tzinfo=UTC)),
    (SECOND, datetime(2026, 12, 2, tzinfo=UTC)),
]


async def pauses(found: list[float]) -> None:
    """Measure by how much the event loop is late, again and again."""
    while True:
        began = time.perf_counter()
        await asyncio.sleep(0.002)
        found.append(time.perf_counter() - began - 0.002)


def per_token(amount: str) -> Fraction:
    return Fraction(amount) / 1_000_000


async def test_six_weeks_of_real_lists_give_the_right_prices(
    world: Any, shared_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    world.packaged = bundled_body()
    world.at = DAYS[0][1]
    await world.begin()
    lines = []
    for files, at in DAYS:
        world.at = at
        for name, file in files.items():
            world.serve(name, (shared_data / "price_snapshots" / file).read_bytes())
        late: list[float] = []
        measuring = asyncio.create_task(pauses(late))
        began = time.perf_counter()
        report = await world.sync("models.dev")
        took = time.perf_counter() - began
        measuring.cancel()
        with suppress(asyncio.CancelledError):
            await measuring
        late.sort()
        counts = Counter(f"{change.kind} {change.status}" for change in report.changes)
        p99, worst = (round(late[int(len(late) * part)] * 1000) for part in (0.99, 0.9999))
        lines.append(
            f"{at:%Y-%m-%d} in {took:.1f} s, loop late p99 {p99} ms, at most {worst} ms: "
            f"{dict(sorted(counts.items()))}, {report.withdrawn} withdrawn"
        )
        assert {source.outcome for source in report.sources} <= {"new", "unchanged"}
        catalogue = world.pricing.catalogue
        for (provider, model), (given, taken) in PRICES.items():
            parts = components_of(catalogue.current(provider, model, at=world.at))
            assert (parts["input", ""], parts["output", ""]) == (per_token(given), per_token(taken)), model
    changes = await world.records(PriceChange)
    lines.append(str(Counter(change.status for change in changes)))
    lines.append(str(Counter(", ".join(c.reasons) for c in changes if c.status == "held").most_common()))
    with capsys.disabled():
        sys.stdout.write("\n".join(["", *lines, ""]))
    assert_no_jump(world, changes)


def assert_no_jump(world: Any, changes: list[PriceChange]) -> None:
    """Assert that no applied price is ten times off the one before, except a cache price that two cut."""
    catalogue = world.pricing.catalogue
    for change in changes:
        old, new = (catalogue.price_version(id) for id in (change.old_version, change.new_version))
        if old is None or new is None:
            continue
        before, after = components_of(old), components_of(new)
        for part in before.keys() & after.keys():
            assert after[part] > 0, (change, part)
            ratio = max(before[part] / after[part], after[part] / before[part])
            assert ratio < 10 or part[0].startswith("cache"), (change, part)


async def test_the_documented_prices_are_those_of_the_book(world: Any, shared_data: Path) -> None:
    """What is documented as in force when the lists were read is what the program sells by."""
    found = json.loads((shared_data / "price_changes.json").read_text("utf-8"))["changes"]
    world.packaged = bundled_body()
    await world.begin()
    catalogue = world.pricing.catalogue
    named = {model: provider for provider, model in PRICES}
    latest = {}
    for row in sorted(found, key=lambda row: row["date"]):
        if row["class"] == "A" and row["model"] in named and row["date"] <= "2026-11-10":
            latest[row["model"]] = row["new"]
    assert "gpt-5.6-luna" in latest
    for model, prices in latest.items():
        parts = components_of(catalogue.current(named[model], model, at=DAYS[1][1]))
        for key, leaf in (("input_mtok", "input"), ("output_mtok", "output")):
            stated = prices[key]["base"] if isinstance(prices[key], dict) else prices[key]
            assert parts[leaf, ""] == per_token(stated), (model, leaf)
