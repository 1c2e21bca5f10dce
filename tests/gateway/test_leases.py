"""Leases parcel credit out in memory and never more of it than the ledger has reserved."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from costplus.billing.event import Event
from costplus.billing.store import Store
from costplus.core.ids import CustomerId, GrantId
from costplus.gateway.leases import LEASE_CALLS, LEASE_LIFE, Leases, reclaim
from costplus.ledger.hold import InsufficientCredit
from costplus.ledger.post import UsagePosting, grant_credit, post_usage
from costplus.ledger.reserve import expire_hold
from costplus.ledger.scope import Scope
from costplus.storage.errors import StorageUnavailable

pytestmark = pytest.mark.filterwarnings("error")


async def nothing_waits() -> None:
    """Every charge made so far is in the ledger."""


class Clock:
    def __init__(self, at: datetime) -> None:
        self.at = at

    def __call__(self) -> datetime:
        return self.at


@pytest.fixture
def clock(account: Any) -> Clock:
    return Clock(account.at)


@pytest.fixture
def leases(store: Store, clock: Clock) -> Leases:
    return Leases(store, owner="gw_1", now=clock, settled=nothing_waits)


async def settle(store: Store, account: Any, lease: Any, charged_nano: int, release_nano: int) -> None:
    """Book a charge that frees a part of the lease, as the settler does."""
    posting = UsagePosting(
        customer=CustomerId(account.customer),
        price_nano={0: charged_nano},
        cost_nano=0,
        releases={lease.hold_id: release_nano},
    )
    await store.write(lambda tx: post_usage(tx, posting, at=account.at))


async def test_a_lease_of_ample_credit_grows_for_many_calls_at_once(
    store: Store, leases: Leases, account: Any
) -> None:
    terms = await account.terms(store)
    for _ in range(LEASE_CALLS // 2):
        await leases.take(terms, 1000)
    assert await account.held_nano(store) == LEASE_CALLS * 1000


async def test_a_lease_grows_before_a_call_must_wait_and_rarely(
    store: Store, leases: Leases, account: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    terms = await account.terms(store)
    await leases.take(terms, 1000)
    transactions = 0
    write, read = store.write, store.read

    async def counted(verb: Any, **named: Any) -> Any:
        nonlocal transactions
        transactions += 1
        return await (write(verb, **named) if named else read(verb))

    monkeypatch.setattr(store, "write", counted)
    monkeypatch.setattr(store, "read", counted)
    waits = 0
    for _ in range(1000):
        taking = asyncio.ensure_future(leases.take(terms, 1000))
        await asyncio.sleep(0)
        waits += not taking.done()
        await taking
        await leases.refilled()
    assert waits == 0
    assert transactions / 1000 <= 0.02
    await leases.give_back_all()


async def test_a_limit_lets_a_customer_owe_so_much_and_no_more(
    store: Store, leases: Leases, account: Any
) -> None:
    terms = replace(await account.terms(store), on_zero_credit="overage", overage_limit_nano=500)
    await leases.take(terms, account.amount_nano)
    await leases.take(terms, 500)
    with pytest.raises(InsufficientCredit):
        await leases.take(terms, 1)


async def test_where_credit_is_for_one_model_its_calls_have_a_lease_of_their_own(
    store: Store, leases: Leases, account: Any
) -> None:
    terms = await account.terms(store)
    grants = await store.read(lambda tx: tx.live_grants(account.customer))
    scoped = replace(grants[0], id=GrantId("credgr_s"), scope=Scope(models=("openai/a",)))
    await store.write(lambda tx: grant_credit(tx, scoped, at=account.at))
    amount_nano = account.amount_nano
    mine = await leases.take(terms, 2 * amount_nano, subject="openai/a")
    assert mine.free_nano == 0
    with pytest.raises(InsufficientCredit):
        await leases.take(terms, 1, subject="openai/b")
    mine.close(held_nano=2 * amount_nano, charged_nano=0)
    await leases.give_back_all()
    assert (await leases.take(terms, amount_nano, subject="openai/b")).hold_id != mine.hold_id


async def test_a_lease_that_the_ledger_ended_is_replaced(
    store: Store, leases: Leases, account: Any, clock: Clock
) -> None:
    terms = await account.terms(store)
    lease = await leases.take(terms, account.amount_nano // 2)
    later = clock.at + 2 * LEASE_LIFE
    await store.write(lambda tx: expire_hold(tx, account.customer, lease.hold_id, at=later))
    other = await leases.take(terms, account.amount_nano)
    assert other.hold_id != lease.hold_id


async def test_a_lease_in_use_for_long_is_told_to_be_alive(
    store: Store, leases: Leases, account: Any, clock: Clock
) -> None:
    lease = await leases.take(await account.terms(store), 1000)
    before = await store.read(lambda tx: tx.hold(account.customer, lease.hold_id))
    clock.at += LEASE_LIFE / 2
    await leases.give_back_idle()
    after = await store.read(lambda tx: tx.hold(account.customer, lease.hold_id))
    assert after.expires_at == before.expires_at + LEASE_LIFE / 2
    assert after.amount_nano == 1000  # What the call holds; the rest went back unused.


async def test_near_zero_a_lease_grows_by_what_the_call_needs(
    store: Store, leases: Leases, account: Any
) -> None:
    terms = await account.terms(store)
    amount_nano = account.amount_nano // 4
    await leases.take(terms, amount_nano)
    assert await account.held_nano(store) == amount_nano


async def test_the_last_nano_can_be_held_and_no_more(store: Store, leases: Leases, account: Any) -> None:
    terms = await account.terms(store)
    await leases.take(terms, account.amount_nano)
    with pytest.raises(InsufficientCredit):
        await leases.take(terms, 1)
    assert await account.held_nano(store) == account.amount_nano


async def test_a_call_over_the_credit_is_refused_and_nothing_is_held(
    store: Store, leases: Leases, account: Any
) -> None:
    with pytest.raises(InsufficientCredit) as refused:
        await leases.take(await account.terms(store), account.amount_nano + 1)
    assert refused.value.code == "customer_credit_exhausted"
    assert await account.held_nano(store) == 0


@pytest.mark.parametrize("calls", [10, 100])
async def test_of_calls_at_once_as_many_are_admitted_as_the_credit_covers(
    store: Store, leases: Leases, account: Any, calls: int
) -> None:
    terms = await account.terms(store)
    amount_nano = account.amount_nano * 2 // calls - 1  # Half of them fit.
    outcomes = await asyncio.gather(
        *(leases.take(terms, amount_nano) for _ in range(calls)), return_exceptions=True
    )
    refused = [outcome for outcome in outcomes if isinstance(outcome, InsufficientCredit)]
    assert len(refused) == calls - calls // 2
    assert await account.held_nano(store) == calls // 2 * amount_nano
    (lease,) = {id(lease): lease for lease in outcomes if not isinstance(lease, BaseException)}.values()
    assert lease.free_nano == 0 and lease.in_flight == calls // 2


async def test_two_gateways_never_lease_the_same_credit(store: Store, clock: Clock, account: Any) -> None:
    terms = await account.terms(store)
    gateways = [Leases(store, owner=f"gw_{number}", now=clock, settled=nothing_waits) for number in range(2)]
    outcomes = await asyncio.gather(
        *(gateways[number % 2].take(terms, account.amount_nano // 10) for number in range(30)),
        return_exceptions=True,
    )
    assert sum(not isinstance(outcome, BaseException) for outcome in outcomes) == 10
    assert await account.held_nano(store) == account.amount_nano


async def test_a_cheaper_call_leaves_the_rest_of_its_hold_to_the_next(
    store: Store, leases: Leases, account: Any
) -> None:
    terms = await account.terms(store)
    lease = await leases.take(terms, account.amount_nano)
    release_nano = lease.close(held_nano=account.amount_nano, charged_nano=100)
    assert release_nano == 100
    await leases.take(terms, account.amount_nano - 100)
    await settle(store, account, lease, 100, release_nano)
    assert await account.held_nano(store) == account.amount_nano - 100
    assert await account.credit_nano(store) == account.amount_nano - 100


async def test_a_charge_over_its_hold_is_booked_and_the_rest_is_owed(
    store: Store, leases: Leases, account: Any
) -> None:
    lease = await leases.take(await account.terms(store), account.amount_nano)
    charged_nano = account.amount_nano + 7
    release_nano = lease.close(held_nano=account.amount_nano, charged_nano=charged_nano)
    assert (release_nano, lease.free_nano) == (account.amount_nano, 0)  # Never negative.
    await settle(store, account, lease, charged_nano, release_nano)
    balance = await store.read(lambda tx: tx.balance_for_update(account.customer))
    assert (balance.held_nano, balance.owed_total_nano) == (0, 7)


async def test_an_idle_lease_goes_back_whole_and_a_used_one_stays(
    store: Store, leases: Leases, clock: Clock, account: Any
) -> None:
    lease = await leases.take(await account.terms(store), 1000)
    clock.at += timedelta(hours=1)
    await leases.give_back_idle()
    assert await account.held_nano(store) > 0  # A call is in flight.
    lease.close(held_nano=1000, charged_nano=0)
    await leases.give_back_idle()
    assert await account.held_nano(store) == 0
    await leases.take(await account.terms(store), 1000)  # The same lease grows again.


async def test_a_lease_just_used_is_kept(store: Store, leases: Leases, clock: Clock, account: Any) -> None:
    lease = await leases.take(await account.terms(store), 1000)
    lease.close(held_nano=1000, charged_nano=0)
    clock.at += timedelta(seconds=1)
    await leases.give_back_idle()
    assert await account.held_nano(store) > 0


async def test_a_store_that_is_away_does_not_lose_an_idle_lease(
    store: Store, leases: Leases, clock: Clock, account: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(verb: Callable[..., Any], *, customers: object = None) -> Any:
        raise StorageUnavailable("The disk is gone.")

    lease = await leases.take(await account.terms(store), 1000)
    lease.close(held_nano=1000, charged_nano=0)
    clock.at += timedelta(hours=1)
    with monkeypatch.context() as patch:
        patch.setattr(store, "write", away)
        await leases.give_back_idle()
        await leases.give_back_all()
    assert lease.free_nano == await account.held_nano(store) > 0
    await leases.give_back_idle()
    assert lease.free_nano == await account.held_nano(store) == 0


async def test_at_the_end_only_what_calls_in_flight_hold_stays_reserved(
    store: Store, leases: Leases, account: Any
) -> None:
    terms = await account.terms(store)
    await leases.take(terms, 1000)
    await leases.give_back_all()
    assert await account.held_nano(store) == 1000


async def test_what_a_crashed_process_had_reserved_is_reclaimed_by_its_owner_only(
    store: Store, leases: Leases, clock: Clock, account: Any
) -> None:
    terms = await account.terms(store)
    await leases.take(terms, account.amount_nano // 2)
    other = Leases(store, owner="gw_2", now=clock, settled=nothing_waits)
    await other.take(terms, account.amount_nano // 4)
    assert await store.write(lambda tx: reclaim(tx, owner="gw_1")) == 1
    assert await account.held_nano(store) == account.amount_nano // 4
    assert await store.write(lambda tx: reclaim(tx, owner="gw_1")) == 0


async def zero_alerts(store: Store) -> int:
    events = await store.read(lambda tx: tx.page(Event, limit=1000))
    return sum(event.type == "billing.alert.triggered" for event in events)


async def test_a_call_that_credit_does_not_cover_tells_of_its_end_once(
    store: Store, leases: Leases, account: Any
) -> None:
    terms = await account.terms(store)
    for _ in range(3):
        with pytest.raises(InsufficientCredit):
            await leases.take(terms, account.amount_nano + 1)
    assert await zero_alerts(store) == 1


async def test_a_call_refused_for_what_others_hold_does_not_tell_of_an_end(
    store: Store, leases: Leases, account: Any
) -> None:
    terms = await account.terms(store)
    await leases.take(terms, account.amount_nano)
    with pytest.raises(InsufficientCredit):
        await leases.take(terms, account.amount_nano)
    assert await zero_alerts(store) == 0


async def test_a_refusal_waits_for_what_is_charged_but_not_settled(
    store: Store, clock: Clock, account: Any
) -> None:
    async def settled() -> None:
        await settle(store, account, lease, 600, 600)

    leases = Leases(store, owner="gw_1", now=clock, settled=settled)
    terms = await account.terms(store)
    credit = await account.credit_nano(store)
    lease = await leases.take(terms, credit)
    lease.close(held_nano=credit, charged_nano=600)
    with pytest.raises(InsufficientCredit):
        await leases.take(terms, credit)
    events = await store.read(lambda tx: tx.page(Event))
    assert "billing.alert.triggered" in [event.type for event in events]
