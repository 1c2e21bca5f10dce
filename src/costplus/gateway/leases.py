"""Credit for calls: each customer's lease in this process, grown in the ledger before it runs short.

Rule 1: a call's hold is taken from the lease in memory; only growing the lease touches the store. One that is
nearly used up grows behind the calls' backs.
Rule 2: near zero the lease grows by exactly what one call needs, so every call is decided by the ledger.
Rule 3: an idle lease goes back to the ledger whole.
Rule 4: where some of the customer's credit is for some usage only, each model has a lease of its own.
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
from costplus.ledger.post import credit_of
from costplus.ledger.reserve import available_to, grow_hold, place_hold, release_hold
from costplus.ledger.scope import Subject

LEASE_CALLS = 64  # A lease grows for this many calls of the size at hand, where credit is ample.
REFILL_AT = 2  # It grows again when only this part of its last growth is free,
REFILL_CALLS = 16  # provided that that was for at least so many calls: poor credit is not reserved ahead.
IDLE_AFTER = timedelta(seconds=2)
LEASE_LIFE = timedelta(days=1)
RENEW_AFTER = LEASE_LIFE / 4
SETTLED_S = 2

log = structlog.get_logger("costplus.gateway.leases")
Key = tuple[str, str]  # Customer, and `provider/model` where its credit is not all alike.


@dataclass(frozen=True, slots=True)
class _Seen:
    """What a read says about a customer's credit."""

    available_nano: int
    credit_nano: int
    held_nano: int
    is_scoped: bool


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

    @property
    def left_nano(self) -> int | None:
        """What the caller may still spend on calls like this one; None where nothing limits it."""
        limits = [lease.left_nano for lease in self.caps]
        if self.lease is not None:
            limits.append(self.lease.left_nano)
        return min(limits, default=None)


@dataclass(frozen=True, slots=True)
class Reserved:
    """What this process has reserved of customers' credit."""

    count: int
    free_nano: int


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
        self._leases: dict[Key, Lease] = {}
        self._growing: dict[str, asyncio.Lock] = {}
        self._caps = CapBudgets(store, owner=owner, now=now)
        self._filling: dict[Key, asyncio.Task[None]] = {}
        self._noted: dict[str, int] = {}  # Customer → the credit at which its end was last noted.

    def reserved(self) -> Reserved:
        """Return how many leases there are, and what of them no call holds."""
        return Reserved(len(self._leases), sum(lease.free_nano for lease in self._leases.values()))

    async def refilled(self) -> None:
        """Wait until no lease grows behind the calls' backs."""
        await asyncio.gather(*self._filling.values())

    async def hold(
        self, terms: Terms, amount_nano: int, *, api_key: str, at: datetime, subject: str = ""
    ) -> Held:
        """Set `amount_nano` aside for one call of `subject` (`provider/model`), under all that limits its
        caller: caps, then credit.

        Raises `SpendCapReached`, `InsufficientCredit`; nothing is set aside then.
        """
        caps: tuple[Lease, ...] = ()
        if terms.caps:
            caps = await self._caps.take(terms, amount_nano, api_key=api_key, at=at)
        if not terms.blocks:
            return Held(None, caps, amount_nano if caps else 0)
        try:
            return Held(await self.take(terms, amount_nano, subject=subject), caps, amount_nano)
        except BaseException:
            give_back(caps, amount_nano)
            raise

    async def extended(self, held: Held, terms: Terms, amount_nano: int, *, subject: str) -> Held:
        """Hold more for a call under way, of the same lease and of no cap's other window.

        Raises `InsufficientCredit`, `SpendCapReached`; the call holds what it held then.
        """
        assert held.lease is not None
        caps: tuple[Lease, ...] = ()
        if held.caps:
            if any(cap.free_nano < amount_nano for cap in held.caps):
                raise InsufficientCredit("A spend cap leaves no room for more of this call.")
            for cap in held.caps:
                cap.free_nano -= amount_nano
            caps = held.caps
        try:
            lease = await self.take(terms, amount_nano, subject=subject)
        except BaseException:
            for cap in caps:
                cap.grown(amount_nano)
            raise
        lease.in_flight -= 1  # It is one call still.
        if lease is not held.lease:  # Its own ended in the ledger: what it holds there counts no more.
            lease.free_nano += amount_nano
            return held
        return Held(lease, held.caps, held.amount_nano + amount_nano)

    async def take(self, terms: Terms, amount_nano: int, *, subject: str = "") -> Lease:
        """Set `amount_nano` of the customer's credit aside for one call of `subject` (`provider/model`).

        Raises `InsufficientCredit`, which is also noted as the end of the customer's credit.
        """
        lease = self._taken(terms, amount_nano, subject)
        if lease is not None:
            return lease
        async with self._growing.setdefault(terms.customer.id, asyncio.Lock()):
            while (lease := self._taken(terms, amount_nano, subject)) is None:
                await self._grow(terms, amount_nano, subject)  # Others may take of it meanwhile.
            return lease

    def _taken(self, terms: Terms, amount_nano: int, subject: str) -> Lease | None:
        """Take from the customer's lease for any usage, else from the subject's own; None where both fail."""
        customer, at = terms.customer.id, self._now()
        for key in ((customer, ""), (customer, subject)):
            lease = self._leases.get(key)
            if lease is not None and lease.take(amount_nano, at=at):
                if lease.free_nano < lease.refill_below_nano and key not in self._filling:
                    self._filling[key] = asyncio.create_task(self._refill(terms, key, lease, amount_nano))
                return lease
        return None

    async def _grow(self, terms: Terms, amount_nano: int, subject: str) -> None:
        most_nano = amount_nano * LEASE_CALLS
        for key in ((terms.customer.id, ""), (terms.customer.id, subject)):
            lease = self._leases.get(key)
            if lease is not None and lease.was_ample:
                least_nano = max(amount_nano - lease.free_nano, 0)
                with contextlib.suppress(InsufficientCredit):
                    await self._reserve(terms, key, lease, least_nano=least_nano, most_nano=most_nano)
                    return
                lease.was_ample = False
        real = self._now()
        at = terms.now(real)
        seen = await self._check(terms, amount_nano, subject, at=at)
        key = (terms.customer.id, subject if seen.is_scoped else "")
        lease = self._leases.get(key)
        if lease is None:
            lease = Lease(customer=key[0], hold_id=new_id("hold", at=real), used_at=real, renewed_at=real)
        least_nano = max(amount_nano - lease.free_nano, 0)
        await self._reserve(terms, key, lease, least_nano=least_nano, most_nano=most_nano)

    async def _reserve(
        self, terms: Terms, key: Key, lease: Lease, *, least_nano: int, most_nano: int
    ) -> None:
        """Grow the lease in the ledger; one that the ledger has ended is dropped instead."""
        real = self._now()
        at, ends, (customer, subject) = terms.now(real), real + LEASE_LIFE, key

        def verb(tx: Tx) -> tuple[int, int] | None:
            known = tx.hold(customer, lease.hold_id)
            if known is None:
                place_hold(tx, self._empty_hold(lease, subject, at=real), at=at)
            elif known.state != "placed":
                return None
            added = grow_hold(
                tx,
                customer,
                lease.hold_id,
                least_nano=least_nano,
                most_nano=most_nano,
                at=at,
                overdraft_nano=terms.overdraft_nano,
                currency=terms.customer.currency,
                expires_at=ends,
            )
            return added, _seen(tx, terms, subject, at=at).available_nano

        grown = await self._store.write(verb, customers=[customer])
        if grown is None:
            self._leases.pop(key, None)
            return
        added, lease.beside_nano = grown
        lease.free_nano += added
        lease.renewed_at = real
        lease.was_ample = added * LEASE_CALLS >= most_nano * REFILL_CALLS
        lease.refill_below_nano = added // REFILL_AT if lease.was_ample else 0
        self._leases[key] = lease

    async def _refill(self, terms: Terms, key: Key, lease: Lease, amount_nano: int) -> None:
        """Grow a lease before a call must wait for it; where that fails, the next call finds out why."""
        try:
            await self._reserve(terms, key, lease, least_nano=0, most_nano=amount_nano * LEASE_CALLS)
        except Unavailable as error:
            lease.refill_below_nano = 0
            log.warning("lease_not_refilled", customer=key[0], code=error.code)
        except InsufficientCredit:
            lease.was_ample, lease.refill_below_nano = False, 0
        finally:
            del self._filling[key]

    async def _check(self, terms: Terms, amount_nano: int, subject: str, *, at: datetime) -> _Seen:
        """Refuse by a read where credit is plainly short, so that refusals cost no write.

        Where the credit itself is less than one call's hold, that is noted as the end of the credit; where
        calls in flight hold it, it is not.
        """
        customer = terms.customer.id
        seen = await self._store.read(lambda tx: _seen(tx, terms, subject, at=at))
        if seen.available_nano >= self._least(customer, amount_nano, subject, seen):
            return seen
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(SETTLED_S):
                await self._settled()  # Else credit that is spent already would count as held in flight.
        seen = await self._store.read(lambda tx: _seen(tx, terms, subject, at=at))
        if seen.available_nano >= self._least(customer, amount_nano, subject, seen):
            return seen
        credit_nano = seen.credit_nano
        if 0 < credit_nano < amount_nano and self._noted.get(customer) != credit_nano:
            currency = terms.customer.currency
            await self._store.write(
                lambda tx: refused(tx, customer, credit_nano=credit_nano, currency=currency, at=at),
                customers=[customer],
            )
            self._noted[customer] = credit_nano
        raise InsufficientCredit(
            f"Customer {customer} has no available balance for this call: credit "
            f"{nano_text(credit_nano)}, of it held by calls in flight {nano_text(seen.held_nano)}, "
            f"needed {nano_text(amount_nano)}."
        )

    def _least(self, customer: str, amount_nano: int, subject: str, seen: _Seen) -> int:
        """Return what the lease lacks for one call."""
        lease = self._leases.get((customer, subject if seen.is_scoped else ""))
        return amount_nano - lease.free_nano if lease else amount_nano

    def _empty_hold(self, lease: Lease, subject: str, *, at: datetime) -> Hold:
        return Hold(
            id=HoldId(lease.hold_id),
            customer=CustomerId(lease.customer),
            kind="lease",
            owner=self._owner,
            amount_nano=0,
            placed_at=at,
            expires_at=at + LEASE_LIFE,
            subject=subject,
        )

    async def give_back_idle(self) -> None:
        """Return what of leases no call has asked for in a while, so that other processes find it.

        Calls in flight keep what they hold; the ledger is told of long ones that their lease is alive.
        """
        now = self._now()
        for key, lease in list(self._leases.items()):
            is_idle = lease.used_at <= now - IDLE_AFTER and lease.free_nano
            is_due = lease.renewed_at <= now - RENEW_AFTER and (lease.in_flight or not is_idle)
            if not is_idle and not is_due:
                continue
            async with self._growing.setdefault(lease.customer, asyncio.Lock()):
                if is_idle and lease.used_at <= now - IDLE_AFTER:
                    await self._give_back(lease)
                if is_due:
                    await self._renew(key, lease)
        await self._caps.give_back_idle()

    async def _renew(self, key: Key, lease: Lease) -> None:
        now = self._now()

        def verb(tx: Tx) -> bool:
            known = tx.hold(lease.customer, lease.hold_id)
            if known is None or known.state != "placed":
                return False
            grow_hold(
                tx, lease.customer, known.id, least_nano=0, most_nano=0, at=now, expires_at=now + LEASE_LIFE
            )
            return True

        try:
            is_alive = await self._store.write(verb, customers=[lease.customer])
        except (Unavailable, InsufficientCredit) as error:
            log.warning("lease_not_renewed", customer=lease.customer, code=error.code)
            return
        lease.renewed_at = now
        if not is_alive:
            self._leases.pop(key, None)

    async def _give_back(self, lease: Lease) -> None:
        surplus = lease.surplus(0)
        try:
            await self._store.write(
                lambda tx: release_hold(tx, lease.customer, lease.hold_id, amount_nano=surplus),
                customers=[lease.customer],
            )
        except Unavailable as error:
            lease.grown(surplus)  # It is still reserved, and can be given back another time.
            log.warning("lease_not_given_back", customer=lease.customer, code=error.code)

    async def give_back_all(self) -> None:
        """Return every free part; what calls in flight hold goes back as they settle."""
        await self.refilled()
        for lease in list(self._leases.values()):
            if lease.free_nano:
                await self._give_back(lease)
        await self._caps.give_back_all()


def _seen(tx: Tx, terms: Terms, subject: str, *, at: datetime) -> _Seen:
    customer = terms.customer.id
    provider, _, model = subject.partition("/")
    usage, balance = Subject(provider=provider, model=model), tx.balance(customer)
    grants = tx.live_grants(customer)
    return _Seen(
        available_nano=available_to(
            tx,
            balance,
            usage,
            at=at,
            overdraft_nano=terms.overdraft_nano,
            currency=terms.customer.currency,
        ),
        credit_nano=credit_of(tx, customer, at=at),
        held_nano=balance.held_nano,
        is_scoped=any(not grant.scope.is_all for grant in grants),
    )


def reclaim(tx: Tx, *, owner: str) -> int:
    """Release what a crashed process of this owner had reserved; only after its journal was replayed."""
    holds = tx.placed_holds(owner=owner)
    for hold in holds:
        release_hold(tx, hold.customer, hold.id)
    return len(holds) + reclaim_caps(tx, owner=owner)
