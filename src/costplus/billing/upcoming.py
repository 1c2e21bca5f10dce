"""When to tell of an invoice some days before its period ends, once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import ClassVar

from costplus.billing.levy import policy_of
from costplus.billing.store import Tx
from costplus.billing.subscription import Subscription
from costplus.core.ids import milliseconds
from costplus.core.records import Record


@dataclass(frozen=True, slots=True, kw_only=True)
class ToldOf(Record):
    """The end of a subscription's period was told of."""

    KIND: ClassVar[str] = "told_of_invoice"

    subscription: str

    @property
    def parent(self) -> str:
        return self.subscription


@dataclass(frozen=True, slots=True)
class ToTell:
    """A subscription whose period's end is to be told of."""

    subscription: Subscription


def _id(subscription: Subscription) -> str:
    return f"told_{subscription.id}_{milliseconds(subscription.period.end)}"


def due_to_tell(tx: Tx, subscriptions: Sequence[Subscription]) -> Iterator[tuple[datetime, ToTell]]:
    """Yield when which subscription's coming invoice is to be told of, where the account wants it."""
    days = policy_of(tx).upcoming_days if subscriptions else 0
    if not days:
        return
    for subscription in subscriptions:
        at = subscription.period.end - timedelta(days=days)
        if at > subscription.period.start and tx.find(ToldOf, _id(subscription)) is None:
            yield at, ToTell(subscription)


def told_of(subscription: Subscription, *, at: datetime) -> ToldOf:
    """Return what notes that the end of the subscription's period was told of."""
    return ToldOf(id=_id(subscription), created=at, subscription=subscription.id)
