"""Build the bundled price snapshot from public price files. Run by hand; equal inputs make equal bytes.

    python scripts/build_price_snapshot.py [--snapshots DIR] [--out FILE]

Rule 1: figures, ids and dates carry over; sentences of the sources never do.
Rule 2: a price key that no component expresses is named in `unmapped`, never dropped silently.
Rule 3: a price dated after the snapshot is `scheduled`; zero is a price only where the offer says so.
Rule 4: an alias is declared only where a name is proved to cost what the model costs.
Source: spec "prices", §1.2, 1.3, 5 and 8.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import replace
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
from price_feeds import (
    ALWAYS,
    MILLION,
    THOUSAND,
    Rates,
    Raw,
    effective,
    equal_names,
    first_match,
    genai_timeline,
    litellm_by_provider,
    litellm_rates,
    variant_names,
)

from costplus.catalog.condition import Condition
from costplus.catalog.names import canonical_provider
from costplus.catalog.price import Component
from costplus.catalog.snapshot import (
    SCHEMA,
    ComponentEntry,
    ModelEntry,
    ProviderEntry,
    ScheduledEntry,
    Snapshot,
    VersionEntry,
    component_entry,
    price_version_id,
)
from costplus.core.usage import LEAVES

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "src" / "costplus" / "catalog" / "bundled_prices.json"
GENAI, GENAI_RELEASE, GENAI_FILE = "genai-prices", "0.2.3", "genai-prices-0.2.3-2026-11-10.data.json"
LITELLM, LITELLM_RELEASE, LITELLM_FILE = "litellm", "1.109.1", "litellm-1.109.1-2026-11-12.model_prices.json"
TAKEN_ON = date(2026, 11, 10)
CURRENCY = "USD"
LITELLM_ADDS = {"openai", "anthropic"}  # The vendors for which LiteLLM fills what genai-prices lacks.
LATEST_IS_UNDATED = {"anthropic"}  # `x-latest` may be called `x` where no other model is.
LITELLM_MODES = {"chat", "responses", "embedding"}


def per_of(leaf: str) -> int:
    return MILLION if LEAVES[leaf].unit == "token" else THOUSAND


def components_of(rates: Rates) -> tuple[Component, ...]:
    """Return the components in registry order, base before tiers."""
    assert all(amount >= 0 for amount in rates.values())
    order = list(LEAVES)
    keys = sorted(rates, key=lambda key: (order.index(key[0]), key[1] or 0))
    return tuple(
        Component(
            leaf,
            rates[leaf, over],
            per_of(leaf),
            () if over is None else (Condition("prompt_tokens", "gt", over),),
        )
        for leaf, over in keys
    )


def entries_of(rates: Rates) -> tuple[ComponentEntry, ...]:
    return tuple(component_entry(component) for component in components_of(rates))


def is_sellable(rates: Rates) -> bool:
    """Whether tokens cost something here: nothing or zero for both directions means unknown, not free."""
    return any(rates.get((leaf, None)) for leaf in ("input", "output"))


def is_free_offer(provider: str, model: str) -> bool:
    return provider == "openrouter" and model.endswith(":free")


def is_fine_tune(model: str) -> bool:
    """Whether the id stands for fine-tunes of a base model, whose own names nobody can list."""
    return model.startswith("ft:") or model.endswith("-")


def lacks_audio_price(model: str, rates: Rates) -> bool:
    """Whether an audio model is priced for text only: its audio tokens would be sold far below cost."""
    return "audio" in model.lower() and not any("audio" in leaf for leaf, _ in rates)


def versions_of(
    provider: str, model: str, timeline: list[tuple[datetime, Rates, set[str]]], extra: set[str]
) -> tuple[VersionEntry, ...]:
    """Return contiguous versions; neighbours that say the same are one."""
    distinct: list[tuple[datetime, Rates, set[str]]] = []
    for start, rates, unmapped in timeline:
        if not distinct or distinct[-1][1:] != (rates, unmapped):
            distinct.append((start, rates, unmapped))
    ends = [start for start, _, _ in distinct[1:]] + [None]
    return tuple(
        VersionEntry(
            id=price_version_id(
                provider=provider,
                model=model,
                currency=CURRENCY,
                valid_from=start,
                components=components_of(rates),
            ),
            valid_from=start,
            valid_to=end,
            components=entries_of(rates),
            unmapped=tuple(sorted(unmapped | extra)),
        )
        for (start, rates, unmapped), end in zip(distinct, ends, strict=True)
    )


def genai_model(provider: str, model: Raw) -> ModelEntry | tuple[str, ...]:
    """Return the model's entry, or what it is sold by where no token price is known."""
    timeline = genai_timeline(model["prices"], taken_on=TAKEN_ON)
    if is_free_offer(provider, model["id"]):
        timeline = [(ALWAYS, {("input", None): Decimal(0), ("output", None): Decimal(0)}, set())]
    elif not all(is_sellable(rates) for _, rates, _ in timeline):
        assert not any(is_sellable(rates) for _, rates, _ in timeline), model["id"]
        keys = {key for _, rates, unmapped in timeline for key in (*unmapped, *(leaf for leaf, _ in rates))}
        return tuple(sorted(keys)) or ("unknown",)
    elif is_fine_tune(model["id"]):
        return ("fine_tune",)
    elif lacks_audio_price(model["id"], timeline[-1][1]):
        return ("input_audio", "output_audio")
    started = [entry for entry in timeline if entry[0].date() <= TAKEN_ON]
    context = model.get("context_window")
    return ModelEntry(
        source=GENAI,
        versions=versions_of(provider, model["id"], started, variant_names(model)),
        context_tokens_max=None if context is None else int(context),
        scheduled=tuple(
            ScheduledEntry(start, entries_of(rates))
            for start, rates, _ in timeline
            if start.date() > TAKEN_ON
        ),
    )


def is_price_neutral(alias: Raw, model: Rates) -> bool:
    """Whether the alias has the model's base prices and no rate that the model's would undercut.

    Tiers that begin beyond what the alias accepts cannot be reached, so they do not count.
    """
    rates, _ = litellm_rates(alias)
    if any(rates.get((leaf, None)) != model.get((leaf, None)) for leaf in ("input", "output")):
        return False
    accepted = alias.get("max_input_tokens")
    for (leaf, over), amount in rates.items():
        if over is not None and isinstance(accepted, Decimal) and over >= accepted:
            continue
        ours = effective(model, leaf, over)
        if ours is None or amount > ours:
            return False
    return True


def limits(entry: ModelEntry, model: str, theirs: Mapping[str, Raw]) -> tuple[int | None, int | None]:
    """Return (context, output) limits from the entry of the same name, else of the first declared alias."""
    known = next((theirs[name] for name in (model, *entry.aliases) if name in theirs), {})
    context, output = known.get("max_input_tokens"), known.get("max_output_tokens")
    return (
        int(context) if isinstance(context, Decimal) else entry.context_tokens_max,
        int(output) if isinstance(output, Decimal) else entry.output_tokens_max,
    )


def current_rates(entry: ModelEntry) -> Rates:
    return {
        (leaf, when): Decimal(amount)
        for leaf, amount, _, when in entry.versions[-1].components
        if not isinstance(when, str)
    }


def aliases_of(
    provider: str, models: list[Raw], entries: Mapping[str, ModelEntry], theirs: Mapping[str, Raw]
) -> dict[str, set[str]]:
    """Return each model's declared names: its whole-name matches and LiteLLM's price-neutral ones."""
    found: dict[str, set[str]] = {model: set() for model in entries}
    taken = {model["id"].lower() for model in models}
    for model in models:
        for name in equal_names(model["match"]):
            if model["id"] in entries and name not in taken and first_match(models, name) == model["id"]:
                found[model["id"]].add(name)
        undated = model["id"].removesuffix("-latest").lower()
        if (
            provider in LATEST_IS_UNDATED
            and undated not in taken
            and model["id"] in entries
            and first_match(models, undated) == model["id"]
        ):
            found[model["id"]].add(undated)
    for name, entry in theirs.items():
        target = first_match(models, name)
        if target is None or target not in entries or name.lower() in taken or is_fine_tune(name):
            continue
        if is_price_neutral(entry, current_rates(entries[target])):
            found[target].add(name.lower())
    return found


def litellm_models(provider: str, theirs: Mapping[str, Raw], known: set[str]) -> dict[str, ModelEntry]:
    """Return the vendor's models that only LiteLLM prices."""
    added: dict[str, ModelEntry] = {}
    for name, entry in theirs.items():
        rates, unmapped = litellm_rates(entry)
        foreign = name.lower() in known or "/" in name or is_fine_tune(name)
        if foreign or entry.get("mode") not in LITELLM_MODES or not is_sellable(rates):
            continue
        added[name] = ModelEntry(LITELLM, versions_of(provider, name, [(ALWAYS, rates, unmapped)], set()))
    return added


def provider_entry(provider: str, models: list[Raw], theirs: Mapping[str, Raw]) -> ProviderEntry:
    """Return everything the snapshot says about one provider."""
    normalised = {model["id"]: genai_model(provider, model) for model in models}
    entries = {name: entry for name, entry in normalised.items() if isinstance(entry, ModelEntry)}
    unpriced = {name: keys for name, keys in normalised.items() if isinstance(keys, tuple)}
    aliases = aliases_of(provider, models, entries, theirs)
    if provider in LITELLM_ADDS:
        known = {name.lower() for model, names in aliases.items() for name in (model, *names)}
        entries |= litellm_models(provider, theirs, known)
    finished: dict[str, ModelEntry] = {}
    for name, entry in sorted(entries.items()):
        named = replace(entry, aliases=tuple(sorted(aliases.get(name, ()))))
        context, output = limits(named, name, theirs)
        finished[name] = replace(named, context_tokens_max=context, output_tokens_max=output)
    return ProviderEntry(finished, dict(sorted(unpriced.items())))


def read(path: Path) -> Any:
    """Decode a price file with every number exact."""
    with path.open(encoding="utf-8") as file:
        return json.load(file, parse_float=Decimal, parse_int=Decimal)


def build(snapshots: Path) -> Snapshot:
    """Return the normalised snapshot of the two price files in `snapshots`."""
    litellm = litellm_by_provider(read(snapshots / LITELLM_FILE))
    providers = {canonical_provider(raw["id"]): raw["models"] for raw in read(snapshots / GENAI_FILE)}
    return Snapshot(
        schema=SCHEMA,
        taken_on=TAKEN_ON,
        currency=CURRENCY,
        sources={GENAI: GENAI_RELEASE, LITELLM: LITELLM_RELEASE},
        providers={
            name: provider_entry(name, models, litellm.get(name, {}))
            for name, models in sorted(providers.items())
        },
    )


def compact(value: Any) -> Any:
    """Drop None and empty lists of fields: the snapshot's defaults say the same."""
    if isinstance(value, dict):
        kept = {key: compact(item) for key, item in value.items()}
        return {key: item for key, item in kept.items() if item not in (None, [])}
    if isinstance(value, list | tuple):
        return [compact(item) for item in value]
    return value


def encode(snapshot: Snapshot) -> bytes:
    """Return the snapshot as JSON, one model a line so that a refresh can be reviewed."""
    whole = compact(msgspec.to_builtins(snapshot))
    providers = whole.pop("providers")
    head = msgspec.json.encode(whole)[:-1]
    blocks = []
    for provider, entry in providers.items():
        models = entry["models"].items()
        lines = b",\n".join(
            msgspec.json.encode(name) + b":" + msgspec.json.encode(model) for name, model in models
        )
        unpriced = msgspec.json.encode(entry["unpriced"])
        blocks.append(
            msgspec.json.encode(provider) + b':{"models":{\n' + lines + b'\n},"unpriced":' + unpriced + b"}"
        )
    return head + b',"providers":{\n' + b",\n".join(blocks) + b"\n}}\n"


def main() -> None:
    shared = Path(os.environ.get("COSTPLUS_SHARED", ROOT.parent / "shared"))
    parser = argparse.ArgumentParser(description="Build the bundled price snapshot.")
    parser.add_argument("--snapshots", type=Path, default=shared / "data" / "price_snapshots")
    parser.add_argument("--out", type=Path, default=OUT)
    arguments = parser.parse_args()
    encoded = encode(build(arguments.snapshots))
    assert msgspec.json.decode(encoded, type=Snapshot).schema == SCHEMA
    arguments.out.write_bytes(encoded)
    sys.stdout.write(f"{arguments.out}: {len(encoded):,} bytes\n")


if __name__ == "__main__":
    main()
