"""Objects that Stripe has no shape for: `token_billing.…`, in the same style.

Amounts are exact decimal text in currency units; both readings of an adjustment are always shown.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

from costplus.billing.customer import ApiKey, Customer, OnZeroCredit
from costplus.billing.hold_cap import CapState
from costplus.billing.plan import Plan, Settings
from costplus.billing.store import ChargedEvent
from costplus.billing.subscription import Subscription
from costplus.core.money import decimal_text, nano_text
from costplus.rating.charge import explain
from costplus.rating.rate_card import Adjustment, FixedPrice, RateCard, RateCardVersion, Tracking
from costplus.rating.waive import list_nano
from costplus.web.objects.caps import spend_caps_object
from costplus.web.objects.card_items import card_item_objects
from costplus.web.objects.plan_terms import plan_terms_objects, switch_objects
from costplus.web.objects.wire import JsonObject, Surroundings, cut_decimal, plain, unix, unix_or_none

PERCENT_DECIMALS = 6


def adjustment_object(adjustment: Adjustment) -> JsonObject:
    """Return an adjustment with both of its readings: 30 % markup is 23.076923 % margin."""
    return {
        "kind": adjustment.kind,
        "markup_percent": cut_decimal(adjustment.markup_percent, places=PERCENT_DECIMALS),
        "margin_percent": cut_decimal(adjustment.margin_percent, places=PERCENT_DECIMALS),
    }


def fixed_price_object(price: FixedPrice) -> JsonObject:
    """Return a price that stands by itself."""
    return {"amount": decimal_text(price.amount), "per": price.per}


def rate_card_version_object(version: RateCardVersion, surroundings: Surroundings) -> JsonObject:
    """Return one immutable state of a rate card."""
    floor = version.floor_margin_percent
    return {
        "id": version.id,
        "object": "token_billing.rate_card_version",
        "admitted_models": list(version.admitted),
        "created": unix(version.created),
        "default": adjustment_object(version.default),
        "fallback_prices": {name: fixed_price_object(entry) for name, entry in version.fallback.items()},
        "fixed_prices": {name: fixed_price_object(entry) for name, entry in version.fixed.items()},
        "floor_margin_percent": None if floor is None else decimal_text(floor),
        "livemode": surroundings.livemode,
        "model_overrides": {
            name: adjustment_object(entry) for name, entry in version.model_overrides.items()
        },
        "items": card_item_objects(version.items.values()),
        "models": list(version.models),
        "models_as_of": unix_or_none(version.models_as_of),
        "models_priced_as_of": {name: unix(at) for name, at in version.kept_as_of.items()},
        "own_key_fee_percent": decimal_text(version.own_key_fee_percent),
        "priced_as_of": unix_or_none(version.priced_as_of),
        "providers": {name: adjustment_object(entry) for name, entry in version.providers.items()},
        "rate_card": version.rate_card,
        "token_type_overrides": {
            name: adjustment_object(entry) for name, entry in version.token_types.items()
        },
        "failed_attempts": version.failed_attempts,
        "on_exhaustion": version.on_exhaustion,
        "unpriced": version.unpriced,
    }


def tracking_object(tracking: Tracking) -> JsonObject:
    """Return what a card does by itself about changed prices and new models."""
    most = tracking.max_increase_percent
    return {
        "apply_decreases": tracking.apply_decreases,
        "apply_increases": tracking.apply_increases,
        "max_increase_percent": None if most is None else decimal_text(most),
        "moves": tracking.moves,
        "new_models": tracking.new_models,
        "notice_days": tracking.notice_days,
    }


def rate_card_object(
    card: RateCard, surroundings: Surroundings, *, live: RateCardVersion | None = None
) -> JsonObject:
    """Return a rate card, with its live version where that is at hand."""
    return {
        "id": card.id,
        "object": "token_billing.rate_card",
        "created": unix(card.created),
        "currency": card.currency,
        "display_name": card.display_name,
        "latest_version": card.latest_version,
        "live_version": rate_card_version_object(live, surroundings) if live else card.live_version,
        "livemode": surroundings.livemode,
        "metadata": plain(card.metadata),
        "price_tracking_preference": card.price_tracking,
        "tracking": tracking_object(card.tracking),
    }


def plan_object(plan: Plan, surroundings: Surroundings) -> JsonObject:
    """Return a pricing plan."""
    return {
        "id": plan.id,
        "object": "token_billing.pricing_plan",
        "active": plan.active,
        "created": unix(plan.created),
        "credit_grant_per_period_amount": plan.credit_minor,
        "currency": plan.currency,
        "description": plan.description,
        "display_name": plan.display_name,
        "interval": plan.interval,
        "interval_count": plan.interval_count,
        "livemode": surroundings.livemode,
        "lookup_key": plan.lookup_key,
        "metadata": plain(plan.metadata),
        "on_zero_credit": plan.on_zero_credit,
        "pause_usage": plan.pause_usage,
        "proration_by": plan.proration_by,
        "rate_card": plan.rate_card or None,
        "subscription_fee_amount": plan.fee_minor,
        "trial_period_days": plan.trial_period_days,
        "trial_usage": plan.trial_usage,
        **plan_terms_objects(plan),
    }


def settings_object(settings: Settings, surroundings: Surroundings) -> JsonObject:
    """Return the account's settings."""
    return {
        "id": settings.id or None,
        "object": "token_billing.settings",
        "default_pricing_plan": settings.default_plan or None,
        "gateway_tested": settings.gateway_tested,
        "invoice_grace_seconds": settings.invoice_grace_s,
        "livemode": surroundings.livemode,
        "meter": settings.meter or None,
        "proration_by": settings.proration_by,
        "subscribe_new_customers": settings.subscribe_new_customers,
        "zero_credit_rejection_enabled": settings.on_zero_credit == "block",
    }


def key_object(key: ApiKey, surroundings: Surroundings) -> JsonObject:
    """Return an API key without its secret, of which nobody here knows more than the end."""
    return {
        "id": key.id,
        "object": "token_billing.key",
        "created": unix(key.created),
        "customer": key.customer or None,
        "expires_at": unix_or_none(key.limits.expires_at),
        "hint": key.hint,
        "livemode": key.livemode,
        "models": list(key.limits.models) or None,
        "name": key.name,
        "parallel_requests": key.limits.parallel_requests or None,
        "requests_per_minute": key.limits.requests_per_minute or None,
        "revoked_at": unix_or_none(key.revoked_at),
        "tokens_per_minute": key.limits.tokens_per_minute or None,
    }


def usage_event_object(charged: ChargedEvent, surroundings: Surroundings) -> JsonObject:
    """Return a usage event with its charge and how it came about: the seller's view, costs included."""
    event, charge = charged.event, charged.charge
    derivation = explain(charge)
    return {
        "id": event.id,
        "object": "token_billing.usage_event",
        "api_key": event.api_key or None,
        "at": unix(event.at),
        "billed_at": unix(charged.billed_at),
        "corrects": event.corrects or None,
        "cost": derivation.cost,
        "cost_nano": charge.cost_nano,
        "customer": event.customer,
        "derivation": {
            "exact_cost": derivation.exact_cost,
            "exact_price": derivation.exact_price,
            "steps": [asdict(step) for step in derivation.steps],
        },
        "flags": list(event.usage.flags),
        "key": event.key,
        "livemode": surroundings.livemode,
        "list_price": nano_text(list_nano(charge)),
        "meter": event.meter,
        "model": event.model,
        "price": derivation.price,
        "price_nano": charge.price_nano,
        "provider": event.provider,
        "quantities": plain(event.usage.quantities),
        "raw_usage": event.raw_usage,
        "request_id": event.request_id or None,
        "reported_cost": event.reported_cost or None,
        "requested_model": event.requested_model,
        "source": event.source,
        "transaction": charged.transaction or None,
        "unpriced": list(charge.unpriced),
        "waived": sorted({line.rate.waived for line in charge.lines if line.rate.waived}),
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class CustomerState:
    """Everything about a customer's money and terms at one moment."""

    customer: Customer
    subscription: Subscription | None
    credit_nano: int
    held_nano: int
    owed_nano: int
    carried_nano: int
    on_zero_credit_inherited: OnZeroCredit = "overage"  # The plan's rule, or the account's.
    caps: tuple[CapState, ...] = ()


def customer_state_object(state: CustomerState, surroundings: Surroundings) -> JsonObject:
    """Return a customer's balance and terms."""
    subscription = state.subscription
    own = subscription.pins[-1].adjustment if subscription and subscription.pins else None
    return {
        "id": state.customer.id,
        "object": "token_billing.customer",
        "adjustment": adjustment_object(own) if own else None,
        "balance": {
            "available": nano_text(state.credit_nano - state.held_nano),
            "carried": nano_text(state.carried_nano),
            "credit": nano_text(state.credit_nano),
            "currency": state.customer.currency,
            "held": nano_text(state.held_nano),
            "owed": nano_text(state.owed_nano),
        },
        "cost_tracking_only": switch_objects(state.customer.shadow),
        "livemode": surroundings.livemode,
        "on_zero_credit": state.customer.on_zero_credit,
        "overage_limit": state.customer.overage_limit_minor,
        "on_zero_credit_applied": state.customer.on_zero_credit or state.on_zero_credit_inherited,
        "period": None
        if subscription is None
        else {"end": unix(subscription.period.end), "start": unix(subscription.period.start)},
        "spend_caps": spend_caps_object(state.caps),
        "subscription": None
        if subscription is None
        else {
            "id": subscription.id,
            "pricing_plan": subscription.plan,
            "rate_card_version": subscription.newest_version,
            "rate_card_versions": [
                {"rate_card_version": pin.version, "since": unix(pin.since)} for pin in subscription.every_pin
            ],
            "status": subscription.status,
        },
        "test_clock": state.customer.test_clock,
        "timezone": state.customer.timezone,
    }
