"""Write the price book: what applies is recorded, followed by rate cards and announced in one transaction;
a person approves, rejects, overrides, undoes, redirects and names.

Rule 1: a price counts from the day that its source names, else from when it is recorded; never before what
an earlier recording already says of the same instant.
Rule 2: a change that was decided against an earlier price moves only what it moves: the rest stays as it is.
Rule 3: usage that was priced stays as it was priced, whatever is recorded later.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from datetime import datetime

from costplus.billing.notify import announce
from costplus.billing.price_record import Person, record_change
from costplus.billing.store import Tx
from costplus.billing.track import follow
from costplus.catalog.agreement import components_of, part_of, same_price
from costplus.catalog.book import (
    ChangeKind,
    ChangeNotOpen,
    ModelAlias,
    NoSuchChange,
    PriceChange,
    PriceEnd,
    RecordedMove,
)
from costplus.catalog.change import Move
from costplus.catalog.feeds.stated import component_order
from costplus.catalog.load import book_changed, catalogue_of
from costplus.catalog.names import canonical_provider
from costplus.catalog.price import Component, Multiplier, PriceVersion
from costplus.catalog.recorded import recorded_move
from costplus.catalog.snapshot import component_entry, multiplier_entry
from costplus.catalog.survey import listed
from costplus.core.errors import InvalidRequest, NotFound
from costplus.core.ids import new_id
from costplus.core.usage import LEAVES
from costplus.rating.pricing import Pricing


class NoSuchPrice(NotFound):
    """The model has no price that this could be done to."""

    code = "price_missing"
    remedy = "List the catalogue's models with `costplus prices show` or GET /v1/token_billing/prices."


class InvalidPrice(InvalidRequest):
    """The figures are no price."""

    code = "price_invalid"
    remedy = "Give each leaf an amount of zero or more in USD per million tokens, such as input=1.25."


def apply_changes(
    tx: Tx, changes: Sequence[PriceChange], *, at: datetime, by: Person, watched: Collection[str] = ()
) -> list[PriceChange]:
    """Record the new prices of `changes`, let the rate cards follow, and announce it; return them applied.

    Nothing is announced of providers that nobody watches; empty `watched` watches every one.
    """
    if not changes:
        return []
    catalogue, applied = catalogue_of(tx), []
    latest: dict[str, PriceVersion | None] = {}  # By model: a later change is one of what an earlier made.
    for change in changes:
        old = latest.get(change.parent) or listed(catalogue, (change.provider, change.model), at=at)
        done, latest[change.parent] = record_change(tx, old, change, at=at, by=by)
        applied.append(done)
    book_changed(tx, at=at)
    tx.touch("config")
    for change in applied:
        tx.save(change)
        if not watched or change.provider in watched:
            type = "model.priced" if change.kind == "new_model" else "price.change_applied"
            announce(tx, type, change, at=at)
            _announce_parts(tx, change, at=at)
    follow(tx, Pricing(catalogue_of(tx)), applied, at=at)
    return applied


def _announce_parts(tx: Tx, change: PriceChange, *, at: datetime) -> None:
    """Say that a price has parts that it had not, or no longer has some."""
    if change.kind == "new_model":
        return
    if any(move.old is None for move in change.moves):
        announce(tx, "price.component_added", change, at=at)
    if any(move.new is None for move in change.moves):
        announce(tx, "price.component_removed", change, at=at)


def change_of(tx: Tx, id: str) -> PriceChange:
    """Return the change, or raise `NoSuchChange`."""
    change = tx.find(PriceChange, id)
    if change is None:
        raise NoSuchChange(f"No such price change: '{id}'", param="id")
    return change


def approve(tx: Tx, id: str, *, at: datetime, by: Person) -> PriceChange:
    """Apply an open change. A scheduled one counts from its own day on."""
    change = _open(tx, id)
    precision = "instant" if change.kind == "scheduled" else change.precision
    (applied,) = apply_changes(tx, [replace(change, precision=precision)], at=at, by=by)
    return applied


def reject(tx: Tx, id: str, *, at: datetime, by: Person) -> PriceChange:
    """Refuse an open change: the same proposal is not made again."""
    refused = replace(
        _open(tx, id), status="rejected", due_at=None, decided_at=at, decided_by=by.name, note=by.note
    )
    tx.save(refused)
    return refused


def _open(tx: Tx, id: str) -> PriceChange:
    change = change_of(tx, id)
    if not change.is_open:
        raise ChangeNotOpen(f"Price change {id} is {change.status}.", param="id")
    return change


def override(
    tx: Tx,
    *,
    provider: str,
    model: str,
    components: Sequence[Component],
    valid_from: datetime | None,
    ends_at: datetime | None,
    at: datetime,
    by: Person,
) -> PriceChange:
    """Set the operator's own price: it wins over every source until it ends or is undone.

    Parts that are not given stay as they are. Raises `InvalidPrice`.
    """
    provider = canonical_provider(provider)
    since = at if valid_from is None else valid_from
    _check_figures(components, since=since, ends_at=ends_at)
    old = listed(catalogue_of(tx), (provider, model), at=at)
    given = {(component.leaf, component.when) for component in components}
    kept = [c for c in (old.components if old else ()) if (c.leaf, c.when) not in given]
    merged = component_order([*kept, *components])
    return _decided_by_hand(
        tx,
        kind="override",
        key=(provider, model),
        old=old,
        price=(merged, old.multipliers if old else ()),
        since=since,
        ends_at=ends_at,
        at=at,
        by=by,
    )


def redirect(
    tx: Tx, *, provider: str, model: str, target: str, since: datetime, at: datetime, by: Person
) -> PriceChange:
    """Price a model as another one of its provider from `since` on: that one answers under its name.

    Raises `NoSuchPrice` where the target has no price.
    """
    provider = canonical_provider(provider)
    catalogue = catalogue_of(tx)
    new = listed(catalogue, (provider, target), at=at)
    if new is None:
        raise NoSuchPrice(f"Model '{provider}/{target}' has no price.", param="redirect_to")
    old = listed(catalogue, (provider, model), at=at)
    change = _decided_by_hand(
        tx,
        kind="redirect",
        key=(provider, model),
        old=old,
        price=(new.components, new.multipliers),
        since=since,
        ends_at=None,
        at=at,
        by=by,
    )
    announce(tx, "model.redirected", change, at=at)
    return change


def undo(tx: Tx, id: str, *, at: datetime, by: Person) -> PriceChange:
    """Take an applied change back from now on: an override ends, any other price is as it was before.

    Raises `ChangeNotOpen` where it was not applied, `NoSuchPrice` where there was no price before.
    """
    change = change_of(tx, id)
    if change.status != "applied":
        raise ChangeNotOpen(f"Price change {id} is {change.status}, not applied.", param="id")
    catalogue = catalogue_of(tx)
    if change.kind == "override":
        return _end_override(tx, change, at=at, by=by)
    before = catalogue.price_version(change.old_version)
    if before is None:
        raise NoSuchPrice(f"Model '{change.provider}/{change.model}' had no price before change {id}.")
    undone = _decided_by_hand(
        tx,
        kind="undo",
        key=(change.provider, change.model),
        old=listed(catalogue, (change.provider, change.model), at=at),
        price=(before.components, before.multipliers),
        since=at,
        ends_at=None,
        at=at,
        by=by,
    )
    tx.save(replace(change, status="superseded"))
    return undone


def _end_override(tx: Tx, change: PriceChange, *, at: datetime, by: Person) -> PriceChange:
    if tx.find(PriceEnd, change.new_version) is None:
        tx.save(PriceEnd(id=change.new_version, created=at))
    ended = replace(change, status="superseded", ends_at=at, note=by.note or change.note)
    tx.save(ended)
    book_changed(tx, at=at)
    tx.touch("config")
    announce(tx, "price.change_applied", ended, at=at)
    return ended


def declare_alias(tx: Tx, *, provider: str, name: str, target: str, at: datetime) -> ModelAlias:
    """Declare that a name means a model of the same provider. Raises `NoSuchPrice`."""
    provider = canonical_provider(provider)
    if not catalogue_of(tx).versions(provider, target):
        raise NoSuchPrice(f"Model '{provider}/{target}' has no price.", param="target")
    known = tx.find_by_lookup(ModelAlias, f"{provider}/{name.strip().lower()}")
    if known is not None and known.target == target:
        return known
    if known is not None:
        tx.remove(ModelAlias, known.id)
    alias = ModelAlias(
        id=new_id("mal", at=at), created=at, provider=provider, name=name.strip(), target=target
    )
    tx.save(alias)
    book_changed(tx, at=at)
    tx.touch("config")
    announce(tx, "model.alias_moved", alias, at=at)
    return alias


def drop_alias(tx: Tx, id: str, *, at: datetime) -> ModelAlias:
    """Take a declared name back."""
    alias = tx.find(ModelAlias, id)
    if alias is None:
        raise NoSuchPrice(f"No such model alias: '{id}'", param="id")
    tx.remove(ModelAlias, id)
    book_changed(tx, at=at)
    tx.touch("config")
    return alias


def _decided_by_hand(
    tx: Tx,
    *,
    kind: ChangeKind,
    key: tuple[str, str],
    old: PriceVersion | None,
    price: tuple[Sequence[Component], Sequence[Multiplier]],
    since: datetime,
    ends_at: datetime | None,
    at: datetime,
    by: Person,
) -> PriceChange:
    """Record a price that a person states."""
    components, multipliers = price
    id = new_id("pchg", at=at)
    change = PriceChange(
        id=id,
        created=at,
        provider=key[0],
        model=key[1],
        kind=kind,
        status="held",
        digest=f"{kind}_{hashlib.sha256(id.encode()).hexdigest()[:24]}",
        components=tuple(component_entry(component) for component in components),
        multipliers=tuple(multiplier_entry(multiplier) for multiplier in multipliers),
        effective_at=since,
        precision="instant",
        ends_at=ends_at,
        moves=tuple(_moves(old, components)),
    )
    (applied,) = apply_changes(tx, [change], at=at, by=by)
    return applied


def _moves(old: PriceVersion | None, components: Sequence[Component]) -> Iterable[RecordedMove]:
    """Yield what a person's price changes."""
    before = components_of(old) if old else {}
    for component in components:
        leaf, when = part = part_of(component)
        cost = component.unit_cost
        if not same_price(before.get(part), cost):
            yield recorded_move(Move(leaf=leaf, when=when, old=before.get(part), new=cost, standing="single"))


def _check_figures(components: Sequence[Component], *, since: datetime, ends_at: datetime | None) -> None:
    if not components:
        raise InvalidPrice("A price has at least one figure.", param="components")
    for component in components:
        if component.leaf not in LEAVES:
            known = ", ".join(LEAVES)
            raise InvalidPrice(f"There is no leaf '{component.leaf}'; known are {known}.", param="components")
        if component.amount < 0:
            raise InvalidPrice(f"The price of {component.leaf} is negative.", param="components")
    if ends_at is not None and ends_at <= since:
        raise InvalidPrice("The price ends before it begins.", param="ends_at")
