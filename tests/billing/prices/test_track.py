"""What cards do about changed provider prices: tell, sell to new customers by them, or to all."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from costplus.billing.customer import Customer
from costplus.billing.event import Event
from costplus.core.period import monthly_period

Market = Any  # The market of conftest.

OLD, NEW = 2_600_000, 3_900_000  # A thousand tokens at 2 and at 3 dollars per million, 30 % above.


def prices(market: Market, *customers: str) -> list[int]:
    return [market.worth(customer)[1] for customer in customers]


def test_a_card_that_only_tells_costs_more_and_sells_as_before(market: Market) -> None:
    (told,) = market.move(input="3", output="8")
    market.later(hours=1)
    market.shop.customer("cus_2")
    assert (told.version, [left.reason for left in told.left]) == ("", ["tracking_disabled"])
    assert market.worth("cus_1") == market.worth("cus_2") == (3_000_000, OLD)
    assert len(market.versions()) == 1


def test_new_customers_pay_the_new_price_and_old_ones_the_old(market: Market) -> None:
    market.rule("new_customers_only")
    (done,) = market.move(input="3", output="8")
    market.shop.customer("cus_2")
    market.later(hours=1)
    assert prices(market, "cus_1", "cus_2") == [OLD, NEW]
    assert (done.version, done.subscriptions) == (market.live.id, 0)
    assert market.shop.announced("rate_card") == ["rate_card.version_created"]


def test_all_pay_the_new_price_from_then_on_and_usage_keeps_what_its_own_time_says(market: Market) -> None:
    market.rule("migrate_all")
    before, key = market.at, market.use(key="early")
    market.later(days=1)
    (done,) = market.move(input="3", output="8")
    assert (done.mode, done.subscriptions, len(done.followed)) == ("migrate_all", 1, 1)
    market.later(hours=1)
    assert market.worth() == (3_000_000, NEW)
    assert market.worth(at=before + timedelta(hours=1)) == (2_000_000, OLD)  # It arrives late.
    assert market.write(lambda tx: tx.charge_of("cus_1", key.event.id)) == key


def test_the_first_version_and_its_terms_never_change(market: Market) -> None:
    (first,) = market.versions()
    market.rule("migrate_all")
    market.move(input="3", output="8")
    market.later(hours=1)
    market.move("small", input="2", output="4")
    kept = market.versions()
    assert kept[0] == first and len(kept) == 3
    assert market.live == kept[-1]


@pytest.mark.parametrize("days", [1, 30])
def test_a_notice_delays_the_move_by_its_days(market: Market, days: int) -> None:
    market.rule("migrate_all", notice_days=days)
    market.move(input="3", output="8")
    market.later(days=days, microseconds=-1)
    assert prices(market, "cus_1") == [OLD]
    market.later(microseconds=1)
    assert prices(market, "cus_1") == [NEW]


@pytest.mark.parametrize(("notice", "ordinal"), [(0, 1), (27, 1), (28, 2), (60, 3)])
def test_with_the_next_period_a_move_waits_for_its_start_and_for_the_notice(
    market: Market, notice: int, ordinal: int
) -> None:
    """Periods begin at noon of 31 January and 28 February; it is a minute past the first."""
    market.rule("migrate_all", moves="next_period", notice_days=notice)
    subscription = market.shop.subscription()
    market.move(input="3", output="8")
    (pin,) = market.shop.subscription().pins
    assert pin.since == monthly_period(subscription.anchor, ordinal).start


def test_a_customer_on_a_test_clock_is_moved_in_its_own_time(market: Market) -> None:
    clock = market.shop.clock()
    market.shop.customer("cus_2", clock=clock.id)
    market.rule("migrate_all", notice_days=2)
    frozen = market.at
    market.later(days=10)
    market.move(input="3", output="8")
    assert market.shop.subscription("cus_2").pins[0].since == frozen + timedelta(days=2)


def test_a_fall_can_be_followed_where_rises_are_not_and_is_not_swept_up_by_the_next(market: Market) -> None:
    market.rule("migrate_all", apply_increases=False)
    (left,) = market.move(input="3", output="8")
    assert [entry.reason for entry in left.left] == ["increases_not_applied"]
    market.later(hours=1)
    market.move("small", input="0.5", output="4")
    market.later(hours=1)
    assert market.worth(model="small") == (500_000, 650_000)
    assert market.worth() == (3_000_000, OLD)
    assert set(market.live.kept_as_of) == {"openai/large"}


def test_a_change_that_is_followed_later_ends_what_was_kept_apart(market: Market) -> None:
    market.rule("migrate_all", apply_increases=False)
    market.move(input="3", output="8")
    market.later(hours=1)
    market.move("small", input="0.5", output="4")
    market.later(hours=1)
    market.move(input="1", output="8")
    market.later(hours=1)
    assert market.live.kept_as_of == {}
    assert market.worth() == (1_000_000, 1_300_000)


@pytest.mark.parametrize(
    ("options", "now", "reason"),
    [
        ({"apply_decreases": False}, {"input": "1", "output": "8"}, "decreases_not_applied"),
        ({"apply_decreases": False}, {"input": "3", "output": "4"}, "decreases_not_applied"),
        ({"apply_increases": False}, {"input": "1", "output": "9"}, "increases_not_applied"),
        ({"max_increase_percent": Decimal(50)}, {"input": "3", "output": "8"}, None),
        ({"max_increase_percent": Decimal(50)}, {"input": "3.01", "output": "8"}, "above_max_increase"),
        (
            {"max_increase_percent": Decimal(50)},
            {"input": "2", "output": "8", "web_search": "1"},
            "above_max_increase",
        ),
        ({"max_increase_percent": Decimal(0)}, {"input": "1", "output": "8"}, None),
        (
            {"max_increase_percent": Decimal(10)},
            {"input": "2", "output": "8", "input>1000": "4"},
            "above_max_increase",
        ),
        ({"apply_increases": False}, {"input": "2", "output": "8", "cached_input": "1"}, None),
    ],
)
def test_each_option_leaves_what_it_does_not_admit(
    market: Market, options: dict[str, Any], now: dict[str, str], reason: str | None
) -> None:
    market.rule("migrate_all", **options)
    (done,) = market.move(**now)
    assert [left.reason for left in done.left] == ([reason] if reason else [])
    assert bool(done.version) is (reason is None)


def test_small_steps_do_not_pass_the_largest_rise_that_is_followed(market: Market) -> None:
    market.rule("migrate_all", max_increase_percent=Decimal(10))
    market.move(input="3", output="8")
    market.later(hours=1)
    (done,) = market.move(input="2.85", output="8")  # A fall, but not from what the card sells by.
    assert [left.reason for left in done.left] == ["above_max_increase"]


def test_changes_of_one_moment_make_one_version(market: Market) -> None:
    market.rule("migrate_all")
    changes = [market.apply(market.change(model, input="3", output="8")) for model in ("large", "small")]
    (done,) = market.follow(*changes)
    assert len(done.followed) == 2 and len(market.versions()) == 2
    market.later(hours=1)
    assert prices(market, "cus_1") == [NEW]
    assert market.worth(model="small")[1] == NEW


def test_a_price_announced_for_later_is_sold_from_then_on_and_not_before(market: Market) -> None:
    market.rule("migrate_all")
    market.move(input="3", output="8", since=market.at + timedelta(days=3))
    market.later(days=3, microseconds=-1)
    assert market.worth() == (2_000_000, OLD)
    market.later(microseconds=1)
    assert market.worth() == (3_000_000, NEW)


def test_a_fall_is_left_where_a_rise_that_was_left_begins_later(market: Market) -> None:
    """The fall cannot be had without the rise: a model sells by all that was known at one instant."""
    market.rule("migrate_all", apply_increases=False)
    market.move(input="3", output="8", since=market.at + timedelta(days=5))
    market.later(hours=1)
    (done,) = market.move(input="1", output="8")
    assert [left.reason for left in done.left] == ["increases_not_applied"]
    market.later(days=6)
    assert market.worth() == (3_000_000, OLD)


def test_a_change_under_an_operators_price_is_sold_when_that_ends(market: Market) -> None:
    market.rule("migrate_all")
    end = market.at + timedelta(days=5)
    market.move(input="5", output="8", until=end)
    market.later(hours=1)
    (done,) = market.move(input="3", output="8")
    market.later(hours=1)
    assert done.version and market.worth() == (5_000_000, 6_500_000)
    market.later(days=5)
    assert market.worth() == (3_000_000, NEW)


def test_a_change_of_a_model_that_the_card_does_not_list_is_none_of_its_business(
    build: Any, market_of: Any
) -> None:
    shop = build.shop(models=("openai/small",), price_tracking="migrate_all")
    market = market_of(shop)
    assert market.move(input="3", output="8") == ()


@pytest.mark.parametrize("rule", ["new_customers_only", "migrate_all"])
def test_a_new_model_is_sold_to_whom_the_rule_admits(market: Market, rule: str) -> None:
    market.rule(new_models=rule)
    market.move("tiny", input="0.1", output="1")
    market.later(hours=1)
    market.shop.customer("cus_2")
    assert market.use("cus_1", model="tiny").charge.unpriced == (
        () if rule == "migrate_all" else ("not_on_card",)
    )
    assert market.worth("cus_2", model="tiny") == (100_000, 130_000)
    assert market.live.admitted == ("openai/tiny",)


def test_a_new_model_that_no_rule_admits_is_not_sold(market: Market) -> None:
    (done,) = market.move("tiny", input="0.1", output="1")
    market.later(hours=1)
    assert [left.reason for left in done.left] == ["new_models_disabled"]
    assert market.use(model="tiny").charge.unpriced == ("not_on_card",)


def test_an_admitted_model_does_not_bring_along_one_that_came_before(market: Market) -> None:
    market.move("tiny", input="0.1", output="1")
    market.rule(new_models="migrate_all")
    market.move("mini", input="0.2", output="1")
    market.later(hours=1)
    assert market.use(model="tiny").charge.unpriced == ("not_on_card",)
    assert market.worth(model="mini") == (200_000, 260_000)


def test_a_card_that_lists_its_models_gets_an_admitted_one_appended(build: Any, market_of: Any) -> None:
    market = market_of(build.shop(models=("openai/small",)))
    market.shop.customer()
    market.rule(new_models="migrate_all")
    market.move("tiny", input="0.1", output="1")
    assert market.live.models == ("openai/small", "openai/tiny")


def test_new_models_for_all_do_not_move_prices_that_are_for_new_customers_only(market: Market) -> None:
    market.rule("new_customers_only", new_models="migrate_all")
    market.move(input="3", output="8")
    market.later(hours=1)
    market.move("tiny", input="0.1", output="1")
    market.later(hours=1)
    market.shop.customer("cus_2")
    assert prices(market, "cus_1", "cus_2") == [OLD, NEW]
    assert market.worth(model="tiny") == market.worth("cus_2", model="tiny") == (100_000, 130_000)


def test_a_move_that_was_announced_is_neither_hastened_nor_lost_by_another(market: Market) -> None:
    market.rule("migrate_all", notice_days=30)
    market.move(input="3", output="8")
    market.later(days=1)
    market.rule("migrate_all", notice_days=0)
    market.move("small", input="2", output="4")
    market.later(days=1)
    assert prices(market, "cus_1") == [OLD]
    assert market.worth(model="small") == (2_000_000, 2_600_000)
    market.later(days=28)
    assert prices(market, "cus_1") == [NEW]
    assert market.worth(model="small") == (2_000_000, 2_600_000)


def test_a_canceled_subscription_stays_where_it_is(market: Market) -> None:
    from_before = market.shop.subscription()
    market.write(lambda tx: tx.save(replace(from_before, status="canceled")))
    market.rule("migrate_all")
    (done,) = market.move(input="3", output="8")
    assert done.subscriptions == 0 and done.version


def test_a_deleted_customer_is_not_looked_at(market: Market) -> None:
    market.write(lambda tx: tx.save(Customer(id="cus_1", created=market.at, deleted=True)))
    market.rule("migrate_all")
    assert market.move(input="3", output="8")[0].subscriptions == 0
    assert [event.type for event in market.write(lambda tx: tx.page(Event, limit=1))] == [
        "rate_card.version_created"
    ]
