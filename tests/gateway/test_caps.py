"""Hard caps admit exactly what they leave room for, whichever process asks and however often."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from costplus.billing.customer import Customer
from costplus.billing.event import Event
from costplus.billing.hold_cap import CapState, cap_state, reclaim_caps, window_of
from costplus.billing.settle import Settlement, settle
from costplus.billing.shadow import Switch
from costplus.billing.spend_cap import CapWindow, SpendCap, SpendCapReached, cap_id
from costplus.billing.store import Store, Tx
from costplus.billing.terms import capped_terms_of
from costplus.billing.watched import mark_watched
from costplus.catalog.sources.bundled import bundled_catalogue
from costplus.core.ids import GrantId
from costplus.core.usage import Usage
from costplus.gateway.caps import IDLE_AFTER
from costplus.gateway.journal import Journal
from costplus.gateway.leases import Held, Leases
from costplus.gateway.recover import recover
from costplus.gateway.settle import Settler
from costplus.ledger.hold import InsufficientCredit
from costplus.ledger.post import grant_credit
from costplus.ledger.scope import Scope
from costplus.metering.event import usage_event
from costplus.rating.charge import Charge
from costplus.rating.pricing import Pricing

CENT = 10_000_000
CUSTOMER = "cus_1"


async def nothing_waits() -> None:
    """Every charge made so far is in the ledger."""


class Clock:
    def __init__(self, at: datetime) -> None:
        self.at = at

    def __call__(self) -> datetime:
        return self.at


@pytest.fixture
def clock(account: Any) -> Clock:
    return Clock(account.at)


class Capped:
    """A customer without a limit of credit, its caps, and gateway processes on one store."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self.store = store
        self.clock = clock
        self.terms: Any = None
        self._number = 0

    def gateway(self, owner: str = "gw_1") -> Leases:
        return Leases(self.store, owner=owner, now=self.clock, settled=nothing_waits)

    async def cap(self, amount_minor: int, **changes: Any) -> SpendCap:
        fields: dict[str, Any] = {"customer": CUSTOMER, "span": "day", "currency": "usd", **changes}
        id = cap_id(fields.get("api_key") or CUSTOMER, fields["span"])
        cap = SpendCap(id=id, created=self.clock.at, amount_minor=amount_minor, **fields)

        def verb(tx: Tx) -> Any:
            record = tx.find(Customer, CUSTOMER)
            assert record is not None
            tx.save(replace(record, on_zero_credit="overage"))
            tx.save(cap)
            mark_watched(tx, CUSTOMER, at=self.clock.at)
            return capped_terms_of(tx, CUSTOMER)

        self.terms = await self.store.write(verb)
        return cap

    async def block(self, *, model: str = "") -> None:
        """Let credit limit the customer too: its dollar, and another for one model only."""
        self.terms = replace(self.terms, on_zero_credit="block")
        if model:
            (grant,) = await self.store.read(lambda tx: tx.live_grants(CUSTOMER))
            scoped = replace(grant, id=GrantId("credgr_s"), scope=Scope(models=(model,)))
            await self.store.write(lambda tx: grant_credit(tx, scoped, at=self.clock.at))

    async def hold(self, gateway: Leases, nano: int, *, api_key: str = "mk_1", subject: str = "") -> Held:
        return await gateway.hold(self.terms, nano, api_key=api_key, at=self.clock.at, subject=subject)

    async def settle(self, held: Held | None, nano: int, *, api_key: str = "mk_1") -> None:
        """End a call and book it; without a hold it is usage that somebody reports."""
        self._number += 1
        _, caps = held.close(nano) if held else (0, [])
        event = usage_event(
            customer=CUSTOMER,
            at=self.clock.at,
            key=f"call-{self._number}",
            usage=Usage({}),
            source="gateway" if held else "meter_events_v2",
            provider="openai",
            model="m",
            api_key=api_key,
        )
        item = Settlement(
            event=event, charge=Charge(price_nano=nano, cost_nano=0, lines=()), caps=tuple(caps)
        )
        await self.store.write(lambda tx: settle(tx, [item], at=self.clock.at))

    async def state(self, cap: SpendCap) -> CapState:
        record = self.terms.customer
        return await self.store.read(lambda tx: cap_state(tx, cap, window_of(cap, record, self.clock.at)))

    async def told(self) -> list[str]:
        events = await self.store.read(lambda tx: tx.page(Event, limit=1000))
        prefix = "token_billing.spend_cap."
        return [e.type.removeprefix(prefix) for e in reversed(events) if e.type.startswith(prefix)]


@pytest.fixture
def capped(store: Store, clock: Clock) -> Capped:
    return Capped(store, clock)


async def test_of_500_calls_at_once_exactly_the_300_that_fit_are_admitted_by_two_processes(
    capped: Capped,
) -> None:
    cap = await capped.cap(300)
    gateways = [capped.gateway(f"gw_{n}") for n in range(2)]
    outcomes = await asyncio.gather(
        *(capped.hold(gateways[n % 2], CENT) for n in range(500)), return_exceptions=True
    )
    admitted = sum(isinstance(outcome, Held) for outcome in outcomes)
    assert admitted + sum(isinstance(outcome, SpendCapReached) for outcome in outcomes) == 500
    # A process whose callers are all served may have room over; what it does not use goes back meanwhile.
    assert 290 <= admitted <= 300
    capped.clock.at += 2 * IDLE_AFTER
    for gateway in gateways:
        await gateway.give_back_idle()
    for _ in range(300 - admitted):
        await capped.hold(gateways[0], CENT)
    for gateway in gateways:
        with pytest.raises(SpendCapReached):
            await capped.hold(gateway, CENT)
    state = await capped.state(cap)
    assert (state.spent_nano, state.held_nano, state.left_nano) == (0, 300 * CENT, 0)


async def test_a_cap_holds_over_the_leases_of_several_models_and_processes(capped: Capped) -> None:
    cap = await capped.cap(120)
    await capped.block(model="openai/a")
    gateways = [capped.gateway(f"gw_{n}") for n in range(2)]
    outcomes = await asyncio.gather(
        *(
            capped.hold(gateways[n % 2], CENT, subject="openai/a" if n % 3 else "openai/b")
            for n in range(300)
        ),
        return_exceptions=True,
    )
    for gateway in gateways:
        await gateway.give_back_all()
    admitted = [outcome for outcome in outcomes if isinstance(outcome, Held)]
    short = [outcome for outcome in outcomes if isinstance(outcome, InsufficientCredit)]
    capped_ones = [outcome for outcome in outcomes if isinstance(outcome, SpendCapReached)]
    assert len(admitted) + len(short) + len(capped_ones) == 300
    state = await capped.state(cap)
    assert state.held_nano == len(admitted) * CENT <= 120 * CENT
    assert (await capped.store.read(lambda tx: tx.balance(CUSTOMER))).held_nano == len(admitted) * CENT


async def test_a_call_that_credit_refuses_leaves_the_room_under_its_cap_to_others(capped: Capped) -> None:
    cap = await capped.cap(300)
    await capped.block(model="openai/a")
    gateway = capped.gateway()
    await capped.hold(gateway, 60 * CENT, subject="openai/b")
    with pytest.raises(InsufficientCredit):
        await capped.hold(gateway, 60 * CENT, subject="openai/b")
    await capped.hold(gateway, 140 * CENT, subject="openai/a")
    await gateway.give_back_all()
    assert (await capped.state(cap)).held_nano == 200 * CENT


async def test_a_call_that_is_only_tracked_needs_no_room_under_a_cap(capped: Capped) -> None:
    await capped.cap(10)
    at = capped.clock.at
    tracked = replace(capped.terms, plan_shadow=(Switch(at, True),))
    assert capped.terms.holds(at) and not tracked.holds(at)


async def test_what_calls_did_not_use_of_their_holds_admits_others_until_the_cap_is_spent_exactly(
    capped: Capped,
) -> None:
    cap = await capped.cap(10)
    gateway = capped.gateway()
    spent = 0
    while True:
        try:
            held = await capped.hold(gateway, 2 * CENT)
        except SpendCapReached:
            break
        await capped.settle(held, CENT)
        spent += CENT
    state = await capped.state(cap)
    assert state.spent_nano == spent == 9 * CENT  # A call that may cost 2 cents does not fit into the last.
    assert await capped.told() == ["reached"]


async def test_a_refusal_says_what_is_spent_and_held_and_when_the_cap_resets(capped: Capped) -> None:
    await capped.cap(10)
    gateway = capped.gateway()
    await capped.settle(await capped.hold(gateway, 4 * CENT), 4 * CENT)
    await capped.hold(gateway, 5 * CENT)
    with pytest.raises(SpendCapReached) as refused:
        await capped.hold(gateway, 2 * CENT)
    assert refused.value.code == "spend_cap_reached"
    assert refused.value.resets_at == capped.clock.at.replace(hour=0) + timedelta(days=1)
    for figure in ("cap 0.1 usd", "spent 0.04", "2026-06-02T00:00:00Z"):
        assert figure in refused.value.message
    assert await capped.told() == []  # What is held may come back: the cap is not reached.


async def test_a_call_counts_in_the_window_of_its_admission_and_the_next_day_begins_at_zero(
    capped: Capped,
) -> None:
    cap = await capped.cap(10)
    gateway = capped.gateway()
    await capped.settle(await capped.hold(gateway, 10 * CENT), 10 * CENT)
    with pytest.raises(SpendCapReached):
        await capped.hold(gateway, 1)
    capped.clock.at += timedelta(days=1)
    assert (await capped.state(cap)).left_nano == 10 * CENT
    await capped.hold(gateway, 10 * CENT)


async def test_a_key_has_a_cap_of_its_own_below_its_customers(capped: Capped) -> None:
    await capped.cap(100)
    await capped.cap(10, api_key="mk_1")
    gateway = capped.gateway()
    await capped.hold(gateway, 10 * CENT, api_key="mk_1")
    with pytest.raises(SpendCapReached, match="API key mk_1"):
        await capped.hold(gateway, CENT, api_key="mk_1")
    await capped.hold(gateway, 90 * CENT, api_key="mk_2")
    with pytest.raises(SpendCapReached, match="customer cus_1"):
        await capped.hold(gateway, CENT, api_key="mk_2")


async def test_a_refusal_by_one_cap_leaves_nothing_held_under_another(capped: Capped) -> None:
    wide = await capped.cap(100, span="month")
    await capped.cap(10)
    gateway = capped.gateway()
    with pytest.raises(SpendCapReached):
        await capped.hold(gateway, 11 * CENT)
    await gateway.give_back_all()
    assert (await capped.state(wide)).held_nano == 0


async def test_a_soft_cap_refuses_nothing_and_is_told_once_a_window(capped: Capped) -> None:
    await capped.cap(10, mode="soft")
    gateway = capped.gateway()
    for _ in range(3):
        held = await capped.hold(gateway, 9 * CENT)
        await capped.settle(held, 9 * CENT)
    assert await capped.told() == ["reached"]


async def test_reported_usage_is_booked_above_a_hard_cap_and_told(capped: Capped) -> None:
    cap = await capped.cap(10)
    await capped.settle(None, 25 * CENT)
    assert (await capped.state(cap)).spent_nano == 25 * CENT
    assert await capped.told() == ["reached", "exceeded"]
    with pytest.raises(SpendCapReached):
        await capped.hold(capped.gateway(), 1)


async def test_spend_from_before_a_cap_was_set_counts_in_its_window(capped: Capped) -> None:
    await capped.cap(1000, span="month")  # Only so that the customer exists in overage.
    await capped.settle(None, 8 * CENT)
    cap = await capped.cap(10)
    assert (await capped.state(cap)).spent_nano == 8 * CENT
    with pytest.raises(SpendCapReached):
        await capped.hold(capped.gateway(), 3 * CENT)
    await capped.hold(capped.gateway(), 2 * CENT)


async def test_a_call_that_costs_more_than_it_held_passes_the_cap_by_no_more_than_that(
    capped: Capped,
) -> None:
    cap = await capped.cap(10)
    gateway = capped.gateway()
    held = [await capped.hold(gateway, 5 * CENT) for _ in range(2)]
    for call in held:
        await capped.settle(call, 7 * CENT)
    state = await capped.state(cap)
    assert (state.spent_nano, state.held_nano) == (14 * CENT, 0)
    assert await capped.told() == ["reached", "exceeded"]


async def test_a_lowered_cap_holds_for_the_next_call(capped: Capped) -> None:
    await capped.cap(1000)
    gateway = capped.gateway()
    await capped.settle(await capped.hold(gateway, CENT), CENT)  # It has reserved for many.
    await capped.cap(2)
    await capped.hold(gateway, CENT)
    with pytest.raises(SpendCapReached):
        await capped.hold(gateway, CENT)


async def test_idle_room_goes_back_and_a_crashed_process_s_is_reclaimed(capped: Capped, store: Store) -> None:
    cap = await capped.cap(1000)
    first, second = capped.gateway("gw_1"), capped.gateway("gw_2")
    held = await capped.hold(first, CENT)
    await capped.hold(second, CENT)
    await capped.settle(held, CENT)
    capped.clock.at += timedelta(minutes=1)
    await first.give_back_idle()
    left = await store.read(lambda tx: tx.page(CapWindow))
    assert [set(window.reserved_nano) for window in left] == [{"gw_2"}]
    assert await store.write(lambda tx: reclaim_caps(tx, owner="gw_2")) == 1
    assert (await capped.state(cap)).held_nano == 0


async def test_calls_within_reserved_room_ask_the_store_nothing(
    capped: Capped, monkeypatch: pytest.MonkeyPatch
) -> None:
    await capped.cap(100_000)
    gateway = capped.gateway()
    await capped.hold(gateway, CENT)

    async def away(verb: Callable[..., Any], **options: object) -> Any:
        raise AssertionError("the store was asked")

    monkeypatch.setattr(capped.store, "write", away)
    monkeypatch.setattr(capped.store, "read", away)
    for _ in range(60):
        await capped.hold(gateway, CENT)


async def test_after_a_crash_a_journalled_call_is_spent_and_what_it_held_of_a_cap_is_free(
    capped: Capped, store: Store, records: Any, account: Any, tmp_path: Path
) -> None:
    cap = await capped.cap(100)
    gateway = capped.gateway("gw_1")
    held, lost = await capped.hold(gateway, 5 * CENT), await capped.hold(gateway, 5 * CENT)
    journal = Journal(tmp_path / "journal")
    journal.intend(records.intent("req_1", api_key="mk_1"))
    used, rates = records.used("req_1", api_key="mk_1")
    _, caps = held.close(used.price_nano)
    journal.use(msgspec.structs.replace(used, caps=caps), rates)
    journal.intend(records.intent("req_2", card=capped.terms.cards[0][1].id))
    journal.close()
    assert lost.caps and (await capped.state(cap)).held_nano > 0

    journal = Journal(tmp_path / "journal")
    settler = Settler(store, journal, now=capped.clock, parked=tmp_path / "parked")
    running = asyncio.ensure_future(settler.run())
    pricing = Pricing(bundled_catalogue())
    await recover(store, journal, settler, pricing=pricing, owner="gw_1", now=capped.clock)
    settler.stop()
    await running
    journal.close()
    page = await store.read(lambda tx: tx.charged_page(customer=CUSTOMER, limit=10))
    state = await capped.state(cap)
    assert {entry.event.key: entry.event.api_key for entry in page} == {"req_1": "mk_1", "req_2": ""}
    assert state.held_nano == 0
    assert state.spent_nano == sum(entry.charge.price_nano for entry in page) > 0
