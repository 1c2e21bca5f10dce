"""Subscriptions in Stripe's shape: an item per plan, its price called by the plan's id."""

from __future__ import annotations

from costplus.billing.subscription import Item, Subscription
from costplus.web.objects.wire import JsonObject, Surroundings, plain, unix, unix_or_none

WIRE_STATUS = {"pending": "incomplete"}  # Stripe has no word for a subscription that is still to begin.


def subscription_item_object(
    item: Item, subscription: Subscription, surroundings: Surroundings
) -> JsonObject:
    """Return an item as Stripe writes it: subscription_item."""
    is_metered = item.plan == subscription.plan and subscription.prices_usage
    usage_type = "metered" if is_metered and not item.fee_minor else "licensed"
    decimal = None if item.fee_minor is None else str(item.fee_minor)
    recurring = {
        "interval": subscription.interval,
        "interval_count": subscription.interval_count,
        "meter": None,
        "trial_period_days": None,
        "usage_type": usage_type,
    }
    shared = {
        "id": item.plan,
        "active": True,
        "billing_scheme": "per_unit",
        "created": unix(subscription.created),
        "currency": item.currency,
        "livemode": surroundings.livemode,
        "metadata": {"rate_card_version": subscription.newest_version} if is_metered else {},
        "nickname": None,
        "product": item.plan,
        "tiers_mode": None,
    }
    price = shared | {
        "object": "price",
        "custom_unit_amount": None,
        "lookup_key": None,
        "recurring": recurring,
        "tax_behavior": "exclusive",
        "transform_quantity": None,
        "type": "recurring",
        "unit_amount": item.fee_minor,
        "unit_amount_decimal": decimal,
    }
    plan = (shared | recurring | {"object": "plan", "amount": item.fee_minor, "amount_decimal": decimal}) | {
        "transform_usage": None
    }
    shown: JsonObject = {
        "id": item.id,
        "object": "subscription_item",
        "billing_thresholds": None,
        "created": unix(subscription.created),
        "current_period_end": unix(subscription.period.end),
        "current_period_start": unix(subscription.period.start),
        "discounts": [],
        "metadata": plain(item.metadata),
        "plan": plan,
        "price": price,
        "subscription": subscription.id,
        "tax_rates": [],
    }
    return shown if usage_type == "metered" else shown | {"quantity": item.quantity}


def subscription_object(subscription: Subscription, surroundings: Surroundings) -> JsonObject:
    """Return a subscription as Stripe writes it."""
    items = [subscription_item_object(item, subscription, surroundings) for item in subscription.every_item]
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
        **_endings(subscription),
        "collection_method": subscription.collection_method or "send_invoice",
        "created": unix(subscription.created),
        "currency": subscription.every_item[0].currency,
        "customer": subscription.customer,
        "customer_account": None,
        "days_until_due": subscription.days_until_due,
        "default_payment_method": None,
        "description": subscription.description,
        "discounts": [],
        "invoice_settings": {"account_tax_ids": None, "issuer": {"type": "self"}},
        "items": {
            "object": "list",
            "data": items,
            "has_more": False,
            "url": f"/v1/subscription_items?subscription={subscription.id}",
        },
        "latest_invoice": subscription.latest_invoice or None,
        "livemode": surroundings.livemode,
        "metadata": plain(subscription.metadata),
        **_pauses(subscription),
        "start_date": unix(subscription.begins),
        "status": WIRE_STATUS.get(subscription.status, subscription.status),
        "test_clock": None,
        "trial_end": unix_or_none(subscription.trial_end),
        "trial_start": unix_or_none(subscription.trial_start),
    }


def _endings(subscription: Subscription) -> JsonObject:
    ended = subscription.status == "canceled"
    at = subscription.period.end if subscription.cancel_at_period_end else subscription.cancel_at
    reason = "cancellation_requested" if subscription.canceled_at else None
    return {
        "cancel_at": unix_or_none(at),
        "cancel_at_period_end": subscription.cancel_at_period_end,
        "canceled_at": unix_or_none(subscription.canceled_at),
        "cancellation_details": {
            "comment": subscription.cancellation.get("comment"),
            "feedback": subscription.cancellation.get("feedback"),
            "reason": reason,
        },
        "ended_at": unix_or_none(subscription.ended_at if ended else None),
    }


def _pauses(subscription: Subscription) -> JsonObject:
    collection = subscription.pause_collection
    paused = subscription.paused_at if subscription.status == "paused" else None
    shown: JsonObject = {
        "pause_collection": None
        if collection is None
        else {"behavior": collection.behavior, "resumes_at": unix_or_none(collection.resumes_at)},
    }
    if paused is not None:
        shown["status_details"] = {
            "paused": {
                "subscription": {"type": "pause_requested"},
                "transitioned_at": unix(paused),
                "type": "subscription",
            }
        }
    return shown


def subscription_state_object(subscription: Subscription, surroundings: Surroundings) -> JsonObject:
    """Return what Stripe's shape has no place for: what is scheduled, pinned, asked for and waits."""
    return {
        "id": subscription.id,
        "object": "token_billing.subscription",
        "credited_amount": subscription.credited_minor,
        "customer": subscription.customer,
        "fee_amount": subscription.paid_minor,
        "livemode": surroundings.livemode,
        "paused_at": unix_or_none(subscription.paused_at),
        "period": {"end": unix(subscription.period.end), "start": unix(subscription.period.start)},
        "prices_usage": subscription.prices_usage,
        "rate_card_versions": [
            {"rate_card_version": pin.version, "since": unix(pin.since), "usage": pin.usage}
            for pin in (subscription.every_pin if subscription.prices_usage else ())
        ],
        "resumes_at": unix_or_none(subscription.resumes_at),
        "scheduled_items": [
            {"pricing_plan": item.plan, "quantity": item.quantity} for item in subscription.scheduled
        ],
        "status": subscription.status,
        "timezone": subscription.timezone,
    }
