"""Gather a customer's terms: one read, cached by whoever serves calls until the configuration changes."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from costplus.billing.clock import customer_of, frozen_time
from costplus.billing.close import account_settings
from costplus.billing.customer import Customer, OnZeroCredit
from costplus.billing.entitlement import Terms, check_open
from costplus.billing.pinned import card_of
from costplus.billing.plan import Plan
from costplus.billing.settle import biller_at, billers_of
from costplus.billing.store import Tx
from costplus.billing.subscription import NotSubscribed, Subscription
from costplus.billing.watched import caps_of
from costplus.core.money import nano_per_minor
from costplus.rating.rate_card import RateCard, RateCardVersion


def terms_of(tx: Tx, customer: str) -> Terms:
    """Return the customer's terms. Raises `NoSuchCustomer`, `NotSubscribed`."""
    record = customer_of(tx, customer)
    known = sorted(billers_of(tx, customer), key=lambda entry: entry.begins)
    subscription = biller_at(known[::-1])
    plan = tx.find(Plan, subscription.plan)
    return Terms(
        customer=record,
        subscription=subscription,
        cards=tuple(card for entry in known for card in _cards(tx, entry)),
        on_zero_credit=record.on_zero_credit or inherited_on_zero_credit(tx, subscription),
        frozen_time=frozen_time(tx, record),
        subscriptions=tuple(known),
        overage_limit_nano=overage_limit_nano(record, plan),
        plan_shadow=plan.shadow if plan else (),
    )


def overage_limit_nano(customer: Customer, plan: Plan | None) -> int | None:
    """Return how much the customer may owe beyond its credit: by its own limit, else its plan's, else any."""
    minor = customer.overage_limit_minor
    if minor is None and plan is not None:
        minor = plan.overage_limit_minor
    return None if minor is None else minor * nano_per_minor(customer.currency)


def card_for(tx: Tx, customer: str, *, at: datetime) -> RateCardVersion:
    """Return the card version that prices a customer's usage at `at`: of its terms, only that is read.

    Raises `NoSuchCustomer`, `NotSubscribed`, `SubscriptionPaused`.
    """
    known = sorted(billers_of(tx, customer_of(tx, customer).id), key=lambda entry: entry.begins)
    check_open(known, at)
    pins = [(entry, pin) for entry in known for pin in entry.every_pin]
    subscription, pin = next((found for found in reversed(pins) if found[1].since <= at), pins[0])
    return card_of(tx, subscription, pin)


def capped_terms_of(tx: Tx, customer: str) -> Terms:
    """Return the customer's terms with its hard spend caps: what a gateway admits calls by."""
    hard = tuple(cap for cap in caps_of(tx, customer) if cap.mode == "hard")
    return replace(terms_of(tx, customer), caps=hard)


def inherited_on_zero_credit(tx: Tx, subscription: Subscription | None) -> OnZeroCredit:
    """Return what happens without credit where the customer has no rule: its plan's, or the account's."""
    plan = tx.find(Plan, subscription.plan) if subscription else None
    if plan is not None and plan.on_zero_credit:
        return plan.on_zero_credit
    settings = account_settings(tx)
    return settings.on_zero_credit if settings else "overage"


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
