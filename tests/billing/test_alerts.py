"""An alert fires once a crossing, at its threshold and not above, and again after it recovered."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from costplus.billing.close import account_settings
from costplus.billing.notify import cross, refused
from costplus.billing.terms import terms_of
from costplus.gateway.leases import Leases
from costplus.ledger.hold import InsufficientCredit
from costplus.ledger.post import expire_grant, void_grant

Shop = Any  # The shop of conftest.
TRIGGERED, RECOVERED = "billing.alert.triggered", "billing.alert.recovered"


async def nothing_waits() -> None:
    """Every charge made so far is in the ledger."""


def refuse(shop: Shop) -> None:
    credit = shop.credit()
    shop.write(lambda tx: refused(tx, "cus_1", credit_nano=credit, currency="usd", at=shop.at))


def alerts(shop: Shop) -> list[str]:
    return shop.announced("billing.alert")


def test_the_zero_alert_fires_at_zero_and_not_one_nano_above(shop: Shop) -> None:
    shop.give(100)
    shop.use(99)
    assert alerts(shop) == []
    shop.use(1)
    assert alerts(shop) == [TRIGGERED]


def test_an_alert_that_fired_is_silent_until_credit_is_above_it_again(shop: Shop) -> None:
    shop.give(100)
    shop.use(150)
    shop.use(10)
    assert alerts(shop) == [TRIGGERED]
    shop.give(60)  # All of it pays the debt: still nothing left.
    assert alerts(shop) == [TRIGGERED]
    shop.give(1)
    assert alerts(shop) == [TRIGGERED, RECOVERED]
    shop.use(1)
    assert alerts(shop) == [TRIGGERED, RECOVERED, TRIGGERED]


def test_a_customer_who_never_had_credit_crosses_nothing(shop: Shop) -> None:
    shop.use(10)
    assert alerts(shop) == []


THRESHOLDS = [(1, []), (0, [TRIGGERED])]


@pytest.mark.parametrize(("above_nano", "fired"), THRESHOLDS)
def test_a_threshold_fires_at_its_amount_and_not_one_nano_above(
    shop: Shop, build: SimpleNamespace, above_nano: int, fired: list[str]
) -> None:
    shop.alert(100)
    shop.give(200 * build.cent)
    shop.use(100 * build.cent - above_nano)
    assert alerts(shop) == fired


def test_an_alert_recovers_only_above_its_threshold_and_not_at_it(shop: Shop, build: SimpleNamespace) -> None:
    shop.alert(100)
    shop.give(101 * build.cent)
    shop.use(2 * build.cent)
    shop.give(build.cent)
    assert alerts(shop) == [TRIGGERED]
    shop.give(1)
    assert alerts(shop) == [TRIGGERED, RECOVERED]


def test_one_fall_through_several_thresholds_fires_each_once(shop: Shop, build: SimpleNamespace) -> None:
    shop.alert(100, "alrt_1")
    shop.alert(50, "alrt_2")
    shop.alert(500, "alrt_3")  # Credit never was above this one.
    shop.give(200 * build.cent)
    shop.use(200 * build.cent)
    assert alerts(shop) == [TRIGGERED] * 3
    assert len(shop.balance().fired) == 3  # Two of these, and the account's zero alert.


def test_an_alert_of_one_customer_is_silent_for_others(shop: Shop, build: SimpleNamespace) -> None:
    shop.customer("cus_2")
    shop.alert(100, customer="cus_2")
    for customer in ("cus_1", "cus_2"):
        shop.give(200 * build.cent, customer=customer)
        shop.use(150 * build.cent, customer=customer)
    assert (shop.balance("cus_1").fired, shop.balance("cus_2").fired) == ((), ("alrt_1",))


@pytest.mark.parametrize("status", ["inactive", "archived"])
def test_an_alert_that_is_not_active_is_silent(shop: Shop, build: SimpleNamespace, status: str) -> None:
    shop.alert(100, status=status)
    shop.give(200 * build.cent)
    shop.use(150 * build.cent)
    assert alerts(shop) == []


def test_the_end_of_credit_by_expiry_fires_too(shop: Shop, build: SimpleNamespace) -> None:
    shop.give(100, expires_at=build.at + build.day)
    shop.close(build.at + build.day - build.tick)
    assert alerts(shop) == []
    shop.close(build.at + build.day)
    assert alerts(shop) == [TRIGGERED]


@pytest.mark.parametrize("end", [void_grant, expire_grant])
def test_taking_back_credit_that_was_not_effective_yet_fires_nothing(
    shop: Shop, build: SimpleNamespace, end: Any
) -> None:
    grant = shop.give(100, effective_at=build.at + build.day)
    shop.write(lambda tx: cross(tx, end(tx, grant, at=shop.at), currency="usd", at=shop.at))
    assert alerts(shop) == []


def test_a_refusal_fires_the_zero_alert_once_however_often_it_is_repeated(shop: Shop) -> None:
    shop.give(5)
    for _ in range(3):
        refuse(shop)
    assert alerts(shop) == [TRIGGERED]


def test_spending_the_remainder_after_a_refusal_is_neither_recovery_nor_a_second_end(shop: Shop) -> None:
    shop.give(5)
    refuse(shop)
    shop.use(3)
    refuse(shop)
    shop.use(2)
    assert alerts(shop) == [TRIGGERED]
    shop.give(10)
    shop.use(10)
    assert alerts(shop) == [TRIGGERED, RECOVERED, TRIGGERED]


def test_new_credit_after_a_refusal_recovers_and_the_next_refusal_fires_again(shop: Shop) -> None:
    shop.give(5)
    refuse(shop)
    shop.give(5)
    assert alerts(shop) == [TRIGGERED, RECOVERED]
    refuse(shop)
    assert alerts(shop) == [TRIGGERED, RECOVERED, TRIGGERED]


def test_a_refusal_after_the_credit_ended_says_nothing_new(shop: Shop) -> None:
    shop.give(5)
    shop.use(5)
    refuse(shop)
    assert alerts(shop) == [TRIGGERED]


def test_a_refusal_fires_no_other_threshold_than_zero(shop: Shop, build: SimpleNamespace) -> None:
    shop.alert(1)
    shop.give(2 * build.cent)
    refuse(shop)
    assert shop.balance().fired != ()
    assert "alrt_1" not in " ".join(shop.balance().fired)


async def test_a_call_refused_only_for_holds_in_flight_does_not_say_that_credit_ended(shop: Shop) -> None:
    shop.give(100)
    leases = Leases(
        shop.store, owner="gw_1", now=lambda: datetime(2026, 1, 31, 12, tzinfo=UTC), settled=nothing_waits
    )
    terms = replace(shop.write(lambda tx: terms_of(tx, "cus_1")), on_zero_credit="block")
    await leases.take(terms, 80)
    with pytest.raises(InsufficientCredit):
        await leases.take(terms, 80)  # 100 of credit would cover it, were the other call over.
    assert alerts(shop) == []
    with pytest.raises(InsufficientCredit):
        await leases.take(terms, 101)  # Whatever is in flight: this call can never run.
    assert alerts(shop) == [TRIGGERED]


def test_settings_of_the_account_are_found_after_the_set_up(shop: Shop) -> None:
    assert shop.write(account_settings).default_plan == shop.account.plan.id
