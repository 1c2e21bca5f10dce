"""Webhook endpoints; their secret is shown by whoever creates one, and never here."""

from __future__ import annotations

from costplus.billing.event import WebhookEndpoint
from costplus.web.objects.wire import JsonObject, Surroundings, unix


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
