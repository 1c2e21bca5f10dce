"""A call whose every run was on another model than answered is rated again by that model, not by its own."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from costplus.billing.rerate import rate_again
from costplus.billing.store import ChargedEvent
from costplus.billing.unpriced import waits
from costplus.core.usage import OTHER_MODEL, Usage
from costplus.metering.event import usage_event
from costplus.rating.charge import rate
from costplus.rating.pricing import Pricing
from costplus.rating.rate_card import RateCardVersion, adjustment

QUANTITIES = {"input": 3000, "output": 10}  # In the large model's upper band, below the small one's minimum.


def card(world: Any, percent: int) -> RateCardVersion:
    markup = adjustment("markup", Decimal(percent))
    return RateCardVersion(id=f"rcv_{percent}", created=world.start, rate_card="rcd_1", default=markup)


def entry(world: Any, usage: Usage, *, ran_on: str) -> ChargedEvent:
    """Return a call that `large` answered, charged for its runs on `ran_on`."""
    event = usage_event(
        customer="cus_1",
        at=world.start,
        key="call",
        usage=usage,
        source="gateway",
        provider="openai",
        model="large",
    )
    sheet = Pricing(world.catalogue).used("openai", ran_on, card=card(world, 30), at=world.start).sheet
    return ChargedEvent(event=event, charge=rate(usage, sheet), billed_at=world.start)


@pytest.mark.parametrize("ran_on", ["small", "large"])
def test_the_same_card_and_prices_give_the_same_charge(world: Any, ran_on: str) -> None:
    known = entry(world, Usage(QUANTITIES, ("iterations", OTHER_MODEL)), ran_on=ran_on)
    again = rate_again(known, pricing=Pricing(world.catalogue), card=card(world, 30))
    assert again == known.charge


def test_another_card_sells_the_model_that_ran(world: Any) -> None:
    usage = Usage(QUANTITIES, (OTHER_MODEL,))
    pricing = Pricing(world.catalogue)
    known = entry(world, usage, ran_on="small")
    sheet = pricing.used("openai", "small", card=card(world, 50), at=world.start).sheet
    again = rate_again(known, pricing=pricing, card=card(world, 50))
    assert (again.price_nano, again.cost_nano) == (rate(usage, sheet).price_nano, known.charge.cost_nano)
    assert {line.rate.model for line in again.lines} == {"small"}


@pytest.mark.parametrize(("flags", "is_waiting"), [((), True), ((OTHER_MODEL,), False)])
def test_what_its_runs_leave_without_a_price_waits_for_a_person(
    world: Any, flags: tuple[str, ...], is_waiting: bool
) -> None:
    known = entry(world, Usage({**QUANTITIES, "web_search": 1}, flags), ran_on="small")
    assert known.charge.unpriced == ("web_search",)
    assert waits(known.charge, known.event.usage) is is_waiting
