"""Room under spend caps: what this process reserved of each cap's window, parcelled out to calls in memory.

Rule 1: as for credit: a call's hold is taken in memory, only growing the reservation touches the store.
Rule 2: a call takes of the window of its admission, all of its caps or none.
Rule 3: what is idle, of a window that is over, or of a cap that was changed goes back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog

from costplus.billing.entitlement import Terms
from costplus.billing.hold_cap import (
    CapState,
    cap_state,
    give_room_back,
    grow_cap,
    note_refusal,
    refusal_of,
    room_in,
    window_of,
)
from costplus.billing.spend_cap import SpendCap, cap_window_id, reservation_id
from costplus.billing.store import Store, Tx
from costplus.core.errors import Unavailable
from costplus.core.period import Period
from costplus.ledger.lease import Lease

IDLE_AFTER = timedelta(seconds=2)

log = structlog.get_logger("costplus.gateway.caps")


@dataclass(slots=True)
class _Part:
    """This process's part of one cap's window."""

    cap: SpendCap
    window: Period
    lease: Lease


class CapBudgets:
    """What this gateway process may still let its callers spend under their caps."""

    def __init__(self, store: Store, *, owner: str, now: Callable[[], datetime]) -> None:
        self._store = store
        self._owner = owner
        self._now = now
        self._parts: dict[str, _Part] = {}  # By the reservation's id.
        self._growing: dict[str, asyncio.Lock] = {}  # By customer.
        self._noted: dict[tuple[str, int], datetime] = {}  # Windows at their amounts, told until when.

    async def take(self, terms: Terms, amount_nano: int, *, api_key: str, at: datetime) -> tuple[Lease, ...]:
        """Set `amount_nano` aside under every hard cap of the caller; `at` is the customer's present.

        Raises `SpendCapReached`; nothing is set aside then.
        """
        taken: list[Lease] = []
        try:
            for cap in terms.caps:
                if cap.api_key in ("", api_key):
                    lease = await self._take(terms, cap, amount_nano, at=at)
                    taken.append(lease)
        except BaseException:
            give_back(taken, amount_nano)
            raise
        return tuple(taken)

    async def _take(self, terms: Terms, cap: SpendCap, amount_nano: int, *, at: datetime) -> Lease:
        window = window_of(cap, terms.customer, at)
        id = reservation_id(self._owner, cap_window_id(cap.id, window))
        part = self._parts.get(id)
        if part is not None and part.cap == cap and part.lease.take(amount_nano, at=self._now()):
            return part.lease
        async with self._growing.setdefault(cap.customer, asyncio.Lock()):
            part = self._parts.get(id)
            if part is None:
                real = self._now()
                lease = Lease(customer=cap.customer, hold_id=id, used_at=real, renewed_at=real)
                part = self._parts[id] = _Part(cap, window, lease)
            elif part.cap != cap:
                await self._give_back(part)  # What was reserved of the old amount may be too much.
                part.cap = cap
            while not part.lease.take(amount_nano, at=self._now()):
                await self._grow(part, amount_nano, at=at)  # Others may take of it meanwhile.
            return part.lease

    async def _grow(self, part: _Part, amount_nano: int, *, at: datetime) -> None:
        cap, window, least_nano = part.cap, part.window, amount_nano - part.lease.free_nano
        full = await self._store.read(lambda tx: room_in(tx, cap, window, least_nano=least_nano))
        if full is not None:  # By a read, so that refusals cost no write.
            await self._note(full, amount_nano, at=at)
            raise refusal_of(full, least_nano=amount_nano)

        def verb(tx: Tx) -> tuple[int, int]:
            added = grow_cap(tx, cap, window, owner=self._owner, least_nano=least_nano, call_nano=amount_nano)
            return added, cap_state(tx, cap, window).left_nano

        added, part.lease.beside_nano = await self._store.write(verb, customers=[cap.customer])
        part.lease.free_nano += added

    async def _note(self, full: CapState, amount_nano: int, *, at: datetime) -> None:
        """Tell that a cap is reached: not where calls in flight hold what the call would need."""
        cap, window = full.cap, full.window
        key = (cap_window_id(cap.id, window), cap.amount_minor)
        if full.cap_nano - full.spent_nano >= amount_nano or key in self._noted:
            return
        await self._store.write(lambda tx: note_refusal(tx, cap, window, at=at), customers=[cap.customer])
        self._noted[key] = window.end

    async def give_back_idle(self) -> None:
        """Return what no call has used for a while, and forget windows that are over."""
        horizon = self._now() - IDLE_AFTER
        for id, part in list(self._parts.items()):
            lease = part.lease
            if lease.used_at > horizon:
                continue
            async with self._growing.setdefault(lease.customer, asyncio.Lock()):
                if lease.used_at <= horizon:
                    await self._give_back(part)
                    if lease.in_flight == 0 and lease.free_nano == 0:
                        self._parts.pop(id, None)
        self._noted = {key: end for key, end in self._noted.items() if end > horizon}

    async def give_back_all(self) -> None:
        """Return every free part; what calls in flight hold goes back as they settle."""
        for part in list(self._parts.values()):
            await self._give_back(part)

    async def _give_back(self, part: _Part) -> None:
        lease = part.lease
        if not lease.free_nano:
            return
        surplus = lease.surplus(0)
        try:
            await self._store.write(
                lambda tx: give_room_back(tx, lease.customer, [(lease.hold_id, surplus)]),
                customers=[lease.customer],
            )
        except Unavailable as error:
            lease.grown(surplus)  # It is still reserved, and can be given back another time.
            log.warning("cap_not_given_back", customer=lease.customer, code=error.code)


def give_back(leases: Iterable[Lease], amount_nano: int) -> None:
    """End a call that was not made: what it held is free again."""
    for lease in leases:
        lease.close(held_nano=amount_nano, charged_nano=0)
