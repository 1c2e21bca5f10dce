"""Rates that ask for nothing, their sums, and what plans include, on every store."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace

from costplus.billing.allowance import Allowance
from costplus.billing.plan import Plan
from costplus.billing.settle import settle
from costplus.billing.store import Store, Tx
from costplus.rating.waive import SHADOW, shadowed

HOUR = timedelta(hours=1)


async def test_a_waived_rate_comes_back_with_its_reason_and_its_price(
    store: Store, build: SimpleNamespace
) -> None:
    entry = build.charged()
    waived = replace(entry, charge=shadowed(entry.charge))
    await store.write(lambda tx: build.keep(tx, [waived]))
    kept = await store.read(lambda tx: tx.charge_of("cus_1", entry.event.id))
    assert kept == waived
    rate = waived.charge.lines[0].rate
    assert (rate.waived, rate.unit_price, rate.list_price) == (
        SHADOW,
        0,
        entry.charge.lines[0].rate.unit_price,
    )
    assert await store.read(lambda tx: tx.unit_rate(rate.id)) == rate


async def test_waived_units_are_summed_by_the_hour_for_one_customer_or_all(
    store: Store, build: SimpleNamespace
) -> None:
    entries = []
    for customer, hours in (("cus_1", 0), ("cus_1", 1), ("cus_2", 0), ("cus_2", 30)):
        made = build.charged(
            f"call-{hours}", customer=customer, at=build.at + hours * HOUR, quantities={"input": 7}
        )
        entries.append(replace(made, charge=shadowed(made.charge)))
    plain = build.charged("call-plain", quantities={"input": 500})
    for customer in ("cus_1", "cus_2"):
        kept = [entry for entry in entries if entry.event.customer == customer]
        await store.write(lambda tx, kept=kept: build.keep(tx, kept))
    await store.write(lambda tx: build.keep(tx, [plain]))

    async def units(customer: str | None, hours: int) -> list[int]:
        totals = await store.read(lambda tx: tx.waived_totals(customer, build.at, build.at + hours * HOUR))
        return [total.quantity for total in totals]

    assert await units(None, 0) == []
    assert await units(None, 2) == [21]
    assert await units("cus_1", 24) == [14]
    assert await units("cus_2", 48) == [14]
    assert await units("cus_3", 48) == []


async def test_included_tokens_are_used_once_on_every_store(store: Store, build: SimpleNamespace) -> None:
    plan = Plan(
        id="plan_1",
        created=build.at,
        display_name="Team",
        currency="usd",
        rate_card="rcd_1",
        allowances=(Allowance(id="t", units=1500, token_types=("input",)),),
    )

    def begin(tx: Tx) -> None:
        build.enrol(tx, "cus_1")
        tx.save(plan)

    await store.write(begin)
    batch = [build.settlement(f"call-{n}", quantities={"input": 1000}) for n in range(2)]
    for _ in range(2):
        await store.write(lambda tx: settle(tx, batch, at=build.at))
    totals, _ = await store.read(lambda tx: tx.usage_totals("cus_1", build.at - HOUR, build.at + HOUR))
    assert sorted((total.rate.waived, total.quantity) for total in totals) == [
        ("", 500),
        ("included/t", 1500),
    ]
