"""Spend and usage alerts fire once per window that reaches them, in whatever order its events come."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from costplus.billing.alert import AlertFiring
from costplus.billing.close import account_settings
from costplus.billing.customer import Customer
from costplus.billing.plan import Plan
from costplus.billing.spend import calendar_window
from costplus.billing.terms import terms_of
from costplus.rating.charge import Charge

AT = datetime(2026, 1, 31, 12, tzinfo=UTC)
DAY = timedelta(days=1)


def test_a_day_s_alert_fires_at_its_amount_once_and_not_a_nano_below(alerts: Any) -> None:
    alerts.spend(10)
    alerts.shop.use(10 * 10_000_000 - 1)
    assert alerts.news() == []
    alerts.shop.use(1)
    alerts.use(5)
    assert alerts.news() == ["+s"]


def test_the_next_day_begins_at_zero(alerts: Any) -> None:
    alerts.spend(10)
    alerts.use(10)
    alerts.shop.at += DAY
    alerts.use(9)
    assert alerts.news() == ["+s"]
    alerts.use(1)
    assert alerts.news() == ["+s", "+s"]


def test_late_usage_that_lifts_an_earlier_day_fires_for_that_day_once(alerts: Any) -> None:
    alerts.spend(10)
    alerts.use(6)
    alerts.shop.at += 3 * DAY
    alerts.use(6, at=AT, key="late")
    alerts.use(6, at=AT, key="late")  # Sent again.
    alerts.use(6)
    (fired,) = [f for f in alerts.fired() if f.alert.id == "alrt_s"]
    assert fired.window.start == AT.replace(hour=0)
    assert fired.credit_nano == 12 * 10_000_000


def test_usage_that_is_taken_back_recovers_its_own_day_and_reaching_it_again_fires_again(
    alerts: Any,
) -> None:
    alerts.spend(10)
    alerts.use(12)
    back = Charge(price_nano=-5 * 10_000_000, cost_nano=0, lines=())
    alerts.shop.settle(alerts.shop.settlement(0, charge=back))
    alerts.use(3)
    assert alerts.news() == ["+s", "-s", "+s"]


def test_spend_of_the_window_from_before_the_alert_counts(alerts: Any) -> None:
    alerts.use(8)
    alerts.spend(10)
    alerts.use(2)
    assert alerts.news() == ["+s"]


def test_an_alert_that_slept_knows_what_was_spent_meanwhile(alerts: Any) -> None:
    alerts.spend(10)
    alerts.use(4)
    alerts.spend(10, status="inactive")
    alerts.use(5)
    assert alerts.news() == []
    alerts.spend(10, since=AT + timedelta(minutes=1))
    alerts.use(1)
    assert alerts.news() == ["+s"]


@pytest.mark.parametrize("span", ["week", "month", "billing", "all_time"])
def test_every_span_sums_its_own_window(alerts: Any, span: str) -> None:
    alerts.spend(10, span)
    alerts.use(4)
    alerts.use(4, at=AT - timedelta(hours=5))
    assert alerts.news() == []
    alerts.use(2)
    assert alerts.news() == ["+s"]


def test_a_key_s_and_a_model_s_alert_see_only_theirs(alerts: Any) -> None:
    alerts.spend(10, id="alrt_key", api_key="mk_1")
    alerts.spend(10, "month", id="alrt_model", model="openai/large")
    alerts.use(10, api_key="mk_2", model="small")
    assert alerts.news() == []
    alerts.use(10, api_key="mk_1", model="small")
    alerts.use(10, api_key="mk_2", model="large")
    assert alerts.news() == ["+key", "+model"]


def test_a_customer_s_own_alert_is_silent_for_others_and_one_in_another_currency_for_all(
    alerts: Any,
) -> None:
    alerts.shop.customer("cus_2")
    alerts.spend(1, id="alrt_own", customer="cus_2")
    alerts.spend(1, id="alrt_eur", currency="eur")
    alerts.use(5)
    assert alerts.news() == []
    alerts.use(5, customer="cus_2")
    assert alerts.news() == ["+own"]


def test_a_credit_alert_in_another_currency_passes_nothing(alerts: Any) -> None:
    alerts.shop.alert(100, "alrt_eur", currency="eur")
    alerts.shop.give(2_000_000_000)
    alerts.use(150)
    assert "alrt_eur" not in alerts.shop.balance().fired


def meter(alerts: Any, units: int, **event: Any) -> None:
    """Settle usage of a meter that counts so many units."""
    made = alerts.shop.settlement(units, charge=Charge(price_nano=0, cost_nano=0, lines=()))
    fields = {"meter": "calls", "provider": "meter", "model": "calls", **event}
    alerts.shop.settle(replace(made, event=replace(made.event, **fields)))


def test_a_one_time_usage_alert_fires_once_ever(alerts: Any, build: SimpleNamespace) -> None:
    alerts.usage(10)
    for _ in range(5):
        meter(alerts, 6)
        alerts.shop.at += 40 * DAY
        alerts.shop.close(alerts.shop.at)
    assert alerts.news() == ["+u"]


def test_a_recurring_usage_alert_fires_in_every_billing_period_that_reaches_it(alerts: Any) -> None:
    alerts.usage(10, recurrence="recurring")
    for units in (9, 12, 3, 10):
        meter(alerts, units)
        alerts.shop.close(alerts.shop.subscription().period.end)
    assert alerts.news() == ["+u", "+u"]


def test_usage_from_before_the_alert_and_of_other_meters_does_not_count(alerts: Any) -> None:
    alerts.shop.at += DAY
    alerts.usage(10)
    meter(alerts, 10, at=alerts.shop.at - timedelta(seconds=1))
    meter(alerts, 10, meter="others")
    assert alerts.news() == []
    meter(alerts, 10)
    assert alerts.news() == ["+u"]


def test_a_counting_meter_s_alert_counts_events(alerts: Any) -> None:
    alerts.usage(3, counts_events=True)
    for _ in range(3):
        meter(alerts, 100)
    (fired,) = alerts.fired()
    assert (alerts.news(), fired.units) == (["+u"], 3)


ZONES = ["UTC", "Europe/Berlin", "America/New_York", "Asia/Kathmandu", "Australia/Lord_Howe"]


@given(
    at=st.integers(-200_000_000, 200_000_000).map(lambda seconds: AT + timedelta(seconds=seconds)),
    zone=st.sampled_from(ZONES).map(ZoneInfo),
    span=st.sampled_from(["day", "week", "month"]),
)
def test_windows_of_a_time_zone_join_without_gap_and_hold_their_instant(
    at: datetime, zone: ZoneInfo, span: Any
) -> None:
    window = calendar_window(span, at, zone=zone)
    assert at in window
    assert calendar_window(span, window.end, zone=zone).start == window.end
    assert calendar_window(span, window.start - timedelta(microseconds=1), zone=zone).end == window.start
    assert window.start.astimezone(zone).hour == 0


USES = st.lists(
    st.tuples(st.integers(-3, 3), st.integers(1, 6), st.sampled_from(["mk_1", "mk_2"]), st.integers(0, 5)),
    min_size=1,
    max_size=12,
)


@settings(max_examples=40, deadline=None)
@given(uses=USES, order=st.randoms(use_true_random=False), batch=st.integers(1, 4))
def test_what_fired_is_what_the_sums_say_in_any_order_with_any_duplicates(
    build: SimpleNamespace, alerts_of: Any, uses: list[tuple[int, int, str, int]], order: Any, batch: int
) -> None:
    shop = build.shop()
    shop.customer()
    alerts = alerts_of(shop)
    watched = {
        "day": alerts.spend(8, "day", id="alrt_day"),
        "week": alerts.spend(14, "week", id="alrt_week"),
        "key": alerts.spend(6, "day", id="alrt_key", api_key="mk_1"),
        "all_time": alerts.spend(20, "all_time", id="alrt_all"),
    }
    calls = [
        replace(made, event=replace(made.event, api_key=key))
        for n, (days, cents, key, _) in enumerate(uses)
        for made in [shop.settlement(cents * 10_000_000, at=shop.at + days * DAY, key=f"call-{n}")]
    ]
    sent = [call for call, use in zip(calls, uses, strict=True) for _ in range(1 + (use[3] == 0))]
    order.shuffle(sent)
    for start in range(0, len(sent), batch):
        shop.settle(*sent[start : start + batch])
    expected = set()
    for name, alert in watched.items():
        sums: dict[datetime, int] = {}
        for days, cents, key, _ in uses:
            if alert.api_key in ("", key):
                at = shop.at + days * DAY
                start = (
                    datetime(1970, 1, 1, tzinfo=UTC)
                    if name == "all_time"
                    else (calendar_window("week" if name == "week" else "day", at, zone=UTC).start)
                )
                sums[start] = sums.get(start, 0) + cents
        expected |= {(alert.id, start) for start, cents in sums.items() if cents >= alert.threshold_minor}
    told = [(f.alert.id, f.window.start) for f in alerts.fired() if f.alert.alert_type == "spend_threshold"]
    assert sorted(told) == sorted(expected)  # Each once: a list, not a set.
    assert len(shop.write(lambda tx: tx.page(AlertFiring, limit=1000))) == len(expected)


@settings(max_examples=40, deadline=None)
@given(
    uses=st.lists(st.tuples(st.integers(-40, 4), st.integers(1, 6), st.booleans()), min_size=1, max_size=12),
    order=st.randoms(use_true_random=False),
)
def test_usage_alerts_fire_by_what_was_used_since_they_exist_in_any_order(
    build: SimpleNamespace, alerts_of: Any, uses: list[tuple[int, int, bool]], order: Any
) -> None:
    shop = build.shop()
    shop.customer()
    alerts = alerts_of(shop)
    alerts.usage(10, id="alrt_once")
    alerts.usage(6, id="alrt_each", recurrence="recurring")
    alerts.usage(3, id="alrt_count", counts_events=True)
    sent = []
    for number, (days, units, twice) in enumerate(uses):
        nothing = Charge(price_nano=0, cost_nano=0, lines=())
        made = shop.settlement(units, charge=nothing, at=shop.at + days * DAY, key=f"call-{number}")
        changed = replace(made.event, meter="calls", provider="meter", model="calls")
        sent += [replace(made, event=changed)] * (1 + twice)
    order.shuffle(sent)
    for item in sent:
        shop.settle(item)
    counted = [units for days, units, _ in uses if days >= 0]  # All of them in the first billing period.
    reached = {"+once": sum(counted) >= 10, "+each": sum(counted) >= 6, "+count": len(counted) >= 3}
    assert sorted(alerts.news()) == sorted(name for name, has in reached.items() if has)


RULES = [
    (None, None, "overage", False),
    (None, "block", "overage", True),
    ("overage", "block", "block", False),
    ("block", "overage", "overage", True),
    (None, None, "block", True),
    (None, "overage", "block", False),
]


@pytest.mark.parametrize(("own", "of_plan", "of_account", "blocks"), RULES)
def test_a_call_without_credit_goes_by_its_customer_then_its_plan_then_the_account(
    alerts: Any, own: Any, of_plan: Any, of_account: Any, blocks: bool
) -> None:
    shop = alerts.shop

    def verb(tx: Any) -> bool:
        customer, account = tx.find(Customer, "cus_1"), account_settings(tx)
        tx.save(replace(customer, on_zero_credit=own))
        tx.save(replace(tx.find(Plan, account.default_plan), on_zero_credit=of_plan))
        tx.save(replace(account, on_zero_credit=of_account))
        return terms_of(tx, "cus_1").blocks

    assert shop.write(verb) is blocks
