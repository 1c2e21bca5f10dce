"""Set credit aside and give it back: holds, and the leases that grow and shrink.

Rule 1: the customer's balance is locked first, so that no interleaving promises the same credit twice.
Rule 2: a hold is covered by credit that may pay for what it is for, and by what the customer may overdraw.
Holds for other usage take credit that this one cannot use before they take any that it can.
Rule 3: a lease takes a small part of ample credit, and what is asked for exactly where credit is scarce.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from costplus.core.money import nano_text
from costplus.ledger.balance import Balance
from costplus.ledger.grant import Grant, burnable
from costplus.ledger.hold import Hold, HoldState, InsufficientCredit
from costplus.ledger.scope import ALL_USAGE, Scope, Subject
from costplus.ledger.store import LedgerStore

LEASE_SHARE = 8  # A lease grows by at most this part of what is available.


def available_to(
    store: LedgerStore,
    balance: Balance,
    subject: Subject,
    *,
    at: datetime,
    overdraft_nano: int = 0,
    currency: str = "",
) -> int:
    """Return what a new hold for `subject` may reserve; below zero where more is promised than there is."""
    grants = burnable(store.live_grants(balance.customer), at=at, currency=currency)
    free_nano = max(overdraft_nano - balance.owed_total_nano, 0)
    if balance.owed_nano:  # A grant that has just become effective pays what is owed first.
        waiting = sum(grant.remaining_nano for grant in grants if grant.begins)
        free_nano -= min(balance.owed_total_nano, waiting)
    if all(grant.scope.is_all for grant in grants):
        return sum(grant.remaining_nano for grant in grants) + free_nano - balance.held_nano
    return _available_in_scope(store, balance, grants, subject, free_nano=free_nano)


def _available_in_scope(
    store: LedgerStore, balance: Balance, grants: Sequence[Grant], subject: Subject, *, free_nano: int
) -> int:
    pools: list[tuple[Scope, int]] = [(grant.scope, grant.remaining_nano) for grant in grants]
    pools.append((ALL_USAGE, free_nano))
    mine = sum(nano for scope, nano in pools if scope.covers_call(subject))
    others = [(scope, nano) for scope, nano in pools if not scope.covers_call(subject)]
    held: dict[Subject, int] = defaultdict(int)
    for hold in store.placed_holds(customer=balance.customer):
        held[hold.usage] += hold.amount_nano
    taken = held.pop(subject, 0)
    for usage in sorted(held, key=lambda usage: usage.key):
        rest = held[usage]
        for position, (scope, nano) in enumerate(others):
            part = min(rest, nano) if scope.covers_call(usage) else 0
            others[position] = (scope, nano - part)
            rest -= part
        taken += rest
    return mine - taken


def _check_covers(available_nano: int, needed_nano: int, *, customer: str) -> None:
    if available_nano < needed_nano:
        raise InsufficientCredit(
            f"Customer {customer} has {nano_text(max(available_nano, 0))} of available balance; "
            f"this call needs a hold of {nano_text(needed_nano)}."
        )


def place_hold(
    store: LedgerStore, hold: Hold, *, at: datetime, overdraft_nano: int = 0, currency: str = ""
) -> Hold:
    """Reserve `hold.amount_nano`, or raise `InsufficientCredit`, which changes nothing.

    `overdraft_nano` is how much the customer may owe beyond its credit. A hold that is placed already is
    returned as it is.
    """
    balance = store.balance_for_update(hold.customer)
    if (known := store.hold(hold.customer, hold.id)) is not None:
        return known
    if hold.amount_nano:
        available = available_to(
            store, balance, hold.usage, at=at, overdraft_nano=overdraft_nano, currency=currency
        )
        _check_covers(available, hold.amount_nano, customer=hold.customer)
    store.save_hold(hold)
    store.save_balance(replace(balance, held_nano=balance.held_nano + hold.amount_nano))
    return hold


def grow_hold(
    store: LedgerStore,
    customer: str,
    id: str,
    *,
    least_nano: int,
    most_nano: int,
    at: datetime,
    overdraft_nano: int = 0,
    currency: str = "",
    expires_at: datetime | None = None,
) -> int:
    """Reserve more on a placed hold: `most_nano` where credit is ample, never below `least_nano`.

    Where an eighth of available credit is less than what is asked, the exact `least_nano` is taken, so a
    poor customer's credit is never tied up by a lease. Returns what was added; `expires_at` moves the hold's
    end. Raises `InsufficientCredit` where even the least is not available.
    """
    balance = store.balance_for_update(customer)
    hold = store.hold(customer, id)
    assert hold is not None and hold.state == "placed"
    available = available_to(
        store, balance, hold.usage, at=at, overdraft_nano=overdraft_nano, currency=currency
    )
    if least_nano:
        _check_covers(available, least_nano, customer=customer)
    added = max(least_nano, min(most_nano, available // LEASE_SHARE))
    ends = max(hold.expires_at, expires_at or hold.expires_at)
    store.save_hold(replace(hold, amount_nano=hold.amount_nano + added, expires_at=ends))
    store.save_balance(replace(balance, held_nano=balance.held_nano + added))
    return added


def release_hold(store: LedgerStore, customer: str, id: str, *, amount_nano: int | None = None) -> int:
    """Give back `amount_nano` of a placed hold (all of it by default, which ends it); return what was freed.

    A hold that already ended frees nothing.
    """
    return _give_back(store, customer, id, amount_nano=amount_nano, state="released")


def expire_hold(store: LedgerStore, customer: str, id: str, *, at: datetime) -> int:
    """End a hold whose time is over; return what was freed. One that ended, or has time left, stays."""
    hold = store.hold(customer, id)
    if hold is None or at < hold.expires_at:
        return 0
    return _give_back(store, customer, id, amount_nano=None, state="expired")


def _give_back(
    store: LedgerStore, customer: str, id: str, *, amount_nano: int | None, state: HoldState
) -> int:
    balance = store.balance_for_update(customer)
    hold = store.hold(customer, id)
    if hold is None or hold.state != "placed":
        return 0
    freed = hold.amount_nano if amount_nano is None else min(amount_nano, hold.amount_nano)
    ended = state if amount_nano is None else hold.state
    store.save_hold(replace(hold, amount_nano=hold.amount_nano - freed, state=ended))
    store.save_balance(replace(balance, held_nano=balance.held_nano - freed))
    return freed
