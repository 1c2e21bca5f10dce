"""Stored providers and customers' keys for them, as the API shows them: never a secret."""

from __future__ import annotations

from costplus.billing.provider_key import CustomerProviderKey, StoredProvider
from costplus.web.objects.wire import JsonObject, Surroundings, unix


def provider_object(record: StoredProvider, surroundings: Surroundings) -> JsonObject:
    """Return a stored provider."""
    return {
        "id": record.id,
        "object": "token_billing.provider",
        **{name: record.plain.get(name) for name in ("base_url", "catalog", "region", "wire")},
        "created": unix(record.created),
        "hint": record.hint or None,
        "livemode": surroundings.livemode,
        "name": record.name,
    }


def provider_key_object(record: CustomerProviderKey, surroundings: Surroundings) -> JsonObject:
    """Return a customer's own key for a provider."""
    return {
        "id": record.id,
        "object": "token_billing.provider_key",
        "created": unix(record.created),
        "customer": record.customer,
        "hint": record.hint or None,
        "livemode": surroundings.livemode,
        "provider": record.provider,
    }


def deleted_object(record: StoredProvider | CustomerProviderKey) -> JsonObject:
    """Return that a record is gone."""
    return {"id": record.id, "object": f"token_billing.{record.KIND}", "deleted": True}
