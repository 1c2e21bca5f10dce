"""What a store promises where it gathers writes and reads ahead: nobody can tell.

A verb over many customers sees all that it wrote, one that fails leaves nothing of it, and the verbs that
share its commit keep theirs.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from types import SimpleNamespace

import pytest

from costplus.billing.customer import Customer
from costplus.billing.settle import settle
from costplus.billing.store import Store, Tx
from costplus.core.errors import Conflict
from costplus.ledger import account
from costplus.ledger.post import grant_credit
from costplus.ledger.reserve import place_hold
from costplus.ledger.transaction import transaction
from costplus.rating.item_charge import Metered

CUSTOMERS = ["cus_0", "cus_1", "cus_2"]


def seen(tx: Tx, build: SimpleNamespace, customer: str) -> list[object]:
    """Return all that settling one event leaves of a customer."""
    totals, price_nano = tx.usage_totals(customer, build.at, build.at + build.minute)
    return [
        [total.quantity for total in totals],
        price_nano,
        [entry.price_nano for entry in tx.model_totals(customer, build.at, build.at + build.minute)],
        [entry.event.customer for entry in tx.charged_page(customer=customer, limit=9)],
        [[posting.amount_nano for posting in entry.postings] for entry in tx.transactions_of(customer)],
        tx.account_balance(customer, account.credit(customer, f"credgr_{customer}")),
        [grant.remaining_nano for grant in tx.grants_of(customer)],
        [grant.remaining_nano for grant in tx.live_grants(customer)],
        [grant.remaining_nano for grant in tx.grants_page(customer=customer, limit=9)],
        tx.balance(customer).held_nano,
        [hold.id for hold in tx.placed_holds(customer=customer)],
        tx.spent_between(customer, build.at, build.at + build.minute).units,
        tx.metered(customer, "pages", build.at),
    ]


def everything(tx: Tx, build: SimpleNamespace, *customers: str) -> None:
    """Enrol the customers, give them credit and settle one event of each, half of it from a hold."""
    build.enrol(tx, *customers)
    for customer in customers:
        grant_credit(tx, build.grant(f"credgr_{customer}", customer=customer), at=build.at)
        place_hold(tx, build.hold(f"hold_{customer}", customer=customer, amount_nano=10), at=build.at)
        tx.add_metered(customer, "pages", build.at, Metered(2, 20))
        tx.add_metered(customer, "pages", build.at, Metered(1, 10))
    settle(tx, [build.settlement(customer=customer) for customer in customers], at=build.at)


async def test_a_verb_over_many_customers_sees_what_it_wrote_as_later_ones_do(
    store: Store, build: SimpleNamespace
) -> None:
    def verb(tx: Tx) -> list[list[object]]:
        everything(tx, build, *CUSTOMERS)
        return [seen(tx, build, customer) for customer in CUSTOMERS]

    within = await store.write(verb, customers=CUSTOMERS)
    after = await store.read(lambda tx: [seen(tx, build, customer) for customer in CUSTOMERS])
    assert within == after
    assert within[0][3] == ["cus_0"] and within[0][10] == ["hold_cus_0"] and within[0][12] == Metered(3, 30)


async def test_settling_together_leaves_what_settling_alone_leaves(
    store: Store, build: SimpleNamespace
) -> None:
    await store.write(lambda tx: everything(tx, build, *CUSTOMERS), customers=CUSTOMERS)
    await store.write(lambda tx: everything(tx, build, "cus_3"), customers=["cus_3"])
    together, alone = await store.read(lambda tx: [seen(tx, build, id) for id in ("cus_1", "cus_3")])
    assert together[:3] == alone[:3]
    assert together[4:10] == alone[4:10]


async def test_one_failing_verb_over_many_customers_leaves_the_others_of_its_commit(
    store: Store, build: SimpleNamespace
) -> None:
    def verb(tx: Tx, number: int) -> None:
        own = [f"cus_{number}_{i}" for i in range(3)]
        everything(tx, build, *own)
        if number % 2:
            raise Conflict("on purpose")

    outcomes = await asyncio.gather(
        *(
            store.write(lambda tx, n=n: verb(tx, n), customers=[f"cus_{n}_{i}" for i in range(3)])
            for n in range(6)
        ),
        return_exceptions=True,
    )
    assert [isinstance(outcome, Conflict) for outcome in outcomes] == [False, True] * 3

    def left(tx: Tx, number: int) -> list[object]:
        return seen(tx, build, f"cus_{number}_1")

    kept, lost = await store.read(lambda tx: [left(tx, 4), left(tx, 5)])
    assert lost == [[], 0, [], [], [], 0, [], [], [], 0, [], 0, Metered()]
    assert kept[3] == ["cus_4_1"] and len(kept[4]) == 2


async def test_verbs_of_one_commit_see_each_other_in_turn(store: Store, build: SimpleNamespace) -> None:
    await store.write(lambda tx: everything(tx, build, *CUSTOMERS))

    def verb(tx: Tx) -> int:
        held = [tx.balance_for_update(customer).held_nano for customer in CUSTOMERS]
        for customer in CUSTOMERS:
            tx.save_balance(replace(tx.balance_for_update(customer), held_nano=held[0] + 1))
            known = tx.find(Customer, customer)
            assert known is not None
            tx.save(replace(known, name=f"{known.name or ''}x"))
        return held[0]

    found = await asyncio.gather(*(store.write(verb, customers=CUSTOMERS) for _ in range(8)))
    assert sorted(found) == list(range(10, 18))
    names = await store.read(lambda tx: {tx.find(Customer, id).name for id in CUSTOMERS})
    assert names == {"x" * 8}


@pytest.mark.parametrize("reads_between", [False, True])
async def test_a_transaction_is_kept_once_within_a_verb_and_after_it(
    store: Store, build: SimpleNamespace, reads_between: bool
) -> None:
    postings = [(account.accrued("cus_1"), 5), (account.book("revenue"), -5)]
    entry = transaction(id="txn_1", customer="cus_1", at=build.at, kind="usage", postings=postings)

    def verb(tx: Tx) -> int:
        tx.append_transaction(entry)
        if reads_between:
            assert tx.transaction("cus_1", "txn_1") == entry
        tx.append_transaction(entry)
        tx.append_transaction(replace(entry, id="txn_2"))
        return len(tx.transactions_of("cus_1"))

    assert [await store.write(verb), await store.write(verb, customers=["cus_1", "cus_2"])] == [2, 2]
    assert await store.read(lambda tx: tx.account_balance("cus_1", account.accrued("cus_1"))) == 10


async def test_a_grant_that_comes_or_comes_back_takes_its_place(store: Store, build: SimpleNamespace) -> None:
    def verb(tx: Tx) -> list[list[str]]:
        found = []
        for id, left in (("credgr_1", 5), ("credgr_2", 5), ("credgr_1", 0), ("credgr_3", 5), ("credgr_1", 1)):
            tx.save_grant(build.grant(id, remaining_nano=left))
            found.append([grant.id for grant in tx.live_grants("cus_1")])
        return found

    found = await store.write(verb, customers=["cus_1", "cus_2"])
    one, two, three = (f"credgr_{number}" for number in (1, 2, 3))
    assert found == [[one], [one, two], [two], [two, three], [one, two, three]]


async def test_totals_asked_for_again_know_what_came_between(store: Store, build: SimpleNamespace) -> None:
    def verb(tx: Tx) -> list[int]:
        found = []
        for key in ("call-1", "call-2"):
            build.keep(tx, [build.charged(key)])
            totals, price_nano = tx.usage_totals("cus_1", build.at, build.at + build.minute)
            found += [sum(total.quantity for total in totals), price_nano]
        return found

    units, price_nano, both_units, both_price_nano = await store.write(verb)
    assert (both_units, both_price_nano) == (2 * units, 2 * price_nano)
    assert units > 0


async def test_grants_of_one_verb_keep_their_order_however_many_are_written_at_once(
    store: Store, build: SimpleNamespace
) -> None:
    names = [f"credgr_{number:03d}" for number in range(340)]  # More than one statement's worth.
    order = [names[n * 7 % len(names)] for n in range(len(names))]

    def verb(tx: Tx) -> None:
        build.enrol(tx, "cus_0")
        for name in order:
            tx.save_grant(build.grant(name, customer="cus_0"))

    await store.write(verb)
    await store.write(
        lambda tx: tx.save_grant(replace(build.grant(order[0], customer="cus_0"), name="again"))
    )
    found = await store.read(lambda tx: tx.grants_page(customer="cus_0", limit=400))
    assert [grant.id for grant in reversed(found)] == order
    assert found[-1].name == "again"
