"""Subscriptions: a customer on a plan, its card version pinned, its periods counted from an anchor.

Rule 1: period `ordinal` is `[anchor + ordinal months, anchor + (ordinal + 1) months)`.
Rule 2: usage is priced by the card version that was pinned at its own time.
Rule 3: usage belongs to the period of its own time; once that period's invoice is final, to the open one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import ClassVar, Literal

from costplus.core.errors import InvalidRequest, NotFound
from costplus.core.period import Period, monthly_period
from costplus.core.records import Record
from costplus.rating.rate_card import Adjustment

MOVES_KEPT = 16  # So many moves of a pin can be undone.


class NoSuchSubscription(NotFound):
    """The subscription does not exist."""

    code = "resource_missing"


class NotSubscribed(InvalidRequest):
    """The customer has no subscription whose rate card could price its usage."""

    code = "customer_not_subscribed"
    remedy = "Run POST /v1/token_billing/onboarding/init first; customers are then subscribed to its plan."


@dataclass(frozen=True, slots=True)
class Pin:
    """From `since` on, usage is priced by that card version, with the customer's own adjustment if any.

    `came_from` holds the versions that it would stand for had it not been moved, the last move last.
    """

    since: datetime
    version: str
    adjustment: Adjustment | None = None
    came_from: tuple[str, ...] = ()

    def to(self, version: str) -> Pin:
        """Return the pin moved to another version."""
        came_from = (*self.came_from, self.version)[-MOVES_KEPT:]
        return replace(self, version=version, came_from=came_from)

    def back(self) -> Pin:
        """Return the pin without its last move, which must be known."""
        return replace(self, version=self.came_from[-1], came_from=self.came_from[:-1])


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscription(Record):
    """`ordinal` is the period that is open; periods below `finalized_until` have their final invoice."""

    KIND: ClassVar[str] = "subscription"

    customer: str
    plan: str
    rate_card_version: str  # The one it began with.
    anchor: datetime
    ordinal: int = 0
    finalized_until: datetime
    status: Literal["active", "canceled"] = "active"
    pins: tuple[Pin, ...] = ()  # What it was moved to since, in order of time; later ones may lie ahead.
    threshold_minor: int = 0  # Above 0: so much owed is invoiced before the period ends.
    threshold_resets_anchor: bool = False
    invoice_grace_s: int | None = None  # In place of the plan's and the account's.
    late_usage: Literal["next_invoice", "write_off"] | None = None
    days_until_due: int | None = None
    collection_method: Literal["send_invoice", "charge_automatically"] | None = None
    default_tax_rates: tuple[str, ...] = ()

    @property
    def parent(self) -> str:
        return self.customer

    @property
    def period(self) -> Period:
        """The open period."""
        return monthly_period(self.anchor, self.ordinal)

    @property
    def newest_version(self) -> str:
        """The card version that it was moved to last, be it that the move lies ahead."""
        return self.pins[-1].version if self.pins else self.rate_card_version

    @property
    def every_pin(self) -> tuple[Pin, ...]:
        """What it began with and what it was moved to since, in order of time; some may lie ahead."""
        return (Pin(self.anchor, self.rate_card_version), *self.pins)

    def pin_at(self, at: datetime) -> Pin:
        """Return what prices usage at `at`: past usage keeps the version that it was priced by."""
        for pin in reversed(self.pins):
            if pin.since <= at:
                return pin
        return Pin(self.anchor, self.rate_card_version)

    def moved(self, pin: Pin) -> Subscription:
        """Return the subscription moved from `pin.since` on; moves planned for later are replaced by it."""
        kept = tuple(known for known in self.pins if known.since < pin.since)
        return replace(self, pins=(*kept, pin))

    def turned(self, since: datetime, turn: Callable[[Pin], Pin]) -> Subscription:
        """Return the subscription with what prices it from `since` on turned, moves planned for later too.

        Where `turn` changes nothing the subscription stays equal to itself.
        """
        kept = tuple(pin for pin in self.pins if pin.since < since)
        current = replace(self.pin_at(since), since=since)
        first = turn(current)
        begins = (first,) if first != current or any(pin.since == since for pin in self.pins) else ()
        later = tuple(turn(pin) for pin in self.pins if pin.since > since)
        return replace(self, pins=(*kept, *begins, *later))

    def next_start(self, present: datetime, *, least: datetime) -> datetime:
        """Return the first start of a period that lies ahead of `present` and not before `least`."""
        ordinal = self.ordinal
        start = monthly_period(self.anchor, ordinal).start
        while start <= present or start < least:
            ordinal += 1
            start = monthly_period(self.anchor, ordinal).start
        return start

    def billed_in(self, at: datetime) -> Period:
        """Return the period whose invoice asks for usage at `at`.

        Usage from before the anchor, or from a period already invoiced, falls to the first one that is not.
        """
        bound = max(at, self.finalized_until)
        ordinal = self.ordinal
        while ordinal > 0 and bound < monthly_period(self.anchor, ordinal).start:
            ordinal -= 1
        while bound >= monthly_period(self.anchor, ordinal).end:
            ordinal += 1
        return monthly_period(self.anchor, ordinal)
