"""Settle what calls used: batches into the store, in the background, again and again until they are in.

Rule 1: what is submitted stays queued and journalled until its transaction is durable.
Rule 2: a batch is whatever waits when the last one is done: alone when idle, hundreds under load.
Rule 3: an event that the store refuses for good is parked in a file and reported, and holds nothing up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path

import msgspec
import structlog

from costplus.billing.settle import Settlement, settle
from costplus.billing.store import Store
from costplus.core.errors import BillingError, Unavailable
from costplus.gateway.journal import Journal

BATCH_MAX = 500
RETRY_S = (0.05, 0.2, 1, 5)  # Pauses while the store is away; the last repeats.

log = structlog.get_logger("costplus.gateway.settle")


class Settler:
    """The queue between calls that ended and the store."""

    def __init__(self, store: Store, journal: Journal, *, now: Callable[[], datetime], parked: Path) -> None:
        self._store = store
        self._journal = journal
        self._now = now
        self._parked = parked
        self._queue: list[Settlement] = []
        self._wake = asyncio.Event()
        self._settled = asyncio.Condition()
        self._submitted = 0
        self._done = 0
        self._stopping = False

    def submit(self, settlement: Settlement) -> None:
        """Queue a settlement; it is journalled already."""
        self._queue.append(settlement)
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
        async with self._settled:
            await self._settled.wait_for(lambda: self._done >= target)

    async def run(self) -> None:
        """Settle until `stop` is called and the queue is empty."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._queue:
                batch, self._queue = self._queue[:BATCH_MAX], self._queue[BATCH_MAX:]
                await self._settle(batch)
            if self._stopping:
                return

    def stop(self) -> None:
        """Let `run` end once the queue is empty."""
        self._stopping = True
        self._wake.set()

    async def _settle(self, batch: Sequence[Settlement]) -> None:
        try:
            await self._until_durable(batch)
        except BillingError:
            for settlement in batch:  # One of them is refused: find out which.
                try:
                    await self._until_durable([settlement])
                except BillingError as error:
                    self._park(settlement, error)
        self._journal.settled([settlement.event.key for settlement in batch])
        self._done += len(batch)
        async with self._settled:
            self._settled.notify_all()

    async def _until_durable(self, batch: Sequence[Settlement]) -> None:
        attempt = 0
        while True:
            try:
                await self._store.write(lambda tx: settle(tx, batch, at=self._now()))
                return
            except Unavailable as error:
                pause_s = RETRY_S[min(attempt, len(RETRY_S) - 1)]
                log.warning("store_unavailable", code=error.code, waiting=self.backlog, retry_in_s=pause_s)
                attempt += 1
                await asyncio.sleep(pause_s)

    def _park(self, settlement: Settlement, error: BillingError) -> None:
        """Keep what the store refuses where a person finds it."""
        log.error("usage_parked", code=error.code, event=settlement.event.id, file=str(self._parked))
        record = {
            "code": error.code,
            "message": error.message,
            "event": settlement.event,
            "price_nano": settlement.charge.price_nano,
            "cost_nano": settlement.charge.cost_nano,
        }
        with self._parked.open("ab") as file:
            file.write(msgspec.json.encode(record) + b"\n")
