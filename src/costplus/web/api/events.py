"""`/v1/events`: what happened, newest first."""

from __future__ import annotations

from costplus.billing.event import Event
from costplus.billing.store import Tx
from costplus.core.errors import NotFound
from costplus.web.call import Call, Listing, get
from costplus.web.listing import records
from costplus.web.objects import event_object
from costplus.web.objects.wire import JsonObject


class NoSuchEvent(NotFound):
    """The event does not exist."""

    code = "resource_missing"


def _shown(tx: Tx, call: Call, event: Event) -> JsonObject:
    pending = sum(delivery.status == "pending" for delivery in tx.deliveries_of(event.id))
    return event_object(
        event,
        livemode=call.context.livemode,
        pending_webhooks=pending,
        api_version=call.api_version,
        base_url=call.context.base_url,
        link_secret=call.context.link_secret,
    )


def retrieve(tx: Tx, call: Call) -> object:
    """Return an event with its object as it was then."""
    event = tx.find(Event, call.path["id"])
    if event is None:
        raise NoSuchEvent(f"No such event: '{call.path['id']}'", param="id")
    return _shown(tx, call, event)


def index(tx: Tx, call: Call) -> Listing:
    """List events, of some types or of all, newest first."""
    type = call.params.text("type")
    types = {*call.params.texts("types"), *([type] if type else [])}
    prefixes = tuple(name.removesuffix("*") for name in types if name.endswith("*"))

    def keep(event: Event) -> bool:
        return not types or event.type in types or (bool(prefixes) and event.type.startswith(prefixes))

    page = records(tx, call, Event, keep=keep)
    shown = [_shown(tx, call, event) for event in page.entries if isinstance(event, Event)]
    return Listing(shown, page.has_more)


ENDPOINTS = (
    get("/v1/events", index, fresh=True),
    get("/v1/events/{id}", retrieve, fresh=True),
)
