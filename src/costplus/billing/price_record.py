"""Record prices that apply: each is kept for ever, followed by rate cards and announced, in one transaction.

Rule 1: a price counts from the day that its source names, else from when it is recorded; never before what
an earlier recording already says of the same instant.
Rule 2: a change that was decided against an earlier price moves only what it moves: the rest stays as it is.
Rule 3: usage that was priced stays as it was priced, whatever is recorded later.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal

from costplus.billing.notice import notice_of
from costplus.billing.notify import announce
from costplus.billing.store import Tx
from costplus.billing.track import follow
from costplus.catalog.book import ChangeKind, PriceChange, PriceEnd, RecordedPrice
from costplus.catalog.load import book_changed, catalogue_of
from costplus.catalog.price import ALWAYS, Component, Multiplier, PriceVersion
from costplus.catalog.reconcile import with_moves
from costplus.catalog.recorded import (
    announced_over,
    components_of_change,
    moves_between,
    multipliers_of_change,
    proposed_of,
    version_entry,
)
from costplus.catalog.snapshot import VersionEntry, price_version
from costplus.catalog.survey import listed
from costplus.rating.impact import Impact
from costplus.rating.pricing import Pricing

CURRENCY = "USD"
NO_IMPACTS: Mapping[str, Impact] = {}
TICK = timedelta(microseconds=1)

_Price = tuple[Sequence[Component], Sequence[Multiplier]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """Who decides, and why."""

    name: str
    note: str = ""


def apply_changes(
    tx: Tx,
    changes: Sequence[PriceChange],
    *,
    at: datetime,
    by: Person,
    watched: Collection[str] = (),
    impacts: Mapping[str, Impact] = NO_IMPACTS,
) -> list[PriceChange]:
    """Record the new prices of `changes`, let the rate cards follow, and announce it; return them applied.

    Nothing is announced of providers that nobody watches; empty `watched` watches every one. `impacts` has
    what changes mean for past usage, by their digests, where that is known.
    """
    if not changes:
        return []
    catalogue, applied = catalogue_of(tx), []
    latest: dict[str, PriceVersion | None] = {}  # By model: a later change is one of what an earlier made.
    for change in changes:
        old = latest.get(change.parent) or listed(catalogue, (change.provider, change.model), at=at)
        done, latest[change.parent] = _recorded(tx, old, change, at=at, by=by)
        applied.append(done)
    book_changed(tx, at=at)
    tx.touch("config")
    for change in applied:
        tx.save(change)
    cards = follow(tx, Pricing(catalogue_of(tx)), applied, at=at)
    for change in applied:
        if not watched or change.provider in watched:
            type = "model.priced" if change.kind == "new_model" else "price.change_applied"
            announce(tx, type, notice_of(change, cards=cards, impact=impacts.get(change.digest)), at=at)
            _announce_parts(tx, change, at=at)
    return applied


def _announce_parts(tx: Tx, change: PriceChange, *, at: datetime) -> None:
    """Say that a price has parts that it had not, or no longer has some."""
    if change.kind == "new_model":
        return
    if any(move.old is None for move in change.moves):
        announce(tx, "price.component_added", change, at=at)
    if any(move.new is None for move in change.moves):
        announce(tx, "price.component_removed", change, at=at)


def _recorded(
    tx: Tx, old: PriceVersion | None, change: PriceChange, *, at: datetime, by: Person
) -> tuple[PriceChange, PriceVersion | None]:
    """Record the version that a change makes of `old`; return the change, applied, and what is listed now."""
    change, (components, multipliers) = _price(old, change)
    currency = old.currency if old else CURRENCY

    def entry_from(instant: datetime) -> VersionEntry:
        return version_entry(
            provider=change.provider,
            model=change.model,
            currency=currency,
            components=components,
            multipliers=multipliers,
            old=old,
            valid_from=instant,
            valid_to=change.ends_at,
        )

    valid_from = _counts_from(old, change, at=at)
    entry = entry_from(valid_from)
    while _says_otherwise(tx, entry):
        valid_from += TICK
        entry = entry_from(valid_from)
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


def _price(old: PriceVersion | None, change: PriceChange) -> tuple[PriceChange, _Price]:
    """Return what the change makes of the price that is listed now, and the change with its moves of that."""
    if old is not None and change.kind == "price" and old.id != change.old_version:
        return change, with_moves(old, proposed_of(change))
    if change.kind == "scheduled":
        merged = announced_over(old, change)
        return replace(change, moves=moves_between(old, merged)), (merged.components, merged.multipliers)
    return change, (components_of_change(change), multipliers_of_change(change))


def _counts_from(old: PriceVersion | None, change: PriceChange, *, at: datetime) -> datetime:
    if change.kind == "new_model" and change.precision == "detected":
        return ALWAYS  # It had no price before; usage that waits for one is priced by its first.
    if change.precision == "detected":
        return at
    if old is not None and change.kind in ("price", "scheduled"):
        return max(change.effective_at, old.valid_from)
    return change.effective_at


def _says_otherwise(tx: Tx, entry: VersionEntry) -> bool:
    """Return whether the same price of the same instant was recorded to end at another time."""
    known = tx.find(RecordedPrice, entry.id)
    if known is None:
        return False
    return known.version.valid_to != entry.valid_to or tx.find(PriceEnd, entry.id) is not None


def _origin(kind: ChangeKind) -> Literal["sync", "override", "redirect", "undo"]:
    return kind if kind in ("override", "redirect", "undo") else "sync"


def _said_by(change: PriceChange, by: Person) -> str:
    """Return who says so, for people."""
    said = ", ".join(f"{source} {revision}".strip() for source, revision in sorted(change.sources.items()))
    return said or f"{change.kind} by {by.name}"
