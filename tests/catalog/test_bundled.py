"""The packaged snapshot: complete, consistent, offline, and priced as the vendors publish."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

import costplus.catalog
from costplus.catalog.catalogue import Catalogue
from costplus.catalog.feeds.stated import METERS
from costplus.catalog.names import PROVIDERS
from costplus.catalog.price import ModelUnpriced
from costplus.catalog.snapshot import (
    ModelEntry,
    component_from_entry,
    multiplier_from_entry,
    price_version_id,
)
from costplus.catalog.sources.bundled import bundled_catalogue, bundled_snapshot
from costplus.core.usage import LEAVES

ROOT = Path(__file__).resolve().parents[2]
SHARED = Path(os.environ.get("COSTPLUS_SHARED", ROOT.parent / "shared"))
NOW = datetime(2026, 11, 24, tzinfo=UTC)
SNAPSHOT = bundled_snapshot()
MODELS = [
    (provider, model, entry)
    for provider, listed in SNAPSHOT.providers.items()
    for model, entry in listed.models.items()
]


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return bundled_catalogue()


WEEKLY = "request_time=12345 00:00-01:00|12345 04:00-06:00|12345 10:00-00:00|67 00:00-00:00"  # Off-peak.

PRICES = [
    ("anthropic", "claude-sonnet-4-5-20250929", "claude-sonnet-4-5", "3", "15"),
    ("anthropic", "claude-sonnet-4.5", "claude-sonnet-4-5", "3", "15"),
    ("anthropic", "claude-sonnet-4-5", "claude-sonnet-4-5", "3", "15"),
    ("anthropic", "claude-sonnet-4-20250514", "claude-sonnet-4-0", "3", "15"),
    ("anthropic", "claude-3-5-sonnet", "claude-3-5-sonnet", "3", "15"),
    ("anthropic", "claude-3.5-sonnet", "claude-3-5-sonnet", "3", "15"),
    ("anthropic", "claude-3-5-haiku", "claude-3-5-haiku-latest", "0.8", "4"),
    ("anthropic", "claude-3-5-haiku-20241022", "claude-3-5-haiku-latest", "0.8", "4"),
    ("anthropic", "claude-sonnet-5", "claude-sonnet-5", "2", "10"),
    ("openai", "gpt-4o-2024-05-13", "gpt-4o-2024-05-13", "5", "15"),
    ("openai", "gpt-4o", "gpt-4o", "2.5", "10"),
    ("openai", "gpt-4o-2024-11-20", "gpt-4o", "2.5", "10"),
    ("openai", "gpt-4o-mini", "gpt-4o-mini", "0.15", "0.6"),
    ("openai", "gpt-4o-mini-2024-07-18", "gpt-4o-mini", "0.15", "0.6"),
    ("openai", "gpt-4.1-mini", "gpt-4.1-mini", "0.4", "1.6"),
    ("openai", "o4-mini", "o4-mini", "1.1", "4.4"),
    ("openai", "text-embedding-3-small", "text-embedding-3-small", "0.02", None),
    ("openai", "gpt-5.6", "gpt-5.6-sol", "4", "20"),
    ("gemini", "models/gemini-2.5-flash", "gemini-2.5-flash", "0.3", "2.5"),
    ("google", "gemini-4-argon", "gemini-4-argon", "2", "10"),
    ("aws", "global.anthropic.claude-sonnet-4-5-20250929-v1:0", None, "3", "15"),
    ("aws", "us.anthropic.claude-sonnet-4-5-20250929-v1:0", None, "3.3", "16.5"),
    ("deepseek", "deepseek-v4-pro", "deepseek-v4-pro", "1.32", "3.96"),
    ("azure", "us/o4-mini", "us/o4-mini", "1.21", "4.84"),
    ("bedrock", "eu.amazon.nova-pro-v1:0", "eu.amazon.nova-pro-v1:0", "1.05", "4.2"),
    ("bedrock", "anthropic/claude-sonnet-4.5", None, "3.3", "16.5"),
    ("bedrock", "anthropic/claude-sonnet-4-5-20250929", None, "3.3", "16.5"),
    ("openai", "ft:gpt-4.1-2025-04-14:acme::x", "ft:gpt-4.1-2025-04-14", "3", "12"),
    ("mistral", "mistral-large-latest", "mistral-large-latest", "0.5", "1.5"),
    ("xai", "grok-3", "grok-3", "1.25", "2.5"),
    ("google", "publishers/google/models/gemini-2.5-pro", "gemini-2.5-pro", "1.25", "10"),
    ("openrouter", "openai/gpt-oss-20b:free", "openai/gpt-oss-20b:free", "0", "0"),
]


@pytest.mark.parametrize(("provider", "requested", "model", "input", "output"), PRICES)
def test_a_well_known_name_has_its_published_price(
    catalogue: Catalogue, provider: str, requested: str, model: str | None, input: str, output: str | None
) -> None:
    version, name = catalogue.price_at(provider, requested, at=NOW)
    base = {component.leaf: component.amount for component in version.components if not component.when}
    assert model in (None, name.model)
    assert base["input"] == Decimal(input)
    assert base.get("output") == (None if output is None else Decimal(output))


UNPRICED = [
    ("azure", "my-prod-deployment"),
    ("openai", "gpt-4o-mini-foo"),
    ("openai", "gpt-4o:batch"),
    ("openai", "ft:gpt-9:acme::x"),
    ("openai", "gpt-4o-audio-preview"),  # Listed with text prices only.
    ("openai", "whisper-1"),
    ("github-copilot", "gpt-4o"),  # Zero there means part of a seat, not free.
]


@pytest.mark.parametrize(("provider", "requested"), UNPRICED)
def test_a_name_without_a_price_of_its_own_is_unpriced(
    catalogue: Catalogue, provider: str, requested: str
) -> None:
    with pytest.raises(ModelUnpriced):
        catalogue.price_at(provider, requested, at=NOW)


@pytest.mark.parametrize("year", range(2025, 2032))
def test_the_cancelled_rise_of_claude_sonnet_5_never_applies(catalogue: Catalogue, year: int) -> None:
    version, _ = catalogue.price_at("anthropic", "claude-sonnet-5", at=datetime(year, 9, 2, tzinfo=UTC))
    base = [c for c in version.components if not c.when]
    assert {c.leaf: c.amount for c in base if c.leaf in ("input", "output")} == {
        "input": Decimal(2),
        "output": Decimal(10),
    }


def test_a_past_price_applies_to_past_usage(catalogue: Catalogue) -> None:
    before, _ = catalogue.price_at("openai", "o3", at=datetime(2025, 6, 9, 23, 59, 59, tzinfo=UTC))
    after, _ = catalogue.price_at("openai", "o3", at=datetime(2025, 6, 10, tzinfo=UTC))
    assert [version.components[0].amount for version in (before, after)] == [Decimal(10), Decimal(2)]
    assert before.valid_to == after.valid_from


def test_windows_of_the_day_do_not_reach_back_before_the_price_they_belong_to(catalogue: Catalogue) -> None:
    version, _ = catalogue.price_at("deepseek", "deepseek-v4-pro", at=datetime(2026, 7, 1, 2, tzinfo=UTC))
    assert version.components[0].amount == Decimal("0.435")
    now, _ = catalogue.price_at("deepseek", "deepseek-v4-pro", at=NOW)
    assert {c.text for c in now.conditions} == {WEEKLY}


def test_a_retired_name_costs_what_it_is_served_as_from_that_instant(catalogue: Catalogue) -> None:
    before, _ = catalogue.price_at("xai", "grok-3", at=datetime(2026, 5, 15, 18, 59, 59, tzinfo=UTC))
    after, _ = catalogue.price_at("xai", "grok-3", at=datetime(2026, 5, 15, 19, tzinfo=UTC))
    assert [version.components[0].amount for version in (before, after)] == [Decimal(3), Decimal("1.25")]


COVERED = [
    ("openai", "gpt-5.6-sol", "service_tier", "priority"),
    ("openai", "gpt-5.6-sol", "service_tier", "flex"),
    ("openai", "gpt-5.6-sol", "processing", "batch"),
    ("anthropic", "claude-opus-5", "speed", "fast"),
    ("anthropic", "claude-opus-5", "region", "us"),
    ("anthropic", "claude-sonnet-4-5", "processing", "batch"),
]


@pytest.mark.parametrize(("provider", "model", "field", "word"), COVERED)
def test_a_tier_that_the_sources_price_is_priced(
    catalogue: Catalogue, provider: str, model: str, field: Any, word: str
) -> None:
    version, _ = catalogue.price_at(provider, model, at=NOW)
    assert version.covers(field, word)
    assert not version.covers(field, "unheard-of")


def test_a_price_names_its_source_and_where_it_stands_there(catalogue: Catalogue) -> None:
    version, _ = catalogue.price_at("openai", "gpt-4o", at=NOW)
    assert version.source.startswith("genai-prices 0.2.3 /")


def test_versions_of_every_model_are_contiguous_and_end_open() -> None:
    for _, model, entry in MODELS:
        starts = [version.valid_from for version in entry.versions]
        ends = [version.valid_to for version in entry.versions]
        assert starts[0] == datetime(1970, 1, 1, tzinfo=UTC), model
        assert starts == sorted(set(starts)), model
        assert ends == [*starts[1:], None], model


def test_no_active_version_starts_after_the_snapshot_and_every_scheduled_one_does() -> None:
    for _, model, entry in MODELS:
        assert all(version.valid_from.date() <= SNAPSHOT.taken_on for version in entry.versions), model
        assert all(scheduled.valid_from.date() > SNAPSHOT.taken_on for scheduled in entry.scheduled), model
    assert any(entry.scheduled for _, _, entry in MODELS)


def test_every_id_is_the_hash_of_its_version_and_unique() -> None:
    seen: set[str] = set()
    for provider, model, entry in MODELS:
        for version in entry.versions:
            components = [component_from_entry(component) for component in version.components]
            assert version.id not in seen
            assert version.id == price_version_id(
                provider=provider,
                model=model,
                currency=SNAPSHOT.currency,
                valid_from=version.valid_from,
                components=components,
                multipliers=[multiplier_from_entry(multiplier) for multiplier in version.multipliers],
                minimums=version.minimums,
            )
            seen.add(version.id)


def _is_free(entry: ModelEntry) -> bool:
    return all(Decimal(amount) == 0 for version in entry.versions for _, amount, _, _ in version.components)


def test_components_are_known_leaves_once_per_tier_and_zero_only_for_free_offers() -> None:
    for provider, model, entry in MODELS:
        assert not _is_free(entry) or (provider == "openrouter" and model.endswith(":free")), model
        for version in entry.versions:
            keys = [(leaf, when, amount) for leaf, amount, _, when in version.components]
            assert len(keys) == len(set(keys)), model
            meters = {leaf for leaf, _, _ in keys} - set(LEAVES)
            assert meters <= METERS and meters <= set(version.unmapped), model
            assert all(
                len(Decimal(amount).as_tuple().digits) <= 12 for _, amount, _, _ in version.components
            ), model


def test_every_declared_alias_reaches_its_model(catalogue: Catalogue) -> None:
    for provider, model, entry in MODELS:
        for requested in (model, *entry.aliases):
            _, name = catalogue.price_at(provider, requested, at=NOW)
            assert name.model == model, requested


def test_the_declared_providers_are_those_of_the_snapshot(catalogue: Catalogue) -> None:
    assert frozenset(catalogue.providers) == PROVIDERS
    assert catalogue.taken_on == date(2026, 11, 10)


def test_models_lists_at_least_two_thousand_models_once(catalogue: Catalogue) -> None:
    listed = [(version.provider, version.model) for version in catalogue.models(at=NOW)]
    assert len(listed) == len(set(listed)) >= 2_000
    version = next(catalogue.models(at=NOW))
    assert catalogue.price_version(version.id) is version


def test_loading_and_looking_up_are_fast_enough_for_every_call() -> None:
    started = time.perf_counter()
    catalogue = bundled_catalogue()
    assert time.perf_counter() - started < 1.0  # Measured 0.05 s; the rest is room for a busy machine.
    catalogue.price_at("openai", "gpt-4o", at=NOW)
    started = time.perf_counter()
    for _ in range(10_000):
        catalogue.price_at("openai", "gpt-4o", at=NOW)
    assert time.perf_counter() - started < 0.2  # Measured 0.7 µs a lookup.


@pytest.mark.slow
def test_the_script_makes_the_bundled_snapshot_again_byte_for_byte(tmp_path: Path) -> None:
    snapshots = SHARED / "data" / "price_snapshots"
    if not snapshots.is_dir():
        pytest.skip(f"the raw price files are absent: {snapshots}")
    out = tmp_path / "prices.json"
    script = ROOT / "scripts" / "build_price_snapshot.py"
    subprocess.run(
        [sys.executable, str(script), "--snapshots", str(snapshots), "--out", str(out)],
        check=True,
        capture_output=True,
    )
    packaged = Path(costplus.catalog.__file__).with_name("bundled_prices.json")
    assert out.read_bytes() == packaged.read_bytes()
