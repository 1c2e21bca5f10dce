"""A forecast burns grants at the present rate, each within its own time, and says what it is made of."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costplus.billing.customer import Customer
from costplus.billing.forecast import Forecast, credit_end, unpaid
from costplus.billing.project import forecast_of
from costplus.billing.shadow import Switch
from costplus.core.ids import CustomerId, GrantId
from costplus.ledger.grant import Grant

AT = datetime(2026, 3, 1, tzinfo=UTC)
DAY, HORIZON = timedelta(days=1), AT + timedelta(days=60)
PER_DAY = 86_400
CENT = 10_000_000


def grant(nano: int, *, start: int = 0, end: int | None = None, number: int = 0) -> Grant:
    """Return a grant from day `start` to day `end` from now."""
    return Grant(
        id=GrantId(f"credgr_{number}"),
        customer=CustomerId("cus_1"),
        created=AT,
        amount_nano=nano,
        remaining_nano=nano,
        currency="usd",
        effective_at=AT + start * DAY,
        expires_at=None if end is None else AT + end * DAY,
    )


def ends_after(*grants: Grant, per_day: int) -> Fraction | None:
    """Return after how many days credit ends, or None where it does not."""
    end = credit_end(grants, Fraction(per_day, PER_DAY), at=AT, horizon=HORIZON)
    return None if end is None else Fraction((end - AT) // timedelta(seconds=1), PER_DAY)


ENDS = [
    ([grant(100)], 10, 10),
    ([grant(100)], 0, None),
    ([grant(100)], 1, None),  # Beyond the horizon.
    ([], 10, 0),
    ([grant(100, start=1)], 10, 0),
    ([grant(100, end=4)], 10, 4),
    ([grant(100, end=4), grant(100, number=1)], 10, 14),  # What expires is burned first, the rest is lost.
    ([grant(50), grant(50, start=3, number=1)], 10, 10),
    ([grant(20), grant(50, start=3, number=1)], 10, 2),
]


@pytest.mark.parametrize(("grants", "per_day", "days"), ENDS)
def test_credit_ends_when_no_grant_of_the_moment_holds_anything(
    grants: list[Grant], per_day: int, days: int | None
) -> None:
    assert ends_after(*grants, per_day=per_day) == days


SOME = st.lists(
    st.tuples(st.integers(0, 500), st.integers(0, 20), st.one_of(st.none(), st.integers(1, 40))), max_size=4
)


@given(some=SOME, per_day=st.integers(0, 60))
def test_what_is_unpaid_until_then_is_what_a_day_by_day_count_leaves(
    some: list[tuple[int, int, int | None]], per_day: int
) -> None:
    grants = [grant(nano, start=s, end=e, number=n) for n, (nano, s, e) in enumerate(some)]
    left = {g.id: g.remaining_nano for g in grants}
    owed, empty = 0, None
    for number in range(30):
        live = [g for g in grants if g.is_burnable(AT + number * DAY) and left[g.id]]
        if not live and empty is None:
            empty = number
        rest = per_day
        for g in sorted(live, key=lambda g: (g.expires_at or HORIZON, g.effective_at, g.id)):
            part = min(left[g.id], rest)
            left[g.id], rest = left[g.id] - part, rest - part
        owed += rest
    assert unpaid(grants, Fraction(per_day, PER_DAY), at=AT, until=AT + 30 * DAY) == owed
    end = ends_after(*grants, per_day=per_day)
    if empty is not None:
        assert end is not None and empty - 1 <= end <= empty


def forecast(shop: Any, *, days: int = 7) -> Forecast:
    def verb(tx: Any) -> Forecast:
        customer = tx.find(Customer, "cus_1")
        return forecast_of(tx, customer, at=shop.at, days=days)

    made: Forecast = shop.write(verb)
    return made


def test_a_customers_forecast_spreads_what_it_was_charged_and_ends_its_credit(alerts: Any) -> None:
    shop = alerts.shop
    shop.give(100 * CENT)
    for _ in range(4):
        alerts.use(5)
        shop.at += DAY
    made = forecast(shop)
    assert made.spent_nano == 20 * CENT == sum(day.spent_nano for day in made.days)
    assert made.per_day_nano == 5 * CENT
    assert made.credit_ends_at == shop.at + 16 * DAY  # 80 cents at 5 a day.


def test_a_projected_invoice_has_what_is_owed_and_what_credit_will_not_pay(alerts: Any) -> None:
    shop = alerts.shop
    shop.give(10 * CENT)
    for _ in range(4):
        alerts.use(5)
        shop.at += DAY
    made = forecast(shop)
    assert made.period is not None
    days_left = (made.period.end - shop.at) // DAY
    assert made.owed_nano == 10 * CENT
    assert made.period_projected_nano == (20 + 5 * days_left) * CENT
    assert made.invoice_projected_nano == (10 + 5 * days_left) * CENT
    assert made.credit_ends_at == shop.at


def test_the_credit_of_periods_to_come_counts(build: Any) -> None:
    shop = build.shop(credit_minor=3100)
    shop.customer()
    for _ in range(4):
        shop.use(CENT * 100)
        shop.at += DAY
    made = forecast(shop)
    assert made.per_day_nano == 100 * CENT
    assert made.credit_ends_at is None or made.credit_ends_at > made.period.end  # type: ignore[union-attr]  # There is a period.


def test_no_fee_is_projected_where_usage_is_only_tracked(build: Any) -> None:
    shop = build.shop(fee_minor=2000)
    shop.customer()
    assert forecast(shop).invoice_projected_nano == 2000 * CENT

    def track(tx: Any) -> None:
        tx.save(replace(tx.find(Customer, "cus_1"), shadow=(Switch(shop.at, True),)))

    shop.write(track)
    assert forecast(shop).invoice_projected_nano == 0


def test_nothing_used_forecasts_nothing(alerts: Any) -> None:
    alerts.shop.give(5 * CENT)
    made = forecast(alerts.shop)
    assert (made.per_day_nano, made.credit_ends_at, made.invoice_projected_nano) == (0, None, 0)
