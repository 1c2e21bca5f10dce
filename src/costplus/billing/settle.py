"""Settle usage: keep each event once, keep its charge, move the money, fire what was crossed.

The one way in for every kind of usage. All of a batch commits together; settling it again changes nothing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from costplus.billing.agenda import remember_late_usage, wake
from costplus.billing.clock import frozen_time
from costplus.billing.customer import Customer, NoSuchCustomer
from costplus.billing.enqueue import enqueue
from costplus.billing.include import Inclusions
from costplus.billing.late_usage import keep_late
from costplus.billing.notify import announce, cross
from costplus.billing.recharge import recharge
from costplus.billing.spending import free_reservations, watch_spending
from costplus.billing.store import ChargedEvent, Tx
from costplus.billing.subjects import split
from costplus.billing.subscription import NotSubscribed, Subscription
from costplus.billing.threshold import watch_threshold
from costplus.billing.unpriced import correction_grant
from costplus.billing.watched import Watch
from costplus.core.ids import CustomerId, milliseconds
from costplus.ledger.account import grant_in
from costplus.ledger.grant import Grant
from costplus.ledger.post import UsagePosting, post_usage
from costplus.metering.event import METER, TOKEN_METER, UsageEvent
from costplus.rating.charge import Charge
from costplus.rating.item_charge import Metered


@dataclass(frozen=True, slots=True, kw_only=True)
class Settlement:
    """A rated event with the hold it captures: `release_nano` of `hold` is no longer reserved.

    `closes` says that the hold was this call's own and ends with it (not a lease). `reverses` names the
    transaction of the charge that this one takes back. `credit_name` is what credit that it gives back is
    called, where that is no correction of a model's price. `moved` is how many units the event moves the
    value of its meter by, where that is not what it carries.
    """

    event: UsageEvent
    charge: Charge
    hold: str = ""
    release_nano: int = 0
    closes: bool = False
    reverses: str = ""
    credit_name: str = ""
    caps: tuple[tuple[str, int], ...] = ()  # What it frees of reservations of spend caps, by their ids.
    moved: int | None = None


@dataclass(frozen=True, slots=True)
class Settled:
    """How many events of the batch were new, and how many were known already."""

    new: int
    duplicate: int


def subscription_of(tx: Tx, customer: str) -> Subscription:
    """Return the live subscription that prices the customer's usage, or raise `NotSubscribed`."""
    for subscription in tx.page(Subscription, parent=customer):
        if subscription.is_live and subscription.prices_usage:
            return subscription
    raise NotSubscribed(f"Customer {customer} is not subscribed to a pricing plan.")


def billed_by(tx: Tx, customer: str, *, at: datetime | None = None) -> Subscription:
    """Return the subscription that bills the customer's usage (at an instant). Raises `NotSubscribed`."""
    return biller_at(billers_of(tx, customer), at)


def billers_of(tx: Tx, customer: str) -> list[Subscription]:
    """Return the subscriptions that price or priced the customer's usage, the newest first.

    Raises `NotSubscribed` where there never was one.
    """
    own = tx.page(Subscription, parent=customer)
    known = [entry for entry in own if entry.prices_usage and not entry.never_began]
    if not known:
        raise NotSubscribed(f"Customer {customer} was never subscribed to a pricing plan.")
    return known


def biller_at(known: Sequence[Subscription], at: datetime | None = None) -> Subscription:
    """Return the subscription that bills usage: the live one, else the last there was.

    Usage at an instant of an ended subscription is billed by that one while its last invoice is not final. A
    call may end after its customer was deleted or its subscription canceled; it is booked all the same.
    """
    for subscription in known:
        ends = subscription.ended_at
        if at is None or ends is None or subscription.finalized_until >= ends:
            continue
        if subscription.begins <= at < ends:
            return subscription
    live = (subscription for subscription in known if subscription.is_live)
    begun = (subscription for subscription in known if subscription.status != "pending")
    return next(live, None) or next(begun, known[0])


def settle(tx: Tx, settlements: Sequence[Settlement], *, at: datetime) -> Settled:
    """Keep and settle a batch of any customers' events."""
    new = tx.append_events([settlement.event for settlement in settlements])
    return settle_kept(tx, settlements, new, at=at)


def settle_kept(tx: Tx, settlements: Sequence[Settlement], new: set[str], *, at: datetime) -> Settled:
    """Settle a batch whose events are kept already; `new` are the ids of those that were not known before."""
    by_customer: dict[CustomerId, list[Settlement]] = defaultdict(list)
    for settlement in settlements:
        by_customer[settlement.event.customer].append(settlement)
    count, inclusions, watch = 0, Inclusions(tx), Watch(tx)
    for customer in sorted(by_customer):  # A fixed order, so that two batches never wait for each other.
        record = tx.find(Customer, customer)
        if record is None:
            raise NoSuchCustomer(f"No such customer: '{customer}'")
        present = frozen_time(tx, record) or at
        for subscription, batch in _by_subscription(tx, customer, by_customer[customer]):
            count += settle_customer(
                tx, record, subscription, batch, new, at=present, inclusions=inclusions, watch=watch
            )
    return Settled(new=count, duplicate=len(settlements) - count)


def _by_subscription(
    tx: Tx, customer: str, batch: Sequence[Settlement]
) -> list[tuple[Subscription, list[Settlement]]]:
    """Return the customer's settlements with the subscription that bills each, in order of time."""
    known = billers_of(tx, customer)
    if len(known) == 1:
        return [(known[0], list(batch))]
    found: dict[str, tuple[Subscription, list[Settlement]]] = {}
    for settlement in batch:
        subscription = biller_at(known, settlement.event.at)
        found.setdefault(subscription.id, (subscription, []))[1].append(settlement)
    return sorted(found.values(), key=lambda entry: entry[0].begins)


def settle_customer(
    tx: Tx,
    record: Customer,
    subscription: Subscription,
    batch: Sequence[Settlement],
    new: set[str],
    *,
    at: datetime,
    inclusions: Inclusions | None = None,
    watch: Watch | None = None,
) -> int:
    """Settle one customer's kept events at `at`, its present, in the periods of the subscription.

    Returns how many were new.
    """
    customer, watch = CustomerId(record.id), watch or Watch(tx)
    fresh: dict[str, Settlement] = {}
    for settlement in batch:
        if settlement.event.id in new:
            fresh.setdefault(settlement.event.id, settlement)
    rated = [
        ChargedEvent(
            event=item.event,
            charge=item.charge,
            billed_at=max(item.event.at, subscription.finalized_until),
        )
        for item in fresh.values()
    ]
    charged = (inclusions or Inclusions(tx)).applied(record, subscription, rated, at=at)
    price_nano, used_at = _by_period(charged, subscription, at=at)
    posted = post_usage(
        tx,
        UsagePosting(
            customer=customer,
            price_nano=price_nano,
            used_at=used_at,
            cost_nano=sum(entry.charge.cost_nano for entry in charged),
            releases=_releases(batch, fresh),
            closes=frozenset(item.hold for item in batch if item.closes),
            burned_nano=_burned(tx, customer, {item.reverses for item in fresh.values()}),
            spare=_spare(fresh.values(), currency=record.currency, at=at),
            split=lambda: split(tx, charged, subscription),
            currency=record.currency,
        ),
        at=at,
    )
    reference = posted.transaction.id if posted.transaction else ""
    tx.append_charges(
        [
            ChargedEvent(
                event=entry.event, charge=entry.charge, billed_at=entry.billed_at, transaction=reference
            )
            for entry in charged
        ]
    )
    _count_metered(tx, subscription, charged, fresh)
    keep_late(tx, subscription, charged, at=at)
    reached = watch_threshold(tx, subscription, charged, at=at)
    if reached is not None:
        wake(tx, customer, at=reached.created)
    if posted.spare is not None:
        announce(tx, "billing.credit_grant.created", posted.spare, at=at)
    alerts = watch.alerts(customer)
    cross(tx, posted.crossing, currency=record.currency, at=at, alerts=alerts)
    if alerts or watch.is_watched(customer):
        watch_spending(tx, record, subscription, charged, watch=watch, alerts=alerts, at=at)
    free_reservations(tx, [part for item in fresh.values() for part in item.caps])
    enqueue(tx, charged, subscription, at=at)
    ends = subscription.ended_at
    if ends is not None and subscription.finalized_until >= ends and any(price_nano.values()):
        remember_late_usage(tx, subscription, at=at)
    recharge(tx, record, at=at)
    return len(fresh)


def _by_period(
    charged: Sequence[ChargedEvent], subscription: Subscription, *, at: datetime
) -> tuple[Mapping[int, int], Mapping[int, datetime]]:
    """Return what is charged per period, by its start (ms); and when periods that have ended were last used.

    What was effective then pays.
    """
    price_nano: dict[int, int] = defaultdict(int)
    used_at: dict[int, datetime] = {}
    period, start = None, 0
    for entry in charged:
        if period is None or entry.billed_at not in period:
            period = subscription.billed_in(entry.billed_at)
            start = milliseconds(period.start)
        price_nano[start] += entry.charge.price_nano
        if period.end <= at:
            used_at[start] = max(entry.billed_at, used_at.get(start, entry.billed_at))
    return price_nano, used_at


def _count_metered(
    tx: Tx,
    subscription: Subscription,
    charged: Sequence[ChargedEvent],
    settlements: Mapping[str, Settlement],
) -> None:
    """Add what meters without tokens counted and were charged to the periods that are billed for it."""
    for entry in charged:
        event = entry.event
        if event.provider == METER and event.meter != TOKEN_METER:
            if subscription.pin_at(event.at).usage == "free":
                continue
            start = subscription.billed_in(entry.billed_at).start
            moved = settlements[event.id].moved
            units = event.usage.quantities.get("unit", 0) if moved is None else moved
            tx.add_metered(event.customer, event.model, start, Metered(units, entry.charge.price_nano))


def _burned(tx: Tx, customer: str, transactions: Collection[str]) -> Mapping[str, int]:
    """Return what each grant paid in the transactions, by its id."""
    burned: dict[str, int] = defaultdict(int)
    for id in sorted(transactions):
        entry = tx.transaction(customer, id) if id else None
        for posting in entry.postings if entry else ():
            if (grant := grant_in(posting.account)) and posting.amount_nano < 0:
                burned[grant] -= posting.amount_nano
    return burned


def _spare(fresh: Iterable[Settlement], *, currency: str, at: datetime) -> Grant | None:
    """Return the grant for credit that no grant can take back; its id follows from what is taken back."""
    negative = (item for item in fresh if item.charge.price_nano < 0)
    first = min(negative, key=lambda item: item.event.id, default=None)
    if first is None:
        return None
    event, name = first.event, first.credit_name
    return correction_grant(event, id=event.id, nano=0, currency=currency, at=at, name=name)


def _releases(batch: Sequence[Settlement], fresh: Mapping[str, Settlement]) -> Mapping[str, int]:
    """Sum what each hold no longer reserves.

    A duplicate ends its call's own hold, which can end only once; of a lease, which other calls share, it
    frees nothing: what it stands for was freed when the event was new.
    """
    releases: dict[str, int] = defaultdict(int)
    for item in fresh.values():
        if item.hold:
            releases[item.hold] += item.release_nano
    for item in batch:
        if item.closes:
            releases.setdefault(item.hold, item.release_nano)
    return releases
