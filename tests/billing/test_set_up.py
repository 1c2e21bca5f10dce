"""The set-up is one step, and the same again changes nothing."""

from __future__ import annotations

from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest

from costplus.billing.alert import Alert
from costplus.billing.customer import Customer
from costplus.billing.terms import terms_of
from costplus.metering.meter import Meter
from costplus.rating.rate_card import RateCardVersion, adjustment

Shop = Any  # The shop of conftest.
FORTY = adjustment("markup", Decimal(40))


def versions(shop: Shop) -> int:
    return len(shop.write(lambda tx: tx.page(RateCardVersion)))


def test_the_same_parameters_again_answer_with_the_same_objects(shop: Shop, build: SimpleNamespace) -> None:
    before = shop.set_up()
    shop.at += build.day
    assert shop.set_up() == before
    assert versions(shop) == 1


def test_parameters_are_compared_by_content_and_not_by_how_they_are_written(build: SimpleNamespace) -> None:
    one, two = adjustment("markup", Decimal(5)), adjustment("markup", Decimal(6))
    shop = build.shop(providers={"a": one, "b": two}, default=adjustment("markup", Decimal("20")))
    again = shop.set_up(providers={"b": two, "a": one}, default=adjustment("markup", Decimal("20.0")))
    assert again.version == shop.account.version
    assert versions(shop) == 1


def test_other_parameters_make_a_new_version_on_the_same_card_plan_and_meter(shop: Shop) -> None:
    after = shop.set_up(default=FORTY)
    before = shop.account
    assert after.version.id != before.version.id
    assert after.card.live_version == after.card.latest_version == after.version.id
    ids = [(s.card.id, s.plan.id, s.meter.id, s.settings.id) for s in (before, after)]
    assert ids[0] == ids[1]


def test_another_fee_changes_the_plan_and_needs_no_new_version(shop: Shop) -> None:
    after = shop.set_up(fee_minor=900)
    assert after.plan.fee_minor == 900
    assert after.version == shop.account.version


@pytest.mark.parametrize("tracking", ["disabled", "new_customers_only"])
def test_subscriptions_stay_on_their_version_and_new_ones_get_the_new(shop: Shop, tracking: str) -> None:
    after = shop.set_up(default=FORTY, price_tracking=tracking)
    shop.customer("cus_2")
    assert shop.subscription("cus_1").newest_version == shop.account.version.id
    assert shop.subscription("cus_2").newest_version == after.version.id


def test_migrate_all_moves_every_subscription_to_the_new_version(shop: Shop) -> None:
    shop.customer("cus_2")
    after = shop.set_up(default=FORTY, price_tracking="migrate_all")
    moved = {shop.subscription(id).newest_version for id in ("cus_1", "cus_2")}
    assert moved == {after.version.id}
    assert shop.write(lambda tx: terms_of(tx, "cus_1")).cards[-1][1].default == FORTY


def test_usage_already_rated_keeps_its_price_when_all_are_migrated(shop: Shop) -> None:
    shop.use(100)
    shop.set_up(default=FORTY, price_tracking="migrate_all")
    assert shop.owed() == [100]


def test_a_change_of_mind_about_tracking_alone_moves_whom_an_earlier_change_left(shop: Shop) -> None:
    after = shop.set_up(default=FORTY)
    shop.set_up(default=FORTY, price_tracking="migrate_all")
    assert shop.subscription().newest_version == after.version.id


def test_customers_that_came_before_the_set_up_are_subscribed_by_it(shop: Shop) -> None:
    shop.write(lambda tx: tx.save(Customer(id="cus_2", created=shop.at)))
    shop.write(lambda tx: tx.save(Customer(id="cus_gone", created=shop.at, deleted=True)))
    shop.set_up()
    assert shop.subscription("cus_2").plan == shop.account.plan.id
    with pytest.raises(IndexError):
        shop.subscription("cus_gone")


def test_a_subscription_is_made_once(shop: Shop) -> None:
    assert shop.customer().id == shop.subscription().id
    shop.set_up()
    assert shop.customer().id == shop.subscription().id


def test_there_is_one_meter_and_one_zero_alert_however_often_it_is_set_up(shop: Shop) -> None:
    shop.set_up(default=FORTY)
    shop.set_up()
    assert len(shop.write(lambda tx: tx.page(Meter))) == 1
    alerts = shop.write(lambda tx: tx.page(Alert))
    assert [(alert.threshold_minor, alert.customer) for alert in alerts] == [(0, "")]
    assert shop.announced("billing.meter") == ["billing.meter.created"]


def test_terms_take_the_customers_own_choice_at_zero_before_the_accounts(build: SimpleNamespace) -> None:
    shop = build.shop(on_zero_credit="block")
    shop.customer("cus_1")
    shop.customer("cus_2")
    own = shop.write(lambda tx: tx.find(Customer, "cus_2"))
    shop.write(lambda tx: tx.save(type(own)(id="cus_2", created=own.created, on_zero_credit="overage")))
    assert shop.write(lambda tx: terms_of(tx, "cus_1")).blocks
    assert not shop.write(lambda tx: terms_of(tx, "cus_2")).blocks
