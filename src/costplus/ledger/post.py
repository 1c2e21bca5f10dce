"""Move money: grant credit, hold it, capture usage, expire it. Each verb runs inside one open transaction.

Rule 1: reads lock the customer's balance first, so that everything about one customer happens in turn.
Rule 2: credit pays usage in burn order; what no credit covers is owed, and a new grant pays that first.
Rule 3: usage that is taken back lessens what its own period owes, then what other periods owe, oldest first;
the rest goes back to the grants that it was burned from, and to a new one where they have ended.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from costplus.core.ids import CustomerId, milliseconds, new_id
from costplus.core.money import nano_per_minor, nano_text
from costplus.ledger import account
from costplus.ledger.balance import Balance, Crossing, drawn, note_paid, paid_copy
from costplus.ledger.grant import (
    GRANTS_MAX,
    Grant,
    GrantUsed,
    TooManyGrants,
    burn,
    burnable,
    burnable_late,
    refill,
)
from costplus.ledger.hold import Hold, InsufficientCredit
from costplus.ledger.store import LedgerStore
from costplus.ledger.transaction import Kind, Transaction, transaction


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
    # Of periods that have ended: when their usage happened, which decides what credit pays it.
    used_at: Mapping[int, datetime] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Posted:
    """The outcome of a posting: its transaction (None where nothing moved) and the credit's way."""

    transaction: Transaction | None
    crossing: Crossing
    owed_nano: int  # Of this posting's price, what credit did not cover.
    spare: Grant | None = None  # The grant that was made for what no other could take back.


def credit_of(store: LedgerStore, customer: str, *, at: datetime) -> int:
    """Return the credit that burnable grants hold at `at`, in nanos."""
    return sum(grant.remaining_nano for grant in burnable(store.live_grants(customer), at=at))


def credit_for(store: LedgerStore, customer: str, *, used_at: datetime, at: datetime) -> int:
    """Return the credit that may pay at `at` for usage of a period that has ended, in nanos."""
    grants = burnable_late(store.grants_of(customer), used_at=used_at, at=at)
    return sum(grant.remaining_nano for grant in grants)


def grant_credit(store: LedgerStore, grant: Grant, *, at: datetime) -> Crossing:
    """Book a new grant; usage already owed is paid from it at once.

    Raises `TooManyGrants` at the limit of unused grants; a plan's own credit and corrections are above it,
    because a period must always be able to begin and a wrong charge to be taken back. A grant that is booked
    already stays as it is.
    """
    balance = store.balance_for_update(grant.customer)
    live = store.live_grants(grant.customer)
    if store.grant(grant.id) is not None:
        credit_nano = sum(g.remaining_nano for g in burnable(live, at=at))
        return Crossing(grant.customer, credit_nano, credit_nano)
    if grant.source == "api" and len(live) >= GRANTS_MAX:
        raise TooManyGrants(f"Customer {grant.customer} has {len(live)} unused credit grants.")
    before = sum(g.remaining_nano for g in burnable(live, at=at))
    source = account.book("payments" if grant.category == "paid" else "promotions")
    store.save_grant(grant)
    store.append_transaction(
        transaction(
            id=new_id("txn", at=at),
            customer=grant.customer,
            at=at,
            kind="grant",
            reference=grant.id,
            postings=[
                (account.credit(grant.customer, grant.id), grant.amount_nano),
                (source, -grant.amount_nano),
            ],
        )
    )
    if grant.is_burnable(at) and balance.owed_nano:
        _pay_debt(store, balance, grant, at=at)
    return Crossing(grant.customer, before, credit_of(store, grant.customer, at=at))


def _pay_debt(store: LedgerStore, balance: Balance, grant: Grant, *, at: datetime) -> None:
    """Pay the oldest periods' owed usage from the grant; a plan's credit pays for its own period only."""
    owed, rest, paid_for = dict(balance.owed_nano), grant.remaining_nano, paid_copy(balance.paid_nano)
    since = milliseconds(grant.effective_at) if grant.source == "plan" else min(owed)
    for period in sorted(start for start in owed if start >= since):
        paid = min(owed[period], rest)
        owed[period], rest = owed[period] - paid, rest - paid
        note_paid(paid_for, period, grant.id, paid)
    paid_nano = grant.remaining_nano - rest
    if paid_nano == 0:
        return
    store.save_grant(replace(grant, remaining_nano=rest))
    left = {period: nano for period, nano in owed.items() if nano}
    store.save_balance(replace(balance, owed_nano=left, paid_nano=paid_for))
    store.append_transaction(
        transaction(
            id=new_id("txn", at=at),
            customer=grant.customer,
            at=at,
            kind="debt_payment",
            reference=grant.id,
            postings=[
                (account.credit(grant.customer, grant.id), -paid_nano),
                (account.accrued(grant.customer), paid_nano),
            ],
        )
    )


def place_hold(store: LedgerStore, hold: Hold, *, at: datetime) -> Hold:
    """Reserve `hold.amount_nano`, or raise `InsufficientCredit`, which changes nothing.

    A hold that is placed already is returned as it is.
    """
    balance = store.balance_for_update(hold.customer)
    if (known := store.hold(hold.customer, hold.id)) is not None:
        return known
    available = credit_of(store, hold.customer, at=at) - balance.held_nano
    if available < hold.amount_nano:
        raise InsufficientCredit(
            f"Customer {hold.customer} has {nano_text(max(available, 0))} of available balance; "
            f"this call needs a hold of {nano_text(hold.amount_nano)}."
        )
    store.save_hold(hold)
    store.save_balance(replace(balance, held_nano=balance.held_nano + hold.amount_nano))
    return hold


def grow_hold(
    store: LedgerStore, customer: str, id: str, *, least_nano: int, most_nano: int, at: datetime
) -> int:
    """Reserve more on a placed hold: `most_nano` where credit is ample, never below `least_nano`.

    Where available credit is less than eight times what is asked, the exact `least_nano` is taken, so a
    poor customer's credit is never tied up by a lease. Returns what was added.
    Raises `InsufficientCredit` where even that is not available.
    """
    balance = store.balance_for_update(customer)
    hold = store.hold(customer, id)
    assert hold is not None and hold.state == "placed"
    available = credit_of(store, customer, at=at) - balance.held_nano
    if available < least_nano:
        raise InsufficientCredit(
            f"Customer {customer} has {nano_text(max(available, 0))} of available balance; "
            f"this call needs a hold of {nano_text(least_nano)}."
        )
    added = max(least_nano, min(most_nano, available // 8))
    store.save_hold(replace(hold, amount_nano=hold.amount_nano + added))
    store.save_balance(replace(balance, held_nano=balance.held_nano + added))
    return added


def release_hold(store: LedgerStore, customer: str, id: str, *, amount_nano: int | None = None) -> int:
    """Give back `amount_nano` of a placed hold (all of it by default, which ends it); return what was freed.

    A hold that already ended frees nothing.
    """
    balance = store.balance_for_update(customer)
    hold = store.hold(customer, id)
    if hold is None or hold.state != "placed":
        return 0
    freed = hold.amount_nano if amount_nano is None else min(amount_nano, hold.amount_nano)
    state = "released" if amount_nano is None else hold.state
    store.save_hold(replace(hold, amount_nano=hold.amount_nano - freed, state=state))
    store.save_balance(replace(balance, held_nano=balance.held_nano - freed))
    return freed


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
    before = credit_of(store, customer, at=at)
    owed, paid = dict(balance.owed_nano), paid_copy(balance.paid_nano)
    returned, spare = _take_back(store, posting, owed=owed, paid=paid, at=at)
    parts, owed_nano = _burn(store, posting, owed=owed, paid=paid, at=at)
    freed = _release(store, posting)
    left = {period: nano for period, nano in owed.items() if nano}
    store.save_balance(replace(balance, held_nano=balance.held_nano - freed, owed_nano=left, paid_nano=paid))
    moved = [(grant, nano) for grant, nano in returned] + [(grant, -part) for grant, part in parts]
    price_nano, credit_nano = sum(posting.price_nano.values()), sum(nano for _, nano in moved)
    postings = [
        *((account.credit(customer, grant.id), nano) for grant, nano in moved),
        (account.accrued(customer), -price_nano - credit_nano),
        (account.book("revenue"), price_nano),
        (account.book("cost"), -posting.cost_nano),
        (account.book("provider_payable"), posting.cost_nano),
    ]
    entry = None
    if any(nano for _, nano in postings):
        entry = transaction(
            id=new_id("txn", at=at), customer=customer, at=at, kind="usage", postings=postings
        )
        store.append_transaction(entry)
    # Credit that has lapsed is none of today's, even where it pays late usage.
    after = credit_of(store, customer, at=at) if posting.used_at else before + credit_nano
    return Posted(entry, Crossing(customer, before, after), owed_nano, spare)


def _burn(
    store: LedgerStore,
    posting: UsagePosting,
    *,
    owed: dict[int, int],
    paid: dict[int, dict[str, int]],
    at: datetime,
) -> tuple[list[tuple[Grant, int]], int]:
    """Pay what was charged, the oldest period first, and note in `owed` and `paid` who bears it.

    Returns what each grant paid, and what none did.
    """
    parts: list[tuple[Grant, int]] = []
    uncovered_nano = 0
    for period in sorted(start for start, nano in posting.price_nano.items() if nano > 0):
        used_at = posting.used_at.get(period)
        if used_at is None:
            in_order = burnable(store.live_grants(posting.customer), at=at)
        else:
            in_order = burnable_late(store.grants_of(posting.customer), used_at=used_at, at=at)
        burned, rest = burn(in_order, posting.price_nano[period])
        for grant, part in burned:
            known = store.grant(grant.id) if used_at else grant
            assert known is not None
            _spend(store, known, part, at=at)
            note_paid(paid, period, grant.id, part)
        parts += burned
        if rest:
            owed[period] = owed.get(period, 0) + rest
            uncovered_nano += rest
    return parts, uncovered_nano


def _spend(store: LedgerStore, grant: Grant, nano: int, *, at: datetime) -> None:
    """Take `nano` off the grant; what has lapsed is no breakage after all."""
    if grant.expired_at is None:
        store.save_grant(replace(grant, remaining_nano=grant.remaining_nano - nano))
        return
    store.save_grant(replace(grant, lapsed_nano=grant.lapsed_nano - nano))
    postings = [(account.credit(grant.customer, grant.id), nano), (account.book("breakage"), -nano)]
    move(store, customer=grant.customer, kind="grant_expiry", reference=grant.id, postings=postings, at=at)


def _take_back(
    store: LedgerStore,
    posting: UsagePosting,
    *,
    owed: dict[int, int],
    paid: dict[int, dict[str, int]],
    at: datetime,
) -> tuple[list[tuple[Grant, int]], Grant | None]:
    """Undo what the posting takes back, and note in `owed` and `paid` who bears it.

    Returns what each grant got back, and the grant that was made for the rest.
    """
    spare, rests = None, dict[int, int]()
    for period, nano in posting.price_nano.items():
        if nano < 0:
            part = min(owed.get(period, 0), -nano)
            owed[period] = owed.get(period, 0) - part
            rests[period] = -nano - part
    for period in sorted(owed):
        part = min(owed[period], sum(rests.values()))
        owed[period] -= part
        for source, share in drawn(rests, part):
            note_paid(paid, period, "", share)
            note_paid(paid, source, "", -share)
    known = [(grant, nano) for id, nano in posting.burned_nano.items() if (grant := store.grant(id))]
    parts, rest = refill(known, sum(rests.values()), at=at)
    for grant, part in parts:
        store.save_grant(replace(grant, remaining_nano=grant.remaining_nano + part))
    if rest:
        assert posting.spare is not None  # Whoever takes something back says where it may go.
        minor = rest // nano_per_minor(posting.spare.currency)
        spare = replace(posting.spare, amount_nano=rest, remaining_nano=rest, minor_amount=minor)
        store.save_grant(spare)
        parts = [*parts, (spare, rest)]
    for grant, part in parts:
        for source, share in drawn(rests, part):
            note_paid(paid, source, grant.id, -share)
    return parts, spare


def void_grant(store: LedgerStore, grant: Grant, *, at: datetime) -> Crossing:
    """Take back a grant that nothing was paid from. Raises `GrantUsed` otherwise."""
    if grant.remaining_nano != grant.amount_nano:
        raise GrantUsed(f"Credit grant {grant.id} has been used already and cannot be voided.")
    back = account.book("payments" if grant.category == "paid" else "promotions")
    return _end_grant(store, replace(grant, voided_at=at, updated=at), back, "grant_void", at=at)


def expire_grant(store: LedgerStore, grant: Grant, *, at: datetime) -> Crossing:
    """End a grant; what remains of it is breakage. One that has ended already stays as it is."""
    if grant.voided_at is not None or grant.expired_at is not None:
        credit_nano = credit_of(store, grant.customer, at=at)
        return Crossing(grant.customer, credit_nano, credit_nano)
    ended = replace(
        grant,
        expired_at=at,
        expires_at=min(grant.expires_at or at, at),
        updated=at,
        lapsed_nano=grant.remaining_nano,
    )
    return _end_grant(store, ended, account.book("breakage"), "grant_expiry", at=at)


def _end_grant(store: LedgerStore, grant: Grant, other: str, kind: Kind, *, at: datetime) -> Crossing:
    store.balance_for_update(grant.customer)
    rest = grant.remaining_nano
    store.save_grant(replace(grant, remaining_nano=0))
    after = credit_of(store, grant.customer, at=at)
    # At its expiry a grant no longer burns, yet its credit ends only here; one not yet effective gave none.
    before = after + rest if grant.effective_at <= at else after
    store.append_transaction(
        transaction(
            id=new_id("txn", at=at),
            customer=grant.customer,
            at=at,
            kind=kind,
            reference=grant.id,
            postings=[(account.credit(grant.customer, grant.id), -rest), (other, rest)],
        )
    )
    return Crossing(grant.customer, before, after)


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
