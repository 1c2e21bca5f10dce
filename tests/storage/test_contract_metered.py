"""What meters counted per billing period, and negative lines, on every store."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from types import SimpleNamespace

import pytest

from costplus.billing.report import report
from costplus.billing.settle import subscription_of
from costplus.billing.store import Store, Tx
from costplus.billing.true_up import true_up
from costplus.catalog.catalogue import Catalogue
from costplus.catalog.snapshot import Snapshot
from costplus.core.money import InvalidAmount
from costplus.core.usage import usage_of
from costplus.ledger.post import grant_credit
from costplus.metering.event import METER, usage_event
from costplus.rating.charge import ChargeLine, charge_of
from costplus.rating.item import CardItem, ItemTier
from costplus.rating.item_charge import Metered
from costplus.rating.pricing import Pricing
from costplus.rating.rate_card import RateCardVersion, adjustment

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
    assert [(total.rate.leaf, total.quantity) for total in totals] == [("output", 2)]
    assert back.price_nano < 0
    assert price_nano == first.charge.price_nano + back.price_nano
    kept = await store.read(lambda tx: tx.charge_of("cus_1", correction.event.id))
    assert kept is not None and isinstance(kept.charge.lines[0], ChargeLine)
    assert kept.charge == back


async def test_items_are_charged_and_trued_up_on_every_store(store: Store, build: SimpleNamespace) -> None:
    tiers = (
        ItemTier(up_to=10, unit_amount=Decimal(10)),
        ItemTier(up_to=None, unit_amount=Decimal(5)),
    )
    item = CardItem(event_name="seats", display_name="Seats", kind="volume", tiers=tiers)
    markup = adjustment("markup", Decimal(0))
    card = RateCardVersion(
        id="rcv_1", created=build.at, rate_card="rcd_1", default=markup, items={"seats": item}
    )
    events = [
        usage_event(
            customer="cus_1",
            at=build.at,
            key=f"report-{units}",
            usage=usage_of({"unit": units}),
            source="meter_events_v2",
            provider=METER,
            model="seats",
            meter="seats",
        )
        for units in (9, 2)
    ]
    pricing = Pricing(Catalogue(Snapshot(1, date(2026, 1, 1), "usd", {}, {})))

    def verb(tx: Tx) -> None:
        build.enrol(tx, "cus_1")
        tx.save(card)
        grant_credit(tx, build.grant(amount_nano=95 * build.dollar), at=build.at)
        report(tx, pricing, events, at=build.at)
        subscription = subscription_of(tx, "cus_1")
        for _ in range(2):
            true_up(tx, subscription, subscription.period, at=subscription.period.end)

    await store.write(verb)
    start = build.at.replace(day=1, hour=0, minute=0)
    counted = await store.read(lambda tx: tx.metered("cus_1", "seats", start))
    assert counted == Metered(11, 55 * build.dollar)
    assert await store.read(lambda tx: tx.balance_for_update("cus_1").owed_nano) == {}
    totals, price_nano = await store.read(lambda tx: tx.usage_totals("cus_1", start, start + MONTH))
    assert ([total.quantity for total in totals if total.quantity], price_nano) == ([11], 55 * build.dollar)
    live = await store.read(lambda tx: tx.live_grants("cus_1"))
    assert [(grant.source, grant.remaining_nano) for grant in live] == [("correction", 40 * build.dollar)]
