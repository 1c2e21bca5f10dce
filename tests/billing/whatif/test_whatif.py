"""What if: dearer providers, other cards, usage without a price, and work in portions."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest

from costplus.billing import whatif
from costplus.billing.whatif import SimulationTooLarge, simulate_within
from costplus.rating.comparison import Simulation
from costplus.rating.pricing import Pricing
from costplus.rating.rate_card import RateCardVersion, adjustment
from costplus.rating.scenario import Scenario, scenario_of
from costplus.storage.memory import MemoryStore

M = 10**6


def figures(made: Simulation) -> tuple[int, int, int, int]:
    total = made.total
    return (total.now.revenue_nano, total.then.revenue_nano, total.now.cost_nano, total.then.cost_nano)


def test_a_dearer_provider_takes_from_the_margin_unless_it_is_passed_on(world: Any) -> None:
    happened = [{"quantities": {"input": 1000}, "at": at} for at in (world.start, world.half)]
    kept = scenario_of(world.catalogue, at=world.start, factors={"openai/large": Decimal("1.2")})
    made, _ = world.run(happened, kept)
    assert figures(made) == (5_850_000, 5_850_000, 4_500_000, 5_400_000)
    made, _ = world.run(happened, replace(kept, pass_on=True))
    assert figures(made) == (5_850_000, 7_020_000, 4_500_000, 5_400_000)
    assert made.total.then.margin_percent == made.total.now.margin_percent == Fraction(300, 13)


def test_another_card_prices_everybody_and_refuses_what_it_does_not_sell(world: Any) -> None:
    card = RateCardVersion(
        id="rcv_other",
        created=world.start,
        rate_card="rcd_2",
        default=adjustment("markup", Decimal(100)),
        models=("openai/small",),
    )
    own = {"cus_2": adjustment("markup", Decimal(0))}
    happened = [
        {"name": "openai/small", "quantities": {"input": M}, "at": world.half, "customer": c}
        for c in ("cus_1", "cus_2")
    ]
    happened += [{"name": "mistral/tiny", "quantities": {"input": M}}]
    made, _ = world.run(happened, Scenario(card=card), shop={"own": own})
    fee = 1_001_002  # A nano is rounded up.
    assert made.by_customer["cus_2"].then.revenue_nano == made.by_customer["cus_2"].then.cost_nano
    assert made.by_customer["cus_1"].then.revenue_nano == 2 * (70_000_000 + fee) - 1
    assert made.by_model["mistral/tiny"].then.revenue_nano == 0
    assert made.skipped == {"model_not_on_rate_card": 1}
    assert (made.total.now.unpriced, made.total.then.unpriced) == (0, 1)


def test_usage_without_a_price_is_counted_and_what_would_have_one(world: Any) -> None:
    happened = [{"name": "openai/secret"}, {"name": "openai/hidden"}, {}]
    made, _ = world.run(happened)
    assert (made.total.now.unpriced, made.total.then.unpriced, made.total.newly_priced) == (2, 2, 0)
    assert made.skipped == {"model_unpriced": 2}
    prices = {"openai/secret": {"input": Decimal(1), "output": Decimal(2)}}
    made, _ = world.run(happened, scenario_of(world.catalogue, at=world.start, prices=prices))
    assert (made.total.now.unpriced, made.total.then.unpriced, made.total.newly_priced) == (2, 1, 1)
    assert made.by_model["openai/secret"].then.cost_nano == 1_200_000


def test_a_call_that_ran_on_two_models_is_the_sum_of_both_again(world: Any) -> None:
    made, really = world.run([{"second": "small", "words": "region=eu"}])
    assert world.sums_of(made, 1) == world.by(1, really)
    made, _ = world.run(
        [{"second": "small"}], Scenario(models={"openai/small": adjustment("markup", Decimal(0))})
    )
    assert made.total.then.revenue_nano < made.total.now.revenue_nano


def test_what_was_served_under_a_name_without_a_price_is_priced_as_what_was_asked_for(world: Any) -> None:
    happened = [{"served": "large-preview", "words": "service_tier=priority"}]
    made, really = world.run(happened)
    assert world.sums_of(made, 1) == world.by(1, really)
    assert made.total.now.revenue_nano > 0
    made, _ = world.run(happened, Scenario(default=adjustment("markup", Decimal(0))))
    assert made.total.then.revenue_nano == made.total.then.cost_nano == made.total.now.cost_nano


def test_usage_of_other_meters_stays_as_it_was_and_is_told(world: Any) -> None:
    made, _ = world.run([{"meter": "pages", "source": "meter_events_v2"}, {}])
    assert made.total.events == 2 and made.skipped == {whatif.OTHER_METER: 1}


def test_a_simulation_goes_on_over_many_portions_and_tells_how_far_it_is(
    world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(whatif, "PAGE", 3)
    told: list[tuple[int, int]] = []
    happened = [{"customer": f"cus_{n % 2 + 1}", "at": world.start + n * world.day} for n in range(12)]
    made, really = world.run(happened, on_file=True, progress=lambda *state: told.append(state))
    assert world.sums_of(made, 0) == world.by(0, really)
    assert told[-1] == (2, 2) and len(told) == 5
    alone, _ = world.run(happened, window=replace(world.window, customer="cus_2"))
    assert alone.by_customer == {"cus_2": made.by_customer["cus_2"]}


def test_a_request_may_simulate_so_much_and_no_more(world: Any) -> None:
    store, pricing = MemoryStore(), Pricing(world.catalogue)
    asyncio.run(world.filled(store, world.shop(), [world.use() for _ in range(4)], pricing))

    def within(events_max: int) -> Simulation:
        return asyncio.run(
            store.read(
                lambda tx: simulate_within(tx, pricing, Scenario(), world.window, events_max=events_max)
            )
        )

    assert within(4).total.events == 4
    for events_max in (3, 1):
        with pytest.raises(SimulationTooLarge):
            within(events_max)
