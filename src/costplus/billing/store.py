"""One open transaction over everything, and the store that opens it.

Rule 1: a verb is a plain function of an open transaction; the store runs it where its connection lives,
commits when it returns and rolls back when it raises. Verbs never wait for anything but the store.
Rule 2: several writers may share one commit (group commit); each still succeeds or fails alone.
Rule 3: a writer is alone with the database, or alone with the customers that it names; then it changes what
is theirs, and whatever it shares with other customers only under a lock by name.
Rule 4: a store may run a verb again from its start, where another transaction was in its way: a verb changes
nothing but the store.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Protocol, TypeVar

from costplus.billing.event import Delivery
from costplus.billing.invoice import UsageTotal
from costplus.core.records import RecordStore
from costplus.ledger.store import LedgerStore
from costplus.metering.event import UsageEvent
from costplus.metering.store import MeteringStore
from costplus.rating.charge import Charge
from costplus.rating.item_charge import Metered
from costplus.rating.sheet import UnitRate

T = TypeVar("T")
Topic = Literal["config", "outbox"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ChargedEvent:
    """An event with its charge: what is kept for ever, and what lists show.

    `billed_at` is the event's time, or the start of the first period whose invoice was still open when it
    came; invoices and roll-ups go by it.
    """

    event: UsageEvent
    charge: Charge
    billed_at: datetime
    transaction: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredReply:
    """The first answer to an idempotency key: replayed to later requests with the same digest."""

    key: str
    request_digest: str
    status: int
    body: bytes
    created: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelTotal:
    """One model's use within a stretch of time."""

    provider: str
    model: str
    events: int
    price_nano: int
    cost_nano: int


class ChargeStore(Protocol):
    """The charges part of one open transaction."""

    def append_charges(self, charged: Sequence[ChargedEvent]) -> None:
        """Keep new events' charges with their unit rates, and add them to the hourly roll-ups.

        A unit rate never changes: other content under a known id is `RecordImmutable`.
        """

    def charge_of(self, customer: str, event_id: str) -> ChargedEvent | None:
        """Return the event with its charge, or None."""

    def charged_page(
        self, *, customer: str | None, limit: int, older_than: str | None = None
    ) -> Sequence[ChargedEvent]:
        """Return the latest charged events, newest first; `older_than` is an event id."""

    def usage_totals(self, customer: str, start: datetime, end: datetime) -> tuple[Sequence[UsageTotal], int]:
        """Return units per rate and Σ `price_nano` of charges with `start ≤ billed_at < end`.

        Whole hours come from the roll-ups, the ends from the charges themselves. Ordered by provider,
        model, leaf, rate id; rates whose units were all taken back are left out.
        """

    def metered(self, customer: str, meter: str, period_start: datetime) -> Metered:
        """Return what a meter without tokens counted and was charged in the billing period that begins then.

        Kept as a sum per period, so that asking costs the same however many events there were.
        """

    def add_metered(self, customer: str, meter: str, period_start: datetime, added: Metered) -> None:
        """Add what new events on a meter count and are charged in the billing period that begins then."""

    def spent_between(
        self,
        customer: str,
        start: datetime,
        end: datetime,
        *,
        provider: str = "",
        model: str = "",
        api_key: str = "",
        by_billing: bool = False,
    ) -> Metered:
        """Return how many charges there are of events with `start ≤ at < end`, and Σ of their prices.

        `by_billing` goes by `billed_at` instead. Only one model's (provider and model together), or one key's
        events where that is given. It reads the charges themselves: whoever asks often keeps the sum.
        """

    def model_totals(self, customer: str | None, start: datetime, end: datetime) -> Sequence[ModelTotal]:
        """Return use per model over the whole hours that touch `[start, end)`, dearest first.

        Corrections count in what was charged, not among the events.
        """

    def waived_totals(self, customer: str | None, start: datetime, end: datetime) -> Sequence[UsageTotal]:
        """Return units per rate that asks for nothing over the whole hours that touch `[start, end)`.

        Of one customer or of all; ordered by rate id, without those whose units were all taken back.
        """

    def charged_between(
        self, customer: str, start: datetime, end: datetime, *, after: str = "", limit: int = 1000
    ) -> Sequence[ChargedEvent]:
        """Return the customer's charged events with `start ≤ at < end` by id, those above `after`."""

    def unpaired(self, customer: str) -> Sequence[str]:
        """Return the ids of the customer's events without a charge and of charges without an event."""

    def users_since(self, start: datetime, *, provider: str = "", model: str = "") -> Sequence[str]:
        """Return the customers billed for usage in the hour of `start` or later, in order of id.

        Named by provider and exact id, only those that were charged a rate of that model.
        """

    def unit_rate(self, id: str) -> UnitRate | None:
        """Return a unit rate that some charge was made with, or None."""


class OutboxStore(Protocol):
    """The webhook part of one open transaction."""

    def save_delivery(self, delivery: Delivery) -> None:
        """Insert or replace the delivery."""

    def due_deliveries(self, at: datetime, *, limit: int = 100) -> Sequence[Delivery]:
        """Return pending deliveries with `due_at ≤ at`, earliest first."""

    def claim_deliveries(
        self, at: datetime, until: datetime, limit: int = 100, *, but_of: Collection[str] = ()
    ) -> Sequence[Delivery]:
        """Return pending deliveries with `due_at ≤ at`, earliest first, and push their `due_at` to `until`.

        They are returned as they are stored then. Two callers never claim the same one. Deliveries to the
        endpoints `but_of` are left alone.
        """

    def delivery(self, id: str) -> Delivery | None:
        """Return the delivery, or None."""

    def delivery_ahead(self, delivery: Delivery, *, attempts_below: int) -> Delivery | None:
        """Return the earliest pending delivery that was made before this one, or None.

        Only of the same endpoint and object, with fewer than so many attempts; no object, none ahead.
        """

    def deliveries_page(
        self,
        *,
        endpoint: str | None = None,
        event: str | None = None,
        status: str | None = None,
        limit: int,
        older_than: str | None = None,
        newer_than: str | None = None,
    ) -> Sequence[Delivery]:
        """Return a page of deliveries, newest first; cursors as in `RecordStore.page`."""

    def deliveries_of(self, event: str) -> Sequence[Delivery]:
        """Return all deliveries of an event, in order of creation."""

    def count_pending_deliveries(self) -> int:
        """Return how many deliveries are pending."""

    def next_delivery_at(self) -> datetime | None:
        """Return when the next pending delivery is due, or None."""


class ReplyStore(Protocol):
    """The idempotency part of one open transaction."""

    def reply(self, key: str) -> StoredReply | None:
        """Return the stored reply, or None."""

    def save_reply(self, reply: StoredReply) -> None:
        """Keep the reply."""

    def forget_replies(self, before: datetime) -> int:
        """Delete replies created before that instant; return how many."""


class AgendaStore(Protocol):
    """Which customers in real time have something to be closed, by when it is due."""

    def due_of(self, customer: str) -> datetime | None:
        """Return when the customer is due next, or None."""

    def set_due(self, customer: str, at: datetime | None) -> None:
        """Note when the customer is due next, or that it is not."""

    def customers_due(self, at: datetime, *, limit: int) -> Sequence[str]:
        """Return up to `limit` customers that are due by `at`, earliest first, then in order of id."""


class Tx(
    RecordStore, MeteringStore, LedgerStore, ChargeStore, OutboxStore, ReplyStore, AgendaStore, Protocol
):
    """Everything one transaction can read and write."""

    def touch(self, topic: Topic) -> None:
        """Tell the topic's listeners after the commit: `config` changed, or the `outbox` has work."""

    def lock(self, name: str) -> None:
        """Wait until no other open transaction holds the name, and hold it until this one ends.

        For what writers of different customers share. Several names are locked in order of name.
        """

    def next_number(self, series: str) -> int:
        """Return 1, 2, 3, … for the series, without gaps: a rolled-back transaction gives its number back."""


class Store(Protocol):
    """A database. Every method may be called from any task; closing waits for what was begun."""

    async def write(self, verb: Callable[[Tx], T], *, customers: Collection[str] | None = None) -> T:
        """Run `verb` in a read-write transaction and return its result once it is durable.

        With `customers` it runs beside writers of other customers, else beside no other.
        """

    async def read(self, verb: Callable[[Tx], T]) -> T:
        """Run `verb` on a consistent snapshot; it must not write."""

    def listen(self, topic: Topic, callback: Callable[[], None]) -> None:
        """Call back (from any thread) after each commit that touched the topic."""

    async def close(self) -> None:
        """Finish what was begun and let go of the database."""
