"""Balances, accounts, transactions, grants and holds, on every store, through the verbs that move them."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace

import pytest

from costplus.billing.event import Event
from costplus.billing.settle import settle
from costplus.billing.store import Store, Tx
from costplus.core.money import NANO_MAX, InvalidAmount
from costplus.ledger import account
from costplus.ledger.balance import Balance
from costplus.ledger.post import UsagePosting, expire_grant, grant_credit, move, post_usage, void_grant
from costplus.ledger.reserve import place_hold, release_hold
from costplus.ledger.transaction import Transaction, transaction


def ids(found: list[object]) -> list[str]:
    return [row.id for row in found]


def entry(build: SimpleNamespace, id: str = "txn_1", nano: int = 5, **changes: object) -> Transaction:
    fields = {"customer": "cus_1", "kind": "invoice", "at": build.at, **changes}
    postings = [(account.receivable(fields["customer"]), -nano), (account.accrued(fields["customer"]), nano)]
    return transaction(id=id, postings=postings, **fields)


async def test_a_customer_without_a_balance_has_zero(store: Store) -> None:
    assert await store.read(lambda tx: tx.balance_for_update("cus_1")) == Balance(customer="cus_1")
    assert await store.read(lambda tx: tx.account_balance("cus_1", "cus_1/accrued")) == 0


async def test_a_balance_comes_back_as_it_was(store: Store) -> None:
    balance = Balance(
        customer="cus_1",
        held_nano=1,
        owed_nano={1_700_000_000_000: 2, 0: 3},
        carried_nano=-4,
        fired=("a", "b"),
        paid_nano={0: {"credgr_1": 7, "": -2}},
    )
    await store.write(lambda tx: tx.save_balance(Balance(customer="cus_1", held_nano=9)))
    await store.write(lambda tx: tx.save_balance(balance))
    assert await store.read(lambda tx: tx.balance_for_update("cus_1")) == balance


async def test_a_transaction_moves_its_accounts_once(store: Store, build: SimpleNamespace) -> None:
    first = entry(build, reference="in_1")
    for _ in range(2):
        await store.write(lambda tx: tx.append_transaction(first))
    assert await store.read(lambda tx: tx.transactions_of("cus_1")) == [first]
    assert await store.read(lambda tx: tx.account_balance("cus_1", "cus_1/accrued")) == 5
    assert await store.read(lambda tx: tx.account_balance("cus_1", "cus_1/receivable")) == -5


async def test_transactions_stand_in_the_order_in_which_they_came(
    store: Store, build: SimpleNamespace
) -> None:
    made = [entry(build, id, at=build.at - i * build.minute) for i, id in enumerate(["txn_b", "txn_a"])]
    empty = transaction(id="txn_0", customer="cus_1", at=build.at, kind="usage", postings=[])
    for one in (*made, empty, entry(build, "txn_other", customer="cus_2")):
        await store.write(lambda tx, one=one: tx.append_transaction(one))
    assert await store.read(lambda tx: tx.transactions_of("cus_1")) == [*made, empty]
    assert await store.read(lambda tx: tx.transactions_of("cus_1", limit=1)) == made[:1]
    assert await store.read(lambda tx: tx.transactions_of("cus_none")) == []
    assert await store.read(lambda tx: tx.transactions_of("cus_1", after="txn_b")) == [made[1], empty]
    assert await store.read(lambda tx: tx.transactions_of("cus_1", after="txn_b", limit=1)) == [made[1]]
    assert await store.read(lambda tx: tx.transactions_of("cus_1", after="txn_0")) == []


async def test_a_transaction_is_found_by_its_id_among_its_customers(
    store: Store, build: SimpleNamespace
) -> None:
    made = [entry(build, id, nano=nano) for nano, id in enumerate(["txn_b", "txn_a"], 1)]
    for one in made:
        await store.write(lambda tx, one=one: tx.append_transaction(one))
    for one in made:
        assert await store.read(lambda tx, one=one: tx.transaction("cus_1", one.id)) == one
    assert await store.read(lambda tx: tx.transaction("cus_1", "txn_none")) is None
    assert await store.read(lambda tx: tx.transaction("cus_2", "txn_a")) is None


async def test_an_account_beyond_64_bits_is_refused(store: Store, build: SimpleNamespace) -> None:
    await store.write(lambda tx: tx.append_transaction(entry(build, nano=NANO_MAX)))
    with pytest.raises(InvalidAmount):
        await store.write(lambda tx: tx.append_transaction(entry(build, "txn_2", nano=1)))
    assert await store.read(lambda tx: tx.account_balance("cus_1", "cus_1/accrued")) == NANO_MAX
    assert ids(await store.read(lambda tx: tx.transactions_of("cus_1"))) == ["txn_1"]


async def test_one_transaction_may_post_twice_to_an_account(store: Store, build: SimpleNamespace) -> None:
    await store.write(
        lambda tx: move(
            tx,
            customer="cus_1",
            kind="payment",
            reference="",
            postings=[("a", 1), ("a", 2), ("b", -3)],
            at=build.at,
        )
    )
    assert await store.read(lambda tx: tx.account_balance("cus_1", "a")) == 3


async def test_a_grant_comes_back_as_it_was(store: Store, build: SimpleNamespace) -> None:
    full = build.grant(
        expires_at=build.at + build.minute,
        category="promotional",
        priority=0,
        name="Welcome",
        metadata={"a": "ü"},
        voided_at=build.at,
        expired_at=build.at,
        source="plan",
        updated=build.at,
        minor_amount=100,
        remaining_nano=1,
    )
    await store.write(lambda tx: tx.save_grant(build.grant()))
    assert await store.read(lambda tx: tx.grant("credgr_1")) == build.grant()
    await store.write(lambda tx: tx.save_grant(full))
    assert await store.read(lambda tx: tx.grant("credgr_1")) == full
    assert await store.read(lambda tx: tx.grant("credgr_none")) is None


async def test_live_grants_hold_something_and_have_not_ended(store: Store, build: SimpleNamespace) -> None:
    def verb(tx: Tx) -> None:
        tx.save_grant(build.grant("credgr_z"))
        tx.save_grant(build.grant("credgr_spent", remaining_nano=0))
        tx.save_grant(build.grant("credgr_voided", voided_at=build.at))
        tx.save_grant(build.grant("credgr_ended", expired_at=build.at))
        tx.save_grant(build.grant("credgr_due", expires_at=build.at - build.minute))  # Not booked yet.
        tx.save_grant(build.grant("credgr_other", customer="cus_2"))
        tx.save_grant(build.grant("credgr_z", name="Renamed"))

    await store.write(verb)
    assert ids(await store.read(lambda tx: tx.live_grants("cus_1"))) == ["credgr_z", "credgr_due"]
    every = ["credgr_z", "credgr_spent", "credgr_voided", "credgr_ended", "credgr_due"]
    assert ids(await store.read(lambda tx: tx.grants_of("cus_1"))) == every
    assert await store.read(lambda tx: tx.grants_of("cus_none")) == []


async def test_expiring_grants_come_earliest_first(store: Store, build: SimpleNamespace) -> None:
    def verb(tx: Tx) -> None:
        tx.save_grant(build.grant("credgr_2", expires_at=build.at))
        tx.save_grant(build.grant("credgr_1", expires_at=build.at, customer="cus_2"))
        tx.save_grant(build.grant("credgr_0", expires_at=build.at - build.minute))
        tx.save_grant(build.grant("credgr_3", expires_at=build.at + timedelta(microseconds=1)))
        tx.save_grant(build.grant("credgr_4", expires_at=build.at, expired_at=build.at))
        tx.save_grant(build.grant("credgr_5"))

    await store.write(verb)
    found = await store.read(lambda tx: tx.grants_expiring(build.at))
    assert ids(found) == ["credgr_0", "credgr_2", "credgr_1"]
    assert ids(await store.read(lambda tx: tx.grants_expiring(build.at, limit=1))) == ["credgr_0"]


GRANT_PAGES = [
    ({"customer": None, "limit": 9}, ["g4", "g3", "g2", "g1"]),
    ({"customer": None, "limit": 2, "older_than": "g4"}, ["g3", "g2"]),
    ({"customer": None, "limit": 2, "newer_than": "g1"}, ["g3", "g2"]),
    ({"customer": "cus_1", "limit": 9}, ["g3", "g1"]),
    ({"customer": "cus_1", "limit": 1, "older_than": "g4"}, ["g3"]),
    ({"customer": "cus_1", "limit": 9, "newer_than": "g1"}, ["g3"]),
    ({"customer": "cus_1", "limit": 9, "newer_than": "g_none"}, []),
    ({"customer": None, "limit": 9, "older_than": "g_none"}, []),
    ({"customer": "cus_none", "limit": 9}, []),
]


@pytest.mark.parametrize(("arguments", "expected"), GRANT_PAGES)
async def test_grant_pages_are_cut_at_their_cursors(
    store: Store, build: SimpleNamespace, arguments: dict[str, str], expected: list[str]
) -> None:
    for i in range(1, 5):
        grant = build.grant(f"g{i}", customer="cus_1" if i % 2 else "cus_2")
        await store.write(lambda tx, grant=grant: tx.save_grant(grant))
    assert ids(await store.read(lambda tx: tx.grants_page(**arguments))) == expected


async def test_placed_holds_are_listed_oldest_first_until_they_end(
    store: Store, build: SimpleNamespace
) -> None:
    def verb(tx: Tx) -> None:
        tx.save_hold(build.hold("hold_b", placed_at=build.at + build.minute))
        tx.save_hold(build.hold("hold_a"))
        tx.save_hold(build.hold("hold_c", owner="gw_2", customer="cus_2"))
        tx.save_hold(build.hold("hold_d", state="captured", captured_nano=7))

    await store.write(verb)
    assert ids(await store.read(lambda tx: tx.placed_holds())) == ["hold_a", "hold_c", "hold_b"]
    assert ids(await store.read(lambda tx: tx.placed_holds(owner="gw_2"))) == ["hold_c"]
    assert ids(await store.read(lambda tx: tx.placed_holds(customer="cus_1"))) == ["hold_a", "hold_b"]
    assert await store.read(lambda tx: tx.placed_holds(customer="cus_1", owner="gw_2")) == []
    assert (await store.read(lambda tx: tx.hold("cus_1", "hold_d"))).captured_nano == 7
    assert await store.read(lambda tx: tx.hold("cus_2", "hold_d")) is None
    await store.write(lambda tx: tx.save_hold(replace(build.hold("hold_a"), state="released")))
    assert ids(await store.read(lambda tx: tx.placed_holds(customer="cus_1"))) == ["hold_b"]


async def test_settling_again_moves_nothing(store: Store, build: SimpleNamespace) -> None:
    batch = [build.settlement(f"call-{i}") for i in range(3)]
    price_nano = sum(item.charge.price_nano for item in batch)
    await store.write(lambda tx: build.enrol(tx, "cus_1"))
    await store.write(lambda tx: grant_credit(tx, build.grant(amount_nano=price_nano - 1), at=build.at))
    first = await store.write(lambda tx: settle(tx, batch, at=build.at))
    again = await store.write(lambda tx: settle(tx, [*batch, *batch], at=build.at))
    assert (first.new, first.duplicate, again.new, again.duplicate) == (3, 0, 0, 6)
    balance = await store.read(lambda tx: tx.balance_for_update("cus_1"))
    assert balance.owed_total_nano == 1
    assert await store.read(lambda tx: tx.account_balance("cus_1", account.book("revenue"))) == price_nano
    assert await store.read(lambda tx: tx.account_balance("cus_1", account.accrued("cus_1"))) == -1


async def test_a_settlement_captures_its_hold(store: Store, build: SimpleNamespace) -> None:
    item = build.settlement(hold="hold_1", release_nano=9_000_000, closes=True)
    hold = build.hold(amount_nano=9_000_000)
    await store.write(lambda tx: build.enrol(tx, "cus_1"))
    await store.write(lambda tx: grant_credit(tx, build.grant(), at=build.at))
    await store.write(lambda tx: place_hold(tx, hold, at=build.at))
    await store.write(lambda tx: settle(tx, [item], at=build.at))
    assert (await store.read(lambda tx: tx.hold("cus_1", "hold_1"))).state == "captured"
    assert (await store.read(lambda tx: tx.balance_for_update("cus_1"))).held_nano == 0
    assert await store.write(lambda tx: release_hold(tx, "cus_1", "hold_1")) == 0


async def test_a_crossing_fires_once_and_recovers_once(store: Store, build: SimpleNamespace) -> None:
    def announced(tx: Tx) -> list[str]:
        return [event.type for event in reversed(tx.page(Event))]

    def prepare(tx: Tx) -> None:
        build.enrol(tx, "cus_1")
        tx.save(build.alert())
        tx.save(build.endpoint())
        grant_credit(tx, build.grant(amount_nano=1), at=build.at)

    await store.write(prepare)
    for key in ("call-1", "call-2", "call-1"):
        item = build.settlement(key)
        await store.write(lambda tx, item=item: settle(tx, [item], at=build.at))
    types = await store.read(announced)
    assert types == ["billing.alert.triggered"]
    assert (await store.read(lambda tx: tx.balance_for_update("cus_1"))).fired == ("alrt_1",)
    assert len(await store.read(lambda tx: tx.due_deliveries(build.at))) == 1


async def test_voiding_a_grant_takes_it_back(store: Store, build: SimpleNamespace) -> None:
    await store.write(lambda tx: grant_credit(tx, build.grant(), at=build.at))
    crossing = await store.write(lambda tx: void_grant(tx, tx.grant("credgr_1"), at=build.at))
    assert (crossing.before_nano, crossing.after_nano) == (build.dollar, 0)
    assert await store.read(lambda tx: tx.live_grants("cus_1")) == []
    assert await store.read(lambda tx: tx.account_balance("cus_1", account.book("payments"))) == 0


async def test_late_usage_burns_what_has_lapsed_of_its_own_time_and_is_known_by_grant(
    store: Store, build: SimpleNamespace
) -> None:
    ended = build.grant(expires_at=build.at)
    await store.write(lambda tx: grant_credit(tx, ended, at=build.at - build.minute))
    await store.write(lambda tx: expire_grant(tx, tx.grant(ended.id), at=build.at))
    posting = UsagePosting(
        customer="cus_1", price_nano={0: 30}, cost_nano=0, releases={}, used_at={0: build.at - build.minute}
    )
    await store.write(lambda tx: post_usage(tx, posting, at=build.at + build.minute))
    after = await store.read(lambda tx: tx.grant(ended.id))
    assert (after.remaining_nano, after.lapsed_nano) == (0, ended.amount_nano - 30)
    balance = await store.read(lambda tx: tx.balance_for_update("cus_1"))
    assert (balance.owed_nano, balance.paid_nano) == ({}, {0: {ended.id: 30}})
    breakage = await store.read(lambda tx: tx.account_balance("cus_1", "book/breakage"))
    assert breakage == ended.amount_nano - 30
