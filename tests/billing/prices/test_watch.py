"""Margins that fall below zero or below their target are told once."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from costplus.billing.margin_alarm import MarginAlarm
from costplus.billing.watch import check_margins
from costplus.rating.rate_card import FixedPrice

Market = Any  # The market of conftest: 30 % markup, so a target of 23.08 %.


def check(market: Market) -> list[str]:
    pricing = market.pricing
    fired = market.write(lambda tx: check_margins(tx, pricing, at=market.at))
    return [f"{alarm.shortfall} {alarm.model}" for alarm in fired]


def alarms(market: Market) -> list[MarginAlarm]:
    return list(market.write(lambda tx: tx.page(MarginAlarm)))


@pytest.mark.parametrize(
    ("cost", "fired"),
    [
        ("2", []),
        ("2.002", []),  # Within a tenth of a percentage point.
        ("2.0026", []),
        ("2.0027", ["below_target large"]),
        ("2.6", ["below_target large"]),
        ("2.600001", ["negative large"]),
        ("1", []),
    ],
)
def test_an_alarm_fires_at_its_bound(market: Market, cost: str, fired: list[str]) -> None:
    market.use()
    market.use(model="small")
    market.later(hours=1)
    market.move(input=cost, output="8")
    assert check(market) == fired
    assert market.shop.announced("margin.") == [f"margin.{word.split()[0]}" for word in fired]


def test_an_alarm_fires_once_per_price_and_card_version(market: Market) -> None:
    market.use()
    market.later(hours=1)
    market.move(input="3", output="8")
    assert check(market) == ["negative large"] and check(market) == []
    market.later(hours=1)
    market.move(input="4", output="8")
    assert check(market) == ["negative large"]
    market.later(hours=1)
    market.move(input="2", output="8")
    assert check(market) == []
    assert [alarm.recovered_at is not None for alarm in alarms(market)] == [True, True]


def test_it_recovers_and_comes_back_in_silence(market: Market) -> None:
    market.use(input=1000)
    market.later(hours=1)
    market.move(input="3", output="4")
    assert check(market) == ["negative large"]
    market.use(output=1_000_000)  # The mix makes up for it.
    market.later(hours=1)
    assert check(market) == []
    assert alarms(market)[0].recovered_at == market.at
    market.use(input=100_000_000)
    market.later(hours=1)
    assert check(market) == []
    assert alarms(market)[0].recovered_at is None
    assert market.shop.announced("margin.") == ["margin.negative"]


def test_a_card_that_follows_keeps_its_target(market: Market) -> None:
    market.rule("migrate_all")
    market.use()
    market.later(hours=1)
    market.move(input="3", output="8")
    market.later(hours=1)
    assert check(market) == []


def test_a_fixed_price_is_its_own_target_until_it_is_below_cost(market: Market) -> None:
    live = replace(market.live, id="rcv_f", fixed={"input": FixedPrice(Decimal("2.01"), 1_000_000)})
    market.write(lambda tx: tx.save(live))
    moved = market.shop.subscription().turned(market.at, lambda pin: replace(pin, version="rcv_f"))
    market.write(lambda tx: tx.save(moved))
    market.use()
    market.later(hours=1)
    assert check(market) == []
    market.move(input="2.02", output="8")
    assert check(market) == ["negative large"]


def test_usage_older_than_the_window_raises_nothing(market: Market) -> None:
    market.use()
    market.later(days=31)
    market.move(input="3", output="8")
    assert check(market) == []
