"""What a store promises about verbs: alone, all or nothing, in turn, heard of after the commit."""

from __future__ import annotations

import asyncio
import sqlite3
from types import SimpleNamespace

import pytest

from costplus.billing.customer import Customer
from costplus.billing.store import Store, Tx
from costplus.core.errors import Conflict
from costplus.ledger.hold import InsufficientCredit
from costplus.ledger.post import credit_of, grant_credit
from costplus.ledger.reserve import place_hold
from costplus.storage.errors import StorageUnavailable


async def test_a_verb_that_raises_leaves_nothing(store: Store, build: SimpleNamespace) -> None:
    def failing(tx: Tx) -> None:
        build.enrol(tx, "cus_1")
        tx.remove(Customer, "cus_0")
        build.keep(tx, [build.charged()])
        grant_credit(tx, build.grant(), at=build.at)
        place_hold(tx, build.hold(), at=build.at)
        tx.save_delivery(build.delivery())
        raise Conflict("on purpose")

    await store.write(lambda tx: tx.save(build.customer("cus_0")))
    with pytest.raises(Conflict, match="on purpose"):
        await store.write(failing)

    def seen(tx: Tx) -> list[object]:
        return [
            *(record.id for record in tx.page(Customer)),
            *tx.charged_page(customer=None, limit=10),
            *tx.grants_of("cus_1"),
            *tx.placed_holds(),
            *tx.transactions_of("cus_1"),
            *tx.deliveries_of("evt_1"),
            *tx.model_totals(None, build.at, build.at + build.minute),
            *([tx.unit_rate(line.rate.id) for line in build.charged().charge.lines]),
        ]

    assert await store.read(seen) == ["cus_0", None, None]
    await store.write(lambda tx: build.keep(tx, [build.charged()]))  # Its rates are stored now.
    kept = await store.read(lambda tx: tx.charge_of("cus_1", build.charged().event.id))
    assert kept == build.charged()


async def test_one_failing_verb_of_a_batch_leaves_the_others(store: Store, build: SimpleNamespace) -> None:
    def verb(tx: Tx, i: int) -> int:
        tx.save(build.customer(f"cus_{i}"))
        if i % 3 == 0:
            raise Conflict(f"verb {i}")
        return i

    outcomes = await asyncio.gather(
        *(store.write(lambda tx, i=i: verb(tx, i)) for i in range(30)), return_exceptions=True
    )
    assert [str(o) if isinstance(o, Conflict) else o for o in outcomes] == [
        i if i % 3 else f"verb {i}" for i in range(30)
    ]
    found = await store.read(lambda tx: {record.id for record in tx.page(Customer)})
    assert found == {f"cus_{i}" for i in range(30) if i % 3}


async def test_a_verb_sees_its_own_writes_and_a_later_read_sees_them_too(
    store: Store, build: SimpleNamespace
) -> None:
    def verb(tx: Tx) -> Customer | None:
        tx.save(build.customer())
        return tx.find(Customer, "cus_1")

    assert await store.write(verb) == build.customer()
    assert await store.read(lambda tx: tx.find(Customer, "cus_1")) == build.customer()


async def test_a_read_verb_must_not_write(store: Store, build: SimpleNamespace) -> None:
    with pytest.raises((AssertionError, StorageUnavailable)):
        await store.read(lambda tx: tx.save(build.customer()))
    assert await store.read(lambda tx: tx.page(Customer)) == []


@pytest.mark.parametrize("error", [KeyError("x"), StopIteration(), sqlite3.ProgrammingError("x")])
async def test_any_error_of_a_verb_reaches_its_caller(store: Store, error: Exception) -> None:
    def failing(tx: Tx) -> None:
        raise error

    for run in (store.write, store.read):
        with pytest.raises((type(error), RuntimeError)):
            await run(failing)
    assert await store.write(lambda tx: tx.next_number("inv")) == 1


async def test_listeners_hear_of_commits_that_touched_their_topic_and_of_no_others(store: Store) -> None:
    heard: list[str] = []
    store.listen("config", lambda: heard.append("config"))
    store.listen("outbox", lambda: heard.append("outbox"))

    def failing(tx: Tx) -> None:
        tx.touch("config")
        raise Conflict("on purpose")

    await store.write(lambda tx: tx.next_number("inv"))
    with pytest.raises(Conflict):
        await store.write(failing)
    assert heard == []
    await store.write(lambda tx: tx.touch("config"))
    assert heard == ["config"]  # Before the write returned.
    await store.write(lambda tx: [tx.touch("outbox"), tx.touch("outbox")])
    assert heard == ["config", "outbox"]


async def test_fifty_holds_at_once_never_promise_more_than_the_credit(
    store: Store, build: SimpleNamespace
) -> None:
    await store.write(lambda tx: grant_credit(tx, build.grant(amount_nano=10 * build.dollar), at=build.at))
    holds = [build.hold(f"hold_{i:02}", amount_nano=build.dollar) for i in range(50)]
    outcomes = await asyncio.gather(
        *(store.write(lambda tx, hold=hold: place_hold(tx, hold, at=build.at)) for hold in holds),
        return_exceptions=True,
    )
    assert sum(isinstance(outcome, InsufficientCredit) for outcome in outcomes) == 40
    placed = await store.read(lambda tx: tx.placed_holds(customer="cus_1"))
    assert len(placed) == 10
    held, credit = await store.read(
        lambda tx: (tx.balance_for_update("cus_1").held_nano, credit_of(tx, "cus_1", at=build.at))
    )
    assert held == credit == 10 * build.dollar


async def test_closing_finishes_what_was_begun_and_refuses_the_rest(store: Store) -> None:
    begun = [asyncio.ensure_future(store.write(lambda tx: tx.next_number("inv"))) for _ in range(20)]
    await asyncio.sleep(0)
    await store.close()
    assert sorted(await asyncio.gather(*begun)) == list(range(1, 21))
    for run in (store.write, store.read):
        with pytest.raises(StorageUnavailable):
            await run(lambda tx: tx.next_number("inv"))
    await store.close()
