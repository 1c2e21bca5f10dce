"""`/v1/events` and `/v2/core/events`: what happened, newest first; v1 shows objects, v2 names them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from costplus.billing.event import Event, is_thin_only, thin_type
from costplus.billing.store import Tx
from costplus.core.errors import InvalidRequest, NotFound
from costplus.web.call import Call, Listing, get
from costplus.web.listing import NoSuchCursor, pages_of_v2, records
from costplus.web.objects import event_object, thin_event_object
from costplus.web.objects.thin_event import related_id
from costplus.web.objects.wire import JsonObject

TYPES_MAX = 20


class NoSuchEvent(NotFound):
    """The event does not exist."""

    code = "resource_missing"


class TooManyTypes(InvalidRequest):
    """More types are asked for than one request may name."""

    code = "event_types_limit"
    remedy = f"Name at most {TYPES_MAX} types, or a group of them such as customer.*"


def event_of(tx: Tx, id: str) -> Event:
    """Return the event, or raise `NoSuchEvent`."""
    event = tx.find(Event, id)
    if event is None:
        raise NoSuchEvent(f"No such event: '{id}'", param="id")
    return event


def shown(tx: Tx, call: Call, event: Event) -> JsonObject:
    """Return an event as v1 writes it; one without a snapshot as v2 does."""
    if is_thin_only(event.type):
        return thin_event_object(event, call.context)
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
    event = event_of(tx, call.path["id"])
    if is_thin_only(event.type):
        raise NoSuchEvent(
            f"No such event: '{event.id}'",
            param="id",
            remedy="Fetch it at /v2/core/events: it is a thin one.",
        )
    return shown(tx, call, event)


def _of_types(call: Call, *, thin: bool) -> Callable[[Event], bool]:
    """Return the test for the types that were asked for; a name that ends with * means all that begin so."""
    type = None if thin else call.params.text("type")
    types = {*call.params.texts("types"), *([type] if type else [])}
    if len(types) > TYPES_MAX:
        raise TooManyTypes(f"{len(types)} types are named.", param="types")
    prefixes = tuple(name.removesuffix("*") for name in types if name.endswith("*"))

    def keep(event: Event) -> bool:
        name = thin_type(event.type) if thin else event.type
        return not types or name in types or (bool(prefixes) and name.startswith(prefixes))

    return keep


def index(tx: Tx, call: Call) -> Listing:
    """List events, of some types, times or outcomes of their deliveries, or all, newest first."""
    is_named, is_within = _of_types(call, thin=False), call.params.span("created")
    delivered = call.params.flag("delivery_success")

    def keep(event: Event) -> bool:
        if is_thin_only(event.type) or not is_named(event) or not is_within(event.created):
            return False
        return delivered is None or delivered is _is_delivered(tx, event)

    page = records(tx, call, Event, keep=keep)
    entries = [shown(tx, call, event) for event in page.entries if isinstance(event, Event)]
    return Listing(entries, page.has_more)


def _is_delivered(tx: Tx, event: Event) -> bool:
    """Return whether every endpoint that was to be told has been, at its last delivery."""
    last = {delivery.endpoint: delivery.status for delivery in tx.deliveries_of(event.id)}
    return all(status == "delivered" for status in last.values())


def retrieve_v2(tx: Tx, call: Call) -> object:
    """Return an event as v2 tells it, with its data."""
    return thin_event_object(event_of(tx, call.path["id"]), call.context)


def index_v2(tx: Tx, call: Call) -> Listing:
    """List events as v2 tells them, of some types, times or one object, newest first."""
    is_named, is_within = _of_types(call, thin=True), call.params.span("created")
    object_id, cursor = call.params.text("object_id"), call.params.text("page")
    if cursor and tx.find(Event, cursor) is None:
        raise NoSuchCursor(f"No such event: '{cursor}'", param="page")
    created = call.params.within("created")
    carry = [(f"created[{name}]", created.required_text(name)) for name in created.keys()]  # noqa: SIM118 - Params is no mapping.
    carry += [("types[]", name) for name in call.params.texts("types")]
    carry += [("object_id", object_id)] if object_id else []

    def keep(event: Event) -> bool:
        is_of = object_id is None or object_id in (related_id(event), event.object_id)
        return is_of and is_named(event) and is_within(event.created)

    def fetch(*, limit: int, older_than: str | None, newer_than: str | None) -> Sequence[Event]:
        return tx.page(Event, limit=limit, older_than=older_than, newer_than=newer_than)

    page = pages_of_v2(call, fetch, carry=carry, keep=keep)
    entries = [thin_event_object(event, call.context) for event in page.entries if isinstance(event, Event)]
    return Listing(entries, page.has_more, page.next_page_url)


ENDPOINTS = (
    get("/v1/events", index, fresh=True),
    get("/v1/events/{id}", retrieve, fresh=True),
    get("/v2/core/events", index_v2, fresh=True),
    get("/v2/core/events/{id}", retrieve_v2, fresh=True),
)
