"""Unpriced usage and its resolution, in the style of `token_billing.…`."""

from __future__ import annotations

from collections.abc import Sequence

from costplus.billing.resolve import Resolution, Resolved
from costplus.billing.unpriced import UnpricedUsage
from costplus.core.money import nano_text
from costplus.web.objects.wire import JsonObject, Surroundings, unix, unix_or_none


def unpriced_usage_object(usage: UnpricedUsage, surroundings: Surroundings) -> JsonObject:
    """Return usage that was kept and that no price covers, with what became of it."""
    return {
        "id": usage.id,
        "object": "token_billing.unpriced_usage",
        "adjustment": usage.adjustment or None,
        "charged_meanwhile": nano_text(usage.price_nano),
        "created": unix(usage.created),
        "customer": usage.customer,
        "livemode": surroundings.livemode,
        "model": usage.model,
        "policy": usage.policy,
        "price": None if usage.resolved_at is None else nano_text(usage.resolved_nano),
        "provider": usage.provider,
        "resolved_at": unix_or_none(usage.resolved_at),
        "status": "open" if usage.resolved_at is None else "resolved",
        "taken_back_by": usage.taken_back or None,
        "token_types": list(usage.leaves),
        "usage_event": usage.id,
    }


def resolution_object(
    resolved: Resolved, surroundings: Surroundings, *, found: Sequence[Resolution] | None = None
) -> JsonObject:
    """Return what a resolution did, or with `found` what it would do, entry by entry."""
    return {
        "object": "token_billing.unpriced_usage_resolution",
        "charged_meanwhile": nano_text(resolved.previous_nano),
        "count": resolved.count,
        "dry_run": found is not None,
        "entries": [_entry(item) for item in found] if found is not None else None,
        "livemode": surroundings.livemode,
        "price": nano_text(resolved.price_nano),
        "still_open": resolved.still_open,
    }


def _entry(item: Resolution) -> JsonObject:
    return {
        "charged_meanwhile": nano_text(item.original.charge.price_nano),
        "customer": item.entry.customer,
        "model": item.entry.model,
        "price": nano_text(item.charge.price_nano),
        "provider": item.entry.provider,
        "still_unpriced": list(item.charge.unpriced),
        "usage_event": item.entry.id,
    }
