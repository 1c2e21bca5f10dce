"""An invoice's figures: exact lines, one rounding, the rest carried, everything adding up."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costplus.billing.invoice import UsageTotal, draft, exact_line_nanos
from costplus.core.money import NANO
from costplus.core.period import monthly_period
from costplus.core.usage import Usage
from costplus.rating.charge import rate
from costplus.rating.rate_card import adjustment

Shop = Any  # The shop of conftest.
tiny_months = st.lists(st.lists(st.integers(0, 30_000_000), max_size=3), min_size=1, max_size=12)


def month_end(build: SimpleNamespace, ordinal: int) -> Any:
    return monthly_period(build.at, ordinal).end + build.hour


def figures(build: SimpleNamespace, usage_nano: int, owed_nano: int, carried_nano: int, **more: Any) -> Any:
    """Return the draft of one line of one-nano tokens."""
    unit = build.sheet().bands[0][1].by_leaf["input"][2]
    totals = [UsageTotal(unit, usage_nano)] if usage_nano else []
    fees = more.get("fees", ())
    return draft(
        totals,
        line_ids=[f"il_{n}" for n in range(len(totals) + len(fees))],
        period=monthly_period(build.at, 0),
        currency=more.get("currency", "usd"),
        usage_nano=usage_nano,
        owed_nano=owed_nano,
        carried_in_nano=carried_nano,
        fees=fees,
    )


DRAFTS = [
    # usage, owed, carried in → subtotal, credit, total (cents), carried out
    (0, 0, 0, 0, 0, 0, 0),
    (0, 0, 9_999_999, 0, 0, 0, 9_999_999),  # Nothing to put on a line: it stays carried.
    (1, 1, 0, 0, 0, 0, 1),
    (9_999_999, 9_999_999, 0, 0, 0, 0, 9_999_999),
    (10_000_000, 10_000_000, 0, 1, 0, 1, 0),
    (1, 1, 9_999_999, 1, 0, 1, 0),
    (10_000_000, 0, 0, 1, 1, 0, 0),
    (15_000_000, 5_000_000, 0, 1, 1, 0, 5_000_000),
    (15_000_000, 5_000_000, 5_000_000, 2, 1, 1, 0),
    (10_000_000, 0, 9_999_999, 1, 1, 0, 9_999_999),
]


@pytest.mark.parametrize(("usage", "owed", "carried", "subtotal", "credit", "total", "out"), DRAFTS)
def test_what_is_owed_and_carried_is_asked_for_in_whole_cents_and_the_rest_carried(
    build: SimpleNamespace,
    usage: int,
    owed: int,
    carried: int,
    subtotal: int,
    credit: int,
    total: int,
    out: int,
) -> None:
    made = figures(build, usage, owed, carried)
    assert (made.subtotal_minor, made.credit_minor, made.total_minor) == (subtotal, credit, total)
    assert made.carried_out_nano == out
    assert sum(line.amount_minor for line in made.lines) == subtotal


def test_a_fee_is_a_line_of_its_own_that_credit_does_not_pay(build: SimpleNamespace) -> None:
    fee = ("fee", 999, monthly_period(build.at, 1))
    made = figures(build, 20_000_000, 0, 0, fees=[fee])
    assert (made.subtotal_minor, made.credit_minor, made.total_minor) == (1_001, 2, 999)
    assert [line.kind for line in made.lines] == ["usage", "fee"]


def test_a_currency_without_minor_units_is_asked_for_in_whole_ones(build: SimpleNamespace) -> None:
    made = figures(build, 1_999_999_999, 1_999_999_999, 0, currency="jpy")
    assert (made.total_minor, made.carried_out_nano) == (1, 999_999_999)


@given(
    st.integers(0, 10**12),
    st.integers(0, 10**12),
    st.integers(0, 9_999_999),
)
def test_nothing_is_lost_between_what_is_owed_asked_for_and_carried(
    build: SimpleNamespace, one: int, two: int, carried: int
) -> None:
    usage, owed = max(one, two), min(one, two)
    made = figures(build, usage, owed, carried)
    assert made.total_minor * 10_000_000 + made.carried_out_nano == owed + carried
    assert 0 <= made.carried_out_nano < 10_000_000
    assert made.subtotal_minor - made.credit_minor == made.total_minor
    assert made.credit_minor >= 0


@given(st.lists(st.integers(1, 10_000), min_size=1, max_size=30), st.integers(1, 10**6))
def test_the_events_roundings_are_spread_over_the_lines_and_none_is_lost(
    build: SimpleNamespace, events: list[int], usd_digits: int
) -> None:
    rates = build.sheet(
        usd_per_million=str(Decimal(usd_digits).scaleb(-7)), adjust=adjustment("margin", Decimal(30))
    )
    charges = [rate(Usage({"input": n, "output": n % 7}), rates) for n in events]
    quantities: dict[Any, int] = {}
    for line in (line for charge in charges for line in charge.lines):
        quantities[line.rate.leaf] = quantities.get(line.rate.leaf, 0) + line.quantity
    units = {line.rate.leaf: line.rate for charge in charges for line in charge.lines}
    totals = [UsageTotal(units[leaf], n) for leaf, n in quantities.items()]
    usage_nano = sum(charge.price_nano for charge in charges)
    nanos = exact_line_nanos(totals, usage_nano=usage_nano)
    assert sum(nanos) == usage_nano
    exact = [Fraction(total.quantity) * total.rate.unit_price * NANO for total in totals]
    assert all(nano > e - 1 for nano, e in zip(nanos, exact, strict=True))
    assert sum(nanos) - sum(exact) < len(events)


@given(tiny_months)
def test_over_many_tiny_periods_every_nano_is_asked_for_or_carried(
    build: SimpleNamespace, months: list[list[int]]
) -> None:
    shop = build.shop()
    shop.customer()
    for ordinal, uses in enumerate(months):
        shop.at = max(shop.at, monthly_period(build.at, ordinal).start + 2 * build.hour)
        shop.settle(*(shop.settlement(nano) for nano in uses))
        shop.close(month_end(build, ordinal))
        assert shop.wrongs() == []
    asked_nano = sum(invoice.total_minor for invoice in shop.invoices()) * build.cent
    assert asked_nano + shop.balance().carried_nano == sum(nano for uses in months for nano in uses)
    assert 0 <= shop.balance().carried_nano < build.cent


def test_a_third_of_a_cent_a_month_is_a_cent_every_third_month(build: SimpleNamespace) -> None:
    shop = build.shop()
    shop.customer()
    for ordinal in range(7):
        shop.at = max(shop.at, monthly_period(build.at, ordinal).start + 2 * build.hour)
        shop.use(3_333_334)
        shop.close(month_end(build, ordinal))
    assert [invoice.total_minor for invoice in shop.invoices()] == [0, 0, 1, 0, 0, 1, 0]


def test_lines_are_one_a_model_and_leaf_with_exact_unit_price_and_quantity(
    shop: Shop, build: SimpleNamespace
) -> None:
    dear = build.sheet(usd_per_million="3", adjust=adjustment("markup", Decimal(30)), model="dear")
    shop.settle(*(shop.settlement(1_000, rates=dear) for _ in range(3)), shop.settlement(5))
    shop.close(month_end(build, 0))
    lines = shop.invoices()[0].lines
    shown = [(line.model, line.leaf, line.quantity, line.unit_price, line.amount_nano) for line in lines]
    assert shown == [
        ("dear", "input", 3_000, "0.0000039", 11_700_000),
        ("m", "input", 5, "0.000000001", 5),
    ]


@given(st.lists(st.integers(1, 500_000), min_size=1, max_size=12), st.integers(0, 10**11))
def test_an_invoices_usage_is_the_sum_of_its_charges_exactly_whatever_credit_pays(
    build: SimpleNamespace, tokens: list[int], credit_nano: int
) -> None:
    rates = build.sheet(usd_per_million="3.1", adjust=adjustment("margin", Decimal("33.3")), model="odd")
    shop = build.shop()
    shop.customer()
    if credit_nano:
        shop.give(credit_nano)
    items = [shop.settlement(n, rates=rates) for n in tokens]
    shop.settle(*items)
    shop.close(month_end(build, 0))
    invoice = shop.invoices()[0]
    charged = sum(item.charge.price_nano for item in items)
    assert invoice.usage_nano == charged == sum(line.amount_nano for line in invoice.lines)
    assert invoice.credit_nano == min(charged, credit_nano)
    assert invoice.total_minor * build.cent + invoice.carried_out_nano == charged - invoice.credit_nano
    assert shop.wrongs() == []
