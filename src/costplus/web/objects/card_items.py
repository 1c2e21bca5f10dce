"""Items of a rate card: what it sells besides tokens. Amounts are exact decimal text in currency units."""

from __future__ import annotations

from collections.abc import Iterable

from costplus.core.money import decimal_text
from costplus.rating.item import CardItem, ItemTier
from costplus.web.objects.wire import JsonObject


def card_item_objects(items: Iterable[CardItem]) -> list[JsonObject]:
    """Return the items by event name."""
    return [_item_object(item) for item in sorted(items, key=lambda item: item.event_name)]


def _item_object(item: CardItem) -> JsonObject:
    minimum, maximum = item.minimum_amount, item.maximum_amount
    return {
        "display_name": item.display_name,
        "divide_by": decimal_text(item.divide_by),
        "event_name": item.event_name,
        "included_units": item.included_units,
        "maximum_amount": None if maximum is None else decimal_text(maximum),
        "minimum_amount": None if minimum is None else decimal_text(minimum),
        "multiply_by": decimal_text(item.multiply_by),
        "package_amount": decimal_text(item.package_amount) if item.kind == "package" else None,
        "package_size": item.package_size if item.kind == "package" else None,
        "price_model": item.kind,
        "rounding": item.rounding,
        "tiers": [_tier_object(tier) for tier in item.tiers],
        "unit_amount": decimal_text(item.unit_amount) if item.kind == "per_unit" else None,
        "unit_cost": decimal_text(item.unit_cost),
    }


def _tier_object(tier: ItemTier) -> JsonObject:
    return {
        "flat_amount": decimal_text(tier.flat_amount),
        "unit_amount": decimal_text(tier.unit_amount),
        "up_to": tier.up_to,
    }
