"""What a person does to the price book: approve, reject, override, undo, redirect, declare names.

Rule 1: an override is the whole price with some parts set by hand; the others are those in force when it was
made. Rule 2: undoing restates what was before, from now on; what others changed since stays.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from costplus.billing.notify import announce
from costplus.billing.own_price import InvalidPrice, check_figures
from costplus.billing.price_record import Person, apply_changes
from costplus.billing.store import Tx
from costplus.catalog.agreement import components_of, same_price
from costplus.catalog.book import (
    ChangeKind,
    ChangeNotOpen,
    ModelAlias,
    NoSuchChange,
    PriceChange,
    PriceEnd,
)
from costplus.catalog.catalogue import Catalogue
from costplus.catalog.feeds.stated import component_order
from costplus.catalog.load import book_changed, catalogue_of
from costplus.catalog.names import canonical_provider
from costplus.catalog.price import Component, Multiplier, PriceVersion
from costplus.catalog.reconcile import with_moves
from costplus.catalog.recorded import moves_between, proposed_of, stated_by
from costplus.catalog.snapshot import component_entry, multiplier_entry
from costplus.catalog.survey import listed
from costplus.core.errors import InvalidRequest, NotFound
from costplus.core.ids import new_id

Price = tuple[Sequence[Component], Sequence[Multiplier]]


class NoSuchPrice(NotFound):
    """The model has no price that this could be done to."""

    code = "price_missing"
    remedy = "List the catalogue's models with `costplus prices show` or GET /v1/token_billing/prices."


class NoSuchAlias(NotFound):
    """The model alias does not exist."""

    code = "resource_missing"
    remedy = "List them with GET /v1/token_billing/model_aliases."


class ChangeOvertaken(InvalidRequest):
    """Later changes have moved everything again that the price change moved."""

    code = "price_change_overtaken"
    remedy = "Undo the later changes first, the newest one before the others."


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
    is_new: bool = False,
    at: datetime,
    by: Person,
) -> PriceChange:
    """Set the operator's own price: it wins over every source until it ends or is undone.

    Parts that are not given stay as they are. `is_new`: the model may be one that has no price yet.
    Raises `InvalidPrice`, `NoSuchPrice`.
    """
    provider = canonical_provider(provider)
    since = at if valid_from is None else valid_from
    check_figures(components, since=max(since, at), ends_at=ends_at)
    catalogue = catalogue_of(tx)
    if not is_new and not catalogue.versions(provider, model):
        raise NoSuchPrice(
            f"Model '{provider}/{model}' has no price.",
            param="model",
            remedy="Check the name, or say that the model is new.",
        )
    old = catalogue.current(provider, model, at=max(since, at))
    given = {(component.leaf, frozenset(component.when)) for component in components}
    kept = [c for c in (old.components if old else ()) if (c.leaf, frozenset(c.when)) not in given]
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

    Raises `NoSuchPrice` where either has no price.
    """
    provider = canonical_provider(provider)
    catalogue = catalogue_of(tx)
    if model == target:
        raise InvalidPrice(f"Model '{model}' is redirected to itself.", param="redirect_to", remedy="")
    if not catalogue.versions(provider, model):
        remedy = "To give a name that never had a price a meaning, declare a model alias."
        raise NoSuchPrice(f"Model '{provider}/{model}' has no price.", param="model", remedy=remedy)
    new = listed(catalogue, (provider, target), at=max(since, at))
    if new is None:
        raise NoSuchPrice(f"Model '{provider}/{target}' has no price.", param="redirect_to")
    change = _decided_by_hand(
        tx,
        kind="redirect",
        key=(provider, model),
        old=listed(catalogue, (provider, model), at=at),
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

    What has not begun never does; what later changes moved stays. Raises `ChangeNotOpen` where it was not
    applied, `NoSuchPrice` where there was no price before, `ChangeOvertaken`.
    """
    change = change_of(tx, id)
    if change.status != "applied":
        raise ChangeNotOpen(
            f"Price change {id} is {change.status}, not applied.",
            param="id",
            remedy="Only applied changes can be undone.",
        )
    if change.kind == "override" or change.effective_at > at:
        return _ended(tx, change, at=at, by=by)
    catalogue = catalogue_of(tx)
    active = listed(catalogue, (change.provider, change.model), at=at)
    undone = _decided_by_hand(
        tx,
        kind="undo",
        key=(change.provider, change.model),
        old=active,
        price=_price_without(catalogue, change, active),
        since=at,
        ends_at=None,
        at=at,
        by=by,
        undoes=change.id,
    )
    tx.save(replace(change, status="superseded", undone_by=undone.id))
    return undone


def _price_without(catalogue: Catalogue, change: PriceChange, active: PriceVersion | None) -> Price:
    """Return the price as it would be without a change: what is no longer as it made it stays."""
    before = catalogue.price_version(change.old_version)
    if before is None:
        name = f"{change.provider}/{change.model}"
        raise NoSuchPrice(f"Model '{name}' had no price before change {change.id}.", param="id")
    if active is None or active.id == change.new_version or not change.moves:
        return before.components, before.multipliers
    now, made = components_of(active), proposed_of(change)
    still = tuple(move for move in made.moves if same_price(now.get(move.part), move.new))
    if not still:
        raise ChangeOvertaken(f"Price change {change.id} was overtaken by later ones.", param="id")
    back = replace(made, moves=still, components=before.components, multipliers=before.multipliers)
    return with_moves(active, back)


def _ended(tx: Tx, change: PriceChange, *, at: datetime, by: Person) -> PriceChange:
    """Let the price of a change count no more."""
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
        raise NoSuchAlias(f"No such model alias: '{id}'", param="id")
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
    price: Price,
    since: datetime,
    ends_at: datetime | None,
    at: datetime,
    by: Person,
    undoes: str = "",
) -> PriceChange:
    """Record a price that a person states."""
    components, multipliers = price
    id = new_id("pchg", at=at)
    stated = PriceChange(
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
        undoes=undoes,
    )
    change = replace(stated, moves=moves_between(old, stated_by(stated)))
    (applied,) = apply_changes(tx, [change], at=at, by=by)
    return applied
