"""Usage events and their charges, on every store: each once, and totals that equal what was charged."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from fractions import Fraction
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from costplus.billing.store import ChargedEvent, ModelTotal, Store, Tx
from costplus.core.money import InvalidAmount
from costplus.core.period import hour_ceil, hour_floor
from costplus.core.records import RecordImmutable
from costplus.metering.event import rerated, reversed_event
from costplus.rating.charge import reversal_of, unpriced_charge

WINDOW = timedelta(days=35)
TICK = timedelta(microseconds=1)
HOUR = timedelta(hours=1)


async def test_an_event_comes_back_as_it_was(store: Store, build: SimpleNamespace) -> None:
    event = build.event(
        at=build.at + timedelta(microseconds=123_457),
        raw_usage='{"prompt_tokens": 1000}',
        request_id="req_1",
        service_tier="flex",
        reported_cost="0.00001234",
        requested_model="large-latest",
    )
    assert await store.write(lambda tx: tx.append_events([event])) == {event.id}
    assert await store.read(lambda tx: tx.event("cus_1", event.id)) == event
    assert await store.read(lambda tx: tx.event_by_key("cus_1", "call-1")) == event
    assert await store.read(lambda tx: tx.event("cus_2", event.id)) is None
    assert await store.read(lambda tx: tx.event_by_key("cus_2", "call-1")) is None


async def test_nothing_appended_is_nothing_new(store: Store) -> None:
    assert await store.write(lambda tx: tx.append_events([])) == set()
    await store.write(lambda tx: tx.append_charges([]))


async def test_an_event_is_kept_once_in_one_batch_and_over_batches(
    store: Store, build: SimpleNamespace
) -> None:
    event, changed = build.event(), build.event(quantities={"input": 5})
    assert await store.write(lambda tx: tx.append_events([event, changed, event])) == {event.id}
    assert await store.write(lambda tx: tx.append_events([changed])) == set()
    assert await store.read(lambda tx: tx.event("cus_1", event.id)) == event


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize(
    ("moved", "is_new"), [(TICK, False), (WINDOW - TICK, False), (WINDOW, False), (WINDOW + TICK, True)]
)
async def test_a_key_is_known_for_35_days_around_its_event(
    store: Store, build: SimpleNamespace, moved: timedelta, sign: int, is_new: bool
) -> None:
    retry = build.event(at=build.at + sign * moved)
    await store.write(lambda tx: tx.append_events([build.event()]))
    assert await store.write(lambda tx: tx.append_events([retry])) == ({retry.id} if is_new else set())
    latest = max(build.event(), retry, key=lambda event: event.at) if is_new else build.event()
    assert await store.read(lambda tx: tx.event_by_key("cus_1", "call-1")) == latest


@pytest.mark.parametrize("key", ["", " ", "a\x00b", "\"'\\%", "é\u2028", "😀", "x" * 10_000])
async def test_any_text_is_a_key(store: Store, build: SimpleNamespace, key: str) -> None:
    await store.write(lambda tx: tx.append_events([build.event("a"), build.event(key)]))
    retry = build.event(key, at=build.at + TICK)
    assert await store.write(lambda tx: tx.append_events([retry])) == set()
    assert await store.read(lambda tx: tx.event_by_key("cus_1", key)) == build.event(key)


async def test_two_customers_may_use_one_key(store: Store, build: SimpleNamespace) -> None:
    events = [build.event(customer=id) for id in ("cus_1", "cus_2")]
    assert await store.write(lambda tx: tx.append_events(events)) == {event.id for event in events}


async def test_events_between_are_half_open_and_in_time_order(store: Store, build: SimpleNamespace) -> None:
    offsets = [HOUR, TICK, timedelta(0), HOUR - TICK, -TICK]
    events = [build.event(f"call-{i}", at=build.at + offset) for i, offset in enumerate(offsets)]
    other = build.event("call-9", at=build.at + 2 * TICK, meter="seats")
    await store.write(lambda tx: tx.append_events([*events, other, build.event(customer="cus_2")]))
    end = build.at + HOUR

    def keys(found: Sequence[object]) -> list[str]:
        return [event.key for event in found]

    found = await store.read(lambda tx: tx.events_between("cus_1", build.at, end))
    assert keys(found) == ["call-2", "call-1", "call-9", "call-3"]
    found = await store.read(lambda tx: tx.events_between("cus_1", build.at, end, meter="seats"))
    assert keys(found) == ["call-9"]
    found = await store.read(lambda tx: tx.events_between("cus_1", build.at, end, limit=2))
    assert keys(found) == ["call-2", "call-1"]
    assert await store.read(lambda tx: tx.events_between("cus_1", end, build.at)) == []


async def test_a_charge_comes_back_with_its_exact_rates(store: Store, build: SimpleNamespace) -> None:
    late = build.charged(billed_at=build.at + 40 * HOUR)
    unpriced = ChargedEvent(
        event=build.event("call-2", model="unknown"), charge=unpriced_charge(), billed_at=build.at
    )
    await store.write(lambda tx: build.keep(tx, [late, unpriced]))
    assert await store.read(lambda tx: tx.charge_of("cus_1", late.event.id)) == late
    assert await store.read(lambda tx: tx.charge_of("cus_1", unpriced.event.id)) == unpriced
    assert await store.read(lambda tx: tx.charge_of("cus_2", late.event.id)) is None
    rate = late.charge.lines[0].rate
    assert rate.unit_price.denominator % 7 == 0  # No finite decimal: a 30 % margin divides by 0.7.
    assert await store.read(lambda tx: tx.unit_rate(rate.id)) == rate
    assert await store.read(lambda tx: tx.unit_rate("ur_none")) is None


@pytest.mark.parametrize("change", [{"unit_price": Fraction(1)}, {"priced_as": "output"}, {"model": "other"}])
@pytest.mark.parametrize("commits", [1, 2])
async def test_a_unit_rate_never_changes(
    store: Store, build: SimpleNamespace, change: dict[str, Any], commits: int
) -> None:
    first, second, third = (build.charged(key) for key in ("call-1", "call-2", "call-3"))
    lines = tuple(replace(line, rate=replace(line.rate, **change)) for line in second.charge.lines)
    forged = replace(second, charge=replace(second.charge, lines=lines))
    copied = tuple(replace(line, rate=replace(line.rate)) for line in third.charge.lines)
    batches = [[first, forged]] if commits == 1 else [[first], [forged]]
    with pytest.raises(RecordImmutable, match=f"unit rate '{lines[0].rate.id}' exists with other content"):
        for batch in batches:
            await store.write(lambda tx, entries=batch: build.keep(tx, entries))
    assert await store.read(lambda tx: tx.charge_of("cus_1", forged.event.id)) is None
    equal = replace(third, charge=replace(third.charge, lines=copied))
    await store.write(lambda tx: build.keep(tx, [equal]))  # The same content from elsewhere is no change.
    assert await store.read(lambda tx: tx.charge_of("cus_1", third.event.id)) == third


async def test_charged_pages_go_from_the_latest_event_back(store: Store, build: SimpleNamespace) -> None:
    entries = [
        build.charged(f"call-{i}", customer=f"cus_{i % 2}", at=build.at + i * build.minute)
        for i in (2, 0, 4, 1, 3)
    ]
    await store.write(lambda tx: build.keep(tx, entries))
    by_time = sorted(entries, key=lambda entry: entry.event.at, reverse=True)
    assert await store.read(lambda tx: tx.charged_page(customer=None, limit=9)) == by_time
    assert await store.read(lambda tx: tx.charged_page(customer=None, limit=2)) == by_time[:2]
    older = by_time[1].event.id
    page = await store.read(lambda tx: tx.charged_page(customer=None, limit=2, older_than=older))
    assert page == by_time[2:4]
    page = await store.read(lambda tx: tx.charged_page(customer="cus_0", limit=9, older_than=older))
    assert page == [entry for entry in by_time[2:] if entry.event.customer == "cus_0"]
    last = by_time[-1].event.id
    assert await store.read(lambda tx: tx.charged_page(customer=None, limit=9, older_than=last)) == []
    assert await store.read(lambda tx: tx.charged_page(customer="cus_none", limit=9)) == []


def offsets() -> st.SearchStrategy[timedelta]:
    """Return times around three hours' boundaries, exactly on them and a microsecond off included."""
    hours = st.integers(0, 3).map(lambda hours: hours * HOUR)
    nudges = st.sampled_from([-TICK, timedelta(0), TICK, timedelta(minutes=20)])
    return st.builds(lambda hour, nudge: hour + nudge, hours, nudges)


def total_by_hand(
    entries: Sequence[ChargedEvent], start: datetime, end: datetime
) -> tuple[list[tuple[str, int]], int]:
    quantities: Counter[str] = Counter()
    order: dict[str, tuple[str, ...]] = {}
    price_nano = 0
    for entry in entries:
        if start <= entry.billed_at < end:
            price_nano += entry.charge.price_nano
            for line in entry.charge.lines:
                rate = line.rate
                quantities[rate.id] += line.quantity
                order[rate.id] = (rate.provider, rate.model, rate.leaf, rate.id)
    return [(id, quantities[id]) for id in sorted(order, key=order.__getitem__)], price_nano


@pytest.mark.slow
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    calls=st.lists(st.tuples(offsets(), st.booleans(), st.integers(1, 9), st.integers(0, 9)), max_size=12),
    bounds=st.tuples(offsets(), offsets()),
    batches=st.integers(1, 3),
)
async def test_usage_totals_equal_the_charges_between_any_two_instants(
    store: Store,
    build: SimpleNamespace,
    calls: list[tuple[timedelta, bool, int, int]],
    bounds: tuple[timedelta, timedelta],
    batches: int,
) -> None:
    customer, hour = build.fresh_customer(), hour_floor(build.at)
    sheets = [build.sheet("large"), build.sheet("small")]
    entries = [
        build.charged(
            f"call-{i}",
            customer=customer,
            rates=sheets[is_small],
            at=build.at,
            billed_at=hour + offset,
            quantities={"input": inputs} | ({"output": outputs} if outputs else {}),
        )
        for i, (offset, is_small, inputs, outputs) in enumerate(calls)
    ]
    for i in range(batches):
        await store.write(lambda tx, i=i: build.keep(tx, entries[i::batches]))
    start, end = hour + bounds[0], hour + bounds[1]
    totals, price_nano = await store.read(lambda tx: tx.usage_totals(customer, start, end))
    assert ([(total.rate.id, total.quantity) for total in totals], price_nano) == total_by_hand(
        entries, start, end
    )
    models = await store.read(lambda tx: tx.model_totals(customer, start, end))
    first, last = (hour_floor(start), hour_ceil(end)) if start < end else (start, start)
    touched = [entry for entry in entries if first <= entry.billed_at < last]
    assert sum(model.price_nano for model in models) == sum(entry.charge.price_nano for entry in touched)
    assert sum(model.events for model in models) == len(touched)


async def test_model_totals_are_dearest_first_over_whole_hours(store: Store, build: SimpleNamespace) -> None:
    small, large = build.sheet("small", margin="0"), build.sheet("large", margin="0")

    def verb(tx: Tx) -> None:
        build.keep(tx, [build.charged("a", rates=small, quantities={"input": 4}, customer="cus_2")])
        build.keep(tx, [build.charged("b", rates=large, quantities={"input": 8})])
        build.keep(tx, [build.charged("c", rates=large, quantities={"input": 8}, at=build.at + HOUR)])

    await store.write(verb)
    dear = ModelTotal(provider="openai", model="large", events=1, price_nano=20_000, cost_nano=20_000)
    cheap = ModelTotal(provider="openai", model="small", events=1, price_nano=10_000, cost_nano=10_000)
    within = (build.at + build.minute, build.at + 2 * build.minute)  # Both calls came before: same hour.
    assert await store.read(lambda tx: tx.model_totals(None, *within)) == [dear, cheap]
    assert await store.read(lambda tx: tx.model_totals("cus_2", *within)) == [cheap]
    assert await store.read(lambda tx: tx.model_totals(None, build.at, build.at)) == []
    both = await store.read(lambda tx: tx.model_totals("cus_1", build.at, build.at + HOUR))
    assert [(total.events, total.price_nano) for total in both] == [(2, 40_000)]


@pytest.mark.parametrize("around", [timedelta(minutes=1), 3 * HOUR])  # By the charges, by the roll-ups.
async def test_what_was_taken_back_is_in_no_sum_and_comes_back_as_it_was(
    store: Store, build: SimpleNamespace, around: timedelta
) -> None:
    first = build.charged(quantities={"input": 10**10 + 1})
    again = build.charged(rates=build.sheet(margin="0"), quantities={"input": 10**10 + 1})
    back = replace(first, event=reversed_event(first.event), charge=reversal_of(first.charge))
    again = replace(again, event=rerated(again.event))
    span = (build.at - around, build.at + around)
    await store.write(lambda tx: build.keep(tx, [first, back]))
    totals, price_nano = await store.read(lambda tx: tx.usage_totals("cus_1", *span))
    assert (list(totals), price_nano) == ([], 0)
    await store.write(lambda tx: build.keep(tx, [again]))
    for entry in (first, back, again):
        assert await store.read(lambda tx, one=entry.event: tx.charge_of("cus_1", one.id)) == entry
    (total,), price_nano = await store.read(lambda tx: tx.usage_totals("cus_1", *span))
    assert (total.rate, total.quantity) == (again.charge.lines[0].rate, 10**10 + 1)
    assert price_nano == again.charge.price_nano
    (model,) = await store.read(lambda tx: tx.model_totals("cus_1", *span))
    assert (model.events, model.cost_nano) == (1, again.charge.cost_nano)


async def test_sums_over_hours_may_pass_64_bits(store: Store, build: SimpleNamespace) -> None:
    sheet, tokens = build.sheet(margin="0"), 3 * 10**15  # 7.5 billion dollars an hour.
    for hours in range(3):
        entry = build.charged(
            f"call-{hours}", rates=sheet, quantities={"input": tokens}, at=hour_floor(build.at) + hours * HOUR
        )
        await store.write(lambda tx, entry=entry: build.keep(tx, [entry]))
    start = hour_floor(build.at)
    totals, price_nano = await store.read(lambda tx: tx.usage_totals("cus_1", start, start + 3 * HOUR))
    assert totals[0].quantity == 3 * tokens
    assert price_nano == 3 * tokens * 2_500 > 2**63
    models = await store.read(lambda tx: tx.model_totals(None, start, start + 3 * HOUR))
    assert models[0].cost_nano == price_nano


async def test_sqlite_refuses_an_hour_beyond_64_bits(sqlite: Store, build: SimpleNamespace) -> None:
    sheet, tokens = build.sheet(margin="0"), 3 * 10**15
    entries = [build.charged(f"call-{i}", rates=sheet, quantities={"input": tokens}) for i in range(2)]
    await sqlite.write(lambda tx: build.keep(tx, entries[:1]))
    with pytest.raises(InvalidAmount):
        await sqlite.write(lambda tx: build.keep(tx, entries[1:]))
    assert await sqlite.read(lambda tx: tx.charge_of("cus_1", entries[1].event.id)) is None
