"""Top-ups: money that came in becomes credit, once, and never more than came in."""

from __future__ import annotations

from typing import Any

import pytest

from costplus.billing.credit_pack import CreditPack, CreditPackRetired
from costplus.billing.top_up import Receipt


def test_a_paid_top_up_is_paid_credit_with_a_receipt(till: Any) -> None:
    top_up = till.buy(1000)
    assert (top_up.status, top_up.granted_minor, till.shop.credit()) == ("succeeded", 1000, 10 * 10**9)
    (grant,) = till.shop.write(lambda tx: tx.grants_of("cus_1"))
    assert (grant.category, grant.source, grant.minor_amount) == ("paid", "top_up", 1000)
    receipt = till.shop.write(lambda tx: tx.find(Receipt, top_up.receipt))
    assert (receipt.number, receipt.amount_minor, receipt.method) == ("RC-000001", 1000, "Card that pays")
    assert (till.taken(), till.money(), till.surplus()) == (1000, 1000, 0)
    assert till.shop.wrongs() == []


def test_what_the_processor_says_twice_counts_once(till: Any) -> None:
    till.buy(1000, token="pm_fake_double")
    till.call_back()
    assert (len(till.sent), till.results) == (2, ["duplicate", "duplicate"])
    assert (till.granted(), till.money()) == (1000, 1000)


def test_a_declined_top_up_grants_nothing(till: Any) -> None:
    top_up = till.buy(1000, token="pm_fake_decline_insufficient")
    assert (top_up.status, till.payment().status) == ("failed", "failed")
    assert till.payment().failure_code == "insufficient_funds"
    assert (till.granted(), till.money()) == (0, 0)
    assert till.events("payment") == ["payment.created", "payment.failed"]
    assert till.events("top_up") == ["top_up.failed"]


def test_processing_is_no_success(till: Any) -> None:
    top_up = till.buy(1000, token="pm_fake_delay")
    assert (top_up.status, till.payment().status, till.granted()) == ("pending", "processing", 0)
    till.shop.at += till.fake.patience
    till.call_back()
    assert (till.top_up(top_up.id).status, till.granted()) == ("succeeded", 1000)


def test_a_delayed_success_is_found_by_looking_where_nobody_calls(till: Any) -> None:
    till.answers = [500] * 50
    top_up = till.buy(1000, token="pm_fake_delay")
    till.wait(minutes=5)
    assert (till.top_up(top_up.id).status, till.granted(), till.taken()) == ("succeeded", 1000, 1000)
    till.answers = []
    till.wait(hours=1)
    assert till.results == ["duplicate"]
    assert till.granted() == 1000


def test_usage_that_is_owed_is_paid_first_oldest_period_first(till: Any) -> None:
    till.shop.use(4 * 10**9)
    till.buy(1000)
    assert (till.shop.owed(), till.shop.credit()) == ([], 6 * 10**9)


def test_a_pack_gives_its_bonus_as_promotional_credit_that_may_expire_earlier(till: Any) -> None:
    pack = CreditPack(
        id="cpack_1",
        created=till.shop.at,
        name="Big",
        currency="usd",
        price_minor=5000,
        credit_minor=5500,
        bonus_minor=500,
        valid_days=365,
        bonus_valid_days=30,
    )
    top_up = till.buy(0, pack=pack)
    grants = {g.category: g for g in till.shop.write(lambda tx: tx.grants_of("cus_1"))}
    assert (grants["paid"].minor_amount, grants["promotional"].minor_amount) == (5000, 1000)
    days = {kind: (grant.expires_at - till.shop.at).days for kind, grant in grants.items()}
    assert days == {"paid": 365, "promotional": 30}
    assert (top_up.amount_minor, till.money(), till.granted()) == (5000, 5000, 5000)


def test_a_retired_pack_is_not_sold(till: Any) -> None:
    pack = CreditPack(
        id="cpack_1",
        created=till.shop.at,
        name="Old",
        currency="usd",
        price_minor=1,
        credit_minor=1,
        is_active=False,
    )
    till.method("pm_fake_ok")
    with pytest.raises(CreditPackRetired):
        till.order(0, pack=pack)


def test_ordering_again_under_the_same_id_is_the_same_top_up(till: Any) -> None:
    till.buy(1000, id="topup_1")
    till.buy(1000, id="topup_1")
    assert (len(till.top_ups()), till.taken(), till.granted()) == (1, 1000, 1000)


def test_a_top_up_is_above_the_limit_of_unused_grants(till: Any) -> None:
    for _ in range(100):
        till.shop.give(1)
    assert till.buy(1000).status == "succeeded"
