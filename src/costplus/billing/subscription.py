"""Subscriptions: a customer on plans, its card versions pinned, its periods counted from an anchor.

Rule 1: periods are those of `cycle` from `first_ordinal` on; the first may begin elsewhere than the cycle has
it (`first_start`): a stub before an anchor that lies ahead, a trial, the time since a pause. They tile time.
Rule 2: usage is priced by the card version that was pinned at its own time.
Rule 3: usage belongs to the period of its own time; once that period's invoice is final, to the open one.
Rule 4: one item at most has a plan with a rate card: it prices the customer's usage. The others are fees.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import ClassVar, Literal

from costplus.core.cycle import Cycle, Interval
from costplus.core.errors import Forbidden, InvalidRequest, NotFound
from costplus.core.period import Period
from costplus.core.records import Record
from costplus.rating.rate_card import Adjustment

MOVES_KEPT = 16  # So many moves of a pin can be undone.
TRIAL_NOTICE = timedelta(days=3)  # How long before its end a trial's end is told.
Status = Literal["pending", "trialing", "active", "past_due", "paused", "canceled"]
LIVE: tuple[Status, ...] = ("trialing", "active", "past_due", "paused")
PinUsage = Literal["billed", "free", "blocked"]
CollectionPause = Literal["keep_as_draft", "mark_uncollectible", "void"]


class NoSuchSubscription(NotFound):
    """The subscription, or the item of one, does not exist."""

    code = "resource_missing"


class NotSubscribed(InvalidRequest):
    """The customer has no subscription whose rate card could price its usage."""

    code = "customer_not_subscribed"
    remedy = "Run POST /v1/token_billing/onboarding/init first; customers are then subscribed to its plan."


class SubscriptionPaused(Forbidden):
    """The customer's subscription is paused, and its usage blocked for that time."""

    code = "subscription_paused"
    remedy = "Resume it with POST /v1/subscriptions/{id}/resume."


@dataclass(frozen=True, slots=True)
class Pin:
    """From `since` on, usage is priced by that card version, with the customer's own adjustment if any.

    `came_from` holds the versions that it would stand for had it not been moved, the last move last. Usage is
    `free` in a trial and `blocked` in a pause, where the plan says so.
    """

    since: datetime
    version: str
    adjustment: Adjustment | None = None
    came_from: tuple[str, ...] = ()
    usage: PinUsage = "billed"

    def to(self, version: str) -> Pin:
        """Return the pin moved to another version."""
        came_from = (*self.came_from, self.version)[-MOVES_KEPT:]
        return replace(self, version=version, came_from=came_from)

    def back(self) -> Pin:
        """Return the pin without its last move, which must be known."""
        return replace(self, version=self.came_from[-1], came_from=self.came_from[:-1])


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """`quantity` of one plan (`si_…`).

    `covered_minor` is the whole period's fee by which the rest of the open period has been asked for: what a
    change gives back is a part of it. None: what the plan asks for.
    """

    id: str
    plan: str
    quantity: int = 1
    covered_minor: int | None = None
    fee_minor: int | None = None  # What one of it cost a whole period, when that was last asked for.
    currency: str = "usd"
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PauseCollection:
    """Invoices go on being made, but nobody is asked to pay them, until `resumes_at` if that is set."""

    behavior: CollectionPause
    resumes_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscription(Record):
    """`ordinal` is the period that is open; periods below `finalized_until` have their final invoice."""

    KIND: ClassVar[str] = "subscription"

    customer: str
    plan: str  # The one that prices the usage, else the first.
    rate_card_version: str  # The one it began with; empty where none of its plans prices usage.
    anchor: datetime
    ordinal: int = 0
    finalized_until: datetime
    status: Status = "active"
    pins: tuple[Pin, ...] = ()  # What it was moved to since, in order of time; later ones may lie ahead.
    items: tuple[Item, ...] = ()  # None: one of its plan.
    interval: Interval = "month"
    interval_count: int = 1
    timezone: str = "UTC"
    first_ordinal: int = 0
    first_start: datetime | None = None  # None: where the cycle has it.
    earlier: tuple[Period, ...] = ()  # Of earlier cycles, whose invoices are not final yet.
    started: datetime | None = None  # None: at the anchor.
    paid_minor: int | None = None  # Fees asked for in the open period; None: those that its items cover.
    credited_minor: int = 0  # Of them, what changes gave back.
    fee_invoice: str = ""  # The invoice with the open period's fee.
    latest_invoice: str = ""
    trial_start: datetime | None = None
    trial_end: datetime | None = None
    trial_told: bool = False
    scheduled: tuple[Item, ...] = ()  # What its items become when the period ends.
    cancel_at_period_end: bool = False
    cancel_at: datetime | None = None
    prorates: bool = (
        False  # Whether a stub at its start is asked for, and `cancel_at` gives unused time back.
    )
    canceled_at: datetime | None = None  # When that was asked for.
    ended_at: datetime | None = None
    cancellation: Mapping[str, str] = field(default_factory=dict)  # `comment`, `feedback`, `reason`.
    paused_at: datetime | None = None
    resumes_at: datetime | None = None
    resumed_at: datetime | None = None
    pause_collection: PauseCollection | None = None
    description: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
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
    def is_live(self) -> bool:
        """Whether it has begun and not ended."""
        return self.status in LIVE

    @property
    def prices_usage(self) -> bool:
        """Whether it is the one whose rate card prices the customer's usage."""
        return bool(self.rate_card_version)

    @property
    def never_began(self) -> bool:
        """Whether it was canceled before it began."""
        return self.ended_at is not None and self.ended_at < self.begins

    @property
    def cycle(self) -> Cycle:
        """What its periods are counted by."""
        return Cycle(self.anchor, self.interval, self.interval_count, self.timezone)

    @property
    def period(self) -> Period:
        """The open period."""
        return self.period_at(self.ordinal)

    @property
    def whole_period(self) -> Period:
        """What the fee is for: the open period, or as the cycle has it where that is a stub."""
        return self.cycle.period(self.ordinal)

    def period_at(self, ordinal: int) -> Period:
        """Return a period of its present cycle, by its number."""
        period = self.cycle.period(ordinal)
        if ordinal > self.first_ordinal or self.first_start is None:
            return period
        return Period(self.first_start, period.end)

    @property
    def begins(self) -> datetime:
        """When it began, or will."""
        return self.started or (self.period_at(self.first_ordinal).start if self.first_start else self.anchor)

    @property
    def ends(self) -> datetime | None:
        """When it ended or, as things stand, will; None where that is not foreseen."""
        if self.status == "canceled":
            return self.ended_at or self.finalized_until
        due = [at for at in (self.cancel_at, self.period.end if self.cancel_at_period_end else None) if at]
        return min(due, default=None)

    @property
    def due_at(self) -> datetime | None:
        """When something happens to it by itself next, or None."""
        if self.status == "pending":
            return self.begins
        if not self.is_live:
            return None
        due = [self.cancel_at, self.resumes_at]
        if self.status != "paused":
            due.append(self.period.end)
        if self.pause_collection is not None:
            due.append(self.pause_collection.resumes_at)
        if self.status == "trialing" and not self.trial_told:
            assert self.trial_end is not None
            due.append(max(self.trial_end - TRIAL_NOTICE, self.begins))
        return min((at for at in due if at is not None), default=None)

    @property
    def every_item(self) -> tuple[Item, ...]:
        """What it consists of."""
        return self.items or (Item(id=f"si_{self.id.removeprefix('sub_')}", plan=self.plan),)

    @property
    def newest_version(self) -> str:
        """The card version that it was moved to last, be it that the move lies ahead."""
        return self.pins[-1].version if self.pins else self.rate_card_version

    @property
    def every_pin(self) -> tuple[Pin, ...]:
        """What it began with and what it was moved to since, in order of time; some may lie ahead."""
        return (Pin(self.begins, self.rate_card_version), *self.pins)

    def pin_at(self, at: datetime) -> Pin:
        """Return what prices usage at `at`: past usage keeps the version that it was priced by."""
        for pin in reversed(self.pins):
            if pin.since <= at:
                return pin
        return Pin(self.begins, self.rate_card_version)

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
        start = self.period_at(ordinal).start
        while start <= present or start < least:
            ordinal += 1
            start = self.period_at(ordinal).start
        return start

    def billed_in(self, at: datetime) -> Period:
        """Return the period whose invoice asks for usage at `at`.

        Usage from before it began, or from a period already invoiced, falls to the first one that is not.
        """
        bound = max(at, self.finalized_until)
        if self.ordinal >= self.first_ordinal and bound in (present := self.period):
            return present
        first = self.period_at(self.first_ordinal)
        if bound < first.start:
            ahead = (known for known in self.earlier if bound < known.end)
            return next(ahead, first)
        ordinal = self.ordinal
        while ordinal > self.first_ordinal and bound < self.period_at(ordinal).start:
            ordinal -= 1
        while bound >= self.period_at(ordinal).end:
            ordinal += 1
        return self.period_at(ordinal)

    def cut(self, at: datetime, *, cycle: Cycle | None = None) -> Subscription:
        """Return the subscription with its open period ended at `at`, where a new one begins.

        By another cycle its periods go on from there; without one, by the present cycle, the first being what
        is left of the running period. The period that was cut waits for its invoice.
        """
        ended = Period(self.period.start, at)
        cycle = cycle or self.cycle
        ordinal = cycle.ordinal_at(at)
        known = self.unfinal() if ended.start == at else (*self.unfinal(), ended)
        return replace(
            self,
            anchor=cycle.anchor,
            interval=cycle.interval,
            interval_count=cycle.count,
            timezone=cycle.timezone,
            first_ordinal=ordinal,
            first_start=None if cycle.start(ordinal) == at else at,
            ordinal=ordinal,
            earlier=known,
            started=self.begins,
        )

    def unfinal(self) -> tuple[Period, ...]:
        """Return the periods before the open one that still wait for their final invoice."""
        past: list[Period] = []
        ordinal = self.ordinal
        while ordinal > self.first_ordinal and self.period_at(ordinal).start > self.finalized_until:
            ordinal -= 1
            past.append(self.period_at(ordinal))
        known = [period for period in self.earlier if period.end > self.finalized_until]
        return (*known, *reversed(past))
