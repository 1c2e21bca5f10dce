"""The catalogue: which price version applies to a provider's model at an instant.

Rule 1: a scheduled price is provisional; it is kept for display and never applied.
Rule 2: a model without a price is `ModelUnpriced`, never free.
Rule 3: a version's id is a hash of what it says, so every process gives the same price the same id.
Rule 4: versions are built when first asked for: a process pays only for the models it sells.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime
from decimal import Decimal
from fractions import Fraction

from costplus.catalog.condition import Condition, when_of, when_text
from costplus.catalog.names import (
    REGIONS,
    ProviderNames,
    ResolvedName,
    canonical_provider,
    provider_names,
    resolve,
    without_region,
)
from costplus.catalog.price import (
    Allowance,
    Component,
    Minimum,
    ModelUnpriced,
    Multiplier,
    PriceVersion,
    Scope,
)
from costplus.core.money import decimal_text

SCHEMA = 1

# Leaf, amount, per, and when it counts: None always, a number above that many prompt tokens, else the text
# of its conditions (`#2` at its end is a rank).
ComponentEntry = tuple[str, str, int, str | int | None]
# Factor, what it applies to, the text of its conditions.
MultiplierEntry = tuple[str, Scope, str]

_LONG_PROMPT = ("prompt_tokens", "gt")
_REMEMBERED_MAX = 16_384  # Callers choose the names, so what is remembered about them has a limit.


@dataclass(frozen=True, slots=True)
class VersionEntry:
    """One dated price as the snapshot writes it."""

    id: str
    valid_from: datetime
    components: tuple[ComponentEntry, ...]
    valid_to: datetime | None = None
    unmapped: tuple[str, ...] = ()
    multipliers: tuple[MultiplierEntry, ...] = ()
    minimums: tuple[Minimum, ...] = ()
    allowances: tuple[Allowance, ...] = ()


@dataclass(frozen=True, slots=True)
class ScheduledEntry:
    """A price announced for later than the snapshot: it may be cancelled, so it never applies by itself."""

    valid_from: datetime
    components: tuple[ComponentEntry, ...]


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """One model: its versions in time order, its limits and its declared aliases."""

    source: str
    versions: tuple[VersionEntry, ...]
    aliases: tuple[str, ...] = ()
    context_tokens_max: int | None = None
    output_tokens_max: int | None = None
    scheduled: tuple[ScheduledEntry, ...] = ()
    pointer: str = ""  # Where in the source it stands.


@dataclass(frozen=True, slots=True)
class ProviderEntry:
    """One provider: its priced models, and those known without a price, each with what is not expressible."""

    models: dict[str, ModelEntry]
    unpriced: dict[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All prices as they stood on `taken_on`."""

    schema: int
    taken_on: date
    currency: str
    sources: dict[str, str]  # Source name → its release.
    providers: dict[str, ProviderEntry]


def component_entry(component: Component) -> ComponentEntry:
    """Return a component as the snapshot writes it."""
    when: str | int | None = when_text(component.when) or None
    if component.rank:
        when = f"{when or ''}#{component.rank}"
    elif len(component.when) == 1 and (component.when[0].field, component.when[0].op) == _LONG_PROMPT:
        value = component.when[0].value
        assert isinstance(value, int)
        when = value
    return component.leaf, decimal_text(component.amount), component.per, when


def component_from_entry(entry: ComponentEntry) -> Component:
    """Read back what `component_entry` wrote."""
    leaf, amount, per, when = entry
    if when is None:
        return Component(leaf, Decimal(amount), per)
    if isinstance(when, int):
        return Component(leaf, Decimal(amount), per, (Condition("prompt_tokens", "gt", when),))
    text, _, rank = when.partition("#")
    return Component(leaf, Decimal(amount), per, when_of(text), int(rank or 0))


def multiplier_entry(multiplier: Multiplier) -> MultiplierEntry:
    """Return a multiplier as the snapshot writes it."""
    return decimal_text(multiplier.factor), multiplier.applies_to, when_text(multiplier.when)


def multiplier_from_entry(entry: MultiplierEntry) -> Multiplier:
    """Read back what `multiplier_entry` wrote."""
    factor, applies_to, text = entry
    return Multiplier(Decimal(factor), when_of(text), applies_to)


def price_version_id(
    *,
    provider: str,
    model: str,
    currency: str,
    valid_from: datetime,
    components: Iterable[Component],
    multipliers: Iterable[Multiplier] = (),
    minimums: Iterable[Minimum] = (),
) -> str:
    """Return `pv_` + 24 hex digits of a hash over everything that makes the price what it is.

    The order of the components and trailing zeros of amounts do not matter.
    """
    entries = sorted("\x1f".join(map(str, component_entry(component))) for component in components)
    entries += sorted("×\x1f" + "\x1f".join(multiplier_entry(multiplier)) for multiplier in multipliers)
    entries += sorted(f"≥\x1f{minimum.leaf}\x1f{minimum.quantity}" for minimum in minimums)
    text = "\x1e".join([provider, model, currency, valid_from.isoformat(), *entries])
    return f"pv_{hashlib.sha256(text.encode()).hexdigest()[:24]}"


def _check_covered(version: PriceVersion, name: ResolvedName) -> None:
    """Raise `ModelUnpriced` where the name asks for what the version has no price for."""
    for field, word in name.modifiers:
        if not version.covers(field, word):
            raise ModelUnpriced(
                f"Model '{version.model}' of provider '{version.provider}' has no price for {field} '{word}'."
            )


class Catalogue:
    """Prices by provider, model and instant; nothing about it changes after construction."""

    def __init__(self, snapshot: Snapshot) -> None:
        assert snapshot.schema == SCHEMA, snapshot.schema
        self._snapshot = snapshot
        self._names: dict[str, ProviderNames] = {}
        self._built: dict[tuple[str, str], tuple[PriceVersion, ...]] = {}
        self._resolved: dict[tuple[str, str], tuple[tuple[PriceVersion, ...], ResolvedName]] = {}
        self._by_id = {
            version.id: (provider, model)
            for provider, entry in snapshot.providers.items()
            for model, model_entry in entry.models.items()
            for version in model_entry.versions
        }

    @property
    def taken_on(self) -> date:
        """The day whose prices these are."""
        return self._snapshot.taken_on

    @property
    def providers(self) -> tuple[str, ...]:
        """The providers' ids, in order."""
        return tuple(self._snapshot.providers)

    @property
    def sources(self) -> Mapping[str, str]:
        """The releases of the public price lists that the figures come from."""
        return self._snapshot.sources

    def price_at(self, provider: str, model: str, *, at: datetime) -> tuple[PriceVersion, ResolvedName]:
        """Return the price of `model` at `at` and how its name was understood, or raise `ModelUnpriced`."""
        known = self._resolved.get((provider, model))
        if known is None:
            known = self._resolve(provider, model)
        versions, name = known
        for version in reversed(versions):
            if version.valid_from <= at and (version.valid_to is None or at < version.valid_to):
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

    def models(self) -> Iterator[PriceVersion]:
        """Yield the current version of every priced model, by provider and model."""
        for provider, entry in self._snapshot.providers.items():
            for model in entry.models:
                current = self._versions(provider, model)[-1]
                assert current.valid_to is None
                yield current

    def versions(self, provider: str, model: str) -> tuple[PriceVersion, ...]:
        """Return every version of a model named by its exact id, oldest first; none where it is unknown."""
        entry = self._snapshot.providers.get(provider)
        return self._versions(provider, model) if entry and model in entry.models else ()

    def scheduled(self, provider: str, model: str) -> tuple[ScheduledEntry, ...]:
        """Return the announced prices of a model named by its exact id; they are not applied."""
        entry = self._snapshot.providers.get(provider)
        return entry.models[model].scheduled if entry and model in entry.models else ()

    def names_of(self, provider: str) -> ProviderNames | None:
        """Return every name that the models of a provider go by, None where its id is unknown."""
        names = self._names.get(provider)
        entry = self._snapshot.providers.get(provider)
        if names is None and entry is not None:
            aliases = {model_id: model_entry.aliases for model_id, model_entry in entry.models.items()}
            names = self._names[provider] = provider_names(provider, aliases, unpriced=entry.unpriced)
        return names

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
        name = resolve(model, names=names)
        if name is None and canonical == "bedrock":
            name = self._regional(model, names)
        if name is None:
            beyond = self._snapshot.providers[canonical].unpriced.get(model)
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
        base = {c.leaf: c.unit_cost for c in self._versions(provider, model)[-1].components if not c.when}
        return tuple(base.get(leaf, Fraction(0)) for leaf in ("input", "output"))

    def _versions(self, provider: str, model: str) -> tuple[PriceVersion, ...]:
        built = self._built.get((provider, model))
        if built is None:
            entry = self._snapshot.providers[provider].models[model]
            built = self._built[provider, model] = tuple(
                self._version(provider, model, entry, version) for version in entry.versions
            )
        return built

    def _version(self, provider: str, model: str, entry: ModelEntry, version: VersionEntry) -> PriceVersion:
        return PriceVersion(
            id=version.id,
            provider=provider,
            model=model,
            currency=self._snapshot.currency,
            valid_from=version.valid_from,
            valid_to=version.valid_to,
            components=tuple(component_from_entry(component) for component in version.components),
            context_tokens_max=entry.context_tokens_max,
            output_tokens_max=entry.output_tokens_max,
            source=f"{entry.source} {self._snapshot.sources[entry.source]} {entry.pointer}".rstrip(),
            unmapped=version.unmapped,
            multipliers=tuple(multiplier_from_entry(multiplier) for multiplier in version.multipliers),
            minimums=version.minimums,
            allowances=version.allowances,
        )
