"""`/v1/token_billing/unpriced_usage`: usage that was kept although no price covers it, and its resolution."""

from __future__ import annotations

from costplus.billing.resolve import priceable, resolve, summary
from costplus.billing.store import Tx
from costplus.billing.unpriced import NoSuchUnpricedUsage, UnpricedUsage
from costplus.web.call import Call, Listing, get, post
from costplus.web.listing import records
from costplus.web.objects.unpriced import resolution_object
from costplus.web.objects.wire import JsonObject

RESOLVE_MAX = 1000  # Entries a request: what is left is told, and the next request goes on.


def retrieve(tx: Tx, call: Call) -> UnpricedUsage:
    """Return an entry of the queue; its id is that of its usage event."""
    entry = tx.find(UnpricedUsage, call.path["id"])
    if entry is None:
        raise NoSuchUnpricedUsage(f"No such unpriced usage: '{call.path['id']}'", param="id")
    return entry


def index(tx: Tx, call: Call) -> Listing:
    """List the queue's open entries, newest first; resolved ones and a model's or customer's on request."""
    params = call.params
    status = params.choice("status", ("open", "resolved", "all")) or "open"
    customer, model = params.text("customer"), params.text("model")
    parent = model if model and "/" in model else None

    def keep(entry: UnpricedUsage) -> bool:
        is_asked_for = status == "all" or (entry.resolved_at is None) == (status == "open")
        is_named = parent is not None or model in (None, entry.model)
        return is_asked_for and is_named and customer in (None, entry.customer)

    return records(tx, call, UnpricedUsage, parent=parent, keep=keep)


def settle_open(tx: Tx, call: Call) -> JsonObject:
    """Charge what can be priced by now, and take back what was charged meanwhile; `dry_run` only tells."""
    params, pricing = call.params, call.context.pricing
    provider, model = params.text("provider"), params.text("model")
    if params.flag("dry_run"):
        found = priceable(tx, pricing, provider=provider, model=model, limit=RESOLVE_MAX)
        return resolution_object(
            summary(tx, found, provider=provider, model=model), call.context, found=found
        )
    done = resolve(tx, pricing, at=call.at, provider=provider, model=model, limit=RESOLVE_MAX)
    return resolution_object(done, call.context)


ENDPOINTS = (
    get("/v1/token_billing/unpriced_usage", index, fresh=True),
    post("/v1/token_billing/unpriced_usage/resolve", settle_open, fresh=True),
    get("/v1/token_billing/unpriced_usage/{id}", retrieve, fresh=True),
)
