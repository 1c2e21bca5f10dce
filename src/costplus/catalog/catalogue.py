"""The catalogue: which price version applies to a provider's model at an instant.

Rule 1: the snapshot is where prices begin; what the price book recorded since comes on top of it.
Rule 2: of the versions in force at an instant, an operator's override wins, then the latest to begin, then
the latest recorded. Asked for what was known by an instant (`recorded_by`), later recordings do not count.
Rule 3: a model without a price is `ModelUnpriced`, never free.
Rule 4: versions are built when first asked for: a process pays only for the models it sells.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import date, datetime
from fractions import Fraction

from costplus.catalog.book import ModelAlias, PriceEnd, RecordedPrice
from costplus.catalog.exchange import Exchange
from costplus.catalog.names import (
    REGIONS,
    ProviderNames,
    ResolvedName,
    canonical_provider,
    provider_names,
    resolve,
    split_provider,
    without_region,
)
from costplus.catalog.price import ModelUnpriced, PriceVersion
from costplus.catalog.snapshot import (
    SCHEMA,
    ModelEntry,
    ProviderEntry,
    ScheduledEntry,
    Snapshot,
    VersionEntry,
    price_version,
)

_REMEMBERED_MAX = 16_384  # Callers choose the names, so what is remembered about them has a limit.
_NO_MODELS = ProviderEntry({}, {})


def _check_covered(version: PriceVersion, name: ResolvedName) -> None:
    """Raise `ModelUnpriced` where the name asks for what the version has no price for."""
    for field, word in name.modifiers:
        if not version.covers(field, word):
            raise ModelUnpriced(
                f"Model '{version.model}' of provider '{version.provider}' has no price for {field} '{word}'."
            )


class Catalogue:
    """Prices by provider, model and instant; nothing about it changes after construction."""

    def __init__(
        self,
        snapshot: Snapshot,
        *,
        recorded: Iterable[RecordedPrice] = (),
        aliases: Iterable[ModelAlias] = (),
        ends: Iterable[PriceEnd] = (),
        revision: int = 0,
        exchange: Exchange | None = None,
    ) -> None:
        assert snapshot.schema == SCHEMA, snapshot.schema
        self.revision = revision  # Of the price book that it was loaded from.
        self.exchange = exchange or Exchange()
        self._snapshot = snapshot
        self._recorded: dict[tuple[str, str], list[RecordedPrice]] = {}
        for entry in recorded:
            self._recorded.setdefault((entry.provider, entry.model), []).append(entry)
        self._declared = tuple(aliases)
        self._aliases = {(alias.provider, alias.name.lower()): alias.target for alias in self._declared}
        self._ended_at = tuple(ends)
        self._ends = {end.id: end.created for end in self._ended_at}
        self._names: dict[str, ProviderNames] = {}
        self._built: dict[tuple[str, str], tuple[PriceVersion, ...]] = {}
        self._resolved: dict[tuple[str, str], tuple[tuple[PriceVersion, ...], ResolvedName]] = {}
        self._by_id = {
            version.id: (provider, model)
            for provider, entry in snapshot.providers.items()
            for model, model_entry in entry.models.items()
            for version in model_entry.versions
        }
        self._by_id |= {entry.id: key for key, entries in self._recorded.items() for entry in entries}
        self._models = {
            provider: dict.fromkeys(entry.models) for provider, entry in snapshot.providers.items()
        }
        for provider, model in self._recorded:
            self._models.setdefault(provider, {})[model] = None

    def with_recorded(self, further: Iterable[RecordedPrice]) -> Catalogue:
        """Return a catalogue in which further prices were recorded; this one stays as it is."""
        known = [entry for entries in self._recorded.values() for entry in entries]
        return Catalogue(
            self._snapshot,
            recorded=[*known, *further],
            aliases=self._declared,
            ends=self._ended_at,
            exchange=self.exchange,
        )

    @property
    def taken_on(self) -> date:
        """The day of the snapshot that everything begins with."""
        return self._snapshot.taken_on

    @property
    def providers(self) -> tuple[str, ...]:
        """The providers' ids, in order."""
        return tuple(self._models)

    @property
    def sources(self) -> Mapping[str, str]:
        """The releases of the public price lists that the snapshot's figures come from."""
        return self._snapshot.sources

    def price_at(
        self, provider: str, model: str, *, at: datetime, recorded_by: datetime | None = None
    ) -> tuple[PriceVersion, ResolvedName]:
        """Return the price of `model` at `at` and how its name was understood, or raise `ModelUnpriced`.

        `recorded_by` leaves out what was recorded after that instant.
        """
        known = self._resolved.get((provider, model))
        if known is None:
            known = self._resolve(provider, model)
        versions, name = known
        for version in versions:
            if version.valid_from <= at and (version.valid_to is None or at < version.valid_to):
                if recorded_by is not None and version.recorded_at > recorded_by:
                    continue
                if name.modifiers:
                    _check_covered(version, name)
                return version, name
        raise ModelUnpriced(f"Model '{model}' of provider '{provider}' has no price at {at.isoformat()}.")

    def price_version(self, id: str) -> PriceVersion | None:
        """Return the version with that id, or None where this catalogue has none."""
        owner = self._by_id.get(id)
        if owner is None:
            return None
        return next(version for version in self._versions(*owner) if version.id == id)

    @property
    def keys(self) -> Iterator[tuple[str, str]]:
        """Every model's provider and exact id, in order of both; no version is built for it."""
        for provider in sorted(self._models):
            for model in sorted(self._models[provider]):
                yield provider, model

    def models(self, *, at: datetime) -> Iterator[PriceVersion]:
        """Yield the version in force at `at` of every model that has one, by provider and model."""
        for provider in self._models:
            yield from self.models_of(provider, at=at)

    def models_of(self, provider: str, *, at: datetime) -> Iterator[PriceVersion]:
        """Yield the version in force at `at` of every model of a provider that has one."""
        for model in self._models.get(provider, ()):
            current = self.current(provider, model, at=at)
            if current is not None:
                yield current

    def knows(self, provider: str, model: str) -> bool:
        """Return whether the name means a model that has a price at some time."""
        try:
            self._resolve(provider, model)
        except ModelUnpriced:
            return False
        return True

    def current(self, provider: str, model: str, *, at: datetime) -> PriceVersion | None:
        """Return the version in force of a model named by its exact id, or None."""
        return next((v for v in self._versions_of(provider, model) if v.applies(at)), None)

    def versions(self, provider: str, model: str) -> tuple[PriceVersion, ...]:
        """Return every version of a model named by its exact id, oldest first; none where it is unknown."""
        known = reversed(self._versions_of(provider, model))  # Of one instant the last recorded comes last.
        return tuple(sorted(known, key=lambda v: (v.valid_from, v.recorded_at)))

    def turns(self, provider: str, model: str, *, at: datetime) -> tuple[datetime, ...]:
        """Return `at` and every later instant at which some version of a model begins or ends."""
        versions = self._versions_of(provider, model)
        edges = {edge for version in versions for edge in (version.valid_from, version.valid_to) if edge}
        return (at, *sorted(edge for edge in edges if edge > at))

    def first_recorded(self, provider: str, model: str) -> datetime:
        """Return when a model named by its exact id got its first price."""
        return min(version.recorded_at for version in self._versions(provider, model))

    @property
    def learned(self) -> Mapping[tuple[str, str], datetime]:
        """Per model with a price recorded since the snapshot: when the latest one was."""
        return {key: max(entry.created for entry in entries) for key, entries in self._recorded.items()}

    def scheduled(self, provider: str, model: str) -> tuple[ScheduledEntry, ...]:
        """Return the announced prices of a model named by its exact id; they are not applied."""
        entry = self._entry(provider, model)
        return entry.scheduled if entry else ()

    def names_of(self, provider: str) -> ProviderNames | None:
        """Return every name that the models of a provider go by, None where its id is unknown."""
        names = self._names.get(provider)
        models = self._models.get(provider)
        if names is None and models is not None:
            entry = self._snapshot.providers.get(provider, _NO_MODELS)
            aliases = {id: entry.models[id].aliases if id in entry.models else () for id in models}
            unpriced = [id for id in entry.unpriced if id not in models]
            names = self._names[provider] = provider_names(provider, aliases, unpriced=unpriced)
        return names

    def _versions_of(self, provider: str, model: str) -> tuple[PriceVersion, ...]:
        return self._versions(provider, model) if model in self._models.get(provider, ()) else ()

    def _entry(self, provider: str, model: str) -> ModelEntry | None:
        return self._snapshot.providers.get(provider, _NO_MODELS).models.get(model)

    def _resolve(self, provider: str, model: str) -> tuple[tuple[PriceVersion, ...], ResolvedName]:
        name = self._name(provider, model)
        known = self._versions(name.provider, name.model), name
        if len(self._resolved) < _REMEMBERED_MAX:
            self._resolved[provider, model] = known
        return known

    def _name(self, provider: str, model: str) -> ResolvedName:
        canonical = canonical_provider(provider)
        names = self.names_of(canonical)
        if names is None:
            raise ModelUnpriced(f"Provider '{provider}' is unknown, so its model '{model}' has no price.")
        declared = self._aliases.get((canonical, model.strip().lower()))
        if declared is not None and declared in self._models[canonical]:
            return ResolvedName(canonical, declared, model, ("operator_alias",))
        name = resolve(model, names=names)
        if name is None and canonical == "bedrock":
            name = self._regional(model, names)
        if name is None:
            beyond = self._snapshot.providers.get(canonical, _NO_MODELS).unpriced.get(model)
            why = f" It is sold by {', '.join(beyond)}: a price for that is missing." if beyond else ""
            raise ModelUnpriced(f"Model '{model}' of provider '{canonical}' has no price.{why}")
        return name

    def _regional(self, model: str, names: ProviderNames) -> ResolvedName | None:
        """Return the dearest known region's model for a region that has no price of its own, else None.

        The price without a region is never taken for one: regions cost more.
        """
        base = without_region(model)
        found = {
            known.model: known
            for region in REGIONS
            if base is not None and (known := resolve(f"{region}.{base}", names=names)) is not None
        }
        if not found:
            return None
        dearest = max(sorted(found), key=lambda name: self._list_price(names.provider, name))
        return replace(found[dearest], requested=model, steps=("dearest_region", *found[dearest].steps))

    def _list_price(self, provider: str, model: str) -> tuple[Fraction, ...]:
        newest = self.versions(provider, model)[-1]
        base = {c.leaf: c.unit_cost for c in newest.components if not c.when}
        return tuple(base.get(leaf, Fraction(0)) for leaf in ("input", "output"))

    def _versions(self, provider: str, model: str) -> tuple[PriceVersion, ...]:
        """Return every version, the one to prefer first."""
        built = self._built.get((provider, model))
        if built is None:
            versions = [*self._written(provider, model), *self._learned(provider, model)]
            versions.sort(key=lambda v: (v.is_override, v.valid_from, v.recorded_at), reverse=True)
            built = self._built[provider, model] = tuple(versions)
        return built

    def _written(self, provider: str, model: str) -> Iterator[PriceVersion]:
        entry = self._entry(provider, model)
        for version in entry.versions if entry else ():
            assert entry is not None
            yield price_version(
                version,
                provider=provider,
                model=model,
                currency=self._snapshot.currency,
                source=f"{entry.source} {self._snapshot.sources[entry.source]} {entry.pointer}".rstrip(),
                context_tokens_max=entry.context_tokens_max,
                output_tokens_max=entry.output_tokens_max,
            )

    def _ended(self, version: VersionEntry) -> VersionEntry:
        end = self._ends.get(version.id)
        return version if end is None else replace(version, valid_to=min(end, version.valid_to or end))

    def _learned(self, provider: str, model: str) -> Iterator[PriceVersion]:
        entry = self._entry(provider, model)
        for recorded in self._recorded.get((provider, model), ()):
            yield price_version(
                self._ended(recorded.version),
                provider=provider,
                model=model,
                currency=recorded.currency,
                source=recorded.source,
                context_tokens_max=recorded.context_tokens_max
                or (entry.context_tokens_max if entry else None),
                output_tokens_max=recorded.output_tokens_max or (entry.output_tokens_max if entry else None),
                recorded_at=recorded.created,
                is_override=recorded.origin == "override",
            )


def canonical_model(catalogue: Catalogue, name: str, *, at: datetime) -> str | None:
    """Return the catalogue's `provider/model` for a name as people write it, or None without a price."""
    provider, model = split_provider(name.strip().lower())
    if provider is None:
        return None
    try:
        price, _ = catalogue.price_at(provider, model, at=at)
    except ModelUnpriced:
        return None
    return f"{price.provider}/{price.model}"
