"""A price snapshot larger than any that ships: every model that the public price files state, where they are.

Rule 1: from the files in `$COSTPLUS_SHARED/data/price_snapshots` (beside the repository by default); without
them the bundled models are listed again under further names.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

from costplus.catalog.feeds import litellm, models_dev
from costplus.catalog.feeds.stated import Keys, StatedPrice
from costplus.catalog.names import canonical_provider
from costplus.catalog.snapshot import (
    ModelEntry,
    ProviderEntry,
    Snapshot,
    VersionEntry,
    component_entry,
    multiplier_entry,
    price_version_id,
)
from costplus.catalog.sources.bundled import bundled_snapshot

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))

from price_encode import encode

ROOT = Path(__file__).resolve().parents[1]
LITELLM_FILE, MODELS_DEV_FILE = (
    "litellm-1.109.1-2026-11-12.model_prices.json",
    "modelsdev-2026-09-30.api.json",
)
MODELS_MIN = 4_000


def enlarged() -> tuple[bytes, str]:
    """Return a snapshot of at least `MODELS_MIN` models as its file has it, and where they are from."""
    folder = Path(os.environ.get("COSTPLUS_SHARED", ROOT.parent / "shared")) / "data" / "price_snapshots"
    bundled = bundled_snapshot()
    if (folder / LITELLM_FILE).exists() and (folder / MODELS_DEV_FILE).exists():
        feeds = (
            ("litellm", litellm.feed(_read(folder / LITELLM_FILE), keys=Keys())),
            ("models.dev", models_dev.feed(_read(folder / MODELS_DEV_FILE), keys=Keys())),
        )
        return encode(_joined(bundled, feeds)), "the bundled ones, all of LiteLLM's and of models.dev's"
    return encode(_repeated(bundled)), "the bundled ones twice (the public price files are absent)"


def models_in(snapshot: Snapshot) -> int:
    return sum(len(entry.models) for entry in snapshot.providers.values())


def _read(path: Path) -> Any:
    with path.open(encoding="utf-8") as file:
        return json.load(file, parse_float=Decimal, parse_int=Decimal)


def _joined(bundled: Snapshot, feeds: tuple[tuple[str, Iterator[StatedPrice]], ...]) -> Snapshot:
    """Return the bundled snapshot with every model that only another source states."""
    providers = {name: dict(entry.models) for name, entry in bundled.providers.items()}
    for source, stated_prices in feeds:
        for stated in stated_prices:
            models = providers.setdefault(canonical_provider(stated.provider), {})
            if stated.components and stated.model not in models:
                models[stated.model] = _entry(source, stated)
    sources = {**bundled.sources, "models.dev": "2026-09-30"}
    return replace(bundled, sources=sources, providers=_entries(bundled, providers))


def _entry(source: str, stated: StatedPrice) -> ModelEntry:
    """Return a model of one price as the snapshot writes it."""
    id = price_version_id(
        provider=canonical_provider(stated.provider),
        model=stated.model,
        currency="USD",
        valid_from=stated.valid_from,
        components=stated.components,
        multipliers=stated.multipliers,
    )
    version = VersionEntry(
        id=id,
        valid_from=stated.valid_from,
        components=tuple(component_entry(component) for component in stated.components),
        unmapped=stated.unmapped,
        multipliers=tuple(multiplier_entry(multiplier) for multiplier in stated.multipliers),
        allowances=stated.allowances,
    )
    return ModelEntry(source, (version,), pointer=stated.pointer)


def _repeated(bundled: Snapshot) -> Snapshot:
    """Return the bundled snapshot with each model under two names, as if they were different ones."""
    providers: dict[str, dict[str, ModelEntry]] = {}
    for name, entry in bundled.providers.items():
        copies = {
            f"{model}-copy": replace(
                found,
                aliases=tuple(f"{alias}-copy" for alias in found.aliases),
                versions=tuple(replace(version, id=f"{version.id}x") for version in found.versions),
            )
            for model, found in entry.models.items()
        }
        providers[name] = {**entry.models, **copies}
    return replace(bundled, providers=_entries(bundled, providers))


def _entries(
    bundled: Snapshot, providers: Mapping[str, Mapping[str, ModelEntry]]
) -> dict[str, ProviderEntry]:
    known = bundled.providers
    return {
        name: ProviderEntry(dict(models), known[name].unpriced if name in known else {})
        for name, models in providers.items()
    }
