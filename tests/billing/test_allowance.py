"""Included tokens: used once, up to the allowance, the rest at the card's price, on lines of their own."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costplus.billing.allowance import Allowance, InvalidAllowance, PeriodTerms, Rollover
from costplus.billing.plan import Plan
from costplus.billing.settle import Settlement
from costplus.billing.store import Tx
from costplus.core.period import monthly_period
from costplus.core.usage import Usage
from costplus.metering.event import reversed_event
from costplus.rating.charge import explain, rate, reversal_of
from costplus.rating.waive import list_nano

Shop = Any


def shop_with(build: SimpleNamespace, *allowances: Allowance, **request: Any) -> Shop:
    """Return a shop whose plan includes the allowances, with its customer."""
    shop = build.shop(allowances=allowances, **request)
    shop.customer()
    return shop


def tokens(units: int, **fields: Any) -> Allowance:
    return Allowance(**{"id": "tokens", "name": "tokens", "units": units, **fields})


def lines(shop: Shop) -> list[tuple[str, int, int]]:
    """Return the newest invoice's lines: what each is called, how many, and for how many minor units."""
    return [(line.description, line.quantity, line.amount_minor) for line in shop.invoices()[-1].lines]


def closed(shop: Shop, build: SimpleNamespace, ordinal: int = 0) -> Any:
    shop.close(monthly_period(build.at, ordinal).end + build.hour)
    assert shop.wrongs() == []
    return shop.invoices()[-1]


EDGES = [(0, 0), (999, 0), (1000, 0), (1001, 1), (2500, 1500)]


@pytest.mark.parametrize(("used", "owed"), EDGES)
def test_usage_within_the_allowance_is_not_asked_for(build: SimpleNamespace, used: int, owed: int) -> None:
    shop = shop_with(build, tokens(1000))
    shop.use(used)
    assert shop.balance().owed_total_nano == owed
    assert shop.account_nano("book/cost") == -used  # What it costs is booked all the same.


def test_the_invoice_shows_what_is_included_and_the_priced_rest_apart(build: SimpleNamespace) -> None:
    shop = shop_with(build, tokens(3 * build.cent))
    shop.use(2 * build.cent)
    shop.use(2 * build.cent)
    closed(shop, build)
    assert lines(shop) == [
        ("openai/m · input (included in plan: tokens)", 3 * build.cent, 0),
        ("openai/m · input", build.cent, 1),
    ]
    assert [line.unit_price for line in shop.invoices()[-1].lines] == ["0", "0.000000001"]


def test_a_charge_tells_what_was_included_and_what_it_sells_for(build: SimpleNamespace) -> None:
    shop = shop_with(build, tokens(6))
    shop.use(10)
    (entry,) = shop.write(lambda tx: tx.charged_page(customer="cus_1", limit=5))
    told = explain(entry.charge)
    assert [(step.quantity, step.price, step.list_price) for step in told.steps] == [
        (6, "0", "0.000000001"),
        (4, "0.000000004", ""),
    ]
    assert "included in plan: tokens" in told.steps[0].working
    assert (entry.charge.price_nano, entry.charge.cost_nano, list_nano(entry.charge)) == (4, 10, 10)


def test_settling_again_uses_nothing_again(build: SimpleNamespace) -> None:
    shop = shop_with(build, tokens(1000))
    once = shop.settlement(800, key="once")
    shop.settle(once, once)
    shop.settle(once)
    shop.use(200)
    assert shop.balance().owed_total_nano == 0
    shop.use(1)
    assert shop.balance().owed_total_nano == 1


def test_several_allowances_serve_in_order_each_its_own_models(build: SimpleNamespace) -> None:
    named = tokens(100, id="a", models=("openai/big",))
    any_of = tokens(50, id="b", models=("openai",))
    shop = shop_with(build, named, any_of, tokens(10, id="c", models=("anthropic",)))
    shop.use(130, rates=build.sheet(model="big"))
    shop.use(30, rates=build.sheet(model="small"))
    assert shop.balance().owed_total_nano == 10  # 100 + 30, then the 20 that are left.


def test_token_types_are_told_apart_and_weigh_what_they_are_said_to(build: SimpleNamespace) -> None:
    shop = shop_with(build, tokens(100, weights={"output": Decimal("2.5"), "input": Decimal("0.5")}))
    item = shop.settlement(0)
    usage = Usage({"input": 100, "output": 30})
    shop.settle(replace(item, event=replace(item.event, usage=usage), charge=rate(usage, build.sheet())))
    assert shop.balance().owed_total_nano == 10  # 50 units for the input, 50 for 20 of the output.
    only = shop_with(build, tokens(100, token_types=("output",)))
    only.use(10)
    assert only.balance().owed_total_nano == 10


def test_a_new_period_has_its_own_allowance_and_the_rest_lapses(build: SimpleNamespace) -> None:
    shop = shop_with(build, tokens(1000))
    shop.use(400)
    closed(shop, build)
    shop.use(1200)
    assert shop.balance().owed_total_nano == 200


ROLLED = [
    (Rollover(), 0),
    (Rollover(periods=1), 700),
    (Rollover(periods=1, most=250), 250),
    (Rollover(periods=1, most_percent=Decimal("33.3")), 333),
    (Rollover(periods=1, most=0), 0),
]


@pytest.mark.parametrize(("rollover", "rolled"), ROLLED)
def test_what_is_left_rolls_over_up_to_the_cap_and_serves_first(
    build: SimpleNamespace, rollover: Rollover, rolled: int
) -> None:
    shop = shop_with(build, tokens(1000, rollover=rollover))
    shop.use(300)
    closed(shop, build)
    shop.use(1000 + rolled)
    assert shop.balance().owed_total_nano == 0
    shop.use(1)
    assert shop.balance().owed_total_nano == 1


def test_what_rolled_over_lapses_after_its_periods(build: SimpleNamespace) -> None:
    shop = shop_with(build, tokens(1000, rollover=Rollover(periods=2)))
    for ordinal in range(2):
        closed(shop, build, ordinal)
    shop.use(3000)  # Its own, and what two periods left.
    assert shop.balance().owed_total_nano == 0
    closed(shop, build, 2)
    shop.use(1001)
    assert shop.balance().owed_total_nano == 1
    other = shop_with(build, tokens(1000, rollover=Rollover(periods=1)))
    for ordinal in range(3):
        closed(other, build, ordinal)
    other.use(2001)
    assert other.balance().owed_total_nano == 1


def test_late_usage_takes_from_its_own_period_what_no_later_one_used(build: SimpleNamespace) -> None:
    shop = shop_with(build, tokens(1000, rollover=Rollover(periods=1, most=600)), grace_s=7200)
    end = monthly_period(build.at, 0).end
    shop.use(100)
    shop.close(end)  # The draft waits: late usage still belongs to the period.
    shop.use(1500)  # 600 rolled over, 900 of its own.
    shop.use(500, at=end - build.hour)
    assert shop.balance().owed_total_nano == 200  # 100 + 600 + 300 make the first period's 1000.
    shop.close(end + 2 * build.hour)
    shop.use(100, at=end - build.hour)  # Its invoice is final: the open period bears it.
    assert shop.balance().owed_total_nano == 0
    assert shop.wrongs() == []


def test_a_reversal_gives_tokens_back(build: SimpleNamespace) -> None:
    shop = shop_with(build, tokens(1000))
    shop.use(800, key="wrong")
    entry = shop.write(lambda tx: tx.charged_page(customer="cus_1", limit=1))[0]
    back = Settlement(
        event=reversed_event(entry.event), charge=reversal_of(entry.charge), reverses=entry.transaction
    )
    again = shop.settlement(900)
    shop.settle(again, back)  # Whatever the order, what is taken back goes first.
    assert shop.balance().owed_total_nano == 0
    shop.use(101)
    assert shop.balance().owed_total_nano == 1
    assert shop.wrongs() == []


def test_one_rounding_up_an_event_also_where_a_part_is_included(build: SimpleNamespace) -> None:
    shop = shop_with(build, tokens(1))
    sheet = build.sheet(usd_per_million="0.0004")  # A token is 0.4 nano.
    shop.use(3, rates=sheet)
    assert shop.balance().owed_total_nano == 1  # 0.8 nano, rounded up once.
    shop.use(1, rates=sheet)
    assert closed(shop, build).usage_nano == 2


def test_a_line_of_included_tokens_bears_no_rounding(build: SimpleNamespace) -> None:
    shop = shop_with(build, tokens(5))
    sheet = build.sheet(usd_per_million="0.0005")  # A token is half a nano.
    shop.use(5, rates=sheet)
    for _ in range(2):
        shop.use(1, rates=sheet)
    assert [line.amount_nano for line in closed(shop, build).lines] == [0, 2]


def test_what_a_period_includes_stays_where_the_plan_drops_it(build: SimpleNamespace) -> None:
    shop = shop_with(build, tokens(100))
    shop.set_up()
    shop.use(101)
    assert shop.balance().owed_total_nano == 1
    closed(shop, build)
    shop.use(5)
    assert shop.balance().owed_total_nano == 5


def test_another_plan_counts_at_once_and_the_larger_allowance_of_both(build: SimpleNamespace) -> None:
    shop = shop_with(build, tokens(100))
    shop.use(100)
    subscription = shop.subscription()

    def upgrade(tx: Tx) -> None:
        plan = tx.find(Plan, shop.account.plan.id)
        assert plan is not None
        tx.save(replace(plan, id="bpp_larger", allowances=(tokens(300), tokens(7, id="more"))))
        tx.save(replace(subscription, plan="bpp_larger"))

    shop.write(upgrade)
    shop.use(207)
    assert shop.balance().owed_total_nano == 0
    shop.use(1)
    assert shop.balance().owed_total_nano == 1


def test_a_changed_plan_counts_from_the_next_period(build: SimpleNamespace) -> None:
    shop = shop_with(build, tokens(100))
    shop.set_up(allowances=(tokens(500),))
    shop.use(150)
    assert shop.balance().owed_total_nano == 50
    closed(shop, build)
    shop.use(500)
    assert shop.balance().owed_total_nano == 0


def test_a_plan_that_comes_to_include_tokens_does_so_for_running_periods(build: SimpleNamespace) -> None:
    shop = shop_with(build)
    shop.set_up(allowances=(tokens(500),))
    shop.use(501)
    assert shop.balance().owed_total_nano == 1
    assert len(shop.write(lambda tx: tx.page(PeriodTerms))) == 1


BAD = [
    tokens(0),
    tokens(1, weights={"output": Decimal("0.0001")}),
    tokens(1, weights={"output": Decimal(0)}),
    tokens(1, weights={"outputs": Decimal(1)}),
    tokens(1, token_types=("outputs",)),
    tokens(1, meter="calls", models=("openai",)),
    tokens(1, meter="calls", rollover=Rollover(periods=2)),
    tokens(1, rollover=Rollover(periods=13)),
    tokens(1, rollover=Rollover(periods=1, most_percent=Decimal(101))),
]


@pytest.mark.parametrize("allowance", BAD)
def test_an_allowance_that_cannot_be_counted_is_refused(allowance: Allowance) -> None:
    with pytest.raises(InvalidAllowance):
        allowance.check()


@given(st.lists(st.integers(0, 400), max_size=12), st.integers(1, 1000), st.integers(0, 3))
def test_however_usage_comes_all_beyond_the_allowance_is_asked_for(
    build: SimpleNamespace, uses: list[int], units: int, split: int
) -> None:
    shop = shop_with(build, tokens(units))
    batches = [uses[:split], uses[split:]]
    for batch in batches:
        shop.settle(*(shop.settlement(count) for count in batch))
    assert shop.balance().owed_total_nano == max(sum(uses) - units, 0)
    shop.at += timedelta(seconds=1)
    assert shop.wrongs() == []
