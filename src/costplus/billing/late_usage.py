"""Late usage: what came after its own period's invoice was final, and is asked for by the next one.

Rule 1: it is kept by the instant it is billed at, so that the invoice over that time finds it, and by the
period it is from, which its line names.
Rule 2: the account says whether it is asked for (`next_invoice`) or written off. Final invoices stay as they
are; what was asked too much is given back by a credit note.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import ClassVar

from costplus.billing.invoice import UsageTotal
from costplus.billing.store import ChargedEvent, Tx
from costplus.billing.subscription import Subscription
from costplus.core.ids import from_milliseconds, milliseconds
from costplus.core.period import Period
from costplus.core.records import Record


@dataclass(frozen=True, slots=True, kw_only=True)
class LateUsage(Record):
    """What came late and is billed at one instant: by its own period, units per rate and what is charged."""

    KIND: ClassVar[str] = "late_usage"

    customer: str
    ends: Mapping[int, int] = field(default_factory=dict)  # Period start (ms) → its end (ms).
    units: Mapping[int, Mapping[str, int]] = field(default_factory=dict)  # Period start → rate → units.
    price_nano: Mapping[int, int] = field(default_factory=dict)

    @property
    def parent(self) -> str:
        return self.customer


def _id(customer: str, billed_at: datetime) -> str:
    return f"late_{customer}_{milliseconds(billed_at)}"


def keep_late(tx: Tx, subscription: Subscription, charged: Sequence[ChargedEvent], *, at: datetime) -> None:
    """Add to what is known of late usage those of new charges that are billed after their own time."""
    late = [
        entry
        for entry in charged
        if entry.event.at < entry.billed_at
        and entry.event.source != "true_up"
        and entry.event.at in _own_period(subscription, entry.event.at)  # Not from before it began.
    ]
    if not late:
        return
    billed_at = late[0].billed_at
    assert all(entry.billed_at == billed_at for entry in late)  # Where the final invoices end.
    id = _id(subscription.customer, billed_at)
    known = tx.find(LateUsage, id) or LateUsage(id=id, created=at, customer=subscription.customer)
    ends, price_nano = dict(known.ends), dict(known.price_nano)
    units = {start: dict(by_rate) for start, by_rate in known.units.items()}
    for entry in late:
        period = _own_period(subscription, entry.event.at)
        start = milliseconds(period.start)
        ends[start] = milliseconds(period.end)
        price_nano[start] = price_nano.get(start, 0) + entry.charge.price_nano
        by_rate = units.setdefault(start, {})
        for line in entry.charge.lines:
            by_rate[line.rate.id] = by_rate.get(line.rate.id, 0) + line.quantity
    tx.save(replace(known, ends=ends, units=units, price_nano=price_nano))


def _own_period(subscription: Subscription, at: datetime) -> Period:
    """Return the period that usage at `at` would have been billed in, had it come in time."""
    return replace(subscription, finalized_until=at).billed_in(at)


def late_in(tx: Tx, customer: str, billed_at: datetime) -> LateUsage | None:
    """Return what came late and is billed at that instant, which begins an invoice's time."""
    return tx.find(LateUsage, _id(customer, billed_at))


def set_apart(totals: Sequence[UsageTotal], late: LateUsage | None) -> list[UsageTotal]:
    """Return the totals with late units on their own, behind the others of the period."""
    if late is None:
        return list(totals)
    kept: list[UsageTotal] = []
    apart: list[UsageTotal] = []
    for total in totals:
        rest = total.quantity
        for start, by_rate in sorted(late.units.items()):
            units = by_rate.get(total.rate.id, 0)
            if units:
                period = Period(from_milliseconds(start), from_milliseconds(late.ends[start]))
                apart.append(UsageTotal(total.rate, units, period))
                rest -= units
        if rest:
            kept.append(UsageTotal(total.rate, rest))
    return [*kept, *apart]
