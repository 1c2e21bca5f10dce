"""What was submitted for settlement gets into the store, once, however long that takes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from costplus.billing.customer import Customer
from costplus.billing.settle import Settlement
from costplus.billing.store import Store
from costplus.catalog.sources.bundled import bundled_catalogue
from costplus.gateway import settle as settle_module
from costplus.gateway.call import settlement_of
from costplus.gateway.journal import Journal, Used, read_segment
from costplus.gateway.leases import Leases
from costplus.gateway.recover import recover
from costplus.gateway.settle import Settler
from costplus.rating.pricing import Pricing
from costplus.storage.errors import StorageUnavailable
from costplus.storage.memory import MemoryStore

pytestmark = pytest.mark.slow


async def nothing_waits() -> None:
    """Every charge made so far is in the ledger."""


@pytest.fixture(autouse=True)
def quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settle_module, "RETRY_S", (0.001,))


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "journal")


@pytest.fixture
def parked(tmp_path: Path) -> Path:
    return tmp_path / "parked-usage.jsonl"


@pytest.fixture
async def settler(store: Store, journal: Journal, parked: Path, now: Any) -> AsyncIterator[Settler]:
    made = Settler(store, journal, now=now, parked=parked)
    running = asyncio.ensure_future(made.run())
    yield made
    made.stop()
    await running


@pytest.fixture
def settlement(records: Any) -> Callable[..., Settlement]:
    """Return how to make the settlement of a call; with a journal, the call is written there first."""

    def make(id: str, journal: Journal | None = None, **more: Any) -> Settlement:
        used, rates = records.used(id, **more)
        if journal is not None:
            journal.intend(records.intent(id))
            journal.use(used, rates)
        return settlement_of(used, {rate.id: rate for rate in rates})

    return make


def read(parked: Path) -> list[Any]:
    """Return the parked records."""
    return [json.loads(line) for line in parked.read_text().splitlines()] if parked.exists() else []


async def charged(store: Store, customer: str) -> dict[str, int]:
    """Return the price of each charged call; two of one call are a failure."""
    page = await store.read(lambda tx: tx.charged_page(customer=customer, limit=10_000))
    found = {entry.event.key: entry.charge.price_nano for entry in page}
    assert len(found) == len(page)
    return found


async def test_settled_usage_is_charged_to_the_credit(
    store: Store, settler: Settler, settlement: Any, account: Any
) -> None:
    settler.submit(settlement("req_1"))
    await settler.flush()
    assert settler.backlog == 0
    (price_nano,) = (await charged(store, account.customer)).values()
    assert await account.credit_nano(store) == account.amount_nano - price_nano


async def test_a_flush_of_nothing_returns_at_once(settler: Settler) -> None:
    await settler.flush()


async def test_usage_submitted_twice_is_charged_once(
    store: Store, settler: Settler, settlement: Any, account: Any
) -> None:
    for _ in range(2):
        settler.submit(settlement("req_1"))
        settler.submit(settlement("req_1"))
        await settler.flush()
    assert len(await charged(store, account.customer)) == 1


@pytest.mark.slow
async def test_more_than_a_batch_is_settled_whole(
    store: Store, settler: Settler, settlement: Any, account: Any
) -> None:
    for number in range(settle_module.BATCH_MAX + 7):
        settler.submit(settlement(f"req_{number}"))
    await settler.flush()
    assert len(await charged(store, account.customer)) == settle_module.BATCH_MAX + 7


async def test_stopping_settles_what_is_queued(
    store: Store, journal: Journal, parked: Path, settlement: Any, account: Any, now: Any
) -> None:
    settler = Settler(store, journal, now=now, parked=parked)
    settler.submit(settlement("req_1"))
    settler.stop()
    await settler.run()
    assert len(await charged(store, account.customer)) == 1


async def test_a_call_leaves_the_journal_only_once_it_is_settled(
    journal: Journal, tmp_path: Path, settler: Settler, settlement: Any
) -> None:
    settler.submit(settlement("req_1", journal))
    await settler.flush()
    journal.close()
    assert list((tmp_path / "journal").glob("*.journal")) == []


class FlakyStore(MemoryStore):
    """A store that is away while `away` is set; `keeps` says whether it commits before it fails."""

    def __init__(self) -> None:
        super().__init__()
        self.away = False
        self.keeps = False
        self.refused = 0

    async def write(self, verb: Callable[..., Any], *, customers: Any = None) -> Any:
        if not self.away:
            return await super().write(verb)
        self.refused += 1
        if self.keeps:
            await super().write(verb)
        raise StorageUnavailable("The disk is gone.")


@pytest.fixture
async def flaky(account: Any) -> FlakyStore:
    made = FlakyStore()
    await made.write(account.prepare)
    return made


async def returns_after(store: FlakyStore, refusals: int) -> None:
    for _ in range(1000):
        if store.refused >= refusals:
            break
        await asyncio.sleep(0.001)
    assert store.refused >= refusals
    store.away = False


async def test_settlement_is_tried_until_the_store_is_back(
    flaky: FlakyStore, journal: Journal, parked: Path, settlement: Any, account: Any, now: Any
) -> None:
    settler = Settler(flaky, journal, now=now, parked=parked)
    running = asyncio.ensure_future(settler.run())
    flaky.away = True
    for number in range(10):
        settler.submit(settlement(f"req_{number}"))
    await returns_after(flaky, 5)
    await settler.flush()
    assert len(await charged(flaky, account.customer)) == 10
    assert read(parked) == []
    settler.stop()
    await running


async def test_a_commit_that_was_not_confirmed_is_not_booked_again(
    flaky: FlakyStore, journal: Journal, parked: Path, settlement: Any, account: Any, now: Any
) -> None:
    leases = Leases(flaky, owner="gw_1", now=now, settled=nothing_waits)
    lease = await leases.take(await account.terms(flaky), 400_000_000)
    price_nano = settlement("req_1").charge.price_nano
    freed_nano = lease.close(held_nano=400_000_000, charged_nano=price_nano)
    settler = Settler(flaky, journal, now=now, parked=parked)
    running = asyncio.ensure_future(settler.run())
    flaky.away = flaky.keeps = True
    settler.submit(settlement("req_1", hold=lease.hold_id, release_nano=freed_nano))
    await returns_after(flaky, 3)
    await settler.flush()
    assert await account.credit_nano(flaky) == account.amount_nano - price_nano
    assert await account.held_nano(flaky) == lease.free_nano  # Freed once, too.
    settler.stop()
    await running


async def test_calls_within_leased_credit_go_on_while_the_store_is_away(
    flaky: FlakyStore, account: Any, now: Any
) -> None:
    leases = Leases(flaky, owner="gw_1", now=now, settled=nothing_waits)
    terms = await account.terms(flaky)
    await leases.take(terms, 1000)
    flaky.away = True
    for _ in range(20):
        await leases.take(terms, 1000)
    with pytest.raises(StorageUnavailable):
        await leases.take(terms, account.amount_nano // 2)  # More than the lease: the ledger must say.


async def test_usage_of_a_customer_deleted_meanwhile_is_booked_all_the_same(
    store: Store, settler: Settler, parked: Path, settlement: Any, account: Any
) -> None:
    customer = await store.read(lambda tx: tx.find(Customer, account.customer))
    assert customer is not None
    await store.write(lambda tx: tx.save(replace(customer, deleted=True)))
    settler.submit(settlement("req_1"))
    await settler.flush()
    assert list(await charged(store, account.customer)) == ["req_1"]
    assert read(parked) == []


async def test_usage_of_a_customer_that_is_gone_is_parked_and_holds_nothing_up(
    store: Store, settler: Settler, parked: Path, settlement: Any, account: Any
) -> None:
    settler.submit(settlement("req_gone", customer="cus_gone"))
    settler.submit(settlement("req_1"))
    await settler.flush()
    assert list(await charged(store, account.customer)) == ["req_1"]
    (record,) = read(parked)
    assert record["code"] == "resource_missing"
    assert record["event"]["key"] == "req_gone" and record["event"]["customer"] == "cus_gone"
    assert record["price_nano"] == settlement("req_gone").charge.price_nano


async def test_usage_that_cannot_even_be_parked_stays_in_the_journal(
    store: Store, journal: Journal, now: Any, tmp_path: Path, settlement: Any, account: Any
) -> None:
    settler = Settler(store, journal, now=now, parked=tmp_path)  # A directory: nothing can be appended.
    settler.submit(settlement("req_gone", journal, customer="cus_gone"))
    settler.submit(settlement("req_1", journal))
    settler.stop()
    await settler.run()
    journal.close()
    assert list(await charged(store, account.customer)) == ["req_1"]
    (segment,) = journal.left_behind()
    assert "req_gone" in [entry.id for entry in read_segment(segment) if isinstance(entry, Used)]


class Restart:
    """A new process on the journal's folder."""

    def __init__(self, store: Store, folder: Path, parked: Path, now: Any) -> None:
        self.store, self.folder, self.parked, self.now = store, folder, parked, now

    async def __call__(self) -> Any:
        journal = Journal(self.folder)
        settler = Settler(self.store, journal, now=self.now, parked=self.parked)
        running = asyncio.ensure_future(settler.run())
        found = await recover(
            self.store,
            journal,
            settler,
            pricing=Pricing(bundled_catalogue()),
            owner="gw_1",
            now=self.now,
        )
        settler.stop()
        await running
        journal.close()
        return found


@pytest.fixture
def restart(store: Store, tmp_path: Path, parked: Path, now: Any) -> Restart:
    return Restart(store, tmp_path / "journal", parked, now)


async def test_a_restart_settles_used_calls_sweeps_unheard_ones_and_forgets_void_ones(
    store: Store, journal: Journal, records: Any, settlement: Any, account: Any, restart: Restart
) -> None:
    card = (await account.terms(store)).cards[0][1]
    settlement("req_used", journal)
    journal.intend(records.intent("req_unheard", card=card.id))
    journal.intend(records.intent("req_void"))
    journal.void("req_void", "provider_500")
    journal.close()
    found = await restart()
    assert (found.used, found.swept) == (1, 1)
    assert (await charged(store, account.customer)).keys() == {"req_used", "req_unheard"}
    page = await store.read(lambda tx: tx.charged_page(customer=account.customer, limit=10))
    (swept,) = [entry for entry in page if entry.event.source == "sweep"]
    assert swept.event.usage.quantities == {"input": 100}
    assert set(swept.event.usage.flags) == {"estimated", "swept"}
    assert swept.charge.price_nano == 100 * 195  # $0.15 a million × 1.30.


async def test_replaying_the_same_segments_again_changes_nothing(
    store: Store, journal: Journal, settlement: Any, account: Any, restart: Restart
) -> None:
    for number in range(5):
        settlement(f"req_{number}", journal)
    journal.close()
    kept = {path.name: path.read_bytes() for path in restart.folder.glob("*.journal")}
    await restart()
    credit_nano = await account.credit_nano(store)
    for name, content in kept.items():
        (restart.folder / name).write_bytes(content)
    assert (await restart()).used == 5
    assert await account.credit_nano(store) == credit_nano
    assert len(await charged(store, account.customer)) == 5
    assert list(restart.folder.glob("*.journal")) == []


async def test_reservations_are_released_after_the_usage_is_booked(
    store: Store, journal: Journal, settlement: Any, account: Any, restart: Restart, now: Any
) -> None:
    lease = await Leases(store, owner="gw_1", now=now, settled=nothing_waits).take(
        await account.terms(store), 1000
    )
    settlement("req_1", journal, hold=lease.hold_id, release_nano=1000)
    journal.close()
    assert (await restart()).released == 1
    assert await account.held_nano(store) == 0


async def test_a_rate_lost_to_a_torn_line_is_compiled_anew(
    store: Store, journal: Journal, records: Any, account: Any, restart: Restart
) -> None:
    card = (await account.terms(store)).cards[0][1]
    used, rates = records.used("req_1", card)
    journal.intend(records.intent("req_1", card=card.id))
    journal.use(used, rates)
    journal.close()
    (path,) = restart.folder.glob("*.journal")
    path.write_bytes(path.read_bytes().replace(b'"type":"r"', b'"type":"?"'))
    assert len(list(read_segment(path))) == 2  # The intent and the usage.
    await restart()
    page = await store.read(lambda tx: tx.charged_page(customer=account.customer, limit=10))
    assert [line.rate for line in page[0].charge.lines] == rates
    assert page[0].charge.price_nano == used.price_nano


async def test_usage_of_which_no_rate_is_left_is_kept_and_says_that_it_is_unpriced(
    store: Store, journal: Journal, records: Any, account: Any, restart: Restart
) -> None:
    used, _ = records.used("req_1")
    journal.use(used, [])
    journal.close()
    await restart()
    page = await store.read(lambda tx: tx.charged_page(customer=account.customer, limit=10))
    assert page[0].event.usage.quantities == used.quantities
    assert (page[0].charge.price_nano, page[0].charge.unpriced) == (0, ("model",))
