"""Four processes on one database promise no credit twice, settle everything once, and never deadlock."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import asyncpg
import pytest

from costplus.ledger import account
from costplus.ledger.post import grant_credit
from costplus.storage.postgres import PostgresStore

pytestmark = pytest.mark.slow

PROCESSES, HOLDS, ADMITTED, BATCHES, CUSTOMERS = 4, 125, 300, 6, 40

# Each process places holds on one customer, and settles the same events of all customers in its own order.
WORK = """
import asyncio, importlib.util, random, sys
from costplus.billing.settle import settle
from costplus.ledger.hold import InsufficientCredit
from costplus.ledger.reserve import place_hold
from costplus.storage.postgres import PostgresStore

spec = importlib.util.spec_from_file_location("builders", sys.argv[2])
build = importlib.util.module_from_spec(spec)
spec.loader.exec_module(build)
number, holds, batches, customers = map(int, sys.argv[3:])

async def hold(store, i):
    made = build.hold(f"hold_{number}_{i}", customer="cus_hot", amount_nano=build.DOLLAR)
    try:
        await store.write(lambda tx: place_hold(tx, made, at=build.AT), customers=["cus_hot"])
        return 1
    except InsufficientCredit:
        return 0

async def batch(store, i):
    names = [f"cus_{n}" for n in range(customers)]
    random.Random(number * 100 + i).shuffle(names)
    items = [build.settlement(f"call-{i}", customer=name) for name in names]
    done = await store.write(lambda tx: settle(tx, items, at=build.AT), customers=names)
    return done.new

async def main():
    store = await PostgresStore.open(sys.argv[1])
    admitted = sum(await asyncio.gather(*(hold(store, i) for i in range(holds))))
    new = sum(await asyncio.gather(*(batch(store, i) for i in range(batches))))
    await store.close()
    print(admitted, new)

asyncio.run(main())
"""


async def test_four_processes_admit_exactly_what_fits_and_settle_each_event_once(
    postgres_server: Any, build: SimpleNamespace
) -> None:
    url = await postgres_server.make_database()
    store = await PostgresStore.open(url)
    names = [f"cus_{i}" for i in range(CUSTOMERS)]
    await store.write(lambda tx: build.enrol(tx, "cus_hot", *names))
    grant = build.grant(customer="cus_hot", amount_nano=ADMITTED * build.dollar)
    await store.write(lambda tx: grant_credit(tx, grant, at=build.at))
    builders = Path(__file__).with_name("conftest.py")
    numbers = [str(n) for n in (HOLDS, BATCHES, CUSTOMERS)]
    processes = [
        await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", WORK, url, str(builders), str(number), *numbers), stdout=subprocess.PIPE
        )
        for number in range(PROCESSES)
    ]
    outputs = [(await process.communicate())[0].split() for process in processes]
    assert sum(int(admitted) for admitted, _ in outputs) == ADMITTED < PROCESSES * HOLDS
    assert sum(int(new) for _, new in outputs) == BATCHES * CUSTOMERS
    held = await store.read(lambda tx: tx.balance_for_update("cus_hot").held_nano)
    assert held == ADMITTED * build.dollar
    price_nano = BATCHES * build.settlement().charge.price_nano
    for name in names:
        owed = await store.read(lambda tx, name=name: tx.account_balance(name, account.accrued(name)))
        assert owed == -price_nano
    await store.close()
    connection = await asyncpg.connect(url)
    query = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
    assert await connection.fetchval(query) == 0
    await connection.close()
