"""Subscriptions in Stripe's shape: one metered item, whose price is the pinned rate card version."""

from __future__ import annotations

from costplus.billing.subscription import Subscription
from costplus.web.objects.wire import JsonObject, Surroundings, unix

CURRENCY = "usd"  # Provider prices are in US dollars, and so are subscriptions to them.


def _item(subscription: Subscription, surroundings: Surroundings) -> JsonObject:
    shared = {
        "created": unix(subscription.created),
        "currency": CURRENCY,
        "id": subscription.newest_version,
        "livemode": surroundings.livemode,
        "metadata": {},
        "nickname": None,
        "product": subscription.plan,
        "active": True,
        "billing_scheme": "per_unit",
        "tiers_mode": None,
    }
    price = shared | {
        "object": "price",
        "custom_unit_amount": None,
        "lookup_key": None,
        "recurring": {
            "interval": "month",
            "interval_count": 1,
            "meter": None,
            "trial_period_days": None,
            "usage_type": "metered",
        },
        "tax_behavior": "exclusive",
        "transform_quantity": None,
        "type": "recurring",
        "unit_amount": None,
        "unit_amount_decimal": None,
    }
    plan = shared | {
        "object": "plan",
        "amount": None,
        "amount_decimal": None,
        "interval": "month",
        "interval_count": 1,
        "meter": None,
        "transform_usage": None,
        "trial_period_days": None,
        "usage_type": "metered",
    }
    return {
        "id": "si_" + subscription.id.removeprefix("sub_"),
        "object": "subscription_item",
        "billing_thresholds": None,
        "created": unix(subscription.created),
        "current_period_end": unix(subscription.period.end),
        "current_period_start": unix(subscription.period.start),
        "discounts": [],
        "metadata": {},
        "plan": plan,
        "price": price,
        "subscription": subscription.id,
        "tax_rates": [],
    }


def subscription_object(subscription: Subscription, surroundings: Surroundings) -> JsonObject:
    """Return a subscription as Stripe writes it."""
    return {
        "id": subscription.id,
        "object": "subscription",
        "application": None,
        "application_fee_percent": None,
        "automatic_tax": {"enabled": False, "disabled_reason": None, "liability": None},
        "billing_cycle_anchor": unix(subscription.anchor),
        "billing_mode": {"type": "flexible"},
        "billing_schedules": [],
        "billing_thresholds": {
            "amount_gte": subscription.threshold_minor,
            "reset_billing_cycle_anchor": subscription.threshold_resets_anchor,
        }
        if subscription.threshold_minor
        else None,
        "cancel_at": None,
        "cancel_at_period_end": False,
        "canceled_at": None,
        "collection_method": subscription.collection_method or "send_invoice",
        "created": unix(subscription.created),
        "currency": CURRENCY,
        "customer": subscription.customer,
        "customer_account": None,
        "days_until_due": subscription.days_until_due,
        "default_payment_method": None,
        "description": None,
        "discounts": [],
        "ended_at": None,
        "invoice_settings": {"account_tax_ids": None, "issuer": {"type": "self"}},
        "items": {
            "object": "list",
            "data": [_item(subscription, surroundings)],
            "has_more": False,
            "url": f"/v1/subscription_items?subscription={subscription.id}",
        },
        "latest_invoice": None,
        "livemode": surroundings.livemode,
        "metadata": {},
        "start_date": unix(subscription.anchor),
        "status": subscription.status,
        "test_clock": None,
        "trial_end": None,
        "trial_start": None,
    }
