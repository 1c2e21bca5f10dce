"""Credit with scopes, units and beginnings comes back as it was, and a crowd gets what fits and no more."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace

from costplus.billing.store import Store, Tx
from costplus.core.ids import CustomerId
from costplus.ledger.balance import Balance
from costplus.ledger.hold import InsufficientCredit
from costplus.ledger.post import UsagePosting, credit_of, grant_credit, post_usage
from costplus.ledger.reserve import expire_hold, grow_hold, place_hold
from costplus.ledger.scope import Scope

SCOPE = Scope(
    meters=("m",), providers=("openai",), models=("openai/a", "b"), token_types=("input",), prices=("rcd_1",)
)


async def test_a_grants_scope_unit_and_beginning_come_back(store: Store, build: SimpleNamespace) -> None:
    fields = {"scope": SCOPE, "unit": "cpu_1", "unit_amount": "12.5", "begun_at": build.at}
    grant = replace(build.grant(), **fields)
    await store.write(lambda tx: tx.save_grant(grant))
    assert await store.read(lambda tx: tx.grant(grant.id)) == grant
    plain = replace(grant, scope=Scope(), unit="", unit_amount="", begun_at=None)
    await store.write(lambda tx: tx.save_grant(plain))
    assert await store.read(lambda tx: tx.live_grants("cus_1")) == [plain]


async def test_a_holds_subject_comes_back(store: Store, build: SimpleNamespace) -> None:
    hold = replace(build.hold(), subject="openai/gpt-4o")
    await store.write(lambda tx: tx.save_hold(hold))
    assert await store.read(lambda tx: tx.hold("cus_1", hold.id)) == hold
    assert await store.read(lambda tx: tx.placed_holds(customer="cus_1")) == [hold]


async def test_a_balance_read_without_a_lock_is_the_same(store: Store) -> None:
    customer = CustomerId("cus_1")
    assert await store.read(lambda tx: tx.balance("cus_1")) == Balance(customer=customer)
    balance = Balance(customer=customer, held_nano=3, paid_nano={5: {"credgr_1": 7}})
    await store.write(lambda tx: tx.save_balance(balance))
    assert await store.read(lambda tx: tx.balance("cus_1")) == balance
    assert await store.read(lambda tx: tx.balance_for_update("cus_1")) == balance
    bare = replace(balance, paid_nano={})
    await store.write(lambda tx: tx.save_balance(bare))
    assert await store.read(lambda tx: tx.balance("cus_1")) == bare


async def test_of_five_hundred_at_once_exactly_those_are_admitted_that_credit_covers(
    store: Store, build: SimpleNamespace
) -> None:
    """Each holds ten and settles seven: 300 fit at first, and what they leave is for later ones."""
    await store.write(lambda tx: grant_credit(tx, build.grant(amount_nano=3000), at=build.at))

    async def one(number: int) -> bool:
        hold = build.hold(f"hold_{number}", amount_nano=10)
        try:
            await store.write(lambda tx: place_hold(tx, hold, at=build.at), customers=["cus_1"])
        except InsufficientCredit:
            return False
        return True

    admitted = await asyncio.gather(*map(one, range(500)))
    assert sum(admitted) == 300
    assert (await store.read(lambda tx: tx.balance("cus_1"))).held_nano == 3000

    async def settle(number: int) -> None:
        posting = UsagePosting(
            customer=build.grant().customer,
            price_nano={0: 7},
            cost_nano=0,
            releases={f"hold_{number}": 10},
            closes=frozenset([f"hold_{number}"]),
        )
        await store.write(lambda tx: post_usage(tx, posting, at=build.at), customers=["cus_1"])

    await asyncio.gather(*(settle(number) for number, got in enumerate(admitted) if got))
    balance = await store.read(lambda tx: tx.balance("cus_1"))
    assert (balance.held_nano, balance.owed_nano) == (0, {})
    assert await store.read(lambda tx: credit_of(tx, "cus_1", at=build.at)) == 3000 - 300 * 7
    assert sum(await asyncio.gather(*(one(number) for number in range(500, 700)))) == 900 // 10


async def test_pairs_of_hold_and_settlement_that_interleave_never_spend_more_than_there_is(
    store: Store, build: SimpleNamespace
) -> None:
    await store.write(lambda tx: grant_credit(tx, build.grant(amount_nano=3000), at=build.at))

    async def pair(number: int) -> bool:
        hold = build.hold(f"hold_{number}", amount_nano=10)
        try:
            await store.write(lambda tx: place_hold(tx, hold, at=build.at), customers=["cus_1"])
        except InsufficientCredit:
            return False
        posting = UsagePosting(
            customer=build.grant().customer,
            price_nano={0: 10},
            cost_nano=0,
            releases={hold.id: 10},
            closes=frozenset([hold.id]),
        )
        await store.write(lambda tx: post_usage(tx, posting, at=build.at), customers=["cus_1"])
        return True

    assert sum(await asyncio.gather(*map(pair, range(500)))) == 300
    balance = await store.read(lambda tx: tx.balance("cus_1"))
    assert (balance.held_nano, balance.owed_nano) == (0, {})
    assert await store.read(lambda tx: credit_of(tx, "cus_1", at=build.at)) == 0


async def test_a_hold_for_one_model_leaves_other_credit_to_others(
    store: Store, build: SimpleNamespace
) -> None:
    def verb(tx: Tx) -> None:
        scoped = replace(build.grant("credgr_a", amount_nano=100), scope=Scope(models=("openai/a",)))
        grant_credit(tx, scoped, at=build.at)
        grant_credit(tx, build.grant("credgr_b", amount_nano=50), at=build.at)

    await store.write(verb)

    async def held(id: str, nano: int, subject: str) -> bool:
        hold = replace(build.hold(id, amount_nano=nano), subject=subject)
        try:
            await store.write(lambda tx: place_hold(tx, hold, at=build.at))
        except InsufficientCredit:
            return False
        return True

    assert not await held("h1", 51, "openai/b")
    assert not await held("h1", 51, "")
    assert await held("h1", 100, "openai/a")
    assert await held("h2", 50, "openai/b")
    assert not await held("h3", 1, "openai/a")


async def test_a_hold_expires_once_and_only_after_its_time(store: Store, build: SimpleNamespace) -> None:
    await store.write(lambda tx: grant_credit(tx, build.grant(amount_nano=100), at=build.at))
    hold = build.hold(amount_nano=60)
    await store.write(lambda tx: place_hold(tx, hold, at=build.at))
    early, later = hold.expires_at - timedelta(microseconds=1), hold.expires_at + timedelta(hours=1)
    assert await store.write(lambda tx: expire_hold(tx, "cus_1", hold.id, at=early)) == 0

    def grown(tx: Tx) -> int:
        return grow_hold(tx, "cus_1", hold.id, least_nano=0, most_nano=0, at=build.at, expires_at=later)

    assert await store.write(grown) == 0
    assert await store.write(lambda tx: expire_hold(tx, "cus_1", hold.id, at=hold.expires_at)) == 0
    assert await store.write(lambda tx: expire_hold(tx, "cus_1", hold.id, at=later)) == 60
    assert await store.write(lambda tx: expire_hold(tx, "cus_1", hold.id, at=later)) == 0
    ended = await store.read(lambda tx: tx.hold("cus_1", hold.id))
    assert ended is not None and (ended.state, ended.amount_nano) == ("expired", 0)
