"""The impact of a change is what will really be charged, to the nano, and weighing it changes nothing."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest

from costplus.billing.event import Event
from costplus.billing.notice import CUSTOMERS_MAX, notice_of
from costplus.billing.weigh import foresee, impact_of
from costplus.catalog.book import PriceChange, RecordedMove
from costplus.rating.impact import CardImpact, CustomerImpact, Figures, Impact
from costplus.rating.rate_card import FixedPrice, adjustment
from costplus.rating.summary import summary_of

Market = Any  # The market of conftest.

USED: list[dict[str, int]] = [
    {"input": 999, "output": 7},
    {"input": 1, "cached_input": 333},
    {"input": 100_001, "reasoning": 17, "output": 3},
]


def weigh(market: Market, change: PriceChange, **options: Any) -> Impact:
    pricing = market.pricing
    impact: Impact = market.write(lambda tx: impact_of(tx, pricing, change, at=market.at, **options))
    return impact


def use_all(market: Market, *customers: str) -> tuple[int, int]:
    """Use the model in several ways; return what it cost and sold for."""
    charges = [market.use(customer, **tokens).charge for customer in customers for tokens in USED]
    return sum(charge.cost_nano for charge in charges), sum(charge.price_nano for charge in charges)


@pytest.mark.parametrize("own", [None, adjustment("margin", Decimal("33.333333"))])
def test_the_impact_is_what_the_same_usage_is_charged_after_the_change(market: Market, own: Any) -> None:
    market.rule("migrate_all")
    market.shop.customer("cus_2")
    pinned = market.shop.subscription("cus_2").turned(market.at, lambda pin: replace(pin, adjustment=own))
    market.write(lambda tx: tx.save(pinned))
    market.later(hours=1)
    now = use_all(market, "cus_1", "cus_2")
    market.later(days=2)
    change = market.change(input="2.37", output="9.1", cached_input="0.123457", since=market.at)
    total = weigh(market, change).total
    assert total.events == 2 * len(USED)
    assert (total.cost_now_nano, total.revenue_now_nano) == now
    market.follow(market.apply(change))
    market.later(hours=1)
    then = use_all(market, "cus_1", "cus_2")
    assert (total.cost_then_nano, total.revenue_followed_nano) == then
    assert total.margin_followed == Fraction(then[1] - then[0], then[1]) * 100


def test_calls_are_weighed_in_the_context_band_of_their_own_prompt(market: Market) -> None:
    market.rule("migrate_all")
    sizes = (999, 1000, 1001, 5000)
    for size in sizes:
        market.call(input=size, output=1)
    market.later(hours=1)
    change = market.change(**{"input": "2.5", "input>1000": "5", "output": "8"})
    total = weigh(market, change).total
    market.follow(market.apply(change))
    market.later(hours=1)
    charges = [market.call(input=size, output=1).charge for size in sizes]
    assert total.cost_then_nano == sum(charge.cost_nano for charge in charges)
    assert total.revenue_followed_nano == sum(charge.price_nano for charge in charges)
    assert charges[2].cost_nano == 1001 * 5_000 + 8_000


def test_where_the_card_stays_the_new_cost_meets_the_old_revenue(market: Market) -> None:
    use_all(market, "cus_1")
    market.later(hours=1)
    change = market.change(input="3", output="12")
    total = weigh(market, change).total
    market.follow(market.apply(change))
    market.later(hours=1)
    assert use_all(market, "cus_1") == (total.cost_then_nano, total.revenue_now_nano)
    assert total.margin_unfollowed is not None and total.margin_unfollowed < 0


def test_earlier_prices_of_the_window_do_not_blur_it(market: Market) -> None:
    market.rule("migrate_all")
    use_all(market, "cus_1")
    market.later(days=1)
    market.move(input="3", output="8")
    market.later(days=1)
    weighed = weigh(market, market.change(input="4", output="8")).total
    now = use_all(market, "cus_1")
    assert (weighed.cost_now_nano, weighed.revenue_now_nano) == now


def test_usage_is_counted_within_the_window_and_of_that_model_only(market: Market) -> None:
    market.use()
    market.use(model="small")
    market.later(days=30)
    market.use()
    change = market.change(input="3", output="8")
    market.later(microseconds=1)
    assert weigh(market, change).total.events == 1
    assert weigh(market, change, days=31).total.events == 2


def test_each_card_and_customer_has_its_part(market: Market) -> None:
    market.shop.customer("cus_2")
    market.use("cus_1")
    market.use("cus_2", input=3000)
    market.later(hours=1)
    (card,) = weigh(market, market.change(input="3", output="8")).cards
    assert card.rate_card == market.card.id
    parts = {entry.customer: entry.figures.revenue_now_nano for entry in card.customers}
    assert parts == {"cus_1": 2_600_000, "cus_2": 7_800_000}
    assert card.figures.revenue_now_nano == 10_400_000


def test_a_fixed_price_stays_whatever_it_costs(market: Market) -> None:
    fixed = replace(market.live, id="rcv_f", fixed={"input": FixedPrice(Decimal(5), 1_000_000)})
    market.write(lambda tx: tx.save(fixed))
    moved = market.shop.subscription().turned(market.at, lambda pin: replace(pin, version="rcv_f"))
    market.write(lambda tx: tx.save(moved))
    market.use()
    market.later(hours=1)
    total = weigh(market, market.change(input="3", output="8")).total
    assert total.revenue_now_nano == total.revenue_followed_nano == 5_000_000


def test_weighing_writes_nothing_and_a_first_price_weighs_nothing(market: Market) -> None:
    market.use()
    market.later(hours=1)
    before = (len(market.versions()), market.write(lambda tx: tx.page(Event)))
    change = market.change(input="3", output="8")
    weigh(market, change)
    pricing = market.pricing
    market.write(lambda tx: foresee(tx, pricing, [change], at=market.at))
    assert weigh(market, market.change("tiny", input="1", output="1")).cards == ()
    assert (len(market.versions()), market.write(lambda tx: tx.page(Event))) == before


def test_what_is_foreseen_is_what_the_cards_then_do(market: Market) -> None:
    market.rule("migrate_all", max_increase_percent=Decimal(10))
    changes = [
        market.change(input="2.1", output="8"),
        market.change("small", input="2", output="4"),
        replace(market.change("tiny", input="1", output="1"), kind="new_model"),
    ]
    pricing = market.pricing
    (foreseen,) = market.write(lambda tx: foresee(tx, pricing, changes, at=market.at))
    (done,) = market.follow(*[market.apply(change) for change in changes])
    assert done.version and not foreseen.version
    assert (foreseen.mode, foreseen.followed, foreseen.left) == (done.mode, done.followed, done.left)
    assert [left.reason for left in done.left] == ["above_max_increase", "new_models_disabled"]
    notice = notice_of(changes[1], cards=[foreseen])
    assert notice.cards == (foreseen,) and notice.id == changes[1].id


def test_a_notice_lists_the_customers_with_most_revenue_and_counts_all(build: Any) -> None:
    customers = tuple(
        CustomerImpact(customer=f"cus_{n}", rate_card_version="rcv", figures=Figures(revenue_now_nano=n))
        for n in range(CUSTOMERS_MAX + 1)
    )
    card = CardImpact(rate_card="rcd", figures=Figures(), customers=customers, customers_count=len(customers))
    impact = Impact(change="pc", provider="p", model="m", start=build.at, end=build.at, cards=(card,))
    cut = impact.cut(CUSTOMERS_MAX)
    assert [entry.customer for entry in cut.cards[0].customers][:2] == ["cus_20", "cus_19"]
    assert (len(cut.cards[0].customers), cut.customers_count) == (CUSTOMERS_MAX, CUSTOMERS_MAX + 1)


def test_a_summary_says_what_moves_who_says_so_and_what_it_means(market: Market) -> None:
    market.use(input=1_000_000)
    market.later(hours=1)
    change = replace(
        market.change(input="3", output="8"),
        status="held",
        reasons=("single_source",),
        moves=(
            RecordedMove(leaf="input", when="", old="0.000002", new="0.000003", standing="single"),
            RecordedMove(leaf="cached_input", when="", old=None, new="0.0000005", standing="single"),
            RecordedMove(leaf="web_search", when="", old="0.01", new="0.005", standing="single"),
            RecordedMove(leaf="output_audio", when="", old="0.01", new=None, standing="single"),
        ),
        sources={"litellm": "git:abc"},
    )
    assert summary_of(change, weigh(market, change)) == (
        "openai/large: input rises from 2 to 3 per million (+50 %); cached_input costs 0.5 per million, "
        "a price of its own; web_search falls from 0.01 to 0.005 (-50 %); output_audio has no price of its "
        "own any more. The price counts from 2026-01-31 13:01 UTC, according to litellm (git:abc). It is "
        "held: approve or reject it (single_source). In the last 30 days 1 customer used it in 1 event, "
        "which by the price of now sell for 2.6 and cost 2 (margin 23.08 %). By the new price the same usage "
        "costs 3: a margin of -15.38 % if prices stay as they are, of 23.08 % and a revenue of 3.9 if they "
        "follow."
    )
    assert "Nobody used the model" in summary_of(change, weigh(market, market.change("small", input="1")))
    assert summary_of(replace(change, moves=(), sources={}), None) == (
        "openai/large: input costs 3 per 1,000,000; output costs 8 per 1,000,000. The price counts from "
        "2026-01-31 13:01 UTC. It is held: approve or reject it (single_source)."
    )
