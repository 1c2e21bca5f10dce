"""Build the bundled price snapshot from public price files. Run by hand; equal inputs make equal bytes.

    python scripts/build_price_snapshot.py [--snapshots DIR] [--out FILE]

Rule 1: figures, ids and dates carry over; sentences of the sources never do.
Rule 2: a price key that no component expresses is named in `unmapped`, never dropped silently; so is a meter
that no usage counts yet, whose price is kept.
Rule 3: a price dated after the snapshot is `scheduled`; zero is a price only where the offer says so.
Rule 4: an alias is declared only where a name is proved to cost what the model costs.
Source: spec "prices", §1.2, 1.3, 5 and 8.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import msgspec
from price_corrections import REDIRECTS
from price_encode import encode
from price_feeds import (
    Raw,
    equal_names,
    first_match,
    is_price_neutral,
    rates_of,
)
from price_merge import supplemented

from costplus.catalog.feeds.genai_prices import model_prices
from costplus.catalog.feeds.litellm_names import DATA_ZONE, litellm_by_provider
from costplus.catalog.feeds.stated import MILLION, Keys, StatedPrice
from costplus.catalog.names import canonical_provider
from costplus.catalog.price import Component
from costplus.catalog.snapshot import (
    SCHEMA,
    ModelEntry,
    ProviderEntry,
    ScheduledEntry,
    Snapshot,
    VersionEntry,
    component_entry,
    component_from_entry,
    multiplier_entry,
    price_version_id,
)
from costplus.catalog.views.belief import (
    FREE,
    is_fine_tune,
    is_free_offer,
    is_sellable,
    lacks_audio_price,
    without_zeros,
)
from costplus.catalog.views.litellm import stated_by_entry

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "src" / "costplus" / "catalog" / "bundled_prices.json"
GENAI, GENAI_RELEASE, GENAI_FILE = "genai-prices", "0.2.3", "genai-prices-0.2.3-2026-11-10.data.json"
LITELLM, LITELLM_RELEASE, LITELLM_FILE = "litellm", "1.109.1", "litellm-1.109.1-2026-11-12.model_prices.json"
VOTE_FILE = "modelsdev-2026-09-30.api.json"  # A third opinion where the two disagree about a moving name.
TAKEN_ON = date(2026, 11, 10)
CURRENCY = "USD"
# The vendors for which LiteLLM fills what genai-prices lacks.
LITELLM_ADDS = {"openai", "anthropic", "azure", "bedrock"}
LATEST_IS_UNDATED = {"anthropic"}  # `x-latest` may be called `x` where no other model is.
LITELLM_MODES = {"chat", "responses", "embedding"}
# A partner's model at Bedrock: where it runs, whose it is, its name, and what the partner leaves out.
PARTNER = re.compile(r"(?:(?P<where>regional|global)\.)?(?P<who>anthropic)\.(?P<name>.+?)(?:-v\d+(?::\d+)?)?")


def stated_by_genai(provider: str, model: Raw) -> list[StatedPrice]:
    pointer = model.get("pointer", "")
    return list(model_prices(provider, model, taken_on=TAKEN_ON, keys=Keys(), pointer=pointer))


def stated_by_litellm(name: str, entry: Raw) -> StatedPrice:
    return stated_by_entry(name, entry, keys=Keys())


def version_of(provider: str, model: str, stated: StatedPrice) -> VersionEntry:
    """Return one price as the snapshot writes it; its end is not known yet."""
    kept = [f"free_allowance:{allowance.leaf}" for allowance in stated.allowances]
    return VersionEntry(
        id=price_version_id(
            provider=provider,
            model=model,
            currency=CURRENCY,
            valid_from=stated.valid_from,
            components=stated.components,
            multipliers=stated.multipliers,
            minimums=stated.minimums,
        ),
        valid_from=stated.valid_from,
        components=tuple(component_entry(component) for component in stated.components),
        unmapped=tuple(sorted({*stated.unmapped, *stated.unrated, *kept})),
        multipliers=tuple(multiplier_entry(multiplier) for multiplier in stated.multipliers),
        minimums=stated.minimums,
        allowances=stated.allowances,
    )


def versions_of(provider: str, model: str, timeline: Sequence[StatedPrice]) -> tuple[VersionEntry, ...]:
    """Return contiguous versions; neighbours that say the same are one."""
    distinct: list[StatedPrice] = []
    for stated in timeline:
        if not distinct or replace(distinct[-1], valid_from=stated.valid_from) != stated:
            distinct.append(stated)
    versions = [version_of(provider, model, stated) for stated in distinct]
    ends = [version.valid_from for version in versions[1:]] + [None]
    return tuple(replace(version, valid_to=end) for version, end in zip(versions, ends, strict=True))


def genai_model(
    provider: str, model: Raw, *, theirs: StatedPrice | None = None
) -> ModelEntry | tuple[str, ...]:
    """Return the model's entry, or what it is sold by where no token price is known.

    `theirs` is the other source's price of the same model; it adds to the newest price in force.
    """
    timeline = stated_by_genai(provider, model)
    if is_free_offer(provider, model["id"]):
        timeline = [StatedPrice(provider=provider, model=model["id"], components=FREE)]
    elif not all(is_sellable(stated.components) for stated in timeline):
        assert not any(is_sellable(stated.components) for stated in timeline), model["id"]
        keys = {key for stated in timeline for key in stated.unmapped}
        keys |= {component.leaf for stated in timeline for component in stated.components}
        return tuple(sorted(keys)) or ("unknown",)
    elif is_fine_tune(model["id"]):
        return ("fine_tune",)
    elif lacks_audio_price(model["id"], timeline[-1].components):
        return ("input_audio", "output_audio")
    started = [stated for stated in timeline if stated.valid_from.date() <= TAKEN_ON]
    if theirs is not None:
        started[-1] = supplemented(started[-1], theirs)
    context = model.get("context_window")
    return ModelEntry(
        source=GENAI,
        versions=versions_of(provider, model["id"], started),
        context_tokens_max=None if context is None else int(context),
        scheduled=tuple(
            ScheduledEntry(stated.valid_from, tuple(component_entry(c) for c in stated.components))
            for stated in timeline
            if stated.valid_from.date() > TAKEN_ON
        ),
        pointer=timeline[-1].pointer,
    )


def limits(entry: ModelEntry, model: str, theirs: Mapping[str, Raw]) -> tuple[int | None, int | None]:
    """Return (context, output) limits from the entry of the same name, else of the first declared alias."""
    known = next((theirs[name] for name in (model, *entry.aliases) if name in theirs), {})
    context, output = known.get("max_input_tokens"), known.get("max_output_tokens")
    return (
        int(context) if isinstance(context, Decimal) else entry.context_tokens_max,
        int(output) if isinstance(output, Decimal) else entry.output_tokens_max,
    )


def current(entry: ModelEntry) -> list[Component]:
    return [component_from_entry(component) for component in entry.versions[-1].components]


def aliases_of(
    provider: str,
    models: list[Raw],
    entries: Mapping[str, ModelEntry],
    theirs: Mapping[str, Raw],
    outvoted: frozenset[str],
) -> dict[str, set[str]]:
    """Return each model's declared names: its whole-name matches and LiteLLM's price-neutral ones."""
    found: dict[str, set[str]] = {model: set() for model in entries}
    taken = {model["id"].lower() for model in models} | outvoted
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
        accepted = entry.get("max_input_tokens")
        if is_price_neutral(
            rates_of(stated_by_litellm(name, entry).components),
            rates_of(current(entries[target])),
            accepted=accepted if isinstance(accepted, Decimal) else None,
        ):
            found[target].add(name.lower())
    return found


def partner_names(entries: Mapping[str, ModelEntry]) -> dict[str, set[str]]:
    """Return what partners call their models at Bedrock: `anthropic/claude-x-4-5`, dated or not.

    Such a name does not say where the model runs: of the ids it could mean, it costs what the dearest does.
    """
    meant: dict[str, list[str]] = {}
    for model in entries:
        match = PARTNER.fullmatch(model)
        if match is None:
            continue
        undated = re.sub(r"-20\d{6}$", "", match["name"])
        for name in {match["name"], undated, re.sub(r"-(\d+)-(\d+)$", r"-\1.\2", undated)}:
            meant.setdefault(f"{match['who']}/{name}", []).append(model)
    found: dict[str, set[str]] = {}
    for name, models in meant.items():
        costs = {model: list_price(entries[model]) for model in models}
        found.setdefault(max(sorted(models), key=costs.__getitem__), set()).add(name)
    return found


def list_price(entry: ModelEntry) -> tuple[Fraction, Fraction]:
    rates = rates_of(current(entry))
    return rates.get(("input", 0), Fraction(0)), rates.get(("output", 0), Fraction(0))


def litellm_models(provider: str, theirs: Mapping[str, Raw], known: set[str]) -> dict[str, ModelEntry]:
    """Return the vendor's models that only LiteLLM prices."""
    added: dict[str, ModelEntry] = {}
    for name, entry in theirs.items():
        stated = stated_by_litellm(name, entry)
        foreign = name.lower() in known or ("/" in name and not DATA_ZONE.fullmatch(name))
        if foreign or entry.get("mode") not in LITELLM_MODES or not is_sellable(stated.components):
            continue
        if name.endswith("-") or lacks_audio_price(name, stated.components):
            continue
        stated = without_zeros(stated)
        added[name] = ModelEntry(LITELLM, versions_of(provider, name, [stated]), pointer=stated.pointer)
    return added


def outvoted_names(models: list[Raw], theirs: Mapping[str, Raw], votes: Mapping[str, Raw]) -> frozenset[str]:
    """Return the moving names (`…-latest`) for which two other sources agree on a price that is not ours."""
    found = set()
    for name, entry in theirs.items():
        target, vote = first_match(models, name), votes.get(name, {}).get("cost")
        if not name.endswith("-latest") or target is None or not vote or target == name:
            continue
        ours = next(stated_by_genai("", model) for model in models if model["id"] == target)[-1].components
        said = rates_of(stated_by_litellm(name, entry).components)
        voted = tuple(Decimal(vote[leaf]) / MILLION for leaf in ("input", "output"))
        priced = tuple(said.get((leaf, 0)) for leaf in ("input", "output"))
        if priced == voted and priced != tuple(rates_of(ours).get((leaf, 0)) for leaf in ("input", "output")):
            found.add(name)
    return frozenset(found)


def redirected(provider: str, entries: Mapping[str, ModelEntry]) -> dict[str, ModelEntry]:
    """Return the models that are served as another one since an instant, with its prices from then on."""
    found = {}
    for (owner, model), (since, target) in REDIRECTS.items():
        if owner != provider:
            continue
        old, new = entries[model], entries[target]
        before = [version for version in old.versions if version.valid_from < since]
        after = [version for version in new.versions if version.valid_to is None or version.valid_to > since]
        moved = [replace(version, valid_from=max(version.valid_from, since)) for version in after]
        timeline = [*before[:-1], replace(before[-1], valid_to=since), *moved]
        found[model] = replace(old, versions=tuple(_renamed(provider, model, v) for v in timeline))
    return found


def _renamed(provider: str, model: str, version: VersionEntry) -> VersionEntry:
    """Return another model's version under an id of this one's own."""
    id = price_version_id(
        provider=provider,
        model=model,
        currency=CURRENCY,
        valid_from=version.valid_from,
        components=[component_from_entry(component) for component in version.components],
    )
    return replace(version, id=id)


def provider_entry(
    provider: str, models: list[Raw], theirs: Mapping[str, Raw], votes: Mapping[str, Raw]
) -> ProviderEntry:
    """Return everything the snapshot says about one provider."""
    stated = {name: stated_by_litellm(name, entry) for name, entry in theirs.items()}
    outvoted = outvoted_names(models, theirs, votes)
    plain = {model["id"]: genai_model(provider, model) for model in models}
    entries = {name: entry for name, entry in plain.items() if isinstance(entry, ModelEntry)}
    unpriced = {name: keys for name, keys in plain.items() if isinstance(keys, tuple)}
    aliases = aliases_of(provider, models, entries, theirs, outvoted)
    for model in models:
        same = next(
            (stated[n] for n in (model["id"], *sorted(aliases.get(model["id"], ()))) if n in stated), None
        )
        if same is not None and model["id"] in entries:
            fuller = genai_model(provider, model, theirs=same)
            assert isinstance(fuller, ModelEntry)
            entries[model["id"]] = fuller
    entries |= redirected(provider, entries)
    known = {name.lower() for model, names in aliases.items() for name in (model, *names)}
    if provider in LITELLM_ADDS:
        entries |= litellm_models(provider, theirs, known)
    entries |= litellm_models(provider, {name: theirs[name] for name in sorted(outvoted)}, known)
    for model, names in (partner_names(entries) if provider == "bedrock" else {}).items():
        aliases.setdefault(model, set()).update(names)
    finished: dict[str, ModelEntry] = {}
    for name, entry in sorted(entries.items()):
        named = replace(entry, aliases=tuple(sorted(aliases.get(name, ()))))
        context, output = limits(named, name, theirs)
        finished[name] = replace(named, context_tokens_max=context, output_tokens_max=output)
    return ProviderEntry(finished, {k: v for k, v in sorted(unpriced.items()) if k not in finished})


def read(path: Path) -> Any:
    """Decode a price file with every number exact."""
    with path.open(encoding="utf-8") as file:
        return json.load(file, parse_float=Decimal, parse_int=Decimal)


def build(snapshots: Path) -> Snapshot:
    """Return the normalised snapshot of the price files in `snapshots`."""
    litellm = litellm_by_provider(read(snapshots / LITELLM_FILE))
    votes = read(snapshots / VOTE_FILE)
    providers = {
        canonical_provider(raw["id"]): [
            {**model, "pointer": f"/{number}/models/{position}"}
            for position, model in enumerate(raw["models"])
        ]
        for number, raw in enumerate(read(snapshots / GENAI_FILE))
    }
    return Snapshot(
        schema=SCHEMA,
        taken_on=TAKEN_ON,
        currency=CURRENCY,
        sources={GENAI: GENAI_RELEASE, LITELLM: LITELLM_RELEASE},
        providers={
            name: provider_entry(name, models, litellm.get(name, {}), votes.get(name, {}).get("models", {}))
            for name, models in sorted(providers.items())
        },
    )


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
