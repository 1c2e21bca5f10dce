"""Webhook endpoints, event destinations, deliveries; secrets are shown by whoever makes one, never here."""

from __future__ import annotations

from collections.abc import Collection

from costplus.billing.event import Delivery, WebhookEndpoint
from costplus.billing.replay import WebhookReplay
from costplus.web.objects.wire import JsonObject, Surroundings, rfc3339, unix, unix_or_none


def webhook_endpoint_object(endpoint: WebhookEndpoint, surroundings: Surroundings) -> JsonObject:
    """Return an endpoint as Stripe writes it, without its secret."""
    return {
        "id": endpoint.id,
        "object": "webhook_endpoint",
        "api_version": endpoint.api_version,
        "application": None,
        "created": unix(endpoint.created),
        "description": endpoint.description,
        "enabled_events": list(endpoint.enabled_events),
        "livemode": surroundings.livemode,
        "metadata": dict(endpoint.metadata or {}),
        "status": endpoint.status,
        "url": endpoint.url,
    }


def event_destination_object(
    endpoint: WebhookEndpoint, surroundings: Surroundings, *, include: Collection[str] = ()
) -> JsonObject:
    """Return an endpoint as v2 writes it; its address and secret only where they are asked for."""
    disabled = endpoint.status == "disabled"
    reason = endpoint.disabled_because or "user"
    shows_url = "webhook_endpoint.url" in include
    return {
        "id": endpoint.id,
        "object": "v2.core.event_destination",
        "created": rfc3339(endpoint.created),
        "description": endpoint.description or "",
        "enabled_events": list(endpoint.enabled_events),
        "event_payload": endpoint.payload,
        "events_from": ["@self"],
        "livemode": surroundings.livemode,
        "metadata": dict(endpoint.metadata or {}),
        "name": endpoint.name,
        "snapshot_api_version": endpoint.api_version,
        "status": endpoint.status,
        "status_details": {"disabled": {"reason": reason}} if disabled else None,
        "type": "webhook_endpoint",
        "updated": rfc3339(endpoint.updated or endpoint.created),
        "webhook_endpoint": {"signing_secret": None, "url": endpoint.url if shows_url else None},
    }


def delivery_object(delivery: Delivery, surroundings: Surroundings) -> JsonObject:
    """Return what became of telling one endpoint about one event: token_billing.webhook_delivery."""
    last = delivery.log[-1] if delivery.log else None
    return {
        "id": delivery.id,
        "object": "token_billing.webhook_delivery",
        "attempts": delivery.attempts,
        "attempt_log": [
            {
                "at": unix(attempt.at),
                "duration_ms": attempt.duration_ms,
                "error": attempt.error or None,
                "response_status": attempt.status,
            }
            for attempt in delivery.log
        ],
        "created": unix_or_none(delivery.created),
        "delivered_at": unix_or_none(delivery.delivered_at),
        "duration_ms": last.duration_ms if last else None,
        "error": delivery.error or None,
        "event": delivery.event,
        "livemode": surroundings.livemode,
        "next_attempt_at": unix(delivery.due_at) if delivery.status == "pending" else None,
        "response_body": delivery.response_body or None,
        "response_status": delivery.response_status,
        "status": delivery.status,
        "webhook_endpoint": delivery.endpoint,
    }


def replay_object(replay: WebhookReplay, surroundings: Surroundings) -> JsonObject:
    """Return how far a replay is: token_billing.webhook_replay."""
    return {
        "id": replay.id,
        "object": "token_billing.webhook_replay",
        "created": unix(replay.created),
        "ended_at": unix_or_none(replay.ended_at),
        "events_found": replay.found,
        "events_queued": replay.queued,
        "livemode": surroundings.livemode,
        "range": {"gte": unix(replay.start), "lt": unix(replay.end)},
        "status": replay.status,
        "types": list(replay.types),
        "webhook_endpoint": replay.endpoint,
    }
