"""Act on a rate card by hand: adopt price changes that it left, revise its terms, undo the last action;
and price one customer by an adjustment of its own.

Rule 1: what a card's options would refuse can be adopted: the seller has decided. When subscriptions move
still goes by the card's options.
Rule 2: undoing makes a version equal to the one before and moves back whom the action moved, from now on;
nothing is deleted and nothing that was priced changes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Literal

from costplus.billing.card_change import (
    CardChange,
    CardChangedSince,
    CardFollowed,
    ChangeNotApplied,
    NothingToAdopt,
    NothingToUndo,
)
from costplus.billing.customer import Customer
from costplus.billing.move import Migration, act, live_version, make_live, subscriptions_on
from costplus.billing.settle import subscription_of
from costplus.billing.store import Tx
from costplus.billing.subscription import Pin, Subscription
from costplus.billing.track import move_of
from costplus.catalog.book import NoSuchChange, PriceChange
from costplus.catalog.catalogue import Catalogue
from costplus.catalog.load import every
from costplus.core.ids import new_id
from costplus.rating.following import Accepted, FollowDecision, ModelMove, applicable
from costplus.rating.pricing import Pricing
from costplus.rating.rate_card import Adjustment, RateCard, RateCardVersion

AdoptMode = Literal["new_customers_only", "migrate_all"]


def adopt(
    tx: Tx,
    pricing: Pricing,
    card: RateCard,
    changes: Sequence[str] | Literal["all"],
    *,
    mode: AdoptMode,
    at: datetime,
) -> CardFollowed:
    """Sell by the changes named from now on; `all` takes the newest price of every model that the card sells.

    Models that are new to the card are adopted by their change's id only. Raises `NoSuchChange`,
    `ChangeNotApplied`, `NothingToAdopt`.
    """
    catalogue, live = pricing.catalogue, live_version(tx, card)
    if changes == "all":
        moves = _every_move(catalogue, live, at=at)
    else:
        moves = _named_moves(tx, catalogue, live, changes, at=at)
    if not moves:
        raise NothingToAdopt(f"Rate card {card.id} sells by these prices already.", param="price_changes")
    accepted = tuple(Accepted(move, mode) for move in moves)
    return act(tx, catalogue, card, FollowDecision(accepted, ()), action="adopt", at=at)


def _every_move(catalogue: Catalogue, live: RateCardVersion, *, at: datetime) -> list[ModelMove]:
    moves = (move_of(catalogue, live, *key, known_at=at, at=at) for key in catalogue.learned)
    return [move for move in moves if move is not None and not move.is_new]


def _named_moves(
    tx: Tx, catalogue: Catalogue, live: RateCardVersion, ids: Sequence[str], *, at: datetime
) -> list[ModelMove]:
    moves: dict[str, ModelMove] = {}
    for id in ids:
        change = tx.find(PriceChange, id)
        if change is None:
            raise NoSuchChange(f"No such price change: '{id}'", param="price_changes")
        made = catalogue.price_version(change.new_version)
        if made is None:
            raise ChangeNotApplied(f"Price change {id} is {change.status}.", param="price_changes")
        move = move_of(
            catalogue, live, change.provider, change.model, known_at=made.recorded_at, at=at, change=id
        )
        known = moves.get(f"{change.provider}/{change.model}")
        if move is not None and (known is None or known.known_at < move.known_at):
            moves[move.name] = move
    return applicable(live, moves.values(), catalogue=catalogue)


def revise(tx: Tx, card: RateCard, version: RateCardVersion, *, at: datetime) -> RateCard:
    """Make a version with other terms live; under `migrate_all` every subscription is moved to it."""
    before = live_version(tx, card)
    card = make_live(tx, card, version, at=at)
    migration = Migration(tx, card, lambda _: version, at, [version])
    count = migration.run() if card.price_tracking == "migrate_all" else 0
    tx.save(
        CardChange(
            id=new_id("rcc", at=at),
            created=at,
            rate_card=card.id,
            action="revise",
            before=before.id,
            after=version.id,
            moved=migration.came_from,
            subscriptions=count,
        )
    )
    return card


def adjust(tx: Tx, customer: Customer, own: Adjustment | None, *, at: datetime) -> Subscription:
    """Price the customer's usage from `at`, its present, on by an adjustment of its own, or by none.

    Moves that are planned for later stay planned. Raises `NotSubscribed`.
    """
    subscription = subscription_of(tx, customer.id)
    turned = subscription.turned(at, lambda pin: replace(pin, adjustment=own))
    if turned != subscription:
        tx.save(turned)
        tx.touch("config")
    return turned


def undo(tx: Tx, card: RateCard, *, at: datetime) -> CardFollowed:
    """Take back the card's last action that stands. Raises `NothingToUndo`, `CardChangedSince`."""
    standing = (entry for entry in every(tx, CardChange, parent=card.id) if not entry.undone)
    last = next((entry for entry in standing if entry.action != "undo"), None)
    if last is None:
        raise NothingToUndo(f"Rate card {card.id} has no action that could be undone.")
    live = live_version(tx, card)
    before, after = (tx.find(RateCardVersion, id) for id in (last.before, last.after))
    assert before is not None and after is not None
    if not live.same_terms(after):
        raise CardChangedSince(f"Rate card {card.id} has other terms than its last action gave it.")
    restored = replace(before, id=new_id("rcv", at=at), created=at)
    card = make_live(tx, card, restored, at=at)
    count = _move_back(tx, card, last.moved, at=at)
    tx.save(replace(last, undone=True))
    tx.save(
        CardChange(
            id=new_id("rcc", at=at),
            created=at,
            rate_card=card.id,
            action="undo",
            before=live.id,
            after=restored.id,
            changes=last.changes,
            subscriptions=count,
        )
    )
    return CardFollowed(
        rate_card=card.id,
        mode="migrate_all" if last.moved else "new_customers_only",
        version=restored.id,
        followed=last.changes,
        subscriptions=count,
    )


def _move_back(tx: Tx, card: RateCard, came_from: Mapping[str, tuple[str, ...]], *, at: datetime) -> int:
    """Move subscriptions back to the versions that an action took them from, as of their present."""

    def turn(pin: Pin) -> Pin:
        was_moved = pin.came_from and pin.came_from[-1] in came_from.get(pin.version, ())
        return pin.back() if was_moved else pin

    count = 0
    for subscription, present in subscriptions_on(tx, card, at=at):
        turned = subscription.turned(present, turn)
        if turned != subscription:
            tx.save(turned)
            count += 1
    if count:
        tx.touch("config")
    return count
