"""Records, webhook deliveries, idempotency replies and numbers, on every store."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from types import SimpleNamespace

import pytest

from costplus.billing.customer import ApiKey, Customer
from costplus.billing.store import Store, StoredReply, Tx
from costplus.billing.subscription import Subscription
from costplus.core.records import Record, RecordImmutable
from costplus.rating.rate_card import RateCardVersion
from costplus.storage.errors import LookupTaken


def ids(records: list[Record]) -> list[str]:
    return [record.id for record in records]


def api_key(build: SimpleNamespace, id: str, digest: str, *, customer: str = "") -> ApiKey:
    return ApiKey(id=id, created=build.at, digest=digest, customer=customer)


async def test_an_unknown_record_is_none(store: Store) -> None:
    assert await store.read(lambda tx: tx.find(Customer, "cus_none")) is None
    assert await store.read(lambda tx: tx.find_by_lookup(ApiKey, "digest")) is None
    assert await store.read(lambda tx: tx.page(Customer)) == []


async def test_saving_again_replaces_the_record_in_its_place(store: Store, build: SimpleNamespace) -> None:
    for id in ("cus_1", "cus_2"):
        await store.write(lambda tx, name=id: tx.save(build.customer(name)))
    await store.write(lambda tx: tx.save(build.customer("cus_1", name="Renamed")))
    found = await store.read(lambda tx: tx.page(Customer))
    assert found == [build.customer("cus_2"), build.customer("cus_1", name="Renamed")]


async def test_a_card_version_never_changes_and_never_goes(store: Store, build: SimpleNamespace) -> None:
    version = build.sheet().card
    dearer = replace(version, default=replace(version.default, percent=version.default.percent + 1))
    await store.write(lambda tx: tx.save(version))
    await store.write(lambda tx: tx.save(replace(version)))  # Equal content is no change.
    for other in (dearer, replace(version, models=("openai/large",)), replace(version, rate_card="rcd_2")):
        with pytest.raises(RecordImmutable, match=f"rate_card_version '{version.id}' exists with other"):
            await store.write(lambda tx, changed=other: tx.save(changed))
    with pytest.raises(RecordImmutable, match="kept for ever"):
        await store.write(lambda tx: tx.remove(RateCardVersion, version.id))
    assert await store.read(lambda tx: tx.find(RateCardVersion, version.id)) == version
    await store.write(lambda tx: tx.save(replace(dearer, id="rcv_2")))
    assert await store.read(lambda tx: tx.page(RateCardVersion)) == [replace(dearer, id="rcv_2"), version]


async def test_one_id_may_name_records_of_two_kinds(store: Store, build: SimpleNamespace) -> None:
    def verb(tx: Tx) -> None:
        tx.save(build.customer("x"))
        tx.save(replace(build.subscription("cus_1"), id="x"))

    await store.write(verb)
    assert (await store.read(lambda tx: tx.find(Customer, "x"))).id == "x"
    assert (await store.read(lambda tx: tx.find(Subscription, "x"))).customer == "cus_1"


async def test_a_record_is_found_by_its_lookup_until_that_changes(
    store: Store, build: SimpleNamespace
) -> None:
    await store.write(lambda tx: tx.save(api_key(build, "key_1", "old")))
    await store.write(lambda tx: tx.save(api_key(build, "key_1", "new")))
    assert await store.read(lambda tx: tx.find_by_lookup(ApiKey, "old")) is None
    assert (await store.read(lambda tx: tx.find_by_lookup(ApiKey, "new"))).id == "key_1"
    assert await store.read(lambda tx: tx.find_by_lookup(Customer, "new")) is None
    assert await store.read(lambda tx: tx.find_by_lookup(ApiKey, "")) is None


async def test_a_lookup_belongs_to_one_record_until_it_is_removed(
    store: Store, build: SimpleNamespace
) -> None:
    await store.write(lambda tx: tx.save(api_key(build, "key_1", "digest")))
    with pytest.raises(LookupTaken):
        await store.write(lambda tx: tx.save(api_key(build, "key_2", "digest")))
    assert await store.read(lambda tx: tx.find(ApiKey, "key_2")) is None
    await store.write(lambda tx: tx.remove(ApiKey, "key_1"))
    await store.write(lambda tx: tx.save(api_key(build, "key_2", "digest")))
    assert (await store.read(lambda tx: tx.find_by_lookup(ApiKey, "digest"))).id == "key_2"


async def test_removing_what_does_not_exist_does_nothing(store: Store) -> None:
    await store.write(lambda tx: tx.remove(Customer, "cus_none"))


async def test_a_record_saved_after_its_removal_comes_last(store: Store, build: SimpleNamespace) -> None:
    def verb(tx: Tx) -> None:
        for id in ("cus_1", "cus_2"):
            tx.save(build.customer(id))
        tx.remove(Customer, "cus_1")
        tx.save(build.customer("cus_1"))

    await store.write(verb)
    assert ids(await store.read(lambda tx: tx.page(Customer))) == ["cus_1", "cus_2"]


PAGES = [
    ({}, ["k5", "k4", "k3", "k2", "k1"]),
    ({"limit": 2}, ["k5", "k4"]),
    ({"limit": 0}, []),
    ({"limit": 2, "older_than": "k4"}, ["k3", "k2"]),
    ({"older_than": "k1"}, []),
    ({"limit": 2, "newer_than": "k1"}, ["k3", "k2"]),
    ({"newer_than": "k5"}, []),
    ({"newer_than": "k4"}, ["k5"]),
    ({"older_than": "k5", "newer_than": "k2"}, ["k4", "k3"]),
    ({"older_than": "k_none"}, []),
    ({"newer_than": "k_none"}, []),
    ({"parent": "cus_a"}, ["k5", "k3", "k1"]),
    ({"parent": "cus_a", "limit": 1}, ["k5"]),
    ({"parent": "cus_a", "older_than": "k4"}, ["k3", "k1"]),  # The cursor need not match the filter.
    ({"parent": "cus_a", "newer_than": "k1", "limit": 1}, ["k3"]),
    ({"parent": "cus_none"}, []),
    ({"parent": ""}, []),
]


@pytest.mark.parametrize(("arguments", "expected"), PAGES)
async def test_a_page_is_cut_at_its_cursors(
    store: Store, build: SimpleNamespace, arguments: dict[str, str], expected: list[str]
) -> None:
    def verb(tx: Tx) -> None:
        for i in range(1, 6):
            owner = "cus_a" if i % 2 else "cus_b"
            tx.save(api_key(build, f"k{i}", f"digest{i}", customer=owner))

    await store.write(verb)
    assert ids(await store.read(lambda tx: tx.page(ApiKey, **arguments))) == expected


async def test_nobody_can_change_a_stored_record_from_outside(store: Store, build: SimpleNamespace) -> None:
    metadata = {"team": "red"}
    await store.write(lambda tx: tx.save(build.customer(metadata=metadata)))
    metadata["team"] = "blue"
    (await store.read(lambda tx: tx.find(Customer, "cus_1"))).metadata["team"] = "green"
    assert (await store.read(lambda tx: tx.find(Customer, "cus_1"))).metadata == {"team": "red"}


async def test_deliveries_are_due_in_order_of_time_then_creation(
    store: Store, build: SimpleNamespace
) -> None:
    def verb(tx: Tx) -> None:
        tx.save_delivery(build.delivery("whd_late", due_at=build.at + build.minute))
        tx.save_delivery(build.delivery("whd_b"))
        tx.save_delivery(build.delivery("whd_a"))
        tx.save_delivery(build.delivery("whd_early", due_at=build.at - build.minute))
        tx.save_delivery(build.delivery("whd_done", status="delivered", delivered_at=build.at))
        tx.save_delivery(build.delivery("whd_lost", status="failed", response_status=500, error="no"))

    await store.write(verb)
    due = await store.read(lambda tx: tx.due_deliveries(build.at))
    assert ids(due) == ["whd_early", "whd_b", "whd_a"]
    assert ids(await store.read(lambda tx: tx.due_deliveries(build.at, limit=1))) == ["whd_early"]
    assert await store.read(lambda tx: tx.due_deliveries(build.at - 2 * build.minute)) == []


async def test_a_claimed_delivery_is_nobody_elses_until_the_claim_ends(
    store: Store, build: SimpleNamespace
) -> None:
    def claim(tx: Tx, at: datetime, limit: int = 100) -> list[str]:
        return ids(tx.claim_deliveries(at, at + build.minute, limit=limit))

    made = [build.delivery("whd_b", due_at=build.at), build.delivery("whd_a", due_at=build.at - build.minute)]
    await store.write(lambda tx: [tx.save_delivery(one) for one in made])
    assert await store.write(lambda tx: claim(tx, build.at, 1), customers=()) == ["whd_a"]
    assert await store.write(lambda tx: claim(tx, build.at), customers=()) == ["whd_b"]
    assert await store.write(lambda tx: claim(tx, build.at), customers=()) == []
    assert await store.read(lambda tx: tx.next_delivery_at()) == build.at + build.minute
    (again, _) = await store.write(
        lambda tx: tx.claim_deliveries(build.at + build.minute, build.at + 2 * build.minute)
    )
    assert again == replace(made[0], id=again.id, due_at=build.at + 2 * build.minute)


async def test_a_replaced_delivery_keeps_its_place_and_moves_the_next_due_time(
    store: Store, build: SimpleNamespace
) -> None:
    assert await store.read(lambda tx: (tx.next_delivery_at(), tx.count_pending_deliveries())) == (None, 0)
    await store.write(lambda tx: [tx.save_delivery(build.delivery(id)) for id in ("whd_1", "whd_2")])
    assert await store.read(lambda tx: tx.next_delivery_at()) == build.at
    retried = build.delivery("whd_1", due_at=build.at + build.minute, attempts=1, response_status=503)
    await store.write(lambda tx: tx.save_delivery(retried))
    await store.write(lambda tx: tx.save_delivery(build.delivery("whd_2", status="delivered")))
    found = await store.read(lambda tx: tx.deliveries_of("evt_1"))
    assert found == [retried, build.delivery("whd_2", status="delivered")]
    assert await store.read(lambda tx: tx.count_pending_deliveries()) == 1
    assert await store.read(lambda tx: tx.next_delivery_at()) == build.at + build.minute
    assert await store.read(lambda tx: tx.deliveries_of("evt_none")) == []


async def test_a_reply_is_kept_until_it_is_old(store: Store, build: SimpleNamespace) -> None:
    reply = StoredReply(key="k", request_digest="d", status=200, body=b'{"a": 1}\xff', created=build.at)
    await store.write(lambda tx: tx.save_reply(reply))
    assert await store.read(lambda tx: tx.reply("k")) == reply
    assert await store.read(lambda tx: tx.reply("other")) is None
    assert await store.write(lambda tx: tx.forget_replies(build.at)) == 0
    assert await store.write(lambda tx: tx.forget_replies(build.at + build.minute)) == 1
    assert await store.read(lambda tx: tx.reply("k")) is None


async def test_numbers_leave_no_gap_after_a_rollback(store: Store) -> None:
    def failing(tx: Tx) -> None:
        tx.next_number("inv")
        raise LookupTaken("on purpose")

    assert await store.write(lambda tx: tx.next_number("inv")) == 1
    with pytest.raises(LookupTaken):
        await store.write(failing)
    assert await store.write(lambda tx: tx.next_number("inv")) == 2
    assert await store.write(lambda tx: tx.next_number("other")) == 1
