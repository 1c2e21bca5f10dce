"""Settle what calls used: batches into the store, in the background, again and again until they are in.

Rule 1: what is submitted stays queued and journalled until its transaction is durable.
Rule 2: a batch gathers for a moment, or for as long as the last one takes; whoever flushes waits for neither.
Rule 3: an event that the store refuses for good is parked in a file and reported, and holds nothing up.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path

import msgspec
import structlog

from costplus.billing.settle import Settlement, settle
from costplus.billing.store import Store
from costplus.core.errors import BillingError, Unavailable
from costplus.gateway.call import settlement_with
from costplus.gateway.journal import Journal, Used
from costplus.rating.charge import Charge

BATCH_MAX = 500
GATHER_S = 0.02  # A transaction has its price; one for many calls costs each of them little.
RETRY_S = (0.05, 0.2, 1, 5)  # Pauses while the store is away; the last repeats.

log = structlog.get_logger("costplus.gateway.settle")


class Settler:
    """The queue between calls that ended and the store."""

    def __init__(self, store: Store, journal: Journal, *, now: Callable[[], datetime], parked: Path) -> None:
        self._store = store
        self._journal = journal
        self._now = now
        self._parked = parked
        self._queue: list[Settlement | tuple[Used, Charge]] = []
        self._wake = asyncio.Event()
        self._hurry = asyncio.Event()  # Somebody waits: no batch gathers until the queue is empty.
        self._settled = asyncio.Condition()
        self._submitted = 0
        self._done = 0
        self._stopping = False

    def submit(self, settlement: Settlement) -> None:
        """Queue a settlement; it is journalled already."""
        self._queue.append(settlement)
        self._submitted += 1
        self._wake.set()

    def submit_call(self, used: Used, charge: Charge) -> None:
        """Queue a call's usage, journalled already; its settlement is made with those of its batch."""
        self._queue.append((used, charge))
        self._submitted += 1
        self._wake.set()

    @property
    def backlog(self) -> int:
        """How many settlements are not durable in the store yet."""
        return self._submitted - self._done

    async def flush(self) -> None:
        """Wait until everything submitted before this call is in the store."""
        target = self._submitted
        if self._done >= target:
            return
        self._hurry.set()
        async with self._settled:
            await self._settled.wait_for(lambda: self._done >= target)

    async def run(self) -> None:
        """Settle until `stop` is called and the queue is empty."""
        try:
            while not self._stopping or self._queue:
                await self._wake.wait()
                self._wake.clear()
                while self._queue:
                    await self._gather()
                    batch, self._queue = self._queue[:BATCH_MAX], self._queue[BATCH_MAX:]
                    await self._settle([_settlement(item) for item in batch])
                self._hurry.clear()
        except Exception:
            log.critical("settlement_ended", waiting=self.backlog)  # The journal has it all: restart.
            raise

    def stop(self) -> None:
        """Let `run` end once the queue is empty."""
        self._stopping = True
        self._wake.set()
        self._hurry.set()

    async def _gather(self) -> None:
        """Let the batch grow for a moment, unless it is full or somebody waits for it."""
        if len(self._queue) >= BATCH_MAX:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(GATHER_S):
                await self._hurry.wait()

    async def _settle(self, batch: Sequence[Settlement]) -> None:
        kept = batch
        try:
            await self._until_durable(batch)
        except BillingError:  # One of them is refused: find out which.
            kept = [settlement for settlement in batch if await self._settle_or_park(settlement)]
        self._journal.settled([settlement.event.key for settlement in kept])
        self._done += len(batch)
        async with self._settled:
            self._settled.notify_all()

    async def _settle_or_park(self, settlement: Settlement) -> bool:
        """Return whether the usage is kept outside of the journal: in the store, or where it is parked."""
        try:
            await self._until_durable([settlement])
        except BillingError as error:
            return self._park(settlement, error)
        return True

    async def _until_durable(self, batch: Sequence[Settlement]) -> None:
        attempt, customers = 0, {settlement.event.customer for settlement in batch}
        while True:
            try:
                await self._store.write(lambda tx: settle(tx, batch, at=self._now()), customers=customers)
                return
            except Unavailable as error:
                pause_s = RETRY_S[min(attempt, len(RETRY_S) - 1)]
                log.warning("store_unavailable", code=error.code, waiting=self.backlog, retry_in_s=pause_s)
                attempt += 1
                await asyncio.sleep(pause_s)

    def _park(self, settlement: Settlement, error: BillingError) -> bool:
        """Keep what the store refuses where a person finds it; where that fails it stays in the journal."""
        record = {
            "code": error.code,
            "message": error.message,
            "event": settlement.event,
            "price_nano": settlement.charge.price_nano,
            "cost_nano": settlement.charge.cost_nano,
        }
        found = {"code": error.code, "usage": settlement.event.id, "file": str(self._parked)}
        try:
            with self._parked.open("ab") as file:
                file.write(msgspec.json.encode(record) + b"\n")
        except OSError as failure:
            log.error("usage_not_parked", reason=str(failure), **found)
            return False
        log.error("usage_parked", **found)
        return True


def _settlement(item: Settlement | tuple[Used, Charge]) -> Settlement:
    return item if isinstance(item, Settlement) else settlement_with(*item)
