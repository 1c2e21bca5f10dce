"""Our cost beside the provider's own figure: judged over enough requests, told once, each event once."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from fractions import Fraction
from typing import Any

import pytest

from costplus.billing.reconcile_cost import (
    CHECKED,
    REQUESTS_MIN,
    CostCheck,
    CostComparison,
    CostsChecked,
    check_costs,
    compared,
    reported_nano,
)
from costplus.catalog.load import catalogue_of
from costplus.metering.event import usage_event
from costplus.rating.charge import unpriced_charge
from costplus.rating.pricing import Pricing
from costplus.worker import Worker

DAY = timedelta(days=1)
USD = 10**9

SAID = [
    ("0.0000015", 1500),
    ("1.5e-6", 1500),
    ("2", 2 * USD),
    ("0.00000000025", Fraction(1, 4)),
    ("", None),
    ("free", None),
    ("0", None),
    ("0.000", None),
    ("-1", None),
    ("NaN", None),
    ("Infinity", None),
    ("1e999999999", None),
    ("1e-999999999", None),
]


@pytest.mark.parametrize(("text", "nano"), SAID)
def test_a_providers_words_for_a_cost_are_read_exactly(text: str, nano: int | Fraction | None) -> None:
    assert reported_nano(text) == nano


EDGES = [(1_000_000, False), (1_010_000, False), (1_010_001, True), (990_000, False), (989_999, True)]


@pytest.mark.parametrize(("computed", "differs"), EDGES)
def test_more_than_one_percent_of_what_was_reported_is_a_difference(computed: int, differs: bool) -> None:
    one = CostComparison(requests=20, computed_nano=computed, reported_nano=Fraction(1_000_000))
    assert one.differs is differs


def test_a_difference_of_single_requests_that_evens_out_is_none() -> None:
    dear = CostComparison(requests=1, computed_nano=120, reported_nano=Fraction(100))
    cheap = CostComparison(requests=1, computed_nano=80, reported_nano=Fraction(100))
    assert dear.differs and cheap.differs and not dear.plus(cheap).differs


@pytest.fixture
def call(shop: Any) -> Callable[..., None]:
    """Settle calls of 1000 tokens, which cost 1000 nano, with what the provider says they cost."""

    def call(
        count: int,
        says: str,
        *,
        at: Any = None,
        model: str = "m",
        customer: str = "cus_1",
        unpriced: bool = False,
    ) -> None:
        for _ in range(count):
            item = shop.settlement(1000, at=at or shop.at, customer=customer)
            charge = unpriced_charge() if unpriced else item.charge
            event = usage_event(
                customer=customer,
                at=item.event.at,
                key=item.event.key,
                usage=item.event.usage,
                source="gateway",
                provider="openai",
                model=model,
                reported_cost=says,
            )
            shop.settle(type(item)(event=event, charge=charge))

    return call


def told(shop: Any) -> int:
    return len(shop.announced("cost."))


async def checked(shop: Any, *, days: int = 1) -> Any:
    shop.at += DAY * days
    return await check_costs(shop.store, at=shop.at)


async def test_a_model_whose_cost_differs_is_told_of_once(shop: Any, call: Any) -> None:
    call(REQUESTS_MIN, "0.00000098")
    found = await checked(shop)
    assert found == {
        ("openai", "m"): CostComparison(requests=20, computed_nano=20_000, reported_nano=Fraction(19_600))
    }
    assert told(shop) == 1
    call(REQUESTS_MIN, "0.00000098")
    await checked(shop)
    assert told(shop) == 1
    call(REQUESTS_MIN, "0.000001")
    await checked(shop)
    call(REQUESTS_MIN, "0.0000009")
    await checked(shop)
    assert told(shop) == 2
    (check,) = await shop.store.read(lambda tx: tx.page(CostCheck))
    assert (check.id, check.is_mismatched, check.judged_requests) == ("openai/m", True, 20)
    assert (check.judged_computed_nano, check.judged_reported_nano) == (20_000, "18000")


async def test_what_agrees_within_a_percent_is_not_told(shop: Any, call: Any) -> None:
    call(50, "0.00000099009901")
    await checked(shop)
    assert told(shop) == 0


async def test_few_requests_are_put_together_over_days(shop: Any, call: Any) -> None:
    for day in range(4):
        call(5 if day < 3 else 4, "0.0000005")
        await checked(shop)
    assert told(shop) == 0
    call(1, "0.0000005")
    await checked(shop)
    assert told(shop) == 1


async def test_every_event_is_compared_once_and_today_tomorrow(shop: Any, call: Any) -> None:
    call(10, "0.0000005")
    assert await check_costs(shop.store, at=shop.at) == {}
    await checked(shop)
    assert await check_costs(shop.store, at=shop.at) == {}
    assert await check_costs(shop.store, at=shop.at - DAY) == {}
    await checked(shop, days=3)
    (check,) = await shop.store.read(lambda tx: tx.page(CostCheck))
    assert check.open.requests == 10
    state = await shop.store.read(lambda tx: tx.find(CostsChecked, CHECKED))
    assert state.until == shop.at.replace(hour=0)


async def test_of_customers_and_models_each_model_counts_by_itself(shop: Any, call: Any) -> None:
    shop.customer("cus_2")
    call(10, "0.0000005")
    call(10, "0.0000005", customer="cus_2")
    call(19, "0.0000005", model="other")
    call(20, "", model="silent")
    call(20, "0", model="byok")
    call(20, "0.0000005", model="unpriced", unpriced=True)
    found = await checked(shop)
    assert {name: one.requests for (_, name), one in found.items()} == {"m": 20, "other": 19}
    assert told(shop) == 1


async def test_more_events_than_a_page_are_all_compared(
    shop: Any, call: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("costplus.billing.reconcile_cost.PAGE", 7)
    call(21, "0.0000005")
    found = await checked(shop)
    assert found["openai", "m"].requests == 21


async def test_two_processes_count_nothing_twice(
    shop: Any, call: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    call(10, "0.0000005")
    shop.at += DAY
    write = type(shop.store).write

    async def overtaken(store: Any, verb: Any) -> Any:
        monkeypatch.setattr(type(shop.store), "write", write)
        await check_costs(store, at=shop.at)
        return await write(store, verb)

    monkeypatch.setattr(type(shop.store), "write", overtaken)
    await check_costs(shop.store, at=shop.at)
    (check,) = await shop.store.read(lambda tx: tx.page(CostCheck))
    assert check.open.requests == 10


async def test_the_worker_compares(shop: Any, call: Any) -> None:
    call(REQUESTS_MIN, "0.0000005")
    pricing = Pricing(await shop.store.read(catalogue_of))
    await Worker(shop.store, pricing=pricing, now=lambda: shop.at + DAY).compare_costs()
    assert told(shop) == 1


def test_nothing_to_compare_is_no_difference() -> None:
    assert compared([]) == {} and not CostComparison().differs
