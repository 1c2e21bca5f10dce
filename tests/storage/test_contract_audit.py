"""What an audit asks of a store, on every one: sums, customers, and rows without their counterpart."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

from costplus.billing.store import Store, Tx
from costplus.core.ids import bucket_of
from costplus.ledger.transaction import Transaction, transaction

BUCKET = bucket_of("cus_1")


def entry(build: SimpleNamespace, id: str, *, customer: str = "cus_1", nano: int = 5) -> Transaction:
    postings = [(f"{customer}/accrued", -nano), ("book/revenue", nano)]
    return transaction(id=id, customer=customer, at=build.at, kind="usage", postings=postings)


def neighbours() -> tuple[str, str]:
    """Return a customer of the bucket of `cus_1`, and one of another bucket."""
    names = [f"cus_{n}" for n in range(2, 5000)]
    return (
        next(name for name in names if bucket_of(name) == BUCKET),
        next(name for name in names if bucket_of(name) != BUCKET),
    )


async def test_a_buckets_accounts_are_summed_as_they_are_kept_and_as_postings_make_them(
    store: Store, build: SimpleNamespace
) -> None:
    near, far = neighbours()
    made = [
        entry(build, "txn_1"),
        entry(build, "txn_2", customer=near, nano=7),
        entry(build, "txn_3", customer=far),
    ]

    def sums(tx: Tx) -> list[dict[str, int]]:
        return [dict(tx.account_balances(BUCKET)), dict(tx.posting_sums(BUCKET))]

    def verb(tx: Tx) -> list[dict[str, int]]:
        for one in made:
            tx.append_transaction(one)
        return sums(tx)

    expected = {"cus_1/accrued": -5, f"{near}/accrued": -7, "book/revenue": 12}
    assert await store.write(verb) == [expected, expected]
    assert await store.read(sums) == [expected, expected]
    assert all(type(nano) is int for nano in (await store.read(sums))[0].values())
    assert await store.read(lambda tx: dict(tx.unbalanced(BUCKET))) == {}


async def test_a_transaction_that_does_not_sum_to_zero_is_named(store: Store, build: SimpleNamespace) -> None:
    wrong = entry(build, "txn_wrong")
    wrong = replace(wrong, postings=wrong.postings[:1])
    await store.write(lambda tx: [tx.append_transaction(one) for one in (entry(build, "txn_1"), wrong)])
    assert await store.read(lambda tx: dict(tx.unbalanced(BUCKET))) == {"txn_wrong": -5}


async def test_a_buckets_customers_are_those_with_usage_transactions_or_a_balance(
    store: Store, build: SimpleNamespace
) -> None:
    names = [name for n in range(50_000) if bucket_of(name := f"cus_{n}") == BUCKET][:3]
    used, moved, held = names

    def verb(tx: Tx) -> None:
        tx.append_events([build.event(customer=used), build.event(customer=neighbours()[1])])
        tx.append_transaction(entry(build, "txn_1", customer=moved))
        tx.save_balance(replace(tx.balance_for_update(held), held_nano=3))

    await store.write(verb)
    assert await store.read(lambda tx: list(tx.customers_in(BUCKET))) == sorted(names)
    assert await store.read(lambda tx: list(tx.customers_in(BUCKET + 1))) == []


async def test_events_and_charges_without_each_other_are_named(store: Store, build: SimpleNamespace) -> None:
    entries = [build.charged("paired"), build.charged("no-event"), build.charged("no-charge")]
    paired, no_event, no_charge = entries

    def verb(tx: Tx) -> list[str]:
        tx.append_events([paired.event, no_charge.event])
        tx.append_charges([paired, no_event])
        return list(tx.unpaired("cus_1"))

    expected = sorted([no_event.event.id, no_charge.event.id])
    assert await store.write(verb) == expected
    assert await store.read(lambda tx: list(tx.unpaired("cus_1"))) == expected
    assert await store.read(lambda tx: list(tx.unpaired("cus_2"))) == []
