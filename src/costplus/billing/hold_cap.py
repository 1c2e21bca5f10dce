"""Reserve parts of spend caps for gateway processes, and take them back. Verbs of an open transaction.

Rule 1: spent + Σ reserved ≤ the cap whenever something is reserved; the customer's balance is locked first,
as settling locks it, so neither figure moves meanwhile.
Rule 2: where the cap is wide a process takes room for many calls of the size at hand, near it for one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from costplus.billing.customer import Customer
from costplus.billing.spend import calendar_window, zone_of
from costplus.billing.spend_cap import CapWindow, SpendCap, SpendCapReached, cap_window_id
from costplus.billing.spending import free_reservations, reach_cap, spent_in
from costplus.billing.store import Tx
from costplus.catalog.load import every
from costplus.core.money import nano_per_minor, nano_text
from costplus.core.period import Period

RESERVED_CALLS = 64  # So many calls of the size at hand are reserved at once, where the cap is wide.
SHARE = 8  # No more than this part of what is left, so that other processes find room as well.


@dataclass(frozen=True, slots=True, kw_only=True)
class CapState:
    """A cap in one window: what is spent of it, and what calls in flight hold or processes reserved."""

    cap: SpendCap
    window: Period
    spent_nano: int
    held_nano: int

    @property
    def cap_nano(self) -> int:
        return self.cap.amount_minor * nano_per_minor(self.cap.currency)

    @property
    def left_nano(self) -> int:
        return self.cap_nano - self.spent_nano - self.held_nano


def window_of(cap: SpendCap, customer: Customer, at: datetime) -> Period:
    """Return the cap's window that holds `at`."""
    return calendar_window(cap.span, at, zone=zone_of(customer))


def cap_state(tx: Tx, cap: SpendCap, window: Period) -> CapState:
    """Return how far a cap is used in a window."""
    known = tx.find(CapWindow, cap_window_id(cap.id, window))
    spent_nano = spent_in(tx, cap.customer, window, counter=cap.counter, scope=cap.scope, span=cap.span)
    return CapState(cap=cap, window=window, spent_nano=spent_nano, held_nano=known.total_nano if known else 0)


def refusal_of(state: CapState, *, least_nano: int) -> SpendCapReached:
    """Return what a call is told that finds no room."""
    cap = state.cap
    whose = f"API key {cap.api_key}" if cap.api_key else f"customer {cap.customer}"
    return SpendCapReached(
        f"The {cap.span}'s spend cap of {whose} is reached: cap {nano_text(state.cap_nano)} {cap.currency}, "
        f"spent {nano_text(state.spent_nano)}, held by calls in flight {nano_text(state.held_nano)}, "
        f"needed {nano_text(least_nano)}. It resets at {state.window.end:%Y-%m-%dT%H:%M:%SZ}.",
        resets_at=state.window.end,
    )


def room_in(tx: Tx, cap: SpendCap, window: Period, *, least_nano: int) -> CapState | None:
    """Return the state of a cap that has no room for `least_nano` more, None where it has. Only reads."""
    state = cap_state(tx, tx.find(SpendCap, cap.id) or cap, window)
    return state if state.left_nano < least_nano else None


def grow_cap(tx: Tx, cap: SpendCap, window: Period, *, owner: str, least_nano: int, call_nano: int) -> int:
    """Reserve room for a call of `call_nano` for a process, of which it lacks `least_nano`.

    More than that is reserved in whole calls, so that calls of one size leave nothing over in any process.
    Returns what was added. Raises `SpendCapReached`, which changes nothing.
    """
    tx.balance_for_update(cap.customer)
    cap = tx.find(SpendCap, cap.id) or cap
    state = cap_state(tx, cap, window)
    if state.left_nano < least_nano:
        raise refusal_of(state, least_nano=least_nano)
    spare_nano = min(call_nano * RESERVED_CALLS, state.left_nano // SHARE) - least_nano
    added = least_nano + max(spare_nano // max(call_nano, 1), 0) * call_nano
    id = cap_window_id(cap.id, window)
    known = tx.find(CapWindow, id) or CapWindow(id=id, created=window.start)
    reserved_nano = known.reserved_nano.get(owner, 0) + added
    tx.save(replace(known, reserved_nano={**known.reserved_nano, owner: reserved_nano}))
    return added


def give_room_back(tx: Tx, customer: str, releases: Sequence[tuple[str, int]]) -> None:
    """Take reservations of a customer's caps back that no call needs."""
    tx.balance_for_update(customer)
    free_reservations(tx, releases)


def note_refusal(tx: Tx, cap: SpendCap, window: Period, *, at: datetime) -> None:
    """Tell once a window that calls are refused for a cap."""
    tx.balance_for_update(cap.customer)
    state = cap_state(tx, cap, window)
    reach_cap(tx, cap, window, spent_nano=state.spent_nano, refused=True, at=at)


def reclaim_caps(tx: Tx, *, owner: str) -> int:
    """Take back what a crashed process had reserved of caps; return in how many windows."""
    found = [known for known in every(tx, CapWindow) if owner in known.reserved_nano]
    for known in found:
        kept = {name: nano for name, nano in known.reserved_nano.items() if name != owner}
        if kept:
            tx.save(replace(known, reserved_nano=kept))
        else:
            tx.remove(CapWindow, known.id)
    return len(found)
