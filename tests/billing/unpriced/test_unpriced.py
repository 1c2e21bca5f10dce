"""Usage without a price is never charged as nothing in silence: it is queued, and its card says what it costs
meanwhile.
"""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest

from costplus.billing.unpriced import UnpricedModel, UnpricedUsage, WaitingUsage, lifts
from costplus.rating.charge import Charge, unpriced_charge
from costplus.rating.rate_card import FixedPrice

Shop = Any  # The shop of conftest.

FALLBACK = {"input": FixedPrice(Decimal(10), 1_000_000), "output": FixedPrice(Decimal(40), 1_000_000)}


def waiting(shop: Shop) -> list[str]:
    return [entry.id for entry in shop.write(lambda tx: tx.page(WaitingUsage))]


@pytest.mark.parametrize("policy", ["block", "hold"])
def test_reported_usage_of_an_unknown_model_is_kept_and_charged_nothing(
    any_shop: Shop, queue: SimpleNamespace, policy: str
) -> None:
    any_shop.card(unpriced=policy, fallback=FALLBACK)
    event = any_shop.report(queue.prices(), "foo", input=7)
    entry = any_shop.entry(event)
    assert (entry.leaves, entry.policy, entry.price_nano) == (("model",), policy, 0)
    assert (entry.parent, entry.customer, entry.resolved_at) == ("openai/foo", "cus_1", None)
    assert any_shop.owed() == [] and waiting(any_shop) == [event.id]


@pytest.mark.parametrize("way", ["report", "call"])
def test_at_a_fallback_price_usage_is_charged_and_queued(
    any_shop: Shop, queue: SimpleNamespace, way: str
) -> None:
    any_shop.card(unpriced="fallback", fallback=FALLBACK)
    event = getattr(any_shop, way)(queue.prices(), "foo", input=7, output=2)
    charge, entry = any_shop.charge(event), any_shop.entry(event)
    assert (charge.price_nano, charge.cost_nano, charge.unpriced) == (150_000, 0, ("fallback",))
    assert {line.rate.adjustment.kind for line in charge.lines} == {"fixed"}
    assert (entry.leaves, entry.policy, entry.price_nano) == (("fallback",), "fallback", 150_000)
    assert any_shop.owed() == [150_000] and any_shop.wrongs() == []


def test_a_held_call_is_charged_nothing_for_now(any_shop: Shop, queue: SimpleNamespace) -> None:
    any_shop.card(unpriced="hold")
    event = any_shop.call(queue.prices(), "foo", input=7)
    assert any_shop.charge(event) == unpriced_charge()
    assert any_shop.entry(event).policy == "hold"


def test_without_fallback_prices_reported_usage_waits(any_shop: Shop, queue: SimpleNamespace) -> None:
    any_shop.card(unpriced="fallback")
    event = any_shop.report(queue.prices(), "foo", input=7)
    assert any_shop.entry(event).leaves == ("model",) and any_shop.owed() == []


def test_reported_usage_of_a_model_that_the_card_does_not_sell_says_so(
    any_shop: Shop, queue: SimpleNamespace
) -> None:
    any_shop.card(models=("openai/other",), unpriced="fallback", fallback=FALLBACK)
    event = any_shop.report(queue.prices(), "known", input=7)
    assert any_shop.entry(event).leaves == ("not_on_card",) and any_shop.owed() == []


def test_what_no_price_can_lift_is_open_but_does_not_wait(any_shop: Shop) -> None:
    charge = Charge(price_nano=5, cost_nano=4, lines=(), unpriced=("unmetered_tool", "model:openai/x"))
    item = any_shop.settlement(5, charge=replace(charge, price_nano=0, cost_nano=0))
    any_shop.settle(item)
    assert any_shop.entry(item.event).leaves == charge.unpriced
    assert waiting(any_shop) == []
    (model,) = any_shop.write(lambda tx: tx.page(UnpricedModel))
    assert (model.id, model.waiting, model.seen) == ("openai/m", 0, 1)


def test_an_event_is_queued_once(any_shop: Shop) -> None:
    item = any_shop.settlement(5, charge=unpriced_charge())
    any_shop.settle(item, item)
    any_shop.settle(item)
    assert len(any_shop.write(lambda tx: tx.page(UnpricedUsage))) == 1
    assert any_shop.write(lambda tx: tx.page(UnpricedModel))[0].waiting == 1


def test_the_alarm_goes_off_once_an_hour_for_a_customers_model(
    any_shop: Shop, build: SimpleNamespace, queue: SimpleNamespace
) -> None:
    any_shop.customer("cus_2")
    pricing = queue.prices()

    def alarms(**usage: Any) -> int:
        any_shop.report(pricing, **{"model": "foo", "input": 1, **usage})
        return len(any_shop.announced("token_billing.usage"))

    assert [alarms(), alarms(), alarms(customer="cus_2"), alarms(model="bar")] == [1, 1, 2, 3]
    any_shop.later(build.hour - build.tick)
    assert alarms() == 3
    any_shop.later(build.tick)
    assert [alarms(), alarms()] == [4, 4]
    assert len(waiting(any_shop)) == 7  # Every event is in the queue, whatever was told.


@pytest.mark.parametrize(
    ("before", "after", "lifted"),
    [
        (("model",), (), True),
        (("fallback",), ("web_search",), True),
        (("not_on_card",), ("unmetered_tool",), True),
        (("web_search",), (), True),
        (("web_search",), ("web_search",), False),
        (("web_search", "service_tier=priority"), ("web_search",), True),
        (("web_search",), ("input_audio",), False),
        (("unmetered_tool",), (), False),
        (("web_search", "unmetered_tool"), ("unmetered_tool",), True),
    ],
)
def test_a_new_charge_counts_where_it_leaves_less_open(
    before: tuple[str, ...], after: tuple[str, ...], lifted: bool
) -> None:
    assert lifts(Charge(price_nano=1, cost_nano=1, lines=(), unpriced=after), before) is lifted
