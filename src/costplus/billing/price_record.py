"""Record what a change makes of a model's price, as a new version in the book.

Rule 1: a price counts from the day that its source names, else from when it is recorded; never before what
an earlier recording already says of the same instant.
Rule 2: a change that was decided against an earlier price moves only what it moves: the rest stays as it is.
So does what an announced price does not speak of.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal

from costplus.billing.store import Tx
from costplus.catalog.agreement import part_of
from costplus.catalog.book import ChangeKind, PriceChange, RecordedPrice
from costplus.catalog.feeds.stated import component_order
from costplus.catalog.price import ALWAYS, Component, Multiplier, PriceVersion
from costplus.catalog.reconcile import with_moves
from costplus.catalog.recorded import (
    components_of_change,
    multipliers_of_change,
    proposed_of,
    version_entry,
)
from costplus.catalog.snapshot import price_version

CURRENCY = "USD"

_Price = tuple[Sequence[Component], Sequence[Multiplier]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """Who decides, and why."""

    name: str
    note: str = ""


def record_change(
    tx: Tx, old: PriceVersion | None, change: PriceChange, *, at: datetime, by: Person
) -> tuple[PriceChange, PriceVersion | None]:
    """Record the version that a change makes of `old`; return the change, applied, and what is listed now."""
    components, multipliers = _price(old, change)
    valid_from = _counts_from(old, change, at=at)
    currency = old.currency if old else CURRENCY
    entry = version_entry(
        provider=change.provider,
        model=change.model,
        currency=currency,
        components=components,
        multipliers=multipliers,
        old=old,
        valid_from=valid_from,
        valid_to=change.ends_at,
    )
    source, origin = _said_by(change, by), _origin(change.kind)
    if tx.find(RecordedPrice, entry.id) is None:
        tx.save(
            RecordedPrice(
                id=entry.id,
                created=at,
                provider=change.provider,
                model=change.model,
                currency=currency,
                version=entry,
                origin=origin,
                source=source,
                change=change.id,
            )
        )
    made = price_version(
        entry,
        provider=change.provider,
        model=change.model,
        currency=currency,
        source=source,
        recorded_at=at,
        is_override=origin == "override",
    )
    applied = replace(
        change,
        status="applied",
        old_version=old.id if old else "",
        new_version=entry.id,
        effective_at=valid_from,
        due_at=None,
        decided_at=at,
        decided_by=by.name,
        note=by.note or change.note,
    )
    return applied, made if made.applies(at) and not made.is_override else old


def _price(old: PriceVersion | None, change: PriceChange) -> _Price:
    """Return what the change makes of the price that is listed now."""
    components, multipliers = components_of_change(change), multipliers_of_change(change)
    if old is None:
        return components, multipliers
    if change.kind == "price" and old.id != change.old_version:
        return with_moves(old, proposed_of(change))
    if change.kind == "scheduled":
        spoken = {*map(part_of, components), *map(part_of, multipliers)}
        kept = [component for component in old.components if part_of(component) not in spoken]
        factors = [multiplier for multiplier in old.multipliers if part_of(multiplier) not in spoken]
        return component_order([*kept, *components]), (*factors, *multipliers)
    return components, multipliers


def _counts_from(old: PriceVersion | None, change: PriceChange, *, at: datetime) -> datetime:
    if change.kind == "new_model" and change.precision == "detected":
        return ALWAYS  # It had no price before; usage that waits for one is priced by its first.
    if change.precision == "detected":
        return at
    if old is not None and change.kind in ("price", "scheduled"):
        return max(change.effective_at, old.valid_from)
    return change.effective_at


def _origin(kind: ChangeKind) -> Literal["sync", "override", "redirect", "undo"]:
    return kind if kind in ("override", "redirect", "undo") else "sync"


def _said_by(change: PriceChange, by: Person) -> str:
    """Return who says so, for people."""
    said = ", ".join(f"{source} {revision}".strip() for source, revision in sorted(change.sources.items()))
    return said or f"{change.kind} by {by.name}"
