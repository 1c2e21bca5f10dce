"""Say ahead of time, once, that a price in force ends or that a rise is announced.

Rule 1: it is said within the last seven days, by whichever synchronisation comes first then.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import ClassVar

from costplus.billing.notify import announce
from costplus.billing.store import Tx
from costplus.catalog.agreement import components_of
from costplus.catalog.book import PriceChange
from costplus.catalog.catalogue import Catalogue
from costplus.catalog.survey import announcement_of, listed
from costplus.core.records import Record

AHEAD = timedelta(days=7)


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceReminder(Record):
    """That the end of a price was announced; its id is the change's that ends it, or made it."""

    KIND: ClassVar[str] = "price_reminder"

    type: str


def ends_soon(change: PriceChange, catalogue: Catalogue, *, at: datetime) -> bool:
    """Return whether an operator's price ends, or an announced price is a rise, within the next days."""
    if change.kind == "override" and change.status == "applied":
        return change.ends_at is not None and at < change.ends_at <= at + AHEAD
    if change.status != "scheduled" or not at < change.effective_at <= at + AHEAD:
        return False
    active = listed(catalogue, (change.provider, change.model), at=at)
    before = components_of(active) if active else {}
    after = components_of(announcement_of(change).price)
    return any(cost > before[part] for part, cost in after.items() if part in before)


def remind(tx: Tx, ending: Iterable[PriceChange], *, watched: Collection[str], at: datetime) -> None:
    """Announce each end that was not announced yet, of watched providers."""
    for change in ending:
        if watched and change.provider not in watched:
            continue
        if tx.find(PriceReminder, change.id) is None and tx.find(PriceChange, change.id) == change:
            tx.save(PriceReminder(id=change.id, created=at, type="price.promo_ending"))
            announce(tx, "price.promo_ending", change, at=at)
