"""`/v1/subscription_items`: a subscription's items one by one; each change is the subscription's."""

from __future__ import annotations

from collections.abc import Sequence

from costplus.billing.amend import change_items
from costplus.billing.order import Chosen
from costplus.billing.store import Tx
from costplus.billing.subscription import Item, NoSuchSubscription, Subscription
from costplus.web.api.subscription_params import (
    accept_payment_options,
    behavior_of,
    changed_item,
    kept_items,
    new_item,
)
from costplus.web.api.subscriptions import for_update, subscription_named
from costplus.web.call import Call, Listing, delete, get, post
from costplus.web.listing import in_memory
from costplus.web.objects.customer import deleted_object
from costplus.web.objects.subscription import subscription_item_object
from costplus.web.objects.wire import JsonObject


def _subscription_of(tx: Tx, id: str) -> Subscription:
    """Return the subscription of an item: the item's id tells it. Raises `NoSuchSubscription`."""
    found = tx.find(Subscription, "sub_" + id.removeprefix("si_").partition("_")[0])
    if found is None or all(item.id != id for item in found.every_item):
        raise NoSuchSubscription(f"No such subscription item: '{id}'", param="id")
    return found


def _shown(call: Call, subscription: Subscription, item: Item) -> JsonObject:
    return subscription_item_object(item, subscription, call.context)


def index(tx: Tx, call: Call) -> Listing:
    """List the items of a subscription."""
    subscription = subscription_named(tx, call.params.required_text("subscription"), param="subscription")
    page = in_memory(call.params, subscription.every_item)
    items = [entry for entry in page.entries if isinstance(entry, Item)]
    return Listing([_shown(call, subscription, item) for item in items], page.has_more)


def retrieve(tx: Tx, call: Call) -> object:
    """Return an item."""
    subscription = _subscription_of(tx, call.path["id"])
    (item,) = (item for item in subscription.every_item if item.id == call.path["id"])
    return _shown(call, subscription, item)


def create(tx: Tx, call: Call) -> object:
    """Add an item to a subscription."""
    id = call.params.required_text("subscription")
    subscription, _, _ = for_update(tx, call, id, param="subscription")
    added = new_item(tx, call.params)
    changed = _change(tx, call, id, [*kept_items(tx, subscription).values(), added])
    (item,) = (item for item in changed.every_item if item.plan == added.plan.id)
    return _shown(call, changed, item)


def update(tx: Tx, call: Call) -> object:
    """Change an item's plan, quantity or metadata."""
    subscription = _subscription_of(tx, call.path["id"])
    chosen = kept_items(tx, subscription)
    (known,) = (item for item in subscription.every_item if item.id == call.path["id"])
    chosen[known.id] = changed_item(tx, call.params, known)
    changed = _change(tx, call, subscription.id, list(chosen.values()))
    (item,) = (item for item in changed.every_item if item.id == known.id)
    return _shown(call, changed, item)


def remove(tx: Tx, call: Call) -> object:
    """Take an item out of its subscription; the last one goes with the subscription itself."""
    subscription = _subscription_of(tx, call.path["id"])
    chosen = kept_items(tx, subscription)
    del chosen[call.path["id"]]
    call.params.flag("clear_usage")
    _change(tx, call, subscription.id, list(chosen.values()))
    return deleted_object("subscription_item", call.path["id"])


def _change(tx: Tx, call: Call, id: str, chosen: Sequence[Chosen]) -> Subscription:
    subscription, customer, at = for_update(tx, call, id)
    accept_payment_options(call.params)
    return change_items(tx, customer, subscription, chosen, behavior=behavior_of(call.params), at=at)


ENDPOINTS = (
    get("/v1/subscription_items", index),
    post("/v1/subscription_items", create, fresh=True),
    get("/v1/subscription_items/{id}", retrieve),
    post("/v1/subscription_items/{id}", update, fresh=True),
    delete("/v1/subscription_items/{id}", remove),
)
