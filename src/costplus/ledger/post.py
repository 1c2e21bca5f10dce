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
from costplus.ledger.balance import Balance, Crossing
from costplus.ledger.grant import GRANTS_MAX, Grant, GrantUsed, TooManyGrants, burn, burnable, refill
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
    # A plan's credit is paid for by the plan's fee, which is revenue already.
    is_bought = grant.category == "paid" and grant.source not in ("plan", "rollover")
    source = account.book("payments" if is_bought else "promotions")
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
    owed, rest = dict(balance.owed_nano), grant.remaining_nano
    since = milliseconds(grant.effective_at) if grant.source == "plan" else min(owed)
    for period in sorted(start for start in owed if start >= since):
        paid = min(owed[period], rest)
        owed[period], rest = owed[period] - paid, rest - paid
    paid_nano = grant.remaining_nano - rest
    if paid_nano == 0:
        return
    store.save_grant(replace(grant, remaining_nano=rest))
    store.save_balance(replace(balance, owed_nano={p: n for p, n in owed.items() if n}))
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
    owed, returned, spare = _take_back(store, posting, owed_nano=balance.owed_nano, at=at)
    charged = {period: nano for period, nano in posting.price_nano.items() if nano > 0}
    parts, owed_nano = burn(burnable(store.live_grants(customer), at=at), sum(charged.values()))
    for grant, part in parts:
        store.save_grant(replace(grant, remaining_nano=grant.remaining_nano - part))
    rest = owed_nano
    for period in sorted(charged, reverse=True):  # Credit pays the oldest period first.
        part = min(charged[period], rest)
        if part:
            owed[period], rest = owed.get(period, 0) + part, rest - part
    freed = _release(store, posting)
    store.save_balance(replace(balance, held_nano=balance.held_nano - freed, owed_nano=owed))
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
    return Posted(entry, Crossing(customer, before, before + credit_nano), owed_nano, spare)


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
        spare = replace(posting.spare, amount_nano=rest, remaining_nano=rest, minor_amount=minor)
        store.save_grant(spare)
        parts = [*parts, (spare, rest)]
    return {period: nano for period, nano in owed.items() if nano}, parts, spare


def void_grant(store: LedgerStore, grant: Grant, *, at: datetime) -> Crossing:
    """Take back a grant that nothing was paid from. Raises `GrantUsed` otherwise."""
    if grant.remaining_nano != grant.amount_nano:
        raise GrantUsed(f"Credit grant {grant.id} has been used already and cannot be voided.")
    is_bought = grant.category == "paid" and grant.source not in ("plan", "rollover")
    back = account.book("payments" if is_bought else "promotions")
    return _end_grant(store, replace(grant, voided_at=at, updated=at), back, "grant_void", at=at)


def expire_grant(store: LedgerStore, grant: Grant, *, at: datetime) -> Crossing:
    """End a grant; what remains of it is breakage. One that has ended already stays as it is."""
    if grant.voided_at is not None or grant.expired_at is not None:
        credit_nano = credit_of(store, grant.customer, at=at)
        return Crossing(grant.customer, credit_nano, credit_nano)
    ended = replace(grant, expired_at=at, expires_at=min(grant.expires_at or at, at), updated=at)
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
