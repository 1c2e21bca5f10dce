"""Move money: grant credit, capture usage, take it back, end grants; each inside one open transaction.

Rule 1: reads lock the customer's balance first, so that everything about one customer happens in turn.
Rule 2: credit pays usage in burn order; what no credit covers is owed, and a grant that begins pays that
first, as far as its scope goes.
Rule 3: how a batch splits over what scopes speak of is asked only where some grant has a scope.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from costplus.core.ids import CustomerId, milliseconds, new_id
from costplus.ledger import account
from costplus.ledger.balance import Balance, Crossing, note_paid, paid_copy
from costplus.ledger.grant import (
    GRANTS_MAX,
    Grant,
    GrantUsed,
    TooManyGrants,
    burn,
    burn_in_scope,
    burnable,
    burnable_late,
)
from costplus.ledger.scope import UNKNOWN, Scope, Subject, netted
from costplus.ledger.store import LedgerStore
from costplus.ledger.take_back import take_back
from costplus.ledger.transaction import Kind, Transaction, period_reference, transaction

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
    # Of periods that have ended: when their usage happened, which decides what credit pays it.
    used_at: Mapping[int, datetime] = field(default_factory=dict)


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


def credit_for(store: LedgerStore, customer: str, *, used_at: datetime, at: datetime) -> int:
    """Return the credit that may pay at `at` for usage of a period that has ended, in nanos."""
    grants = burnable_late(store.grants_of(customer), used_at=used_at, at=at)
    return sum(grant.remaining_nano for grant in grants)


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
    owed, rest, paid_for = dict(balance.owed_nano), grant.remaining_nano, paid_copy(balance.paid_nano)
    since = milliseconds(grant.effective_at) if grant.source == "plan" else min(owed)
    for period in sorted(start for start in owed if start >= since):
        most = owed[period]
        if not grant.scope.is_all:
            most = min(most, _open_in_scope(store, balance, grant, period, in_scope))
        paid = min(most, rest)
        if paid <= 0:
            continue
        owed[period], rest = owed[period] - paid, rest - paid
        note_paid(paid_for, period, grant.id, paid)
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
        store.save_balance(replace(balance, owed_nano=owed, paid_nano=paid_for))
    return entries


def _open_in_scope(
    store: LedgerStore, balance: Balance, grant: Grant, period: int, in_scope: InScope | None
) -> int:
    """Return what of a period's charges the grant may still pay: scoped grants paid for some of it."""
    if in_scope is None:
        return 0
    paid = 0
    for id, nano in balance.paid_nano.get(period, {}).items():
        other = store.grant(id) if id else None
        if other is not None and not other.scope.is_all and other.scope.overlaps(grant.scope):
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
    in_order = burnable(grants, at=at)
    before = credit_nano = sum(grant.remaining_nano for grant in in_order)
    if balance.owed_nano and (
        late := [g for g in grants if g.begins and g.scope.is_all and g.is_burnable(at)]
    ):
        before -= sum(grant.remaining_nano for grant in late)  # They have become effective just now.
        for grant in late:
            begin_grant(store, grant, at=at)
        balance = store.balance_for_update(customer)
        in_order = burnable(store.live_grants(customer), at=at)
        credit_nano = sum(grant.remaining_nano for grant in in_order)
    owed, paid = dict(balance.owed_nano), paid_copy(balance.paid_nano)
    returned, spare = take_back(
        store,
        posting.price_nano,
        burned_nano=posting.burned_nano,
        spare=posting.spare,
        owed=owed,
        paid=paid,
        at=at,
    )
    known = None if returned else in_order
    parts, owed_nano = _burn(store, posting, known, owed=owed, paid=paid, at=at)
    freed = _release(store, posting)
    left = {period: nano for period, nano in owed.items() if nano}
    store.save_balance(replace(balance, held_nano=balance.held_nano - freed, owed_nano=left, paid_nano=paid))
    moved = [(grant, nano) for grant, nano in returned] + [(grant, -part) for grant, part in parts]
    entry = _book_usage(store, posting, moved, at=at)
    # Credit that has lapsed is none of today's, even where it pays late usage.
    after = credit_nano + sum(nano for _, nano in moved)
    if posting.used_at:
        after = credit_of(store, customer, at=at)
    return Posted(entry, Crossing(customer, before, after), owed_nano, spare)


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


def _burn(
    store: LedgerStore,
    posting: UsagePosting,
    known: Sequence[Grant] | None,
    *,
    owed: dict[int, int],
    paid: dict[int, dict[str, int]],
    at: datetime,
) -> tuple[list[tuple[Grant, int]], int]:
    """Pay what was charged, the oldest period first, and note in `owed` and `paid` who bears it.

    `known` are the burnable grants in order, where they are at hand as they stand. Returns what each grant
    paid, and what none did.
    """
    parts: list[tuple[Grant, int]] = []
    uncovered_nano = 0
    for period in sorted(start for start, nano in posting.price_nano.items() if nano > 0):
        used_at, currency = posting.used_at.get(period), posting.currency
        if used_at is None:
            live = store.live_grants(posting.customer) if known is None else known
            in_order = burnable(live, at=at, currency=currency)
        else:
            grants = store.grants_of(posting.customer)
            in_order = burnable_late(grants, used_at=used_at, at=at, currency=currency)
        burned, rest = _paid_by(posting, period, in_order)
        known = None
        for grant, part in burned:
            newest = store.grant(grant.id) if used_at else grant
            assert newest is not None
            _spend(store, newest, part, at=at)
            note_paid(paid, period, grant.id, part)
        parts += burned
        if rest:
            owed[period] = owed.get(period, 0) + rest
            uncovered_nano += rest
    return parts, uncovered_nano


def _paid_by(
    posting: UsagePosting, period: int, in_order: Sequence[Grant]
) -> tuple[Sequence[tuple[Grant, int]], int]:
    """Return what each grant pays of a period's charges, by subject where one has a scope; and the rest."""
    if all(grant.scope.is_all for grant in in_order):
        return burn(in_order, posting.price_nano[period])
    if posting.split is None:
        split = {UNKNOWN: posting.price_nano[period]}
    else:
        whole = netted(posting.split())
        split = {subject: nano for (start, subject), nano in whole.items() if start == period}
    burned = burn_in_scope(in_order, split)
    return burned.parts, burned.rest_nano


def _spend(store: LedgerStore, grant: Grant, nano: int, *, at: datetime) -> None:
    """Take `nano` off the grant; what has lapsed is no breakage after all."""
    if grant.expired_at is None:
        store.save_grant(replace(grant, remaining_nano=grant.remaining_nano - nano))
        return
    store.save_grant(replace(grant, lapsed_nano=grant.lapsed_nano - nano))
    postings = [(account.credit(grant.customer, grant.id), nano), (account.book("breakage"), -nano)]
    move(store, customer=grant.customer, kind="grant_expiry", reference=grant.id, postings=postings, at=at)


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
    ended = replace(
        grant,
        expired_at=at,
        expires_at=min(grant.expires_at or at, at),
        updated=at,
        lapsed_nano=grant.remaining_nano,
    )
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
