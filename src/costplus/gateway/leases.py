"""Credit for calls: each customer's lease in this process, grown in the ledger when it runs short.

Rule 1: a call's hold is taken from the lease in memory; only growing the lease touches the store.
Rule 2: near zero the lease grows by exactly what one call needs, so every call is decided by the ledger.
Rule 3: an idle lease goes back to the ledger whole.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog

from costplus.billing.entitlement import Terms
from costplus.billing.hold_cap import reclaim_caps
from costplus.billing.notify import refused
from costplus.billing.store import Store, Tx
from costplus.core.errors import Unavailable
from costplus.core.ids import CustomerId, HoldId, new_id
from costplus.core.money import nano_text
from costplus.gateway.caps import CapBudgets, give_back
from costplus.ledger.hold import Hold, InsufficientCredit
from costplus.ledger.lease import Lease
from costplus.ledger.post import credit_of, grow_hold, place_hold, release_hold

LEASE_CALLS = 64  # A lease grows for this many calls of the size at hand, where credit is ample.
IDLE_AFTER = timedelta(seconds=2)
LEASE_LIFE = timedelta(days=1)
SETTLED_S = 2

log = structlog.get_logger("costplus.gateway.leases")


@dataclass(frozen=True, slots=True)
class Held:
    """What one call holds: a part of its customer's credit, where that limits it, and of each of its caps."""

    lease: Lease | None
    caps: tuple[Lease, ...]
    amount_nano: int

    def close(self, charged_nano: int) -> tuple[int, list[tuple[str, int]]]:
        """End the call; return what its settlement frees of the credit's hold, and of each cap."""
        held_nano = self.amount_nano
        credit_nano = self.lease.close(held_nano=held_nano, charged_nano=charged_nano) if self.lease else 0
        freed = [(c.hold_id, c.close(held_nano=held_nano, charged_nano=charged_nano)) for c in self.caps]
        return credit_nano, freed


NOTHING_HELD = Held(None, (), 0)


class Leases:
    """The leases of this gateway process."""

    def __init__(
        self,
        store: Store,
        *,
        owner: str,
        now: Callable[[], datetime],
        settled: Callable[[], Awaitable[None]],
    ) -> None:
        """`settled` returns once every charge made so far is in the ledger."""
        self._store = store
        self._settled = settled
        self._owner = owner
        self._now = now
        self._by_customer: dict[str, Lease] = {}
        self._growing: dict[str, asyncio.Lock] = {}
        self._caps = CapBudgets(store, owner=owner, now=now)
        self._noted: dict[str, int] = {}  # Customer → the credit at which its end was last noted.

    async def hold(self, terms: Terms, amount_nano: int, *, api_key: str, at: datetime) -> Held:
        """Set `amount_nano` aside for one call under all that limits its caller: caps, then credit.

        Raises `SpendCapReached`, `InsufficientCredit`; nothing is set aside then.
        """
        caps: tuple[Lease, ...] = ()
        if terms.caps:
            caps = await self._caps.take(terms, amount_nano, api_key=api_key, at=at)
        if not terms.blocks:
            return Held(None, caps, amount_nano if caps else 0)
        try:
            return Held(await self.take(terms, amount_nano), caps, amount_nano)
        except BaseException:
            give_back(caps, amount_nano)
            raise

    async def take(self, terms: Terms, amount_nano: int) -> Lease:
        """Set `amount_nano` of the customer's credit aside for one call.

        Raises `InsufficientCredit`, which is also noted as the end of the customer's credit.
        """
        customer = terms.customer.id
        lease = self._by_customer.get(customer)
        if lease is not None and lease.take(amount_nano, at=self._now()):
            return lease
        lock = self._growing.setdefault(customer, asyncio.Lock())
        async with lock:
            lease = self._by_customer.get(customer)
            while lease is None or not lease.take(amount_nano, at=self._now()):
                lease = await self._grow(terms, lease, amount_nano)  # Others may take of it meanwhile.
            return lease

    async def _grow(self, terms: Terms, lease: Lease | None, amount_nano: int) -> Lease:
        customer, real = terms.customer.id, self._now()
        at = terms.now(real)
        lease = lease or Lease(customer=customer, hold_id=new_id("hold", at=real), used_at=real)
        hold_id, least_nano = lease.hold_id, amount_nano - lease.free_nano
        await self._check(terms, amount_nano, least_nano, at=at)

        def verb(tx: Tx) -> int:
            if tx.hold(customer, hold_id) is None:
                place_hold(tx, self._empty_hold(customer, hold_id, at=real), at=at)
            most_nano = amount_nano * LEASE_CALLS
            return grow_hold(tx, customer, hold_id, least_nano=least_nano, most_nano=most_nano, at=at)

        lease.grown(await self._store.write(verb, customers=[customer]))
        self._by_customer[customer] = lease
        return lease

    async def _check(self, terms: Terms, amount_nano: int, least_nano: int, *, at: datetime) -> None:
        """Refuse by a read where credit is plainly short, so that refusals cost no write.

        Where the credit itself is less than one call's hold, that is noted as the end of the credit; where
        calls in flight hold it, it is not.
        """
        customer = terms.customer.id

        def verb(tx: Tx) -> tuple[int, int]:
            return credit_of(tx, customer, at=at), tx.balance_for_update(customer).held_nano

        credit_nano, held_nano = await self._store.read(verb)
        if credit_nano - held_nano >= least_nano:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(SETTLED_S):
                await self._settled()  # Else credit that is spent already would count as held in flight.
        credit_nano, held_nano = await self._store.read(verb)
        if credit_nano - held_nano >= least_nano:
            return
        if 0 < credit_nano < amount_nano and self._noted.get(customer) != credit_nano:
            currency = terms.customer.currency
            await self._store.write(
                lambda tx: refused(tx, customer, credit_nano=credit_nano, currency=currency, at=at),
                customers=[customer],
            )
            self._noted[customer] = credit_nano
        raise InsufficientCredit(
            f"Customer {customer} has no available balance for this call: credit "
            f"{nano_text(credit_nano)}, of it held by calls in flight {nano_text(held_nano)}, "
            f"needed {nano_text(amount_nano)}."
        )

    def _empty_hold(self, customer: str, id: str, *, at: datetime) -> Hold:
        return Hold(
            id=HoldId(id),
            customer=CustomerId(customer),
            kind="lease",
            owner=self._owner,
            amount_nano=0,
            placed_at=at,
            expires_at=at + LEASE_LIFE,
        )

    async def give_back_idle(self) -> None:
        """Return leases that no call has used for a while, so that their credit is plainly available."""
        horizon = self._now() - IDLE_AFTER
        for customer, lease in list(self._by_customer.items()):
            if lease.in_flight or lease.used_at > horizon or not lease.free_nano:
                continue
            async with self._growing.setdefault(customer, asyncio.Lock()):
                if lease.in_flight == 0:
                    await self._give_back(customer, lease)
        await self._caps.give_back_idle()

    async def _give_back(self, customer: str, lease: Lease) -> None:
        surplus = lease.surplus(0)
        try:
            await self._store.write(
                lambda tx: release_hold(tx, customer, lease.hold_id, amount_nano=surplus),
                customers=[customer],
            )
        except Unavailable as error:
            lease.grown(surplus)  # It is still reserved, and can be given back another time.
            log.warning("lease_not_given_back", customer=customer, code=error.code)

    async def give_back_all(self) -> None:
        """Return every free part; what calls in flight hold goes back as they settle."""
        for customer, lease in list(self._by_customer.items()):
            if lease.free_nano:
                await self._give_back(customer, lease)
        await self._caps.give_back_all()


def reclaim(tx: Tx, *, owner: str) -> int:
    """Release what a crashed process of this owner had reserved; only after its journal was replayed."""
    holds = tx.placed_holds(owner=owner)
    for hold in holds:
        release_hold(tx, hold.customer, hold.id)
    return len(holds) + reclaim_caps(tx, owner=owner)
