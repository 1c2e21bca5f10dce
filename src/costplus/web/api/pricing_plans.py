"""`/v1/token_billing/pricing_plans`: what customers can be subscribed to.

A plan here is what Stripe's preview makes of a pricing plan, its version and three kinds of components (rate
card, license fee, service action): one object with a rate card, a fee and included credit, as onboarding
makes it. The released SDK has no classes for Stripe's; so ours keep their own address and say all they are in
one answer.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from costplus.billing.account import account_settings
from costplus.billing.card_change import NoSuchRateCard
from costplus.billing.plan import NoSuchPlan, Plan
from costplus.billing.store import Tx
from costplus.core.cycle import INTERVALS, Interval, check_interval
from costplus.core.errors import Conflict
from costplus.core.ids import new_id
from costplus.rating.rate_card import RateCard, RateCardVersion
from costplus.web.api.card_terms import TRACKING, revised, tracking_of
from costplus.web.api.onboarding import MARKUP_DEFAULT
from costplus.web.call import Call, Listing, get, post
from costplus.web.listing import records
from costplus.web.objects.token_billing import rate_card_object
from costplus.web.params import Params

AMOUNT_MAX = 10**9
TRIAL_DAYS_MAX = 730


class DefaultPlan(Conflict):
    """New customers are subscribed to the plan."""

    code = "pricing_plan_is_default"
    remedy = "Set the account up with another plan, or turn settings[subscribe_new_customers] off first."


def plan_named(tx: Tx, id: str, *, param: str = "id") -> Plan:
    """Return the plan, or raise `NoSuchPlan`."""
    plan = tx.find(Plan, id)
    if plan is None:
        raise NoSuchPlan(f"No such pricing plan: '{id}'", param=param)
    return plan


def _changed(plan: Plan, params: Params) -> Plan:
    """Return the plan with what was sent; what subscriptions were asked for already stays."""
    fields: dict[str, Any] = {
        "display_name": params.text("display_name", longest=200),
        "fee_minor": params.integer("subscription_fee_amount", most=AMOUNT_MAX),
        "credit_minor": params.integer("credit_grant_per_period_amount", most=AMOUNT_MAX),
        "trial_period_days": params.integer("trial_period_days", most=TRIAL_DAYS_MAX),
        "trial_usage": params.choice("trial_usage", ("billed", "free")),
        "pause_usage": params.choice("pause_usage", ("blocked", "free")),
        "active": params.flag("active"),
    }
    fields = {name: value for name, value in fields.items() if value is not None}
    if "proration_by" in params:
        fields["proration_by"] = params.choice("proration_by", ("second", "day"))
    for name in ("description", "lookup_key"):
        if name in params:
            fields[name] = params.text(name, longest=500)
    return replace(plan, **fields, metadata=params.metadata(plan.metadata))


def create(tx: Tx, call: Call) -> Plan:
    """Create a plan: on a rate card, or without one a fee only."""
    params = call.params
    card_id = params.text("rate_card")
    card = tx.find(RateCard, card_id) if card_id else None
    if card_id and card is None:
        raise NoSuchRateCard(f"No such rate card: '{card_id}'", param="rate_card")
    currency = (params.text("currency", longest=3) or (card.currency if card else "usd")).lower()
    interval: Interval = params.choice("interval", INTERVALS) or "month"
    count = params.integer("interval_count", least=1) or 1
    check_interval(interval, count)
    blank = Plan(
        id=new_id("bpp", at=call.at),
        created=call.at,
        display_name=params.required_text("display_name", longest=200),
        currency=currency,
        rate_card=card.id if card else "",
        interval=interval,
        interval_count=count,
    )
    plan = _changed(blank, params)
    tx.save(plan)
    tx.touch("config")
    return plan


def retrieve(tx: Tx, call: Call) -> Plan:
    """Return a pricing plan."""
    return plan_named(tx, call.path["id"])


def update(tx: Tx, call: Call) -> Plan:
    """Change what was sent: fees count from the next period on. `active=false` archives the plan."""
    plan = _changed(plan_named(tx, call.path["id"]), call.params)
    settings = account_settings(tx)
    is_default = settings is not None and settings.default_plan == plan.id
    if not plan.active and is_default and settings is not None and settings.subscribe_new_customers:
        raise DefaultPlan(f"New customers are subscribed to {plan.id}.", param="active")
    tx.save(plan)
    tx.touch("config")
    return plan


def index(tx: Tx, call: Call) -> Listing:
    """List pricing plans, newest first."""
    active = call.params.flag("active")
    return records(tx, call, Plan, keep=lambda plan: active is None or plan.active == active)


def create_card(tx: Tx, call: Call) -> object:
    """Create a rate card with its first version, for plans that sell at other terms."""
    params = call.params
    card = RateCard(
        id=new_id("rcd", at=call.at),
        created=call.at,
        display_name=params.required_text("display_name", longest=200),
        currency=(params.text("currency", longest=3) or "usd").lower(),
        live_version="",
        latest_version="",
        price_tracking=params.choice("price_tracking_preference", TRACKING) or "disabled",
        metadata=params.metadata(),
    )
    card = replace(card, tracking=tracking_of(params, card.tracking))
    blank = RateCardVersion(
        id="",
        created=call.at,
        rate_card=card.id,
        default=MARKUP_DEFAULT,
        priced_as_of=call.at,
        models_as_of=call.at,
    )
    catalogue = call.context.pricing.catalogue
    version = revised(params, blank, catalogue, id=new_id("rcv", at=call.at), at=call.at)
    card = replace(card, live_version=version.id, latest_version=version.id)
    tx.save(version)
    tx.save(card)
    tx.touch("config")
    call.announce(tx, "rate_card.version_created", version, at=call.at)
    return rate_card_object(card, call.context, live=version)


ENDPOINTS = (
    get("/v1/token_billing/pricing_plans", index),
    post("/v1/token_billing/pricing_plans", create),
    get("/v1/token_billing/pricing_plans/{id}", retrieve),
    post("/v1/token_billing/pricing_plans/{id}", update),
    post("/v1/token_billing/rate_cards", create_card),
)
