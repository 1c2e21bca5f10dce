"""`/v1/subscriptions`: customers are subscribed by the set-up and when they are created."""

from __future__ import annotations

from costplus.billing.clock import customer_of
from costplus.billing.store import Tx
from costplus.billing.subscription import NoSuchSubscription, Subscription
from costplus.web.api.subscription_terms import with_invoice_terms
from costplus.web.call import Call, Listing, get, post
from costplus.web.listing import records


def retrieve(tx: Tx, call: Call) -> Subscription:
    """Return a subscription."""
    subscription = tx.find(Subscription, call.path["id"])
    if subscription is None:
        raise NoSuchSubscription(f"No such subscription: '{call.path['id']}'", param="id")
    return subscription


def index(tx: Tx, call: Call) -> Listing:
    """List subscriptions, newest first; canceled ones only where they are asked for."""
    customer = call.params.text("customer")
    status = call.params.choice("status", ("active", "canceled", "all")) or "active"
    if customer:
        customer_of(tx, customer)
    return records(
        tx, call, Subscription, parent=customer, keep=lambda entry: status in ("all", entry.status)
    )


def update(tx: Tx, call: Call) -> Subscription:
    """Change what a subscription says about its invoices."""
    tx.balance_for_update(retrieve(tx, call).customer)
    subscription = with_invoice_terms(tx, call.params, retrieve(tx, call))
    tx.save(subscription)
    tx.touch("config")
    return subscription


ENDPOINTS = (
    get("/v1/subscriptions", index),
    get("/v1/subscriptions/{id}", retrieve),
    post("/v1/subscriptions/{id}", update),
)
