"""How SQLite gathers: few statements for many customers, and nothing kept of what could not be written."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from types import SimpleNamespace

import pytest

from costplus.billing.settle import settle
from costplus.billing.store import Tx
from costplus.core.money import InvalidAmount
from costplus.ledger.post import grant_credit
from costplus.rating.item_charge import Metered
from costplus.storage.sqlite import SqliteStore
from costplus.storage.sqlite.connection import connect_writer
from costplus.storage.sqlite.transaction import SqliteTx

MANY = 200


@pytest.fixture
def connection(tmp_path: Path) -> sqlite3.Connection:
    return connect_writer(tmp_path / "books.db")


def test_settling_many_customers_asks_little_more_than_settling_a_few(
    connection: sqlite3.Connection, build: SimpleNamespace
) -> None:
    tx = SqliteTx(connection)

    def questions(customers: list[str]) -> int:
        def prepare(tx: Tx) -> None:
            build.enrol(tx, *customers)
            for customer in customers:
                grant_credit(tx, build.grant(f"credgr_{customer}", customer=customer), at=build.at)

        items = [build.settlement(customer=customer) for customer in customers]
        connection.execute("BEGIN IMMEDIATE")
        tx.run(prepare)
        asked: list[str] = []
        connection.set_trace_callback(asked.append)
        tx.run(lambda tx: settle(tx, items, at=build.at), customers=customers)
        connection.set_trace_callback(None)
        connection.execute("COMMIT")
        tx.committed()
        return sum("SELECT" in statement and "INSERT" not in statement for statement in asked)

    few = questions(["few_0", "few_1"])
    assert questions([f"cus_{number}" for number in range(MANY)]) <= few


async def test_a_verb_that_goes_on_after_a_failed_write_is_not_kept(
    sqlite: SqliteStore, build: SimpleNamespace
) -> None:
    def verb(tx: Tx) -> None:
        tx.save(build.customer())
        for _ in range(2):
            tx.add_metered("cus_1", "pages", build.at, Metered(2**62, 2**62))
        try:
            tx.spent_between("cus_1", build.at, build.at + build.minute)
        except InvalidAmount:
            tx.save(build.customer("cus_2"))

    with pytest.raises(InvalidAmount):
        await sqlite.write(verb)
    assert await sqlite.read(lambda tx: tx.find(type(build.customer()), "cus_1")) is None
    await sqlite.write(lambda tx: tx.save(build.customer()))
