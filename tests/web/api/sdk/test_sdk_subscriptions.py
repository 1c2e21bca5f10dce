"""The released SDK sees a subscription through its life."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import stripe

pytestmark = pytest.mark.e2e


def plan(shop: Any, **fields: str) -> str:
    """Create a pricing plan and return its id, which is a price's to the SDK."""
    made = shop.client().raw_request("post", "/v1/token_billing/pricing_plans", **fields)
    return str(shop.client().deserialize(made, api_mode="V1")["id"])


def subscribed(shop: Any) -> None:
    """A trial, an upgrade, a pause and an end, on a test clock."""
    card = shop.set_up()["resources"]["rate_card_id"]
    client = shop.client()
    shop.client().raw_request("post", "/v1/token_billing/settings", subscribe_new_customers="false")
    pro = plan(shop, display_name="Pro", rate_card=card, subscription_fee_amount="3100")
    max_ = plan(shop, display_name="Max", rate_card=card, subscription_fee_amount="6200")
    seat = plan(shop, display_name="Seat", subscription_fee_amount="620")
    start = datetime(2026, 1, 1, tzinfo=UTC)

    def to(month: int, day: int) -> None:
        at = start.replace(month=month, day=day)
        client.v1.test_helpers.test_clocks.advance(clock.id, {"frozen_time": int(at.timestamp())})

    clock = client.v1.test_helpers.test_clocks.create({"frozen_time": int(start.timestamp())})
    customer = client.v1.customers.create({"test_clock": clock.id})
    made = client.v1.subscriptions.create(
        {
            "customer": customer.id,
            "items": [{"price": pro}, {"price": seat, "quantity": 2}],
            "trial_period_days": 14,
            "metadata": {"deal": "spring"},
        }
    )
    assert (made.status, made.trial_end, made.metadata["deal"]) == (
        "trialing",
        int((start + timedelta(days=14)).timestamp()),
        "spring",
    )
    to(2, 1)
    active = client.v1.subscriptions.retrieve(made.id)
    assert active.status == "active"
    items = client.v1.subscription_items.list({"subscription": made.id}).data
    assert [(item.price.id, item.price.unit_amount, item.quantity) for item in items] == [
        (pro, 3100, 1),
        (seat, 620, 2),
    ]
    assert items[0].current_period_start == int(start.replace(day=15).timestamp())
    upgraded = client.v1.subscriptions.update(
        made.id,
        {"items": [{"id": items[0].id, "price": max_}], "proration_behavior": "always_invoice"},
    )
    assert upgraded.items.data[0].price.id == max_  # type: ignore[attr-defined]  # A ListObject.
    invoice = client.v1.invoices.retrieve(str(upgraded.latest_invoice))
    assert (invoice.billing_reason, invoice.total) == ("subscription_update", 1400)
    client.v1.subscription_items.update(items[1].id, {"quantity": 5, "proration_behavior": "none"})
    added = client.v1.subscription_items.retrieve(items[1].id)
    assert added.quantity == 5
    client.v1.subscription_items.delete(items[1].id)
    with pytest.raises(stripe.InvalidRequestError) as last:
        client.v1.subscription_items.delete(items[0].id)
    assert last.value.code == "subscription_items_invalid"
    paused_and_ended(client, to, subscription=made.id, customer=customer.id, plan=pro)


def paused_and_ended(
    client: stripe.StripeClient,
    to: Callable[[int, int], None],
    *,
    subscription: str,
    customer: str,
    plan: str,
) -> None:
    """The rest of that subscription's life, from the first of February on."""
    start = datetime(2026, 1, 1, tzinfo=UTC)
    paused = client.v1.subscriptions.pause(subscription, {"bill_for": {"unused_time_from": {"type": "now"}}})
    assert paused.status == "paused" and paused.status_details is not None
    to(3, 1)
    resumed = client.v1.subscriptions.resume(subscription, {"billing_cycle_anchor": {"type": "now"}})
    assert (resumed.status, resumed.billing_cycle_anchor) == (
        "active",
        int(start.replace(month=3).timestamp()),
    )
    later = client.v1.subscriptions.update(subscription, {"cancel_at_period_end": True})
    assert (later.cancel_at_period_end, later.cancel_at) == (
        True,
        int(start.replace(month=4).timestamp()),
    )
    assert client.v1.subscriptions.update(subscription, {"cancel_at_period_end": False}).cancel_at is None
    held = client.v1.subscriptions.update(subscription, {"pause_collection": {"behavior": "void"}})
    assert held.pause_collection is not None and held.pause_collection.behavior == "void"
    assert client.v1.subscriptions.update(subscription, {"pause_collection": ""}).pause_collection is None
    with pytest.raises(stripe.InvalidRequestError) as second:
        client.v1.subscriptions.create({"customer": customer, "items": [{"price": plan}]})
    assert second.value.code == "subscription_usage_ambiguous"
    ended = client.v1.subscriptions.cancel(
        subscription,
        {"invoice_now": True, "prorate": True, "cancellation_details": {"feedback": "unused"}},
    )
    assert (ended.status, ended.cancellation_details.feedback) == ("canceled", "unused")  # type: ignore[union-attr]  # It is there.
    told = client.v1.events.list({"limit": 100}).data
    kinds = {event.type for event in told if event.type.startswith("customer.subscription.")}
    names = ("created", "updated", "deleted", "paused", "resumed", "trial_will_end")
    assert kinds == {f"customer.subscription.{name}" for name in names}


async def test_a_subscription_lives_from_its_trial_to_its_end(shop: Any) -> None:
    await shop.sees(subscribed)
