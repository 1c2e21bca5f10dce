"""Queue unpriced usage and tell about it, inside the transaction that settles it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime

from costplus.billing.notify import announce
from costplus.billing.store import ChargedEvent, Tx
from costplus.billing.subscription import Subscription
from costplus.billing.unpriced import (
    UnpricedAlarm,
    UnpricedModel,
    UnpricedUsage,
    WaitingUsage,
    model_name,
    waits,
)
from costplus.core.period import hour_floor
from costplus.rating.charge import FALLBACK
from costplus.rating.rate_card import RateCardVersion, UnpricedPolicy


def enqueue(tx: Tx, charged: Sequence[ChargedEvent], subscription: Subscription, *, at: datetime) -> None:
    """Queue those of a customer's new charges that say that something is unpriced."""
    if not any(entry.charge.unpriced for entry in charged):
        return
    seen: Counter[tuple[str, str]] = Counter()
    waiting: Counter[tuple[str, str]] = Counter()
    for entry in charged:
        if not entry.charge.unpriced:
            continue
        event = entry.event
        kept = UnpricedUsage(
            id=event.id,
            created=at,
            customer=event.customer,
            provider=event.provider,
            model=event.model,
            leaves=entry.charge.unpriced,
            policy=_policy(tx, entry, subscription),
            price_nano=entry.charge.price_nano,
        )
        tx.save(kept)
        seen[event.provider, event.model] += 1
        if waits(entry.charge, entry.event.usage):
            tx.save(WaitingUsage(id=event.id, created=at, customer=event.customer, name=model_name(event)))
            waiting[event.provider, event.model] += 1
        _alarm(tx, kept, at=at)
    for model, count in sorted(seen.items()):
        count_unpriced(tx, model, seen=count, waiting=waiting[model], at=at)


def count_unpriced(tx: Tx, model: tuple[str, str], *, seen: int = 0, waiting: int, at: datetime) -> None:
    """Add to what the queue holds of a model, given as (provider, model); `waiting` may be below 0."""
    provider, name = model
    id = f"{provider}/{name}"
    tx.lock(f"unpriced/{id}")
    known = tx.find(UnpricedModel, id)
    waiting += known.waiting if known else 0
    assert waiting >= 0  # Every entry leaves the queue once.
    tx.save(
        UnpricedModel(
            id=id,
            created=known.created if known else at,
            provider=provider,
            model=name,
            waiting=waiting,
            seen=seen + (known.seen if known else 0),
        )
    )


def _policy(tx: Tx, entry: ChargedEvent, subscription: Subscription) -> UnpricedPolicy:
    """Return the rule that the event's card had for it."""
    if FALLBACK in entry.charge.unpriced:
        return "fallback"
    card = tx.find(RateCardVersion, subscription.pin_at(entry.event.at).version)
    return card.unpriced if card else "block"


def _alarm(tx: Tx, entry: UnpricedUsage, *, at: datetime) -> None:
    """Announce the entry, unless its customer's use of the model was announced within this hour."""
    id = f"{entry.customer}/{entry.parent}"
    last = tx.find(UnpricedAlarm, id)
    if last is not None and hour_floor(last.created) == hour_floor(at):
        return
    tx.save(UnpricedAlarm(id=id, created=at))
    announce(tx, "token_billing.usage.unpriced", entry, at=at)
