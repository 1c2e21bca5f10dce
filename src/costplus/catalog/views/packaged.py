"""What the snapshot packaged with a release states, where a price book began with another one.

Rule 1: it says what was in force on its day, and announces what it has for later.
Rule 2: its names are the catalogue's own; a model without a price says nothing.
Source: spec "prices", §6 and 7.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, time

from costplus.catalog.agreement import BUNDLED
from costplus.catalog.feeds.stated import StatedPrice
from costplus.catalog.snapshot import (
    ModelEntry,
    ScheduledEntry,
    Snapshot,
    VersionEntry,
    component_from_entry,
    multiplier_from_entry,
)
from costplus.catalog.statement import ModelKey, SourceView, Statement


def view(snapshot: Snapshot, *, revision: str) -> SourceView:
    """Return what the snapshot states."""
    as_of = datetime.combine(snapshot.taken_on, time(), UTC)
    statements = {
        (provider, model): statement
        for provider, entry in snapshot.providers.items()
        for model, model_entry in entry.models.items()
        for statement in _statements((provider, model), model_entry, as_of=as_of)
    }
    return SourceView(source=BUNDLED, revision=revision, as_of=as_of, statements=statements)


def _statements(key: ModelKey, entry: ModelEntry, *, as_of: datetime) -> Iterator[Statement]:
    """Yield what is said of a model where anything is."""
    begun = [version for version in entry.versions if version.valid_from <= as_of]
    if begun:
        yield Statement(
            current=_stated(key, begun[-1], pointer=entry.pointer),
            scheduled=tuple(_announced(key, later, pointer=entry.pointer) for later in entry.scheduled),
            names=entry.aliases,
        )


def _stated(key: ModelKey, version: VersionEntry, *, pointer: str) -> StatedPrice:
    provider, model = key
    return StatedPrice(
        provider=provider,
        model=model,
        components=tuple(map(component_from_entry, version.components)),
        valid_from=version.valid_from,
        multipliers=tuple(map(multiplier_from_entry, version.multipliers)),
        minimums=version.minimums,
        allowances=version.allowances,
        unmapped=version.unmapped,
        pointer=pointer,
    )


def _announced(key: ModelKey, later: ScheduledEntry, *, pointer: str) -> StatedPrice:
    provider, model = key
    components = tuple(map(component_from_entry, later.components))
    return StatedPrice(
        provider=provider, model=model, components=components, valid_from=later.valid_from, pointer=pointer
    )
