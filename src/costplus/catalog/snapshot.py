"""The snapshot: prices as they are written down, and how a written price is read back.

Rule 1: a scheduled price is provisional; it is kept for display and never applied.
Rule 2: a version's id is a hash of what it says, so every process gives the same price the same id.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal

import msgspec

from costplus.catalog.condition import Condition, when_of, when_text
from costplus.catalog.price import (
    ALWAYS,
    Allowance,
    Component,
    Minimum,
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


decode_snapshot = msgspec.json.Decoder(Snapshot).decode


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


def price_version(
    entry: VersionEntry,
    *,
    provider: str,
    model: str,
    currency: str,
    source: str,
    context_tokens_max: int | None = None,
    output_tokens_max: int | None = None,
    recorded_at: datetime = ALWAYS,
    is_override: bool = False,
) -> PriceVersion:
    """Return the price version that an entry writes."""
    return PriceVersion(
        id=entry.id,
        provider=provider,
        model=model,
        currency=currency,
        valid_from=entry.valid_from,
        valid_to=entry.valid_to,
        components=tuple(component_from_entry(component) for component in entry.components),
        context_tokens_max=context_tokens_max,
        output_tokens_max=output_tokens_max,
        source=source,
        unmapped=entry.unmapped,
        multipliers=tuple(multiplier_from_entry(multiplier) for multiplier in entry.multipliers),
        minimums=entry.minimums,
        allowances=entry.allowances,
        recorded_at=recorded_at,
        is_override=is_override,
    )
