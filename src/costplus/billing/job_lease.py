"""Who does a periodic job just now: of several workers on one store, one at a time.

Rule 1: whoever takes a job has it until the lease ends, and takes it again while it goes on; a worker that
died keeps the others from it no longer than that.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import ClassVar

from costplus.billing.store import Tx
from costplus.core.records import Record

LEASE = timedelta(seconds=30)


@dataclass(frozen=True, slots=True, kw_only=True)
class JobLease(Record):
    """A job (by name) that is being done, and until when nobody else will do it; gone once it is done."""

    KIND: ClassVar[str] = "job_lease"

    holder: str
    until: datetime


def take_job(tx: Tx, name: str, *, holder: str, at: datetime) -> bool:
    """Take a job, or keep it for longer; False where somebody else has it."""
    tx.lock(f"job/{name}")
    lease = tx.find(JobLease, name)
    if lease is not None and lease.holder != holder and at < lease.until:
        return False
    tx.save(JobLease(id=name, created=at, holder=holder, until=at + LEASE))
    return True


def leave_job(tx: Tx, name: str, *, holder: str) -> None:
    """Let others have the job, unless somebody has it already."""
    tx.lock(f"job/{name}")
    lease = tx.find(JobLease, name)
    if lease is not None and lease.holder == holder:
        tx.remove(JobLease, name)
