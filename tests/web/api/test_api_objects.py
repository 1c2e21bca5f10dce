"""Every object of Stripe's kinds fits the released SDK's own field lists; `conftest` checks all answers."""

from __future__ import annotations

from typing import Any

import pytest

from costplus.billing.alert import Alert
from costplus.billing.subscription import Subscription
from costplus.web.objects import View, object_of


@pytest.fixture
def check(sdk_check: Any) -> Any:
    if sdk_check is None:
        pytest.skip("tools/sdkcheck.py is absent beside the shared data (set COSTPLUS_SHARED)")
    return sdk_check


async def test_the_checker_looks_at_every_answer_and_sees_what_does_not_fit(check: Any, api: Any) -> None:
    assert api.check is not None
    customer = await api.get(f"/v1/customers/{await api.customer()}")
    assert check(customer) == []
    assert check(customer | {"created": "today"}) == ["customer.created: 'today' is not int on the wire"]


def test_a_subscriptions_item_and_price_fit_although_lists_are_not_looked_into(check: Any, api: Any) -> None:
    subscription = Subscription(
        id="sub_1",
        created=api.now,
        customer="cus_1",
        plan="bpp_1",
        rate_card_version="rcv_1",
        anchor=api.now,
        finalized_until=api.now,
    )
    shown = object_of(subscription, View(livemode=False))
    (item,) = shown["items"]["data"]
    for found in (shown, item, item["price"], item["plan"]):
        assert check(found) == []


def test_the_only_faults_are_the_previews_credit_alerts(check: Any, api: Any) -> None:
    alert = Alert(id="alrt_1", created=api.now, title="low", threshold_minor=0, currency="usd")
    assert check(object_of(alert, View(livemode=False))) == [
        "billing.alert.alert_type: 'credit_balance_threshold' is not one of ['usage_threshold']",
        "billing.alert.credit_balance_threshold: not in the SDK",
    ]
