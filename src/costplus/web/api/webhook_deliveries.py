"""`/v1/token_billing/webhook_…`: what became of deliveries, and sending again.

Rule 1: resending makes a new delivery with the same event, whose id receivers go by.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from costplus.billing.event import Delivery
from costplus.billing.outbox import (
    OVERLAP,
    OVERLAP_MAX,
    endpoint_of,
    ping,
    resend,
    rotate_secret,
    start_replay,
)
from costplus.billing.replay import NoSuchReplay, WebhookReplay
from costplus.billing.store import Tx
from costplus.core.errors import InvalidRequest, NotFound
from costplus.web.api.events import event_of, shown
from costplus.web.call import Call, Listing, Revealed, get, post
from costplus.web.listing import NoSuchCursor, listing
from costplus.web.objects.webhook import webhook_endpoint_object

STATUSES = ("pending", "delivered", "failed")


class NoSuchDelivery(NotFound):
    """The delivery does not exist."""

    code = "resource_missing"


class RangeInvalid(InvalidRequest):
    """The range to be replayed ends before it begins."""

    code = "replay_range_invalid"
    remedy = "Give created[gte] before created[lt]."


def _delivery_of(tx: Tx, id: str) -> Delivery:
    delivery = tx.delivery(id)
    if delivery is None:
        raise NoSuchDelivery(f"No such delivery: '{id}'", param="id")
    return delivery


def retrieve(tx: Tx, call: Call) -> Delivery:
    """Return a delivery with its attempts and the beginning of the last answer."""
    return _delivery_of(tx, call.path["id"])


def index(tx: Tx, call: Call) -> Listing:
    """List deliveries, of an endpoint, an event, a status or all, newest first."""
    params = call.params
    endpoint, event = params.text("webhook_endpoint"), params.text("event")
    status = params.choice("status", STATUSES)
    for name in ("starting_after", "ending_before"):
        cursor = params.text(name)
        if cursor and tx.delivery(cursor) is None:
            raise NoSuchCursor(f"No such delivery: '{cursor}'", param=name)

    def fetch(*, limit: int, older_than: str | None, newer_than: str | None) -> Sequence[Delivery]:
        return tx.deliveries_page(
            endpoint=endpoint,
            event=event,
            status=status,
            limit=limit,
            older_than=older_than,
            newer_than=newer_than,
        )

    return listing(params, fetch)


def resend_one(tx: Tx, call: Call) -> object:
    """Send a delivery's event to its endpoint again."""
    delivery = _delivery_of(tx, call.path["id"])
    event = event_of(tx, delivery.event)
    resend(tx, event, endpoint_of(tx, delivery.endpoint), at=call.at)
    return tx.deliveries_of(event.id)[-1]


def retry(tx: Tx, call: Call) -> object:
    """Send an event again: to the webhook_endpoint given, or to all that want it (as Stripe's CLI does)."""
    event = event_of(tx, call.path["id"])
    id = call.params.text("webhook_endpoint")
    resend(tx, event, endpoint_of(tx, id) if id else None, at=call.at)
    return shown(tx, call, event)


def send_ping(tx: Tx, call: Call) -> object:
    """Send the endpoint a test event."""
    endpoint = endpoint_of(tx, call.path["id"])
    event = ping(tx, endpoint, at=call.at, request_id=call.request_id)
    return tx.deliveries_of(event.id)[0]


def rotate(tx: Tx, call: Call) -> object:
    """Give the endpoint a new secret; the old one signs as well for expire_old_after_s (24 hours)."""
    seconds = call.params.integer("expire_old_after_s", most=OVERLAP_MAX // timedelta(seconds=1))
    overlap = OVERLAP if seconds is None else timedelta(seconds=seconds)
    endpoint = rotate_secret(tx, endpoint_of(tx, call.path["id"]), overlap=overlap, at=call.at)
    return Revealed(webhook_endpoint_object(endpoint, call.context) | {"secret": endpoint.secret})


def replay(tx: Tx, call: Call) -> WebhookReplay:
    """Begin to send the endpoint again what happened in created[gte] … created[lt], of all types or some."""
    created = call.params.within("created")
    start, end = created.required_time("gte"), created.time("lt") or call.at
    if start >= end:
        raise RangeInvalid(f"{start.isoformat()} is not before {end.isoformat()}.", param="created[lt]")
    types = tuple(sorted(set(call.params.texts("types"))))
    return start_replay(tx, endpoint_of(tx, call.path["id"]), start=start, end=end, types=types, at=call.at)


def replay_state(tx: Tx, call: Call) -> WebhookReplay:
    """Return how far a replay is."""
    found = tx.find(WebhookReplay, call.path["id"])
    if found is None:
        raise NoSuchReplay(f"No such replay: '{call.path['id']}'", param="id")
    return found


_ENDPOINT = "/v1/token_billing/webhook_endpoints/{id}"
ENDPOINTS = (
    get("/v1/token_billing/webhook_deliveries", index),
    get("/v1/token_billing/webhook_deliveries/{id}", retrieve),
    post("/v1/token_billing/webhook_deliveries/{id}/resend", resend_one),
    post("/v1/events/{id}/retry", retry),
    post(f"{_ENDPOINT}/ping", send_ping),
    post(f"{_ENDPOINT}/rotate_secret", rotate),
    post(f"{_ENDPOINT}/replay", replay),
    get("/v1/token_billing/webhook_replays/{id}", replay_state),
)
