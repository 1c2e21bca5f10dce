"""Gather a customer's terms: one read, cached by whoever serves calls until the configuration changes."""

from __future__ import annotations

from datetime import datetime

from costplus.billing.clock import customer_of, frozen_time
from costplus.billing.close import account_settings
from costplus.billing.entitlement import Terms
from costplus.billing.pinned import card_of
from costplus.billing.plan import Plan
from costplus.billing.settle import subscription_of
from costplus.billing.store import Tx
from costplus.billing.subscription import NotSubscribed, Subscription
from costplus.rating.rate_card import RateCard, RateCardVersion


def terms_of(tx: Tx, customer: str) -> Terms:
    """Return the customer's terms. Raises `NoSuchCustomer`, `NotSubscribed`."""
    record = customer_of(tx, customer)
    subscription = subscription_of(tx, customer)
    settings = account_settings(tx)
    plan = tx.find(Plan, subscription.plan)
    return Terms(
        customer=record,
        subscription=subscription,
        cards=_cards(tx, subscription),
        on_zero_credit=record.on_zero_credit or (settings.on_zero_credit if settings else "overage"),
        frozen_time=frozen_time(tx, record),
        plan_shadow=plan.shadow if plan else (),
    )


def _cards(tx: Tx, subscription: Subscription) -> tuple[tuple[datetime, RateCardVersion], ...]:
    """Return every card version that prices the subscription's usage, with since when."""
    return tuple((pin.since, card_of(tx, subscription, pin)) for pin in subscription.every_pin)


def default_card(tx: Tx) -> RateCardVersion:
    """Return the card version that a new customer would get. Raises `NotSubscribed` before the set-up."""
    settings = account_settings(tx)
    plan = tx.find(Plan, settings.default_plan) if settings else None
    card = tx.find(RateCard, plan.rate_card) if plan else None
    version = tx.find(RateCardVersion, card.live_version) if card else None
    if version is None:
        raise NotSubscribed("No pricing plan is set up.")
    return version
