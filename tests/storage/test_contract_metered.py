"""What meters counted per billing period, and negative lines, on every store."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace

import pytest

from costplus.billing.store import Store, Tx
from costplus.core.money import InvalidAmount
from costplus.rating.charge import ChargeLine, charge_of
from costplus.rating.item_charge import Metered

MONTH = timedelta(days=31)


async def test_a_meter_counts_by_customer_and_billing_period(store: Store, build: SimpleNamespace) -> None:
    def verb(tx: Tx) -> None:
        tx.add_metered("cus_1", "seats", build.at, Metered(3, 30))
        tx.add_metered("cus_1", "seats", build.at, Metered(4, -10))
        tx.add_metered("cus_1", "seats", build.at + MONTH, Metered(5, 0))
        tx.add_metered("cus_1", "images", build.at, Metered(6, 0))
        tx.add_metered("cus_2", "seats", build.at, Metered(7, 0))

    await store.write(verb)
    assert await store.read(lambda tx: tx.metered("cus_1", "seats", build.at)) == Metered(7, 20)
    assert await store.read(lambda tx: tx.metered("cus_1", "seats", build.at + MONTH)) == Metered(5, 0)
    assert await store.read(lambda tx: tx.metered("cus_2", "images", build.at)) == Metered()


async def test_a_refused_verb_counts_nothing(store: Store, build: SimpleNamespace) -> None:
    def verb(tx: Tx) -> None:
        tx.add_metered("cus_1", "seats", build.at, Metered(3, 30))
        raise InvalidAmount("No.")

    with pytest.raises(InvalidAmount):
        await store.write(verb)
    assert await store.read(lambda tx: tx.metered("cus_1", "seats", build.at)) == Metered()


async def test_sqlite_refuses_to_count_beyond_64_bits(sqlite: Store, build: SimpleNamespace) -> None:
    await sqlite.write(lambda tx: tx.add_metered("cus_1", "seats", build.at, Metered(2**63 - 1, 0)))
    with pytest.raises(InvalidAmount):
        await sqlite.write(lambda tx: tx.add_metered("cus_1", "seats", build.at, Metered(1, 0)))
    assert (await sqlite.read(lambda tx: tx.metered("cus_1", "seats", build.at))).units == 2**63 - 1


@pytest.mark.parametrize("hours", [0, 1])  # In a partial hour, and in one that the roll-ups hold.
async def test_lines_taken_back_leave_the_rest_in_the_totals(
    store: Store, build: SimpleNamespace, hours: int
) -> None:
    at = build.at + timedelta(hours=hours)
    first = build.charged("call-1", at=at, quantities={"input": 10, "output": 3})
    back = charge_of(
        replace(line, quantity=-10 if line.rate.leaf == "input" else -1) for line in first.charge.lines
    )
    correction = build.charged("call-2", at=at)
    await store.write(lambda tx: build.keep(tx, [first, replace(correction, charge=back)]))
    totals, price_nano = await store.read(
        lambda tx: tx.usage_totals("cus_1", build.at, at + timedelta(hours=2))
    )
    assert [(total.rate.leaf, total.quantity) for total in totals] == [("input", 0), ("output", 2)]
    assert back.price_nano < 0
    assert price_nano == first.charge.price_nano + back.price_nano
    kept = await store.read(lambda tx: tx.charge_of("cus_1", correction.event.id))
    assert kept is not None and isinstance(kept.charge.lines[0], ChargeLine)
    assert kept.charge == back
