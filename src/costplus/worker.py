"""The worker: what happens by itself. Periods close, credit expires, webhooks go out, old replies go."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from functools import partial

import structlog

from costplus.billing.clock import customer_of
from costplus.billing.close import close_customer, due_customers
from costplus.billing.store import Store, Tx
from costplus.core.errors import BillingError

CLOSE_EVERY_S = 30
FORGET_EVERY_S = 3600
REPLIES_KEPT = timedelta(hours=48)

log = structlog.get_logger("costplus.worker")


class Worker:
    """Runs the periodic jobs of one process until it is stopped."""

    def __init__(self, store: Store, *, now: Callable[[], datetime]) -> None:
        self._store = store
        self._now = now
        self._stop = asyncio.Event()

    async def run(self) -> None:
        """Run every job at its pace until `stop`."""
        await asyncio.gather(
            self._repeat(CLOSE_EVERY_S, self.close_due), self._repeat(FORGET_EVERY_S, self.forget_replies)
        )

    def stop(self) -> None:
        """Let `run` end after the job at hand."""
        self._stop.set()

    async def _repeat(self, every_s: int, job: Callable[[], Awaitable[None]]) -> None:
        while not self._stop.is_set():
            try:
                await job()
            except BillingError as error:
                log.error("job_failed", job=job.__name__, code=error.code, message=error.message)
            try:
                async with asyncio.timeout(every_s):
                    await self._stop.wait()
            except TimeoutError:
                continue

    async def close_due(self) -> None:
        """Close what is due in real time, one customer a transaction."""
        at = self._now()
        for customer in await self._store.read(partial(due_customers, at=at)):
            steps = await self._store.write(partial(_close, customer=customer, at=at))
            log.info("closed", customer=customer, steps=steps)

    async def forget_replies(self) -> None:
        """Delete stored replies that no retry will ask for any more."""
        horizon = self._now() - REPLIES_KEPT
        await self._store.write(lambda tx: tx.forget_replies(horizon))


def _close(tx: Tx, *, customer: str, at: datetime) -> int:
    return close_customer(tx, customer_of(tx, customer), until=at)
