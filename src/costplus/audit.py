"""`costplus audit`: prove the installation's books, customer by customer, beside a running server or without.

Rule 1: it only reads; each customer and each bucket is a snapshot of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial

from costplus.billing.audit import Auditor
from costplus.billing.finding import Finding
from costplus.billing.store import Store, Tx
from costplus.catalog.exchange import FxRate
from costplus.catalog.load import catalogue_of, every
from costplus.config import Settings
from costplus.core.ids import BUCKETS, bucket_of
from costplus.database import open_existing

Progress = Callable[[int], object]  # Hears how many of the buckets are done.


@dataclass(frozen=True, slots=True)
class Audited:
    """What was looked at, and what does not agree."""

    findings: tuple[Finding, ...]
    customers: int
    charges: int


async def run(settings: Settings, *, customer: str = "", progress: Progress | None = None) -> Audited:
    """Audit the installation's database, or one customer and the bucket that it is in."""
    store = await open_existing(settings)
    try:
        return await audit(store, customer=customer, progress=progress)
    finally:
        await store.close()


async def audit(store: Store, *, customer: str = "", progress: Progress | None = None) -> Audited:
    """Audit a store, or one customer of it and the bucket that it is in."""
    auditor = await store.read(lambda tx: Auditor(catalogue_of(tx), every(tx, FxRate)))
    buckets: Iterable[int] = [bucket_of(customer)] if customer else range(BUCKETS)
    found: list[Finding] = []
    customers = charges = 0
    for done, bucket in enumerate(buckets):
        found += await store.read(partial(auditor.bucket, bucket=bucket))
        known = await store.read(partial(_customers, bucket=bucket))
        for id in [customer] if customer else known:
            wrong, count = await store.read(partial(auditor.customer, customer=id))
            found += wrong
            customers += 1
            charges += count
        if progress is not None:
            progress(done + 1)
    if not customer:
        found += await store.read(auditor.account)
    return Audited(tuple(found), customers, charges)


def _customers(tx: Tx, *, bucket: int) -> Sequence[str]:
    return tx.customers_in(bucket)
