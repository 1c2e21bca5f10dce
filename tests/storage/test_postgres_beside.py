"""Writers of different customers run beside each other, and nothing that they share is ever lost."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from costplus.billing.customer import Customer
from costplus.billing.job_lease import leave_job, take_job
from costplus.billing.meter_errors import MeterErrorReport, reject, rejected
from costplus.billing.settle import settle
from costplus.billing.store import Store, Tx
from costplus.core.money import InvalidAmount
from costplus.ledger import account
from costplus.ledger.hold import InsufficientCredit
from costplus.ledger.post import credit_of, grant_credit
from costplus.ledger.reserve import place_hold
from costplus.storage.postgres import PostgresStore

pytestmark = pytest.mark.slow

WAIT_S = 10


@pytest.fixture
async def two(
    new_postgres: Callable[[], Awaitable[PostgresStore]],
) -> AsyncIterator[tuple[Store, Store]]:
    """Return two stores on one database, as two processes have them."""
    first = await new_postgres()
    url = first._workers[0].shared.url
    second = await PostgresStore.open(url, writers=2, readers=1)
    yield first, second
    await second.close()
    await first.close()


class Gate:
    """Keeps a verb where it is, in its thread, until the test has seen enough."""

    def __init__(self) -> None:
        self.reached, self.opened = threading.Event(), threading.Event()

    def pass_by(self, tx: Tx) -> None:
        self.reached.set()
        assert self.opened.wait(WAIT_S)


async def began(gate: Gate, store: Store, verb: Callable[[Tx], Any], customers: Any) -> asyncio.Future[Any]:
    """Begin a verb that first does `verb` and then waits at the gate."""
    future = asyncio.ensure_future(
        store.write(lambda tx: [verb(tx), gate.pass_by(tx)][0], customers=customers)
    )
    assert await asyncio.to_thread(gate.reached.wait, WAIT_S)
    return future


async def test_writers_of_two_customers_do_not_wait_for_each_other(
    two: tuple[Store, Store], build: SimpleNamespace
) -> None:
    gate = Gate()
    first = await began(gate, two[0], lambda tx: tx.balance_for_update("cus_1"), ["cus_1"])
    for store in two:
        await store.write(
            lambda tx: grant_credit(tx, build.grant(customer="cus_2"), at=build.at), customers=["cus_2"]
        )
    assert not first.done()
    gate.opened.set()
    await first


@pytest.mark.parametrize("customers", [["cus_1"], ["cus_0", "cus_1"], None])
async def test_a_writer_waits_for_its_customer_and_sees_what_was_written(
    two: tuple[Store, Store], build: SimpleNamespace, customers: list[str] | None
) -> None:
    gate = Gate()
    grant = build.grant(begun_at=build.at)
    first = await began(gate, two[0], lambda tx: grant_credit(tx, grant, at=build.at), ["cus_1"])
    second = asyncio.ensure_future(
        two[1].write(lambda tx: [tx.live_grants("cus_1"), tx.grants_of("cus_1")], customers=customers)
    )
    await asyncio.sleep(0)
    assert not second.done()
    gate.opened.set()
    await first
    assert await second == [[grant], [grant]]


async def test_a_writer_that_names_nobody_is_alone(two: tuple[Store, Store], build: SimpleNamespace) -> None:
    gate = Gate()
    first = await began(gate, two[0], lambda tx: tx.save(build.customer()), None)
    second = asyncio.ensure_future(two[1].write(lambda tx: tx.find(Customer, "cus_1"), customers=["cus_2"]))
    assert await two[1].read(lambda tx: tx.find(Customer, "cus_1")) is None  # Readers wait for nobody.
    assert not second.done()
    gate.opened.set()
    await first
    assert await second == build.customer()


async def test_a_lock_by_name_is_one_writers_at_a_time_and_shows_what_the_last_one_wrote(
    two: tuple[Store, Store], build: SimpleNamespace
) -> None:
    def count(tx: Tx, customer: str) -> int:
        tx.find(Customer, "cus_shared")  # Seen before the lock: it may be old.
        tx.lock("shared/counter")
        known = tx.find(Customer, "cus_shared")
        number = int(known.name) + 1 if known else 1
        tx.save(build.customer("cus_shared", name=str(number)))
        return number

    numbers = await asyncio.gather(
        *(two[i % 2].write(lambda tx, i=i: count(tx, f"cus_{i}"), customers=[f"cus_{i}"]) for i in range(20))
    )
    assert sorted(numbers) == list(range(1, 21))


async def test_the_same_event_sent_to_two_processes_is_kept_once(
    two: tuple[Store, Store], build: SimpleNamespace
) -> None:
    await two[0].write(lambda tx: build.enrol(tx, "cus_1"))
    items = [build.settlement(f"call-{i}") for i in range(20)]
    settled = await asyncio.gather(
        *(two[i % 2].write(lambda tx: settle(tx, items, at=build.at), customers=["cus_1"]) for i in range(8))
    )
    assert sorted(one.new for one in settled) == [0] * 7 + [20]
    worth = sum(item.charge.price_nano for item in items)
    assert await two[0].read(lambda tx: tx.account_balance("cus_1", account.book("revenue"))) == worth


async def test_two_processes_never_promise_the_same_credit(
    two: tuple[Store, Store], build: SimpleNamespace
) -> None:
    grant = build.grant(amount_nano=15 * build.dollar)
    await two[0].write(lambda tx: grant_credit(tx, grant, at=build.at), customers=["cus_1"])
    holds = [build.hold(f"hold_{i:02}") for i in range(40)]
    outcomes = await asyncio.gather(
        *(
            two[i % 2].write(lambda tx, hold=hold: place_hold(tx, hold, at=build.at), customers=["cus_1"])
            for i, hold in enumerate(holds)
        ),
        return_exceptions=True,
    )
    assert sum(isinstance(outcome, InsufficientCredit) for outcome in outcomes) == 25
    held, credit = await two[1].read(
        lambda tx: (tx.balance_for_update("cus_1").held_nano, credit_of(tx, "cus_1", at=build.at))
    )
    assert held == credit == 15 * build.dollar


async def test_writers_that_lock_in_a_circle_are_run_again_until_both_are_through(
    two: tuple[Store, Store], build: SimpleNamespace
) -> None:
    meet = threading.Barrier(2, timeout=WAIT_S)
    tries = {"cus_1": 0, "cus_2": 0}

    def circular(tx: Tx, own: str, other: str) -> None:
        tries[own] += 1
        tx.balance_for_update(own)
        if (sum(tries.values()) == 2 and min(tries.values()) == 1) or max(tries.values()) == 1:
            meet.wait()
        grant_credit(tx, build.grant(f"g_{own}_{other}", customer=other), at=build.at)

    await asyncio.gather(
        two[0].write(lambda tx: circular(tx, "cus_1", "cus_2"), customers=["cus_1"]),
        two[1].write(lambda tx: circular(tx, "cus_2", "cus_1"), customers=["cus_2"]),
    )
    assert sum(tries.values()) == 3  # One of them was in the way, and ran twice.
    for customer in ("cus_1", "cus_2"):
        assert len(await two[0].read(lambda tx, c=customer: tx.grants_of(c))) == 1


async def test_other_processes_hear_of_a_commit_and_of_no_other(two: tuple[Store, Store]) -> None:
    loop, heard = asyncio.get_running_loop(), asyncio.Queue[str]()
    for topic in ("config", "outbox"):
        two[1].listen(topic, lambda topic=topic: loop.call_soon_threadsafe(heard.put_nowait, topic))

    def failing(tx: Tx) -> None:
        tx.touch("config")
        raise InvalidAmount("No.")

    with pytest.raises(InvalidAmount):
        await two[0].write(failing)
    await two[0].write(lambda tx: tx.touch("outbox"), customers=())
    async with asyncio.timeout(WAIT_S):
        assert await heard.get() == "outbox"
        await two[0].write(lambda tx: tx.touch("config"))
        assert await heard.get() == "config"
    assert heard.empty()


async def test_two_dispatchers_take_different_deliveries(
    two: tuple[Store, Store], build: SimpleNamespace
) -> None:
    await two[0].write(lambda tx: [tx.save_delivery(build.delivery(f"whd_{i:02}")) for i in range(20)])
    gate, until = Gate(), build.at + build.minute

    def claim(tx: Tx, limit: int) -> list[str]:
        return [delivery.id for delivery in tx.claim_deliveries(build.at, until, limit=limit)]

    first = await began(gate, two[0], lambda tx: claim(tx, 5), ())
    others = await two[1].write(lambda tx: claim(tx, 100), customers=())
    assert others == [f"whd_{i:02}" for i in range(5, 20)]  # It did not wait for the first one.
    gate.opened.set()
    assert await first == [f"whd_{i:02}" for i in range(5)]


async def test_an_outcome_that_comes_second_sees_the_first(
    two: tuple[Store, Store], build: SimpleNamespace
) -> None:
    await two[0].write(lambda tx: tx.save_delivery(build.delivery()))
    gate = Gate()

    def keep(tx: Tx, status: str) -> str:
        known = tx.delivery("whd_1")
        assert known is not None
        tx.save_delivery(replace(known, status=status))
        return known.status

    first = await began(gate, two[0], lambda tx: keep(tx, "delivered"), ())
    second = asyncio.ensure_future(two[1].write(lambda tx: keep(tx, "failed"), customers=()))
    gate.opened.set()
    assert (await first, await second) == ("pending", "delivered")


async def test_one_of_two_workers_takes_a_job(two: tuple[Store, Store], build: SimpleNamespace) -> None:
    def take(tx: Tx, holder: str) -> bool:
        return take_job(tx, "sync", holder=holder, at=build.at)

    gate = Gate()
    first = await began(gate, two[0], lambda tx: take(tx, "a"), ())
    second = asyncio.ensure_future(two[1].write(lambda tx: take(tx, "b"), customers=()))
    gate.opened.set()
    assert (await first, await second) == (True, False)
    await two[0].write(lambda tx: leave_job(tx, "sync", holder="a"), customers=())
    assert await two[1].write(lambda tx: take(tx, "b"), customers=())


async def test_errors_of_two_customers_events_are_all_counted(
    two: tuple[Store, Store], build: SimpleNamespace
) -> None:
    def count(tx: Tx, identifier: str) -> None:
        error = rejected(
            InvalidAmount("No."),
            event_name="tokens",
            identifier=identifier,
            payload={},
            timestamp=None,
            meter="mtr_1",
            at=build.at,
        )
        reject(tx, error, at=build.at)

    gate = Gate()
    first = await began(gate, two[0], lambda tx: count(tx, "a"), ["cus_1"])
    second = asyncio.ensure_future(two[1].write(lambda tx: count(tx, "b"), customers=["cus_2"]))
    gate.opened.set()
    await asyncio.gather(first, second)
    (report,) = await two[0].read(lambda tx: tx.page(MeterErrorReport))
    assert [(kind.code, kind.count) for kind in report.errors] == [("amount_invalid", 2)]


async def test_a_total_beyond_64_bits_is_refused_and_changes_nothing(
    two: tuple[Store, Store], build: SimpleNamespace
) -> None:
    sheet = build.sheet(margin="0")
    entries = [build.charged(f"call-{i}", rates=sheet, quantities={"input": 3 * 10**15}) for i in range(2)]
    await two[0].write(lambda tx: build.keep(tx, entries[:1]))
    with pytest.raises(InvalidAmount):
        await two[0].write(lambda tx: build.keep(tx, entries[1:]))
    with pytest.raises(InvalidAmount):
        await two[0].write(
            lambda tx: build.keep(
                tx,
                [
                    build.charged(f"c-{i}", rates=sheet, quantities={"input": 3 * 10**15}, customer="cus_9")
                    for i in range(2)
                ],
            )
        )
    assert await two[0].read(lambda tx: tx.charge_of("cus_1", entries[1].event.id)) is None


@pytest.mark.parametrize("field", ["model", "requested_model", "request_id", "raw_usage", "service_tier"])
async def test_text_with_a_nul_is_kept_as_it_is(postgres: Store, build: SimpleNamespace, field: str) -> None:
    event = build.event("a\x00\x01b", customer="cus\x00_1", **{field: "x\x00y\x01\x01"})
    assert await postgres.write(lambda tx: tx.append_events([event, event])) == {event.id}
    assert await postgres.read(lambda tx: tx.event_by_key("cus\x00_1", "a\x00\x01b")) == event
    odd = build.customer("cus\x00_1", name="\x00")
    await postgres.write(lambda tx: tx.save(odd))
    assert await postgres.read(lambda tx: [tx.find(Customer, odd.id), *tx.page(Customer)]) == [odd, odd]
    await postgres.write(lambda tx: grant_credit(tx, build.grant(name="\x00", customer=odd.id), at=build.at))
    (found,) = await postgres.write(lambda tx: tx.live_grants(odd.id), customers=[odd.id])
    assert found.name == "\x00"
