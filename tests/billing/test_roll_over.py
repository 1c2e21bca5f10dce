"""Included credit: what is left of it at the period's end goes on up to its cap, once, or is breakage."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from costplus.billing.allowance import CreditTerms, Rollover
from costplus.billing.event import Event
from costplus.billing.movement import Movement, grant_of_movement
from costplus.core.money import NANO
from costplus.core.period import monthly_period
from costplus.ledger.post import expire_grant

Shop = Any
USD = NANO


def shop_with(build: SimpleNamespace, rollover: Rollover, *, usd: int = 100, **terms: Any) -> Shop:
    """Return a shop whose plan includes so much credit every period, with its customer."""
    shop = build.shop(credit_minor=usd * 100, credit_terms=CreditTerms(rollover=rollover, **terms))
    shop.customer()
    return shop


def left(shop: Shop) -> list[tuple[str, int]]:
    """Return what each grant that holds something was made by, and what it holds."""
    live = shop.write(lambda tx: tx.live_grants("cus_1"))
    return [(grant.source, grant.remaining_nano) for grant in live]


ENDS = [
    (Rollover(), 10, 0, 90),
    (Rollover(periods=1), 10, 90, 0),
    (Rollover(periods=1, most=5000), 10, 50, 40),
    (Rollover(periods=1, most=5000), 70, 30, 0),
    (Rollover(periods=1, most_percent=Decimal(25)), 10, 25, 65),
    (Rollover(periods=1, most=5000, most_percent=Decimal(25)), 10, 25, 65),
    (Rollover(periods=1), 100, 0, 0),
]


@pytest.mark.parametrize(("rollover", "used", "rolled", "broken"), ENDS)
def test_at_the_end_the_rest_goes_on_up_to_the_cap_and_all_else_is_breakage(
    build: SimpleNamespace, rollover: Rollover, used: int, rolled: int, broken: int
) -> None:
    shop = shop_with(build, rollover)
    shop.use(used * USD)
    shop.close(monthly_period(build.at, 0).end)
    expected = [("rollover", rolled * USD)] if rolled else []
    assert left(shop) == [*expected, ("plan", 100 * USD)]
    assert shop.account_nano("book/breakage") == broken * USD
    assert shop.account_nano("book/promotions") == -(100 + 100) * USD
    shop.close(monthly_period(build.at, 0).end)
    assert left(shop) == [*expected, ("plan", 100 * USD)]
    assert shop.wrongs() == []


def test_what_rolled_over_burns_first_and_does_not_roll_again(build: SimpleNamespace) -> None:
    shop = shop_with(build, Rollover(periods=1))
    shop.close(monthly_period(build.at, 0).end)
    shop.use(30 * USD)
    assert left(shop) == [("rollover", 70 * USD), ("plan", 100 * USD)]
    shop.close(monthly_period(build.at, 1).end)
    assert left(shop) == [("rollover", 100 * USD), ("plan", 100 * USD)]
    assert shop.account_nano("book/breakage") == 70 * USD


def test_it_may_go_on_for_several_periods(build: SimpleNamespace) -> None:
    shop = shop_with(build, Rollover(periods=2, most=1000))
    for ordinal in range(3):
        shop.close(monthly_period(build.at, ordinal).end)
    assert left(shop) == [("rollover", 10 * USD), ("rollover", 10 * USD), ("plan", 100 * USD)]
    ends = {grant.expires_at for grant in shop.write(lambda tx: tx.live_grants("cus_1"))}
    assert ends == {monthly_period(build.at, 3).end, monthly_period(build.at, 4).end}


def test_an_alert_sees_one_fall_from_before_the_end_to_after_it(build: SimpleNamespace) -> None:
    shop = shop_with(build, Rollover(periods=1, most=5000))
    shop.alert(6000)
    shop.close(monthly_period(build.at, 0).end)
    assert shop.announced("billing.alert") == ["billing.alert.triggered", "billing.alert.recovered"]
    assert shop.announced("billing.credit_grant") == ["billing.credit_grant.created"] * 3


def test_what_ends_and_what_goes_on_are_announced_as_movements_of_their_grants(
    build: SimpleNamespace,
) -> None:
    shop = shop_with(build, Rollover(periods=1, most=5000))
    shop.close(monthly_period(build.at, 0).end)
    events = shop.write(lambda tx: tx.page(Event, limit=100))
    moved = [
        msgspec.json.decode(e.snapshot, type=Movement) for e in reversed(events) if "transaction" in e.type
    ]
    assert [(movement.kind, movement.minor_change) for movement in moved] == [
        ("grant", 10_000),
        ("grant_rollover", -5000),
        ("grant_expiry", -5000),
        ("grant", 5000),
        ("grant", 10_000),
    ]
    assert all(grant_of_movement(movement.id) == movement.grant for movement in moved)
    assert moved[3].grant.endswith("_rolled")


OVERAGE = [(True, 40), (False, 50)]


@pytest.mark.parametrize(("pays", "goes_on"), OVERAGE)
def test_what_is_filled_up_pays_the_overage_or_leaves_it_to_the_invoice(
    build: SimpleNamespace, pays: bool, goes_on: int
) -> None:
    shop = shop_with(build, Rollover(periods=1, most=5000, least=5000, pays_overage=pays))
    shop.use(110 * USD)
    end = monthly_period(build.at, 0).end
    shop.close(end + build.hour)
    assert [nano for _, nano in left(shop)] == [goes_on * USD, 100 * USD]
    assert shop.invoices()[-1].total_minor == (0 if pays else 1000)
    assert shop.wrongs() == []


def test_credit_that_was_ended_by_hand_does_not_go_on(build: SimpleNamespace) -> None:
    shop = shop_with(build, Rollover(periods=1))
    (grant,) = shop.write(lambda tx: tx.live_grants("cus_1"))
    shop.write(lambda tx: expire_grant(tx, grant, at=shop.at))
    shop.close(monthly_period(build.at, 0).end)
    assert left(shop) == [("plan", 100 * USD)]


def test_a_plan_may_call_its_credit_paid_and_its_revenue_is_that_of_the_fee(build: SimpleNamespace) -> None:
    shop = build.shop(fee_minor=10_000, credit_minor=10_000, credit_terms=CreditTerms(category="paid"))
    shop.customer()
    shop.use(130 * USD)
    shop.close(monthly_period(build.at, 0).end + build.hour)
    first, second = shop.invoices()
    assert (first.total_minor, second.total_minor) == (10_000, 3000 + 10_000)
    # Two fees and what was used beyond the credit: what the credit paid is taken off as what was promised.
    earned = shop.account_nano("book/revenue") + shop.account_nano("book/promotions") + 100 * USD
    assert earned == (100 + 100 + 30) * USD
    assert shop.account_nano("book/payments") == 0
    assert shop.wrongs() == []


def test_the_terms_are_those_of_the_periods_beginning(build: SimpleNamespace) -> None:
    shop = shop_with(build, Rollover(periods=1, most=5000))
    plan = shop.account.plan
    changed = replace(plan, credit_terms=CreditTerms(), credit_minor=700)
    shop.write(lambda tx: tx.save(changed))
    shop.close(monthly_period(build.at, 0).end)
    assert left(shop) == [("rollover", 50 * USD), ("plan", 7 * USD)]
