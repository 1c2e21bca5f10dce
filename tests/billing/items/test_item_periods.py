"""Items through a period: late and repeated events, credit, limits, other cards, several together."""

from __future__ import annotations

from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest

from costplus.billing.close import close_account
from costplus.billing.customer import Customer
from costplus.core.period import monthly_period
from costplus.rating.charge import explain

GRADUATED = [(100, "1"), (None, "0.5")]
VOLUME = [(10, "10"), (None, "5")]


def lines_of(invoice: Any) -> list[tuple[str, int, int]]:
    return [(line.description, line.quantity, line.amount_minor) for line in invoice.lines]


def test_a_line_names_the_item_and_its_slice(items: SimpleNamespace) -> None:
    shop = items.shop(items.item("graduated", tiers=items.tiers(*GRADUATED)))
    shop.use(60, 90)
    assert lines_of(shop.close()) == [
        ("Api_Calls · units 1 to 100", 100, 10_000),
        ("Api_Calls · units over 100", 50, 2_500),
    ]


def test_lines_follow_each_other_as_units_fill_the_slices(items: SimpleNamespace) -> None:
    steps = [(2, "1"), (9, "2", "3"), (10, "4"), (None, "5")]
    shop = items.shop(items.item("graduated", tiers=items.tiers(*steps), included_units=1))
    shop.use(13)
    assert [line.description.removeprefix("Api_Calls · ") for line in shop.close().lines] == [
        "included",
        "units 1 to 2",
        "units 3 to 9",
        "units 10 to 10",
        "units over 10",
        "flat fee, units 3 to 9",
    ]


def test_events_of_one_batch_see_each_other_and_repeated_ones_move_nothing(items: SimpleNamespace) -> None:
    shop = items.shop(items.item("graduated", tiers=items.tiers(*GRADUATED)))
    first, second = shop.event(80), shop.event(40)
    settled = shop.report(first, first, second, shop.event(7, key=first.key))
    assert (settled.new, settled.duplicate) == (2, 2)
    assert shop.report(second, shop.event(10)).new == 1
    assert shop.charged() == 100 + 15
    assert lines_of(shop.close())[1] == ("Api_Calls · units over 100", 30, 1_500)


def test_a_late_event_is_charged_after_what_its_billing_period_counted(
    items: SimpleNamespace, build: SimpleNamespace
) -> None:
    shop = items.shop(items.item("graduated", tiers=items.tiers(*GRADUATED)))
    shop.use(100)
    in_grace = monthly_period(shop.start, 0).end - build.tick
    shop.shop.close(monthly_period(shop.start, 0).end)
    shop.use(10, at=in_grace)
    assert shop.close().total_minor == 10_500
    shop.use(90)
    shop.use(20, at=in_grace)  # Its invoice is final: the open period's tiers go on.
    assert shop.close(1).total_minor == 9_000 + 1_000 + 500


def test_counting_begins_anew_with_each_period(items: SimpleNamespace) -> None:
    shop = items.shop(items.item("per_unit", unit_amount="2", included_units=5))
    for ordinal in range(3):
        shop.use(6)
        assert shop.close(ordinal).total_minor == 200


def test_credit_pays_for_items_as_they_are_used(items: SimpleNamespace, build: SimpleNamespace) -> None:
    shop = items.shop(items.item("per_unit", unit_amount="0.03"))
    shop.shop.give(100 * build.cent)
    shop.use(50)
    assert (shop.shop.credit(), shop.shop.owed()) == (0, [50 * build.cent])
    invoice = shop.close()
    assert (invoice.subtotal_minor, invoice.credit_minor, invoice.total_minor) == (150, 100, 50)


def test_a_volume_price_that_credit_paid_too_much_for_returns_as_credit(
    items: SimpleNamespace, build: SimpleNamespace
) -> None:
    shop = items.shop(items.item("volume", tiers=items.tiers(*VOLUME)))
    shop.shop.give(10_000 * build.cent)
    shop.use(10, 1)
    assert (shop.shop.credit(), shop.shop.owed()) == (0, [500 * build.cent])
    shown = shop.preview()
    assert (shown.subtotal_minor, shown.credit_minor, shown.total_minor) == (5_500, 5_500, 0)
    invoice = shop.close()
    assert lines_of(invoice) == [("Api_Calls · all units, as units over 10", 11, 5_500)]
    assert (invoice.credit_minor, invoice.total_minor, invoice.status) == (5_500, 0, "paid")
    assert (shop.shop.credit(), shop.shop.owed()) == (4_500 * build.cent, [])
    (given,) = shop.shop.write(lambda tx: [g for g in tx.grants_of("cus_1") if g.source == "correction"])
    assert (given.amount_nano, given.category) == (4_500 * build.cent, "promotional")
    assert given.name == "Api_Calls · true-up"
    assert shop.shop.account_nano("book/revenue") == 5_500 * build.cent
    assert "billing.credit_grant.created" in shop.shop.announced("billing.credit_grant")


def test_what_an_item_gives_back_pays_what_the_next_period_owes_already(
    items: SimpleNamespace, build: SimpleNamespace
) -> None:
    shop = items.shop(items.item("volume", tiers=items.tiers(*VOLUME)))
    shop.shop.give(10_500 * build.cent)
    shop.use(10, 1)
    shop.shop.close(monthly_period(shop.start, 0).end)
    shop.use(2)
    assert shop.shop.owed() == [2_000 * build.cent]
    shop.close()
    assert (shop.shop.credit(), shop.shop.owed()) == (3_000 * build.cent, [])


def test_a_minimum_is_due_without_any_use_once_a_period(items: SimpleNamespace) -> None:
    shop = items.shop(items.item("per_unit", unit_amount="1", minimum_amount="50"))
    assert lines_of(shop.preview()) == [("Api_Calls · up to the minimum", 1, 5_000)]
    assert lines_of(shop.close()) == [("Api_Calls · up to the minimum", 1, 5_000)]
    shop.use(20)
    assert lines_of(shop.close(1)) == [
        ("Api_Calls · each unit", 20, 2_000),
        ("Api_Calls · up to the minimum", 1, 3_000),
    ]


def test_a_maximum_is_met_in_the_middle_of_an_event_and_shown_as_a_discount(items: SimpleNamespace) -> None:
    shop = items.shop(items.item("per_unit", unit_amount="1", maximum_amount="50"))
    charged = []
    for units in (40, 30, 5):
        shop.use(units)
        charged.append(shop.charged())
    assert charged == [40, 50, 50]
    assert (
        lines_of(shop.preview())
        == lines_of(shop.close())
        == [
            ("Api_Calls · each unit", 75, 7_500),
            ("Api_Calls · above the maximum", 1, -2_500),
        ]
    )


def test_a_maximum_holds_to_the_nano_where_units_cost_parts_of_one(items: SimpleNamespace) -> None:
    shop = items.shop(items.item("per_unit", unit_amount="0.000000000123", maximum_amount="0.000000007"))
    shop.use(*[7] * 12)
    assert shop.charged() == Decimal("0.000000007")
    shop.close()


def test_two_items_and_tokens_are_billed_side_by_side(items: SimpleNamespace) -> None:
    seats = items.item("volume", name="seats", tiers=items.tiers(*VOLUME))
    shop = items.shop(items.item("per_unit", unit_amount="0.5"), seats)
    shop.report(shop.tokens(1_000), shop.event(4), shop.event(10, name="seats"))
    shop.report(shop.event(2, name="seats"), shop.tokens(1_000), shop.event(1))
    assert lines_of(shop.close()) == [
        ("Api_Calls · each unit", 5, 250),
        ("Seats · all units, as units over 10", 12, 6_000),
        ("openai/m · input", 2_000, 260),
    ]


def test_each_version_of_a_card_prices_its_own_units_by_the_tier_of_all(
    items: SimpleNamespace, build: SimpleNamespace
) -> None:
    shop = items.shop(items.item("volume", tiers=items.tiers((10, "10", "1"), (None, "5", "2"))))
    shop.use(8)
    shop.shop.at += build.day
    shop.sell(items.item("volume", tiers=items.tiers((10, "20", "3"), (None, "6", "4"))), since=shop.shop.at)
    shop.use(4)
    assert shop.close().total_minor == 100 * (8 * 5 + 4 * 6 + 4)


def test_an_item_added_later_goes_on_from_what_was_counted(
    items: SimpleNamespace, build: SimpleNamespace
) -> None:
    shop = items.shop()
    shop.use(90)
    assert shop.charged() == 0
    shop.shop.at += build.day
    shop.sell(items.item("graduated", tiers=items.tiers(*GRADUATED)), since=shop.shop.at)
    shop.use(20)
    shop.shop.at += build.day
    shop.sell(since=shop.shop.at)
    shop.use(500)
    assert shop.close().total_minor == 1_500


def test_an_account_closed_within_a_period_is_trued_up_then(
    items: SimpleNamespace, build: SimpleNamespace
) -> None:
    shop = items.shop(items.item("volume", tiers=items.tiers(*VOLUME)))
    shop.use(10, 1)
    shop.shop.at += build.day
    record = shop.shop.write(lambda tx: tx.find(Customer, "cus_1"))
    shop.shop.write(lambda tx: close_account(tx, record, at=shop.shop.at))
    assert [invoice.total_minor for invoice in shop.shop.invoices()] == [5_500]
    assert shop.shop.wrongs() == []


def test_a_charge_explains_itself_with_what_the_units_cost(items: SimpleNamespace) -> None:
    shop = items.shop(
        items.item("package", package_size=10, package_amount="3", unit_cost="0.05", included_units=1)
    )
    shop.use(12)
    (entry,) = shop.shop.write(lambda tx: tx.charged_page(customer="cus_1", limit=5))
    told = explain(entry.charge)
    assert (told.price, told.cost) == ("6", "0.6")
    assert [step.working for step in told.steps] == [
        "2 package × 0 with a fixed price, packages of 10",
        "12 unit × 0.05 with a fixed price, units used",
    ]


@pytest.mark.parametrize(("late", "total"), [(0, 15_000), (1, 8_000)])
def test_a_volume_price_falls_for_all_units_when_late_ones_reach_the_next_tier(
    build: SimpleNamespace, items: SimpleNamespace, late: int, total: int
) -> None:
    shop = items.shop(items.item("volume", tiers=items.tiers((15, "10"), (None, "5"))))
    shop.use(15)
    end = monthly_period(build.at, 0).end
    shop.shop.close(end)
    if late:
        shop.use(late, at=end - build.tick)
    assert shop.close().total_minor == total
