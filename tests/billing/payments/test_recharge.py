"""Auto-recharge: one purchase at a time, within its cap, and off after too many declines."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costplus.billing.auto_recharge import AutoRecharge
from costplus.billing.close import close_customer
from costplus.billing.customer import Customer
from costplus.billing.recharge import recharge_customer
from costplus.core.ids import from_milliseconds
from costplus.ledger.post import expire_grant

CENT = 10_000_000
DOLLAR = 100 * CENT


def low_on_credit(till: Any, *, token: str = "pm_fake_ok", **rule: Any) -> None:
    """Give $10 of credit and a rule that buys $20 at $5 or below, then use all but $4."""
    till.method(token)
    till.rule(**{"amount_minor": 2000, **rule})
    till.shop.give(10 * DOLLAR)
    till.shop.use(6 * DOLLAR)


def test_at_its_threshold_a_rule_buys_once(till: Any) -> None:
    till.method("pm_fake_ok")
    till.rule(amount_minor=2000)
    till.shop.give(10 * DOLLAR)
    till.shop.use(5 * DOLLAR - 1)
    assert till.top_ups() == []
    till.shop.use(1)
    (top_up,) = till.top_ups()
    assert (top_up.origin, top_up.amount_minor, top_up.status) == ("auto_recharge", 2000, "pending")
    till.collect()
    assert (till.shop.credit(), till.taken()) == (25 * DOLLAR, 2000)


def test_parallel_debits_make_one_purchase(till: Any) -> None:
    low_on_credit(till)
    for _ in range(3):
        till.shop.use(DOLLAR)
    till.recharge()
    till.recharge()
    assert (len(till.top_ups()), till.taken(), till.shop.credit()) == (1, 2000, 21 * DOLLAR)


def test_when_one_is_done_and_credit_is_still_low_the_next_begins(till: Any) -> None:
    low_on_credit(till, amount_minor=100)
    till.collect()
    assert [top_up.amount_minor for top_up in till.top_ups()] == [100, 100]
    assert till.shop.credit() == 6 * DOLLAR


def test_a_rule_may_buy_up_to_a_target_and_pays_what_is_owed_too(till: Any) -> None:
    till.method("pm_fake_ok")
    till.rule(target_minor=2000)
    till.shop.use(3 * DOLLAR + 1)
    till.collect()
    (top_up,) = till.top_ups()
    assert top_up.amount_minor == 2301
    assert (till.shop.owed(), till.shop.credit()) == ([], 20 * DOLLAR + CENT - 1)


def test_a_cool_down_separates_purchases(till: Any) -> None:
    low_on_credit(till, amount_minor=100, cool_down_s=600)
    till.collect()
    till.shop.use(2 * DOLLAR)
    till.recharge()
    assert len(till.top_ups()) == 1
    till.wait(seconds=600)
    assert len(till.top_ups()) == 2


def test_a_month_costs_no_more_than_its_cap_and_says_so_once(till: Any) -> None:
    low_on_credit(till, amount_minor=100, monthly_cap_minor=250)
    till.collect()
    till.shop.use(3 * DOLLAR)
    for _ in range(3):
        till.recharge()
    assert till.taken() == 200
    assert till.events("auto_recharge") == ["auto_recharge.cap_reached"]
    till.wait(days=1)  # February.
    assert till.taken() == 400


def test_a_rule_is_off_after_three_declines_until_it_is_enabled_again(till: Any) -> None:
    low_on_credit(till, token="pm_fake_decline")
    for _ in range(50):
        till.wait(hours=1)
    assert len(till.charges()) == 3
    assert (till.the_rule().is_enabled, till.the_rule().stopped) == (False, "declined")
    assert till.events("auto_recharge") == ["auto_recharge.stopped"]
    assert (till.granted(), till.the_rule().month_minor) == (0, 0)
    till.method("pm_fake_ok")
    enabled = replace(till.the_rule(), is_enabled=True, stopped="", declines=0, not_before=None)
    till.shop.write(lambda tx: tx.save(enabled))
    till.recharge()
    assert till.taken() == 2000


def test_a_success_forgets_earlier_declines(till: Any) -> None:
    low_on_credit(till, token="pm_fake_decline", amount_minor=500)
    till.wait(hours=1)
    till.method("pm_fake_ok")
    till.wait(hours=1)
    assert (till.the_rule().declines, till.taken()) == (0, 500)


def test_a_rule_that_is_off_charges_nothing_not_even_what_it_had_ordered(till: Any) -> None:
    low_on_credit(till)
    till.shop.write(lambda tx: tx.save(replace(till_rule(tx), is_enabled=False, stopped="disabled")))
    for _ in range(5):
        till.wait(hours=1)
    assert (till.charges(), till.payment().status) == ([], "canceled")
    till.shop.use(10 * DOLLAR)
    till.recharge()
    assert till.charges() == []


def till_rule(tx: Any) -> AutoRecharge:
    found = tx.find(AutoRecharge, "cus_1")
    assert isinstance(found, AutoRecharge)
    return found


def test_a_deleted_customer_is_not_charged(till: Any) -> None:
    low_on_credit(till)
    till.shop.write(lambda tx: tx.save(replace(tx.find(Customer, "cus_1"), deleted=True)))
    till.recharge()
    assert till.charges() == []


def test_while_one_is_processing_no_other_begins(till: Any) -> None:
    low_on_credit(till, token="pm_fake_never")
    for _ in range(24):
        till.shop.use(DOLLAR)
        till.wait(hours=1)
    assert len(till.top_ups()) == 1
    till.wait(days=7)
    till.wait(days=1)
    assert (till.top_ups()[0].status, till.the_rule().declines) == ("canceled", 0)


def test_a_rule_without_a_method_is_stopped_with_a_word(till: Any) -> None:
    till.rule(amount_minor=100)
    till.shop.use(1)
    assert till.the_rule().stopped == "no_payment_method"
    assert till.events("auto_recharge") == ["auto_recharge.stopped"]


def test_credit_that_expires_is_seen_by_the_job(till: Any) -> None:
    till.method("pm_fake_ok")
    till.rule(amount_minor=2000)
    grant = till.shop.give(10 * DOLLAR)
    till.recharge()
    assert till.top_ups() == []
    till.shop.write(lambda tx: expire_grant(tx, grant, at=till.shop.at))
    till.recharge()
    assert till.taken() == 2000


def test_back_filled_usage_recharges_too(till: Any) -> None:
    till.method("pm_fake_ok")
    till.rule(amount_minor=2000)
    till.shop.give(10 * DOLLAR)
    till.shop.at += timedelta(days=3)
    till.shop.use(6 * DOLLAR, at=till.shop.at - timedelta(days=2))
    till.collect()
    assert (till.taken(), till.shop.credit()) == (2000, 24 * DOLLAR)


def test_on_a_test_clock_everything_happens_in_its_time(till: Any) -> None:
    till.shop.clock()
    till.shop.write(lambda tx: tx.save(replace(tx.find(Customer, "cus_1"), test_clock="clock_1")))
    low_on_credit(till, token="pm_fake_decline")
    till.shop.at += timedelta(days=300)  # Real time passes; the customer's does not.
    till.collect()
    assert len(till.charges()) == 1
    assert till.the_rule().not_before < till.shop.at
    till.recharge()
    assert len(till.charges()) == 1


def test_looking_at_a_customer_that_is_closed_meanwhile_changes_nothing(till: Any) -> None:
    assert till.shop.write(lambda tx: recharge_customer(tx, "cus_x", at=till.shop.at)) is None
    record = till.shop.write(lambda tx: tx.find(Customer, "cus_1"))
    assert till.shop.write(lambda tx: close_customer(tx, record, until=till.shop.at)) == 0


RULE = AutoRecharge(
    id="cus_1", created=from_milliseconds(0), currency="usd", threshold_minor=500, target_minor=2000
)


@given(net=st.integers(-(10**15), 10**15))
def test_a_target_is_reached_with_the_fewest_cents(net: int) -> None:
    wanted = RULE.wanted_minor(net)
    if net > 500 * CENT:
        assert wanted == 0
    else:
        assert 0 <= net + wanted * CENT - 2000 * CENT < CENT


@pytest.mark.parametrize(("net", "wanted"), [(500 * CENT + 1, 0), (500 * CENT, 7), (-1, 7)])
def test_the_threshold_itself_is_low(net: int, wanted: int) -> None:
    assert replace(RULE, amount_minor=7).wanted_minor(net) == wanted
