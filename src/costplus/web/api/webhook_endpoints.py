"""`/v1/webhook_endpoints`: where events are sent."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Literal
from urllib.parse import urlsplit

from costplus.billing.event import WebhookEndpoint
from costplus.billing.outbox import ENDPOINTS_MAX, endpoint_of, new_secret
from costplus.billing.store import Tx
from costplus.core.errors import InvalidRequest
from costplus.core.ids import new_id
from costplus.web.call import Call, Listing, delete, get, post
from costplus.web.listing import records
from costplus.web.objects.customer import deleted_object
from costplus.web.objects.webhook import webhook_endpoint_object
from costplus.web.params import Params

URL_MAX = 2048
_EVENT_TYPE = re.compile(r"\*|[a-z0-9_]+(\.[a-z0-9_]+)+")


class InvalidUrl(InvalidRequest):
    """Events cannot be sent there."""

    code = "url_invalid"
    remedy = "Give an absolute http(s) address such as https://example.com/webhooks."


class InvalidEventType(InvalidRequest):
    """No event's type looks like this."""

    code = "event_type_invalid"
    remedy = "Give * or types such as billing.alert.triggered."


class TooManyEndpoints(InvalidRequest):
    """The account has the most endpoints that are told about events."""

    code = "webhook_endpoints_limit"
    remedy = f"At most {ENDPOINTS_MAX} endpoints: delete one first."


def checked_url(call: Call, url: str, *, param: str = "url") -> str:
    """Return the address, or raise `InvalidUrl` or, where it is seen to be forbidden, `AddressForbidden`."""
    port, host = 443, ""
    try:
        parts = urlsplit(url)
        port, host = parts.port or (443 if parts.scheme == "https" else 80), parts.hostname or ""
        valid = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        valid = False
    if not valid or not url.isascii() or not url.isprintable() or " " in url:
        raise InvalidUrl(f"Not a valid URL: '{url}'.", param=param)
    if parts.username or parts.password:
        raise InvalidUrl("The URL carries a user name or password.", param=param)
    call.context.addresses.check_host(host, port=port, param=param)
    return url


def event_types(params: Params) -> tuple[str, ...]:
    """Return the event types asked for; types that only Stripe sends are accepted and never come."""
    types = tuple(params.texts("enabled_events"))
    if not types:
        raise params.missing("enabled_events")
    for type in types:
        if not _EVENT_TYPE.fullmatch(type):
            raise InvalidEventType(f"'{type}' is no event type.", param="enabled_events")
    return types


def create(tx: Tx, call: Call) -> object:
    """Create an endpoint; its signing secret is in this answer (and in its repetition) and no other."""
    params = call.params
    if len(tx.page(WebhookEndpoint, limit=ENDPOINTS_MAX)) >= ENDPOINTS_MAX:
        raise TooManyEndpoints(f"The account has {ENDPOINTS_MAX} webhook endpoints.")
    endpoint = WebhookEndpoint(
        id=new_id("we", at=call.at),
        created=call.at,
        url=checked_url(call, params.required_text("url", longest=URL_MAX)),
        secret=new_secret(),
        enabled_events=event_types(params),
        description=params.text("description"),
        api_version=params.text("api_version", longest=64),
        metadata=params.metadata(),
    )
    tx.save(endpoint)
    return webhook_endpoint_object(endpoint, call.context) | {"secret": endpoint.secret}


def retrieve(tx: Tx, call: Call) -> WebhookEndpoint:
    """Return an endpoint, without its secret."""
    return endpoint_of(tx, call.path["id"])


def update(tx: Tx, call: Call) -> WebhookEndpoint:
    """Change what was sent and leave the rest."""
    endpoint, params = endpoint_of(tx, call.path["id"]), call.params
    if "url" in params:
        endpoint = replace(endpoint, url=checked_url(call, params.required_text("url", longest=URL_MAX)))
    if "enabled_events" in params:
        endpoint = replace(endpoint, enabled_events=event_types(params))
    if "description" in params:
        endpoint = replace(endpoint, description=params.text("description"))
    disabled = params.flag("disabled")
    if disabled is not None:
        because: Literal["", "user"] = "user" if disabled else ""
        endpoint = replace(
            endpoint,
            status="disabled" if disabled else "enabled",
            disabled_because=because,
            failing_since=None,
        )
    endpoint = replace(endpoint, metadata=params.metadata(endpoint.metadata))
    tx.save(endpoint)
    return endpoint


def remove(tx: Tx, call: Call) -> object:
    """Delete an endpoint: nothing more is sent there."""
    endpoint = endpoint_of(tx, call.path["id"])
    tx.remove(WebhookEndpoint, endpoint.id)
    return deleted_object("webhook_endpoint", endpoint.id)


def index(tx: Tx, call: Call) -> Listing:
    """List endpoints, newest first."""
    return records(tx, call, WebhookEndpoint, keep=lambda endpoint: not endpoint.is_destination)


ENDPOINTS = (
    post("/v1/webhook_endpoints", create),
    get("/v1/webhook_endpoints", index),
    get("/v1/webhook_endpoints/{id}", retrieve),
    post("/v1/webhook_endpoints/{id}", update),
    delete("/v1/webhook_endpoints/{id}", remove),
)
