"""Every store tells alike which customers are due, the earliest first."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from costplus.billing.store import Store, Tx

AT = datetime(2026, 3, 14, 9, 30, tzinfo=UTC)
TICK = timedelta(microseconds=1)


def enter(tx: Tx) -> None:
    for number, hours in ((1, 5), (2, 3), (3, 4), (4, 3)):
        tx.set_due(f"cus_{number}", AT + timedelta(hours=hours))


async def test_customers_are_due_from_their_instant_on_in_order_of_time_and_id(store: Store) -> None:
    await store.write(enter)
    third = AT + timedelta(hours=3)
    assert await store.read(lambda tx: tx.customers_due(third - TICK, limit=9)) == []
    assert await store.read(lambda tx: tx.customers_due(third, limit=9)) == ["cus_2", "cus_4"]
    late = third + timedelta(days=9)
    assert await store.read(lambda tx: tx.customers_due(late, limit=9)) == [
        "cus_2",
        "cus_4",
        "cus_3",
        "cus_1",
    ]
    assert await store.read(lambda tx: tx.customers_due(late, limit=3)) == ["cus_2", "cus_4", "cus_3"]


async def test_an_entry_is_replaced_and_forgotten(store: Store) -> None:
    await store.write(enter)
    await store.write(lambda tx: tx.set_due("cus_2", AT + TICK))
    await store.write(lambda tx: tx.set_due("cus_4", None))
    await store.write(lambda tx: tx.set_due("cus_never", None))
    assert await store.read(lambda tx: tx.due_of("cus_2")) == AT + TICK
    assert await store.read(lambda tx: tx.due_of("cus_4")) is None
    assert await store.read(lambda tx: tx.customers_due(AT + TICK, limit=9)) == ["cus_2"]


async def test_a_verb_that_fails_leaves_the_agenda_as_it_was(store: Store) -> None:
    await store.write(enter)

    def fails(tx: Tx) -> None:
        tx.set_due("cus_1", AT)
        tx.set_due("cus_2", None)
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await store.write(fails)
    assert await store.read(lambda tx: tx.due_of("cus_1")) == AT + timedelta(hours=5)
    assert await store.read(lambda tx: tx.due_of("cus_2")) == AT + timedelta(hours=3)
