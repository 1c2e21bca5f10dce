"""`/v2/core/event_destinations`: webhook endpoints as v2 has them, told whole objects or names of objects.

Rule 1: the address and, once, the signing secret are shown where `include` asks for them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from costplus.billing.event import WebhookEndpoint
from costplus.billing.outbox import ENDPOINTS_MAX, NoSuchEndpoint, new_secret, ping
from costplus.billing.store import Tx
from costplus.core.ids import new_id
from costplus.web.api.webhook_endpoints import (
    URL_MAX,
    TooManyEndpoints,
    checked_url,
    event_types,
)
from costplus.web.call import Call, Listing, delete, get, post
from costplus.web.errors import NotSupported
from costplus.web.listing import NoSuchCursor, pages_of_v2
from costplus.web.objects import thin_event_object
from costplus.web.objects.webhook import event_destination_object
from costplus.web.objects.wire import JsonObject
from costplus.web.params import Params

NAME_MAX = 100
_SECRET = "webhook_endpoint.signing_secret"


def _destination_of(tx: Tx, id: str) -> WebhookEndpoint:
    endpoint = tx.find(WebhookEndpoint, id)
    if endpoint is None:
        raise NoSuchEndpoint(f"No such event destination: '{id}'", param="id")
    return endpoint


def _url(call: Call, params: Params) -> str:
    level = params.within("webhook_endpoint")
    return checked_url(call, level.required_text("url", longest=URL_MAX), param=level.name_of("url"))


def _included(call: Call) -> list[str]:
    return call.params.texts("include")


def create(tx: Tx, call: Call) -> object:
    """Create a destination; its secret is in this answer only, where `include` asks for it."""
    params = call.params
    type = params.required_text("type")
    if type != "webhook_endpoint":
        raise NotSupported(
            f"Events are not sent to destinations of type '{type}'.",
            param="type",
            remedy="Use type webhook_endpoint.",
        )
    for elsewhere in ("amazon_eventbridge", "azure_event_grid"):
        params.mapping(elsewhere)
    params.texts("events_from")  # There is one account: what it could say is so anyway.
    if len(tx.page(WebhookEndpoint, limit=ENDPOINTS_MAX)) >= ENDPOINTS_MAX:
        raise TooManyEndpoints(f"The account has {ENDPOINTS_MAX} webhook endpoints.")
    endpoint = WebhookEndpoint(
        id=new_id("ed", at=call.at),
        created=call.at,
        updated=call.at,
        url=_url(call, params),
        secret=new_secret(),
        enabled_events=event_types(params),
        description=params.text("description"),
        api_version=params.text("snapshot_api_version", longest=64),
        metadata=params.metadata(),
        payload=params.required_choice("event_payload", ("snapshot", "thin")),
        name=params.required_text("name", longest=NAME_MAX),
        is_destination=True,
    )
    tx.save(endpoint)
    include = _included(call)
    shown = event_destination_object(endpoint, call.context, include=include)
    if _SECRET not in include:
        return shown
    shown["webhook_endpoint"]["signing_secret"] = endpoint.secret
    return shown


def retrieve(tx: Tx, call: Call) -> object:
    """Return a destination, without its secret."""
    return _shown(call, _destination_of(tx, call.path["id"]))


def _shown(call: Call, endpoint: WebhookEndpoint) -> JsonObject:
    return event_destination_object(endpoint, call.context, include=_included(call))


def index(tx: Tx, call: Call) -> Listing:
    """List destinations, newest first."""
    cursor, include = call.params.text("page"), _included(call)
    if cursor and tx.find(WebhookEndpoint, cursor) is None:
        raise NoSuchCursor(f"No such event destination: '{cursor}'", param="page")

    def fetch(*, limit: int, older_than: str | None, newer_than: str | None) -> Sequence[WebhookEndpoint]:
        return tx.page(WebhookEndpoint, limit=limit, older_than=older_than, newer_than=newer_than)

    carry = [("include[]", name) for name in include]
    page = pages_of_v2(call, fetch, carry=carry, keep=lambda endpoint: endpoint.is_destination)
    entries = [_shown(call, entry) for entry in page.entries if isinstance(entry, WebhookEndpoint)]
    return Listing(entries, page.has_more, page.next_page_url)


def update(tx: Tx, call: Call) -> object:
    """Change what was sent and leave the rest."""
    endpoint, params = _destination_of(tx, call.path["id"]), call.params
    if "webhook_endpoint" in params:
        endpoint = replace(endpoint, url=_url(call, params))
    if "enabled_events" in params:
        endpoint = replace(endpoint, enabled_events=event_types(params))
    if "description" in params:
        endpoint = replace(endpoint, description=params.text("description"))
    if "name" in params:
        endpoint = replace(endpoint, name=params.required_text("name", longest=NAME_MAX))
    endpoint = replace(endpoint, metadata=params.metadata(endpoint.metadata), updated=call.at)
    tx.save(endpoint)
    return _shown(call, endpoint)


def remove(tx: Tx, call: Call) -> object:
    """Delete a destination: nothing more is sent there."""
    endpoint = _destination_of(tx, call.path["id"])
    tx.remove(WebhookEndpoint, endpoint.id)
    return {"id": endpoint.id, "object": "v2.core.event_destination", "deleted": True}


def disable(tx: Tx, call: Call) -> object:
    """Send nothing there until it is enabled again."""
    endpoint = _destination_of(tx, call.path["id"])
    if endpoint.status == "enabled":
        endpoint = replace(endpoint, status="disabled", disabled_because="user", updated=call.at)
        tx.save(endpoint)
    return _shown(call, endpoint)


def enable(tx: Tx, call: Call) -> object:
    """Send what happens from now on."""
    endpoint = _destination_of(tx, call.path["id"])
    endpoint = replace(endpoint, status="enabled", disabled_because="", failing_since=None, updated=call.at)
    tx.save(endpoint)
    return _shown(call, endpoint)


def send_ping(tx: Tx, call: Call) -> object:
    """Send the destination a test event, and return it."""
    endpoint = _destination_of(tx, call.path["id"])
    return thin_event_object(ping(tx, endpoint, at=call.at, request_id=call.request_id), call.context)


_ONE = "/v2/core/event_destinations/{id}"
ENDPOINTS = (
    post("/v2/core/event_destinations", create),
    get("/v2/core/event_destinations", index),
    get(_ONE, retrieve),
    post(_ONE, update),
    delete(_ONE, remove),
    post(f"{_ONE}/disable", disable),
    post(f"{_ONE}/enable", enable),
    post(f"{_ONE}/ping", send_ping),
)
