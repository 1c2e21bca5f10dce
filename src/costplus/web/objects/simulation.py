"""Simulations and price matches as objects: figures now and then, and how a price was found.

Amounts are exact decimal text in currency units; a margin's percentage is cut to two decimals.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict

from costplus.core.money import decimal_text, nano_text
from costplus.rating.charge import explain
from costplus.rating.comparison import Comparison, Simulation, percent_text
from costplus.rating.match import PriceMatch
from costplus.rating.pricing import Priced
from costplus.rating.sheet import UnitRate
from costplus.web.objects.token_billing import adjustment_object
from costplus.web.objects.wire import JsonObject, plain, unix, unix_or_none


def _amount(now: int, then: int) -> JsonObject:
    return {"now": nano_text(now), "then": nano_text(then), "change": nano_text(then - now)}


def comparison_object(part: Comparison) -> JsonObject:
    """Return the figures of some events, as they were charged (`now`) and as the scenario charges them."""
    now, then = part.now, part.then
    return {
        "events": part.events,
        "revenue": _amount(now.revenue_nano, then.revenue_nano),
        "cost": _amount(now.cost_nano, then.cost_nano),
        "margin": _amount(now.margin_nano, then.margin_nano),
        "margin_percent": {
            "now": percent_text(now.margin_percent),
            "then": percent_text(then.margin_percent),
        },
        "unpriced_events": {
            "now": now.unpriced,
            "then": then.unpriced,
            "newly_priced": part.newly_priced,
        },
    }


def _part(named: str, parts: Mapping[str, Comparison], *, limit: int | None) -> JsonObject:
    shown = list(parts.items())[:limit]
    return {
        "data": [{named: name, **comparison_object(part)} for name, part in shown],
        "has_more": len(shown) < len(parts),
    }


def simulation_object(
    made: Simulation, *, currency: str, livemode: bool, limit: int | None = None
) -> JsonObject:
    """Return a simulation; its lists hold what sells most, up to `limit` each."""
    return {
        "object": "token_billing.simulation",
        "by_customer": _part("customer", made.by_customer, limit=limit),
        "by_model": _part("model", made.by_model, limit=limit),
        "currency": currency,
        "end": unix(made.end),
        "livemode": livemode,
        "skipped_events": plain(made.skipped),
        "start": unix(made.start),
        "totals": comparison_object(made.total),
    }


def _rate_object(rate: UnitRate) -> JsonObject:
    follows = rate.adjustment.follows_cost
    return {
        "token_type": rate.leaf,
        "above_prompt_tokens": rate.above_prompt_tokens,
        "adjustment": adjustment_object(rate.adjustment) if follows else {"kind": rate.adjustment.kind},
        "basis_version": rate.basis_version or None,
        "conditions": rate.conditions,
        "priced_as": rate.priced_as,
        "unit_cost": decimal_text(rate.unit_cost),
        "unit_price": decimal_text(rate.unit_price),
    }


def _price_object(priced: Priced) -> JsonObject:
    price = priced.sheet.price
    return {
        "id": price.id,
        "is_override": price.is_override,
        "recorded_at": unix(price.recorded_at),
        "source": price.source,
        "unmapped": list(price.unmapped),
        "valid_from": unix(price.valid_from),
        "valid_to": unix_or_none(price.valid_to),
    }


def price_match_object(found: PriceMatch, *, currency: str, livemode: bool) -> JsonObject:
    """Return which price a name leads to and why, or the reason why none does."""
    priced, reason, charge = found.priced, found.reason, found.charge
    derivation = explain(charge) if charge else None
    return {
        "object": "token_billing.price_match",
        "at": unix(found.asked.at),
        "candidates": list(found.candidates),
        "charge": None
        if derivation is None
        else {
            "cost": derivation.cost,
            "exact_cost": derivation.exact_cost,
            "exact_price": derivation.exact_price,
            "price": derivation.price,
            "steps": [asdict(step) for step in derivation.steps],
            "unpriced": list(derivation.unpriced),
        },
        "conditions": list(found.conditions),
        "currency": currency,
        "livemode": livemode,
        "matched": reason is None,
        "model": priced.name.model if priced else None,
        "price_version": _price_object(priced) if priced else None,
        "provider": priced.name.provider if priced else None,
        "rate_card_version": found.card.id or None,
        "rates": [_rate_object(rate) for rate in found.rates],
        "reason": None
        if reason is None
        else {"code": reason.code, "message": reason.message, "remedy": reason.remedy},
        "requested": {"model": found.asked.model, "provider": found.asked.provider or None},
        "steps": [{"step": step, "explanation": sentence} for step, sentence in found.steps],
    }
