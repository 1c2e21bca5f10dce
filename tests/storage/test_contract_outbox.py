"""Claims, order and the log of deliveries, on every store."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest

from costplus.billing.event import Attempt, Delivery
from costplus.billing.store import Store


def ids(deliveries: list[Delivery]) -> list[str]:
    return [delivery.id for delivery in deliveries]


async def save(store: Store, *deliveries: Delivery) -> None:
    await store.write(lambda tx: [tx.save_delivery(delivery) for delivery in deliveries])


async def test_a_claim_takes_what_is_due_and_keeps_others_from_it_until_it_ends(
    store: Store, build: SimpleNamespace
) -> None:
    until = build.at + build.minute
    await save(
        store,
        build.delivery("late", due_at=until),
        build.delivery("b"),
        build.delivery("a"),
        build.delivery("early", due_at=build.at - build.minute),
        build.delivery("done", status="delivered"),
    )
    claimed = await store.write(lambda tx: list(tx.claim_deliveries(build.at, until)))
    assert ids(claimed) == ["early", "b", "a"]
    assert {delivery.due_at for delivery in claimed} == {until}
    assert await store.write(lambda tx: list(tx.claim_deliveries(build.at, until))) == []
    stored = await store.read(lambda tx: [tx.delivery(id) for id in ("early", "b", "a")])
    assert stored == claimed
    again = await store.write(lambda tx: tx.claim_deliveries(until, until + build.minute, 2))
    assert ids(again) == ["late", "b"]


async def test_a_claim_leaves_busy_endpoints_alone(store: Store, build: SimpleNamespace) -> None:
    await save(
        store,
        build.delivery("x", endpoint="we_busy"),
        build.delivery("y"),
        build.delivery("z", endpoint="we_other"),
    )
    until = build.at + build.minute
    claimed = await store.write(
        lambda tx: tx.claim_deliveries(build.at, until, but_of=["we_busy", "we_other"])
    )
    assert ids(claimed) == ["y"]


async def test_what_is_ahead_is_the_earliest_pending_one_of_the_same_object_and_endpoint(
    store: Store, build: SimpleNamespace
) -> None:
    await save(
        store,
        build.delivery("told", object="o", status="delivered"),
        build.delivery("tired", object="o", attempts=4),
        build.delivery("elsewhere", object="o", endpoint="we_2"),
        build.delivery("other", object="p"),
        build.delivery("first", object="o", attempts=3),
        build.delivery("second", object="o"),
        build.delivery("third", object="o"),
        build.delivery("loose_1"),
        build.delivery("loose_2"),
    )

    async def ahead(id: str) -> str | None:
        def look(tx: object) -> Delivery | None:
            known = tx.delivery(id)  # type: ignore[attr-defined]  # A transaction.
            return tx.delivery_ahead(known, attempts_below=4)  # type: ignore[attr-defined,no-any-return]  # As above.

        found = await store.read(look)
        return found.id if found else None

    assert await ahead("third") == await ahead("second") == "first"
    assert await ahead("first") is await ahead("other") is await ahead("elsewhere") is None
    assert await ahead("loose_2") is None


async def test_a_delivery_comes_back_with_everything_it_went_through(
    store: Store, build: SimpleNamespace
) -> None:
    log = (
        Attempt(at=build.at, status=None, duration_ms=20_000, error="No answer."),
        Attempt(at=build.at + build.minute, status=200, duration_ms=7),
    )
    kept = build.delivery(object="cus_1", created=build.at, response_body="né\n", log=log)
    await save(store, kept)
    assert await store.read(lambda tx: tx.delivery("whd_1")) == kept
    assert await store.read(lambda tx: tx.delivery("whd_none")) is None


PAGES = [
    ({}, ["d4", "d3", "d2", "d1"]),
    ({"endpoint": "we_1"}, ["d4", "d2", "d1"]),
    ({"event": "evt_1"}, ["d3", "d2", "d1"]),
    ({"event": "evt_1", "endpoint": "we_1", "status": "failed"}, ["d1"]),
    ({"status": "pending", "limit": 1}, ["d4"]),
    ({"endpoint": "we_1", "older_than": "d4"}, ["d2", "d1"]),
    ({"event": "evt_1", "newer_than": "d1"}, ["d3", "d2"]),
    ({"newer_than": "d3"}, ["d4"]),
    ({"older_than": "none"}, []),
]


@pytest.mark.parametrize(("arguments", "expected"), PAGES)
async def test_the_log_is_narrowed_and_cut_at_its_cursors(
    store: Store, build: SimpleNamespace, arguments: dict[str, str], expected: list[str]
) -> None:
    await save(
        store,
        build.delivery("d1", status="failed"),
        build.delivery("d2"),
        build.delivery("d3", endpoint="we_2"),
        build.delivery("d4", event="evt_2"),
    )
    await save(store, replace(build.delivery("d1", status="failed"), attempts=9))  # It keeps its place.
    found = await store.read(lambda tx: tx.deliveries_page(**{"limit": 10, **arguments}))
    assert ids(found) == expected


async def test_meter_events_are_found_by_identifier_whoevers_they_are(
    store: Store, build: SimpleNamespace
) -> None:
    def reported(key: str, **changes: object) -> object:
        return replace(build.event(key, **changes), source="meter_events_v2")

    mine, other = reported("id-1"), reported("id-1", customer="cus_2", at=build.at + build.minute)
    events = [mine, other, reported("id-2"), build.event("id-1", customer="cus_3")]
    await store.write(lambda tx: tx.append_events(events))
    assert await store.read(lambda tx: list(tx.reported_as("id-1"))) == [other, mine]
    assert await store.read(lambda tx: list(tx.reported_as("id-3"))) == []
