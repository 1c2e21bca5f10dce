"""Items are priced by their meter's value, whatever its formula, as it moves; below zero it gives back."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costplus.billing.allowance import Allowance, Rollover
from costplus.core.money import NANO
from costplus.metering.aggregate import FORMULAS, WINDOWED, Formula, Reading, aggregate, whole
from costplus.metering.event import UsageEvent
from costplus.metering.feeds.stripe import Reported, usage_event_of
from costplus.metering.meter import Meter
from costplus.rating.charge import explain

HOUR = timedelta(hours=1)


def measure(shop: Any, items: SimpleNamespace, formula: Formula, **fields: Any) -> Meter:
    """Make the meter that the item's events are reported on."""
    at = shop.start
    made = Meter(
        id="mtr_1", created=at, updated=at, display_name="", event_name=items.name, formula=formula, **fields
    )
    shop.shop.write(lambda tx: tx.save(made))
    return made


def reported(shop: Any, meter: Meter, value: Any, key: str, *, at: datetime | None = None) -> UsageEvent:
    payload = {"stripe_customer_id": "cus_1", "value": str(value)}
    found = Reported(
        event_name=meter.event_name, payload=payload, identifier=key, timestamp=at or shop.shop.at
    )
    return usage_event_of(
        found, meter, present=shop.shop.at, received_at=shop.shop.at, source="meter_events_v1"
    )


def counted(shop: Any, items: SimpleNamespace) -> int:
    return int(shop.shop.write(lambda tx: tx.metered("cus_1", items.name, shop.start)).units)


BILLED: list[tuple[Formula, str]] = [
    ("sum", "90"),
    ("count", "4"),
    ("last", "30"),
    ("avg", "23"),
    ("min", "10"),
    ("max", "30"),
    ("unique", "3"),
]


@pytest.mark.parametrize(("formula", "usd"), BILLED)
def test_a_period_bills_what_the_formula_makes_of_it(
    items: SimpleNamespace, formula: Formula, usd: str
) -> None:
    shop = items.shop(items.item("per_unit", unit_amount="1"))
    meter = measure(shop, items, formula)
    for index, value in enumerate((10, 20, 30, 30)):
        shop.report(reported(shop, meter, value, f"e{index}"))
        shop.report(reported(shop, meter, value, f"e{index}"))  # A duplicate moves nothing.
    assert shop.charged() == Decimal(usd)
    invoice = shop.close()
    assert invoice.total_minor == Decimal(usd) * 100
    assert [line.quantity for line in invoice.lines] == [int(usd)]


def test_a_new_period_begins_with_nothing(items: SimpleNamespace) -> None:
    shop = items.shop(items.item("per_unit", unit_amount="1"))
    meter = measure(shop, items, "max")
    shop.report(reported(shop, meter, 30, "a"))
    shop.close()
    shop.report(reported(shop, meter, 20, "b"))
    assert shop.close(1).total_minor == 2000


def test_users_are_counted_once_by_name(items: SimpleNamespace) -> None:
    shop = items.shop(items.item("per_unit", unit_amount="5"))
    meter = measure(shop, items, "unique")
    shop.report(*(reported(shop, meter, name, f"e-{n}") for n, name in enumerate(("ann", "ben", "ann"))))
    assert shop.charged() == 10


def test_a_later_event_in_a_window_overwrites_the_earlier(items: SimpleNamespace) -> None:
    shop = items.shop(items.item("per_unit", unit_amount="1"))
    meter = measure(shop, items, "sum", event_time_window="hour")
    start = shop.start
    shop.shop.at += 2 * HOUR
    for key, value, minutes in (("a", 5, 0), ("b", 3, 10), ("c", 9, 5), ("d", 4, 60)):
        shop.report(reported(shop, meter, value, key, at=start + timedelta(minutes=minutes)))
    assert shop.charged() == 7


def test_negative_usage_gives_back_what_it_was_worth(items: SimpleNamespace) -> None:
    tiers = items.tiers((100, "0.1"), (500, "0.05"), (None, "0.02"))
    shop = items.shop(items.item("graduated", tiers=tiers))
    meter = measure(shop, items, "sum")
    for index, value in enumerate((1000, -600, 20)):
        shop.report(reported(shop, meter, value, f"e{index}"))
    assert shop.charged() == 26  # 100 at 0.1 and 320 at 0.05.
    assert shop.close().total_minor == 2600


def test_a_total_below_zero_bills_nothing_and_counts_on(items: SimpleNamespace) -> None:
    shop = items.shop(items.item("per_unit", unit_amount="1"))
    meter = measure(shop, items, "sum")
    for index, (value, usd) in enumerate(((5, 5), (-8, 0), (2, 0), (4, 3))):
        shop.report(reported(shop, meter, value, f"e{index}"))
        assert shop.charged() == usd
    assert counted(shop, items) == 3
    assert shop.close().total_minor == 300


def test_a_cycle_below_zero_is_an_invoice_over_nothing(items: SimpleNamespace) -> None:
    shop = items.shop(items.item("per_unit", unit_amount="1"))
    meter = measure(shop, items, "sum")
    shop.report(reported(shop, meter, -8, "a"))
    invoice = shop.close()
    assert (invoice.total_minor, invoice.lines) == (0, ())


def test_what_is_given_back_under_a_maximum_leaves_what_the_units_are_worth(items: SimpleNamespace) -> None:
    shop = items.shop(items.item("per_unit", unit_amount="1", maximum_amount="100"))
    meter = measure(shop, items, "sum")
    for index, (value, usd) in enumerate(((120, 100), (-10, 100), (-40, 70), (50, 100))):
        shop.report(reported(shop, meter, value, f"e{index}"))
        assert shop.charged() == usd
    assert shop.close().total_minor == 10_000


def test_what_is_given_back_explains_itself_and_pays_back_credit(items: SimpleNamespace) -> None:
    shop = items.shop(items.item("per_unit", unit_amount="0.000000000333", included_units=2))
    meter = measure(shop, items, "sum")
    shop.shop.give(10**9)
    shop.report(reported(shop, meter, 12, "a"), reported(shop, meter, -11, "b"))
    newest = shop.shop.write(lambda tx: tx.charged_page(customer="cus_1", limit=2))
    assert all(explain(entry.charge) for entry in newest)
    assert shop.shop.wrongs() == []


def test_a_plan_includes_units_of_a_meter_and_rolls_over_what_is_left(items: SimpleNamespace) -> None:
    allowance = Allowance(id="calls", units=10, meter=items.name, rollover=Rollover(periods=1, most=4))
    shop = items.shop(items.item("per_unit", unit_amount="1", included_units=1), allowances=(allowance,))
    shop.use(5)
    first = shop.close()
    assert [(line.quantity, line.amount_minor) for line in first.lines] == [(5, 0)]
    shop.use(20)
    second = shop.close(1)
    assert [(line.quantity, line.amount_minor) for line in second.lines] == [(15, 0), (5, 500)]
    shop.use(20)
    assert shop.close(2).total_minor == 900  # Nothing was left to roll over.


def test_late_usage_does_not_use_what_rolled_over(items: SimpleNamespace, build: SimpleNamespace) -> None:
    allowance = Allowance(id="calls", units=10, meter=items.name, rollover=Rollover(periods=1))
    shop = items.shop(items.item("per_unit", unit_amount="1"), allowances=(allowance,), grace_s=7200)
    end = shop.shop.subscription().period.end
    shop.use(4)
    shop.shop.close(end)
    shop.use(6, at=end - HOUR)  # Its period's units went on.
    assert shop.charged() == 6
    shop.use(16)
    assert shop.charged() == 6
    shop.use(1)
    assert shop.charged() == 7


values = st.lists(st.tuples(st.integers(-50, 50), st.integers(0, 300)), max_size=12)


@given(values, st.sampled_from([*((f, None) for f in FORMULAS), *((f, "hour") for f in WINDOWED)]))
def test_the_running_value_is_that_of_all_events(
    items: SimpleNamespace, given_values: list[tuple[int, int]], how: tuple[Formula, Any]
) -> None:
    formula, window = how
    shop = items.shop(items.item("per_unit", unit_amount="1"))
    meter = measure(shop, items, formula, event_time_window=window)
    shop.shop.at += timedelta(minutes=300)
    readings = []
    for index, (value, minutes) in enumerate(given_values):
        at = shop.start + timedelta(minutes=minutes)
        event = reported(shop, meter, value, f"e{index}", at=at)
        shop.report(event)
        readings.append(Reading(at, event.usage.quantities.get("unit", 0), str(value)))
    value = whole(aggregate(formula, readings, window=window))
    assert counted(shop, items) == value
    assert shop.charged() * NANO == max(value, 0) * NANO
