"""A disk that is full: the write fails whole and says so, readers go on, and with room again all goes on."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from costplus.audit import audit
from costplus.billing.settle import settle
from costplus.billing.store import Tx
from costplus.ledger.post import grant_credit
from costplus.storage.errors import StorageUnavailable
from costplus.storage.sqlite import SqliteStore

CALLS = 400


def limit_pages(more: int | None) -> Any:
    """Return a verb that lets the file grow by so many pages only, or as far as it likes."""

    def verb(tx: Any) -> None:
        (pages,) = tx.connection.execute("PRAGMA page_count").fetchone()
        most = 2**30 if more is None else pages + more
        tx.connection.execute(f"PRAGMA max_page_count = {most}")

    return verb


def one_call(build: SimpleNamespace, number: int) -> Any:
    def verb(tx: Tx) -> int:
        return settle(tx, [build.settlement(f"call-{number}")], at=build.at).new

    return verb


@pytest.fixture
async def filled(tmp_path: Path, build: SimpleNamespace) -> Any:
    store = await SqliteStore.open(tmp_path / "costplus.db")
    await store.write(lambda tx: build.enrol(tx, "cus_1"))
    await store.write(lambda tx: grant_credit(tx, build.grant(), at=build.at))
    await store.write(limit_pages(3))
    yield store
    await store.close()


async def booked(store: SqliteStore) -> int:
    found = await store.read(lambda tx: tx.charged_page(customer="cus_1", limit=10 * CALLS))
    return len(found)


async def test_what_a_full_disk_refused_is_not_there_and_all_else_is(
    filled: SqliteStore, build: SimpleNamespace
) -> None:
    writes = [filled.write(one_call(build, number)) for number in range(CALLS)]
    done = await asyncio.gather(*writes, return_exceptions=True)
    refused = [number for number, each in enumerate(done) if isinstance(each, BaseException)]
    assert refused and all(isinstance(done[number], StorageUnavailable) for number in refused)
    assert "full" in str(done[refused[0]])
    assert await booked(filled) == CALLS - len(refused)  # Readers go on, and what was acknowledged is there.

    await filled.write(limit_pages(None))
    again = await asyncio.gather(*(filled.write(one_call(build, number)) for number in refused))
    assert again == [1] * len(refused)  # Each was refused whole, so each is new,
    assert await booked(filled) == CALLS  # and with room again the same store takes them.
    repeated = await asyncio.gather(*(filled.write(one_call(build, number)) for number in range(CALLS)))
    assert sum(repeated) == 0
    found = (await audit(filled)).findings
    assert [finding for finding in found if not finding.wrong.endswith("does not exist")] == []
