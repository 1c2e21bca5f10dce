"""`/v1/subscriptions`: read only; customers are subscribed by the set-up and when they are created."""

from __future__ import annotations

from costplus.billing.clock import customer_of
from costplus.billing.store import Tx
from costplus.billing.subscription import Subscription
from costplus.core.errors import NotFound
from costplus.web.call import Call, Listing, get
from costplus.web.listing import records


class NoSuchSubscription(NotFound):
    """The subscription does not exist."""

    code = "resource_missing"


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


ENDPOINTS = (
    get("/v1/subscriptions", index),
    get("/v1/subscriptions/{id}", retrieve),
)
