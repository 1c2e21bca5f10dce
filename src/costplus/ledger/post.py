"""Move money: grant credit, capture usage, take it back, end grants; each inside one open transaction.

Rule 1: reads lock the customer's balance first, so that everything about one customer happens in turn.
Rule 2: credit pays usage in burn order; what no credit covers is owed, and a grant that begins pays that
first, as far as its scope goes.
Rule 3: usage that is taken back lessens what its own period owes, then what other periods owe, oldest first;
the rest goes back to the grants that it was burned from, and to a new one where they have ended.
Rule 4: how a batch splits over what scopes speak of is asked only where some grant has a scope.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from costplus.core.ids import CustomerId, from_milliseconds, milliseconds, new_id
from costplus.core.money import nano_per_minor
from costplus.ledger import account
from costplus.ledger.balance import Balance, Crossing
from costplus.ledger.grant import (
    GRANTS_MAX,
    Burned,
    Grant,
    GrantUsed,
    TooManyGrants,
    burn,
    burn_in_scope,
    burnable,
    refill,
)
from costplus.ledger.scope import UNKNOWN, Scope, Subject, netted
from costplus.ledger.store import LedgerStore
from costplus.ledger.transaction import Kind, Transaction, period_reference, transaction

SCOPED_KEPT = timedelta(days=400)  # So long it is known what scoped grants paid of a period.

InScope = Callable[[int, Scope], int]
"""Tells what the charges of a period (its start in milliseconds) come to within a scope, in nanos."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UsagePosting:
    """One customer's share of a batch: what its events are worth and which holds they release."""

    customer: CustomerId
    # Billing period start (ms) → what its events are charged; below 0 where more was taken back.
    price_nano: Mapping[int, int]
    cost_nano: int  # What the provider charges for all of them.
    releases: Mapping[str, int]  # Hold id → nanos no longer reserved.
    closes: frozenset[str] = frozenset()  # Request holds that are captured by this.
    burned_nano: Mapping[str, int] = field(default_factory=dict)  # Grant id → what it paid of what goes back.
    spare: Grant | None = None  # Takes what no such grant can; its amount is set here.
    # Splits what is charged by (period, subject); without it, grants with a scope pay nothing.
    split: Callable[[], Mapping[tuple[int, Subject], int]] | None = None
    currency: str = ""  # Of the charges; grants in another pay nothing. Empty: any.


@dataclass(frozen=True, slots=True)
class Posted:
    """The outcome of a posting: its transaction (None where nothing moved) and the credit's way."""

    transaction: Transaction | None
    crossing: Crossing
    owed_nano: int  # Of this posting's price, what credit did not cover.
    spare: Grant | None = None  # The grant that was made for what no other could take back.


def credit_of(store: LedgerStore, customer: str, *, at: datetime, subject: Subject | None = None) -> int:
    """Return the credit that burnable grants hold at `at`, in nanos: all, or what may pay for the subject."""
    return sum(
        grant.remaining_nano
        for grant in burnable(store.live_grants(customer), at=at)
        if subject is None or grant.scope.covers(subject)
    )


def grant_credit(
    store: LedgerStore, grant: Grant, *, at: datetime, in_scope: InScope | None = None
) -> Crossing:
    """Book a new grant; usage already owed is paid from it at once, or when it becomes effective.

    A grant with a scope pays what `in_scope` says that its scope holds of what is owed, or else nothing.
    Raises `TooManyGrants` at the limit of unused grants; a plan's own credit and corrections are above it,
    because a period must always be able to begin and a wrong charge to be taken back. A grant that is booked
    already stays as it is.
    """
    balance = store.balance_for_update(grant.customer)
    live = store.live_grants(grant.customer)
    before = sum(g.remaining_nano for g in burnable(live, at=at))
    if store.grant(grant.id) is not None:
        return Crossing(grant.customer, before, before)
    if grant.source == "api" and len(live) >= GRANTS_MAX:
        raise TooManyGrants(f"Customer {grant.customer} has {len(live)} unused credit grants.")
    # A plan's credit is paid for by the plan's fee, which is revenue already.
    is_bought = grant.category == "paid" and grant.source not in ("plan", "rollover")
    source = account.book("payments" if is_bought else "promotions")
    if grant.effective_at <= at:
        grant = replace(grant, begun_at=at)
    store.save_grant(grant)
    postings = [
        (account.credit(grant.customer, grant.id), grant.amount_nano),
        (source, -grant.amount_nano),
    ]
    given = move(store, customer=grant.customer, kind="grant", reference=grant.id, postings=postings, at=at)
    paid: list[Transaction] = []
    if grant.is_burnable(at) and balance.owed_nano:
        paid = _pay_debt(store, balance, grant, at=at, in_scope=in_scope)
    after = credit_of(store, grant.customer, at=at)
    return Crossing(grant.customer, before, after, transactions=(given, *paid))


def begin_grant(
    store: LedgerStore, grant: Grant, *, at: datetime, in_scope: InScope | None = None
) -> Crossing:
    """Let a grant that has become effective take part: what is owed is paid from it.

    One that has begun already, or has ended, stays as it is.
    """
    balance = store.balance_for_update(grant.customer)
    known = store.grant(grant.id)
    after = credit_of(store, grant.customer, at=at)
    if known is None or not known.begins or not known.is_burnable(at):
        return Crossing(grant.customer, after, after)
    before = after - known.remaining_nano
    known = replace(known, begun_at=at)
    store.save_grant(known)
    paid: list[Transaction] = []
    if balance.owed_nano:
        paid = _pay_debt(store, balance, known, at=at, in_scope=in_scope)
    after = credit_of(store, grant.customer, at=at)
    return Crossing(grant.customer, before, after, transactions=tuple(paid))


def _pay_debt(
    store: LedgerStore, balance: Balance, grant: Grant, *, at: datetime, in_scope: InScope | None
) -> list[Transaction]:
    """Pay the oldest periods' owed usage from the grant, each by a transaction of its own.

    A plan's credit pays for its own period only.
    """
    entries: list[Transaction] = []
    owed, scoped, rest = dict(balance.owed_nano), dict(balance.scoped_nano), grant.remaining_nano
    since = milliseconds(grant.effective_at) if grant.source == "plan" else min(owed)
    for period in sorted(start for start in owed if start >= since):
        most = owed[period]
        if not grant.scope.is_all:
            most = min(most, _open_in_scope(store, balance, grant, period, in_scope))
        paid = min(most, rest)
        if paid <= 0:
            continue
        owed[period], rest = owed[period] - paid, rest - paid
        if not grant.scope.is_all:
            key = f"{period}/{grant.id}"
            scoped[key] = scoped.get(key, 0) + paid
        postings = [
            (account.credit(grant.customer, grant.id), -paid),
            (account.accrued(grant.customer), paid),
        ]
        entries.append(
            move(
                store,
                customer=grant.customer,
                kind="debt_payment",
                reference=period_reference(period),
                postings=postings,
                at=at,
            )
        )
    if entries:
        store.save_grant(replace(grant, remaining_nano=rest))
        owed = {period: nano for period, nano in owed.items() if nano}
        store.save_balance(replace(balance, owed_nano=owed, scoped_nano=scoped))
    return entries


def _open_in_scope(
    store: LedgerStore, balance: Balance, grant: Grant, period: int, in_scope: InScope | None
) -> int:
    """Return what of a period's charges the grant may still pay: scoped grants paid for some of it."""
    if in_scope is None:
        return 0
    paid = 0
    for key, nano in balance.scoped_nano.items():
        start, _, id = key.partition("/")
        other = store.grant(id)
        if int(start) == period and other is not None and other.scope.overlaps(grant.scope):
            paid += nano
    return in_scope(period, grant.scope) - paid


def _release(store: LedgerStore, posting: UsagePosting) -> int:
    """Take the posting's releases off their holds; return how much was freed. Late ones free nothing."""
    freed_total = 0
    for hold_id, amount_nano in posting.releases.items():
        hold = store.hold(posting.customer, hold_id)
        if hold is None or hold.state != "placed":
            continue
        closing = hold_id in posting.closes
        freed = hold.amount_nano if closing else min(amount_nano, hold.amount_nano)
        store.save_hold(
            replace(
                hold,
                amount_nano=hold.amount_nano - freed,
                captured_nano=hold.captured_nano + amount_nano,
                state="captured" if closing else hold.state,
            )
        )
        freed_total += freed
    return freed_total


def post_usage(store: LedgerStore, posting: UsagePosting, *, at: datetime) -> Posted:
    """Capture a batch of one customer's charges: burn credit, book the rest as owed, free the holds.

    What was taken back goes first, so that it may pay for what was charged in the same batch.
    """
    customer = posting.customer
    balance = store.balance_for_update(customer)
    grants = store.live_grants(customer)
    before = credit_nano = sum(grant.remaining_nano for grant in burnable(grants, at=at))
    if balance.owed_nano and (
        late := [g for g in grants if g.begins and g.scope.is_all and g.is_burnable(at)]
    ):
        before -= sum(grant.remaining_nano for grant in late)  # They have become effective just now.
        for grant in late:
            begin_grant(store, grant, at=at)
        balance, grants = store.balance_for_update(customer), store.live_grants(customer)
        credit_nano = sum(grant.remaining_nano for grant in burnable(grants, at=at))
    owed, returned, spare = _take_back(store, posting, owed_nano=balance.owed_nano, at=at)
    if returned:
        grants = store.live_grants(customer)
    burned = _burn(posting, burnable(grants, at=at, currency=posting.currency))
    for grant, part in burned.parts:
        store.save_grant(replace(grant, remaining_nano=grant.remaining_nano - part))
    for period, nano in burned.owed_nano.items():
        owed[period] = owed.get(period, 0) + nano
    freed = _release(store, posting)
    changed = replace(balance, held_nano=balance.held_nano - freed, owed_nano=owed)
    store.save_balance(_with_scoped(changed, burned.scoped_nano, at=at) if burned.scoped_nano else changed)
    moved = [(grant, nano) for grant, nano in returned] + [(grant, -part) for grant, part in burned.parts]
    entry = _book_usage(store, posting, moved, at=at)
    after = credit_nano + sum(nano for _, nano in moved)
    return Posted(entry, Crossing(customer, before, after), sum(burned.owed_nano.values()), spare)


def _book_usage(
    store: LedgerStore, posting: UsagePosting, moved: Sequence[tuple[Grant, int]], *, at: datetime
) -> Transaction | None:
    """Append the batch's transaction; None where nothing moves."""
    customer = posting.customer
    price_nano, credit_nano = sum(posting.price_nano.values()), sum(nano for _, nano in moved)
    postings = [
        *((account.credit(customer, grant.id), nano) for grant, nano in moved),
        (account.accrued(customer), -price_nano - credit_nano),
        (account.book("revenue"), price_nano),
        (account.book("cost"), -posting.cost_nano),
        (account.book("provider_payable"), posting.cost_nano),
    ]
    if not any(nano for _, nano in postings):
        return None
    periods = list(posting.price_nano)
    reference = period_reference(periods[0]) if len(periods) == 1 else ""
    return move(store, customer=customer, kind="usage", reference=reference, postings=postings, at=at)


def _burn(posting: UsagePosting, in_order: Sequence[Grant]) -> Burned:
    """Pay what the batch charges from the grants; by subject where one of them has a scope."""
    charged = {period: nano for period, nano in posting.price_nano.items() if nano > 0}
    if charged and any(not grant.scope.is_all for grant in in_order):
        split = posting.split() if posting.split else {(p, UNKNOWN): nano for p, nano in charged.items()}
        return burn_in_scope(in_order, netted(split))
    parts, rest = burn(in_order, sum(charged.values()))
    owed: dict[int, int] = {}
    for period in sorted(charged, reverse=True):  # Credit pays the oldest period first.
        if part := min(charged[period], rest):
            owed[period], rest = part, rest - part
    return Burned(parts, owed, {})


def _with_scoped(balance: Balance, paid: Mapping[tuple[int, str], int], *, at: datetime) -> Balance:
    """Return the balance with what scoped grants paid now; what is long past is forgotten."""
    scoped = {
        key: nano
        for key, nano in balance.scoped_nano.items()
        if from_milliseconds(int(key.partition("/")[0])) > at - SCOPED_KEPT
    }
    for (period, grant), nano in paid.items():
        key = f"{period}/{grant}"
        scoped[key] = scoped.get(key, 0) + nano
    return replace(balance, scoped_nano=scoped)


def _take_back(
    store: LedgerStore, posting: UsagePosting, *, owed_nano: Mapping[int, int], at: datetime
) -> tuple[dict[int, int], list[tuple[Grant, int]], Grant | None]:
    """Undo what the posting takes back.

    Returns what is owed after that, what each grant got back, and the grant that was made for the rest.
    """
    owed, rest, spare = dict(owed_nano), 0, None
    for period, nano in posting.price_nano.items():
        if nano < 0:
            part = min(owed.get(period, 0), -nano)
            owed[period], rest = owed.get(period, 0) - part, rest - nano - part
    for period in sorted(owed):
        part = min(owed[period], rest)
        owed[period], rest = owed[period] - part, rest - part
    known = [(grant, nano) for id, nano in posting.burned_nano.items() if (grant := store.grant(id))]
    parts, rest = refill(known, rest, at=at)
    for grant, part in parts:
        store.save_grant(replace(grant, remaining_nano=grant.remaining_nano + part))
    if rest:
        assert posting.spare is not None  # Whoever takes something back says where it may go.
        minor = rest // nano_per_minor(posting.spare.currency)
        spare = replace(posting.spare, amount_nano=rest, remaining_nano=rest, minor_amount=minor, begun_at=at)
        store.save_grant(spare)
        parts = [*parts, (spare, rest)]
    return {period: nano for period, nano in owed.items() if nano}, parts, spare


def void_grant(store: LedgerStore, grant: Grant, *, at: datetime) -> Crossing:
    """Take back a grant that nothing was paid from; one that has ended stays as it is.

    Raises `GrantUsed` where something was.
    """
    grant = _newest(store, grant)
    if grant.voided_at is not None or grant.expired_at is not None:
        return _unchanged(store, grant, at=at)
    if grant.remaining_nano != grant.amount_nano:
        raise GrantUsed(f"Credit grant {grant.id} has been used already and cannot be voided.")
    is_bought = grant.category == "paid" and grant.source not in ("plan", "rollover")
    back = account.book("payments" if is_bought else "promotions")
    return _end_grant(store, replace(grant, voided_at=at, updated=at), back, "grant_void", at=at)


def expire_grant(store: LedgerStore, grant: Grant, *, at: datetime) -> Crossing:
    """End a grant; what remains of it is breakage. One that has ended already stays as it is."""
    grant = _newest(store, grant)
    if grant.voided_at is not None or grant.expired_at is not None:
        return _unchanged(store, grant, at=at)
    ended = replace(grant, expired_at=at, expires_at=min(grant.expires_at or at, at), updated=at)
    return _end_grant(store, ended, account.book("breakage"), "grant_expiry", at=at)


def _newest(store: LedgerStore, grant: Grant) -> Grant:
    """Return the grant as it is now that nobody else can change it."""
    store.balance_for_update(grant.customer)
    return store.grant(grant.id) or grant


def _unchanged(store: LedgerStore, grant: Grant, *, at: datetime) -> Crossing:
    credit_nano = credit_of(store, grant.customer, at=at)
    return Crossing(grant.customer, credit_nano, credit_nano)


def _end_grant(store: LedgerStore, grant: Grant, other: str, kind: Kind, *, at: datetime) -> Crossing:
    rest = grant.remaining_nano
    store.save_grant(replace(grant, remaining_nano=0))
    after = credit_of(store, grant.customer, at=at)
    # At its expiry a grant no longer burns, yet its credit ends only here; one not yet effective gave none.
    before = after + rest if grant.effective_at <= at else after
    postings = [(account.credit(grant.customer, grant.id), -rest), (other, rest)]
    entry = move(store, customer=grant.customer, kind=kind, reference=grant.id, postings=postings, at=at)
    return Crossing(grant.customer, before, after, transactions=(entry,))


def move(
    store: LedgerStore,
    *,
    customer: str,
    kind: Kind,
    reference: str,
    postings: Sequence[tuple[str, int]],
    at: datetime,
) -> Transaction:
    """Append one balanced transaction, such as an invoice's or a payment's."""
    entry = transaction(
        id=new_id("txn", at=at), customer=customer, at=at, kind=kind, reference=reference, postings=postings
    )
    store.append_transaction(entry)
    return entry
