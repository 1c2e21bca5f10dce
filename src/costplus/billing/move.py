"""Make a version of a rate card live, and move subscriptions to it, each in its own customer's time.

Rule 1: a version is never changed or deleted; a card's versions are added to.
Rule 2: a price change moves what it is about and nothing else: a subscription on an older version gets that
version with the change, not whatever else the card became since. Its customer's own adjustment is kept.
Rule 3: usage from before a move keeps its price, whenever it arrives.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Literal

from costplus.billing.card_change import CardChange, CardFollowed
from costplus.billing.clock import frozen_time
from costplus.billing.close import every_customer
from costplus.billing.notify import announce
from costplus.billing.plan import Plan
from costplus.billing.store import Tx
from costplus.billing.subscription import Pin, Subscription
from costplus.catalog.catalogue import Catalogue
from costplus.core.ids import new_id
from costplus.rating.following import FollowDecision, applicable, following
from costplus.rating.rate_card import RateCard, RateCardVersion, Tracking

SUBSCRIPTIONS_MAX = 100  # Of one customer.
Derive = Callable[[RateCardVersion], RateCardVersion]


def live_version(tx: Tx, card: RateCard) -> RateCardVersion:
    """Return the version that new subscriptions get."""
    version = tx.find(RateCardVersion, card.live_version)
    assert version is not None, card.id
    return version


def subscriptions_on(tx: Tx, card: RateCard, *, at: datetime) -> Iterator[tuple[Subscription, datetime]]:
    """Yield what has not ended of subscriptions to plans with that card, each with its customer's present."""
    plans: dict[str, Plan | None] = {}
    for customer in list(every_customer(tx)):
        present = frozen_time(tx, customer) or at
        for subscription in tx.page(Subscription, parent=customer.id, limit=SUBSCRIPTIONS_MAX):
            if subscription.status == "canceled":
                continue
            if subscription.plan not in plans:
                plans[subscription.plan] = tx.find(Plan, subscription.plan)
            plan = plans[subscription.plan]
            if plan is not None and plan.rate_card == card.id:
                yield subscription, present


def moves_at(tracking: Tracking, subscription: Subscription, *, present: datetime) -> datetime:
    """Return when a subscription is moved by the card's options: after the notice, perhaps with a period."""
    least = present + timedelta(days=tracking.notice_days)
    if tracking.moves == "immediately":
        return least
    return subscription.next_start(present, least=least)


def make_live(tx: Tx, card: RateCard, version: RateCardVersion, *, at: datetime) -> RateCard:
    """Keep a new version and sell to new subscriptions by it."""
    keep_version(tx, version, at=at)
    card = replace(card, live_version=version.id, latest_version=version.id)
    tx.save(card)
    return card


def keep_version(tx: Tx, version: RateCardVersion, *, at: datetime) -> None:
    """Keep a new version."""
    tx.save(version)
    tx.touch("config")
    announce(tx, "rate_card.version_created", version, at=at)


@dataclass(slots=True)
class Migration:
    """Moves subscriptions from each version to the one derived from it; equal terms share a version."""

    tx: Tx
    card: RateCard
    derive: Derive
    at: datetime
    known: list[RateCardVersion]  # What may be shared: versions made by the same action.
    came_from: dict[str, tuple[str, ...]] = field(default_factory=dict)
    _to: dict[str, str] = field(default_factory=dict)

    def run(self) -> int:
        """Move every subscription to the card, each when its customer's turn comes; return how many."""
        count = 0
        for subscription, present in subscriptions_on(self.tx, self.card, at=self.at):
            since = moves_at(self.card.tracking, subscription, present=present)
            turned = subscription.turned(since, self._turn)
            if turned != subscription:
                self.tx.save(turned)
                count += 1
        if count:
            self.tx.touch("config")
        return count

    def _turn(self, pin: Pin) -> Pin:
        if pin.version not in self._to:
            self._to[pin.version] = self._derived(pin.version)
        version = self._to[pin.version]
        return pin if version == pin.version else pin.to(version)

    def _derived(self, id: str) -> str:
        """Return the id of the version that stands for `id` after the action."""
        version = self.tx.find(RateCardVersion, id)
        assert version is not None, id
        made = self.derive(version)
        if made.same_terms(version):
            return id
        equal = next((other for other in self.known if made.same_terms(other)), None)
        if equal is None:
            keep_version(self.tx, made, at=self.at)
            self.known.append(made)
            equal = made
        self.came_from[equal.id] = (*self.came_from.get(equal.id, ()), id)
        return equal.id


def act(
    tx: Tx,
    catalogue: Catalogue,
    card: RateCard,
    decision: FollowDecision,
    *,
    action: Literal["follow", "adopt"],
    at: datetime,
) -> CardFollowed:
    """Make the version that follows what was accepted, and move whom that is to move."""
    changes = tuple(dict.fromkeys(entry.move.change for entry in decision.accepted if entry.move.change))
    if not decision.accepted:
        return CardFollowed(rate_card=card.id, mode="disabled", left=decision.left)
    before = live_version(tx, card)
    moves = [entry.move for entry in decision.accepted]
    made = following(before, moves, catalogue=catalogue, id=new_id("rcv", at=at), at=at)
    card = make_live(tx, card, made, at=at)
    for_all = [entry.move for entry in decision.accepted if entry.mode == "migrate_all"]

    def derive(version: RateCardVersion) -> RateCardVersion:
        ahead = applicable(version, for_all, catalogue=catalogue)
        return (
            following(version, ahead, catalogue=catalogue, id=new_id("rcv", at=at), at=at)
            if ahead
            else version
        )

    migration = Migration(tx, card, derive, at, [made])
    count = migration.run() if for_all else 0
    tx.save(
        CardChange(
            id=new_id("rcc", at=at),
            created=at,
            rate_card=card.id,
            action=action,
            before=before.id,
            after=made.id,
            changes=changes,
            moved=migration.came_from,
            subscriptions=count,
        )
    )
    return CardFollowed(
        rate_card=card.id,
        mode="migrate_all" if for_all else "new_customers_only",
        version=made.id,
        followed=changes,
        left=decision.left,
        subscriptions=count,
    )
