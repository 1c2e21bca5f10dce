"""Settling keeps each event once, with its charge and its postings, or nothing of it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from costplus.billing.customer import NoSuchCustomer
from costplus.billing.settle import Settled
from costplus.billing.subscription import NotSubscribed
from costplus.core.usage import Usage
from costplus.ledger.hold import Hold
from costplus.ledger.reserve import place_hold
from costplus.rating.charge import unpriced_charge

Shop = Any  # The shop of conftest.


def hold(shop: Shop, build: SimpleNamespace, nano: int, kind: str) -> None:
    """Place `hold_1`."""
    made = Hold(
        id="hold_1",
        customer="cus_1",
        kind=kind,
        owner="gw",
        amount_nano=nano,
        placed_at=build.at,
        expires_at=build.at + build.day,
    )
    shop.write(lambda tx: place_hold(tx, made, at=shop.at))


def test_settling_twice_is_settling_once(shop: Shop) -> None:
    item = shop.settlement(7, key="k")
    assert [shop.settle(item), shop.settle(item)] == [Settled(1, 0), Settled(0, 1)]
    assert shop.owed() == [7]
    assert shop.account_nano("book/revenue") == 7


def test_the_same_event_twice_in_one_batch_is_one(shop: Shop) -> None:
    item = shop.settlement(7, key="k")
    assert shop.settle(item, item) == Settled(1, 1)
    assert shop.owed() == [7]


def test_a_retry_that_moved_the_timestamp_is_a_duplicate_within_35_days(
    shop: Shop, build: SimpleNamespace
) -> None:
    shop.use(7, key="k")
    assert shop.use(7, key="k", at=build.at + 35 * build.day).duplicate == 1
    assert shop.use(7, key="k", at=build.at + 35 * build.day + build.tick).new == 1


def test_the_same_key_of_another_customer_is_another_event(shop: Shop) -> None:
    shop.customer("cus_2")
    assert shop.settle(shop.settlement(1, key="k"), shop.settlement(1, key="k", customer="cus_2")).new == 2
    assert (shop.owed("cus_1"), shop.owed("cus_2")) == ([1], [1])


def test_a_duplicate_frees_nothing_more_of_a_lease(shop: Shop, build: SimpleNamespace) -> None:
    shop.give(100)
    hold(shop, build, 50, "lease")
    item = shop.settlement(10, key="k", hold="hold_1", release_nano=10)
    shop.settle(item, item)
    shop.settle(item)
    assert (shop.balance().held_nano, shop.credit()) == (40, 90)


def test_a_duplicate_still_ends_its_calls_own_hold(shop: Shop, build: SimpleNamespace) -> None:
    shop.give(100)
    shop.use(10, key="k")
    hold(shop, build, 50, "request")
    assert shop.use(10, key="k", hold="hold_1", release_nano=10, closes=True).duplicate == 1
    assert (shop.balance().held_nano, shop.credit()) == (0, 90)


def test_one_refused_customer_leaves_nothing_of_the_whole_batch(shop: Shop) -> None:
    with pytest.raises(NoSuchCustomer):
        shop.settle(shop.settlement(5), shop.settlement(5, customer="cus_nobody"))
    assert shop.owed() == []
    assert shop.account_nano("book/revenue") == 0


def test_usage_of_a_customer_without_a_subscription_is_refused(shop: Shop) -> None:
    subscription = shop.subscription()
    shop.write(lambda tx: tx.remove(type(subscription), subscription.id))
    with pytest.raises(NotSubscribed):
        shop.use(1)


def test_charge_event_and_transaction_are_found_together(shop: Shop) -> None:
    item = shop.settlement(9, key="k")
    shop.settle(item)
    kept = shop.write(lambda tx: tx.charge_of("cus_1", item.event.id))
    entry = shop.write(lambda tx: tx.transactions_of("cus_1"))[-1]
    assert (kept.charge.price_nano, kept.transaction) == (9, entry.id)
    assert kept.billed_at == item.event.at


def test_a_batch_is_one_transaction_a_customer(shop: Shop) -> None:
    shop.settle(*(shop.settlement(1) for _ in range(5)))
    assert [entry.kind for entry in shop.write(lambda tx: tx.transactions_of("cus_1"))] == ["usage"]
    assert shop.owed() == [5]


def test_unpriced_usage_is_kept_and_announced_and_moves_no_money(shop: Shop) -> None:
    item = shop.settlement(5, charge=unpriced_charge())
    shop.settle(item)
    shop.settle(item)
    assert shop.announced("token_billing") == ["token_billing.usage.unpriced"]
    assert shop.write(lambda tx: tx.event("cus_1", item.event.id)).usage == Usage({"input": 5})
    assert shop.write(lambda tx: tx.transactions_of("cus_1")) == []


def test_a_customer_on_a_test_clock_settles_at_the_clocks_time(build: SimpleNamespace) -> None:
    shop = build.shop()
    shop.clock()
    shop.customer(clock="clock_1")
    shop.give(100, expires_at=build.at + build.day)
    shop.at += 40 * build.day  # Real time goes on; the clock stands still, and so does the grant's life.
    shop.use(30, at=build.at)
    assert shop.owed() == []
    assert shop.write(lambda tx: tx.transactions_of("cus_1"))[-1].at == build.at


def test_an_empty_batch_changes_nothing(shop: Shop) -> None:
    assert shop.settle() == Settled(0, 0)
