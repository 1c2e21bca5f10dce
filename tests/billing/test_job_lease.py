"""Jobs that one worker does at a time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from costplus.billing.job_lease import LEASE, JobLease, leave_job, take_job
from costplus.storage.memory import MemoryStore

AT = datetime(2026, 3, 1, tzinfo=UTC)
TICK = timedelta(microseconds=1)


@pytest.mark.parametrize(("later", "taken"), [(timedelta(0), False), (LEASE - TICK, False), (LEASE, True)])
async def test_a_job_is_anothers_once_its_lease_has_ended(later: timedelta, taken: bool) -> None:
    store = MemoryStore()
    assert await store.write(lambda tx: take_job(tx, "sync", holder="a", at=AT))
    assert await store.write(lambda tx: take_job(tx, "sync", holder="b", at=AT + later)) is taken
    assert await store.write(lambda tx: take_job(tx, "other", holder="b", at=AT))


async def test_whoever_has_a_job_keeps_it_by_taking_it_again() -> None:
    store = MemoryStore()
    later = LEASE - TICK
    for step in range(3):
        assert await store.write(lambda tx, at=AT + step * later: take_job(tx, "sync", holder="a", at=at))
    assert not await store.write(lambda tx: take_job(tx, "sync", holder="b", at=AT + 3 * later))


async def test_a_job_that_is_done_is_free_and_only_its_holder_frees_it() -> None:
    store = MemoryStore()
    await store.write(lambda tx: take_job(tx, "sync", holder="a", at=AT))
    await store.write(lambda tx: leave_job(tx, "sync", holder="b"))
    assert not await store.write(lambda tx: take_job(tx, "sync", holder="b", at=AT))
    await store.write(lambda tx: leave_job(tx, "sync", holder="a"))
    assert await store.read(lambda tx: tx.find(JobLease, "sync")) is None
    await store.write(lambda tx: leave_job(tx, "sync", holder="a"))
