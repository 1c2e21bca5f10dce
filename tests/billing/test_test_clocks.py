"""A test clock's customers live by it: months pass in one step, in order, once."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from costplus.billing.clock import customer_of, present
from costplus.billing.close import ADVANCE_MAX, ClockBackwards, advance, due_customers
from costplus.billing.customer import Customer, NoSuchCustomer, TestClock
from costplus.core.period import monthly_period

Shop = Any  # The shop of conftest.


@pytest.fixture
def frozen(build: SimpleNamespace) -> Shop:
    """Return a shop with a fee of $1 whose customer lives by `clock_1`."""
    shop = build.shop(fee_minor=100)
    shop.clock()
    shop.customer(clock="clock_1")
    return shop


def move(shop: Shop, to: Any) -> None:
    clock = shop.write(lambda tx: tx.find(TestClock, "clock_1"))
    shop.write(lambda tx: advance(tx, clock, to=to))


def test_thirteen_months_make_thirteen_invoices_in_order(frozen: Shop, build: SimpleNamespace) -> None:
    move(frozen, monthly_period(build.at, 11).start + build.day)
    move(frozen, monthly_period(build.at, 13).start + build.hour)
    first, *cycle = frozen.invoices()
    assert first.billing_reason == "subscription_create"
    assert [invoice.period for invoice in cycle] == [monthly_period(build.at, n) for n in range(13)]
    assert [invoice.created for invoice in cycle] == [invoice.period.end for invoice in cycle]
    assert [invoice.number for invoice in (first, *cycle)] == [f"CP-{n:06d}" for n in range(1, 15)]
    assert {(invoice.status, invoice.total_minor) for invoice in cycle} == {("open", 100)}
    assert frozen.wrongs() == []


def test_many_small_steps_end_where_one_large_step_does(build: SimpleNamespace) -> None:
    ends = []
    for steps in (1, 40):
        shop = build.shop(fee_minor=100, credit_minor=50)
        shop.clock()
        shop.customer(clock="clock_1")
        shop.use(70 * build.cent)
        for step in range(1, steps + 1):
            move(shop, build.at + step * 200 * build.day / steps)
        figures = [(i.number, i.period, i.status, i.total_minor, i.credit_minor) for i in shop.invoices()]
        ends.append((figures, shop.credit(), shop.balance().owed_nano))
    assert ends[0] == ends[1]


def test_a_clock_that_was_advanced_is_ready_and_says_so(frozen: Shop, build: SimpleNamespace) -> None:
    move(frozen, build.at + build.day)
    clock = frozen.write(lambda tx: tx.find(TestClock, "clock_1"))
    assert (clock.frozen_time, clock.status) == (build.at + build.day, "ready")
    assert frozen.announced("test_helpers") == ["test_helpers.test_clock.ready"]


def test_a_clock_moves_forwards_and_at_most_a_year_at_once(frozen: Shop, build: SimpleNamespace) -> None:
    for to in (build.at, build.at - build.tick, build.at + ADVANCE_MAX + build.tick):
        with pytest.raises(ClockBackwards):
            move(frozen, to)
    assert len(frozen.invoices()) == 1
    move(frozen, build.at + ADVANCE_MAX)


def test_customers_of_other_clocks_and_of_real_time_are_left_alone(
    frozen: Shop, build: SimpleNamespace
) -> None:
    frozen.clock("clock_2")
    frozen.customer("cus_2", clock="clock_2")
    frozen.customer("cus_3")
    move(frozen, build.at + 90 * build.day)
    assert [len(frozen.invoices(id)) for id in ("cus_1", "cus_2", "cus_3")] == [4, 1, 1]
    assert frozen.subscription("cus_2").ordinal == frozen.subscription("cus_3").ordinal == 0


def test_real_time_touches_no_customer_of_a_clock(frozen: Shop, build: SimpleNamespace) -> None:
    assert frozen.write(lambda tx: due_customers(tx, at=build.at + 900 * build.day)) == []


def test_a_customers_present_is_its_clocks_or_the_real_one(frozen: Shop, build: SimpleNamespace) -> None:
    frozen.customer("cus_real")
    real = build.at + 500 * build.day
    presents = [
        frozen.write(lambda tx, who=who: present(tx, who, real=real)) for who in ("cus_1", "cus_real")
    ]
    assert presents == [build.at, real]


def test_a_deleted_customer_does_not_exist_any_more(frozen: Shop, build: SimpleNamespace) -> None:
    frozen.write(lambda tx: tx.save(Customer(id="cus_1", created=build.at, deleted=True)))
    for who in ("cus_1", "cus_never"):
        with pytest.raises(NoSuchCustomer):
            frozen.write(lambda tx, who=who: customer_of(tx, who))
