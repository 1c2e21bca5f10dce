"""Model prices, price lists and what is decided about changes, for whoever keeps the price book.

Unit amounts are exact decimal text of one unit in the price's currency; of tokens, the amount of a million
stands beside it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime

from costplus.billing.price_report import Freshness, KnownVersion, ModelPrices, SourceReading
from costplus.catalog.book import ModelAlias, ModelMark, PriceChange, RecordedMove, SourceState
from costplus.catalog.change import REASON_TEXT
from costplus.catalog.condition import when_text
from costplus.catalog.price import Component, PriceVersion
from costplus.catalog.snapshot import ScheduledEntry, component_from_entry
from costplus.core.money import decimal_text, parse_exact
from costplus.core.usage import LEAVES
from costplus.rating.impact import Impact
from costplus.web.objects.prices import impact_object, price_change_object
from costplus.web.objects.wire import JsonObject, Surroundings, unix, unix_or_none

MILLION = 1_000_000


def _is_token(leaf: str) -> bool:
    return leaf in LEAVES and LEAVES[leaf].unit == "token"


def per_million(unit: str | None, *, leaf: str, when: str = "") -> str | None:
    """Return what a million tokens cost, None where the part is no token's or has no price."""
    if unit is None or not _is_token(leaf) or when.startswith("×"):
        return None
    return decimal_text(parse_exact(unit) * MILLION)


def _component(component: Component) -> JsonObject:
    unit = decimal_text(component.unit_cost)
    return {
        "conditions": [condition.text for condition in component.when],
        "rank": component.rank,
        "token_type": component.leaf,
        "unit_amount": unit,
        "usd_per_million": per_million(unit, leaf=component.leaf),
    }


def price_version_object(known: KnownVersion) -> JsonObject:
    """Return one price version with where it comes from."""
    price, recorded = known.price, known.recorded
    return {
        "id": price.id,
        "object": "token_billing.price_version",
        "allowances": [
            {"period": a.period, "pool": a.pool or None, "quantity": a.quantity, "token_type": a.leaf}
            for a in price.allowances
        ],
        "components": [_component(component) for component in price.components],
        "currency": price.currency.lower(),
        "is_override": price.is_override,
        "minimums": [{"quantity": m.quantity, "token_type": m.leaf} for m in price.minimums],
        "multipliers": [
            {
                "applies_to": m.applies_to,
                "conditions": when_text(m.when),
                "factor": decimal_text(m.factor),
            }
            for m in price.multipliers
        ],
        "origin": recorded.origin if recorded else "bundled",
        "price_change": (recorded.change or None) if recorded else None,
        "recorded_at": unix(price.recorded_at),
        "source": price.source or None,
        "unmapped": list(price.unmapped),
        "valid_from": unix(price.valid_from),
        "valid_to": unix_or_none(price.valid_to),
    }


def model_price_object(price: PriceVersion, known: KnownVersion, surroundings: Surroundings) -> JsonObject:
    """Return a model with its price in force, as lists show it."""
    return {
        "id": f"{price.provider}/{price.model}",
        "object": "token_billing.model_price",
        "context_tokens_max": price.context_tokens_max,
        "livemode": surroundings.livemode,
        "model": price.model,
        "output_tokens_max": price.output_tokens_max,
        "price_version": price_version_object(known),
        "provider": price.provider,
    }


def model_prices_object(found: ModelPrices, surroundings: Surroundings) -> JsonObject:
    """Return everything about a model's price."""
    current = found.current
    return {
        "id": found.name,
        "object": "token_billing.model_price",
        "aliases": [model_alias_object(alias, surroundings) for alias in found.aliases],
        "at": unix(found.at),
        "context_tokens_max": current.price.context_tokens_max if current else None,
        "freshness": freshness_object(found.freshness, surroundings),
        "livemode": surroundings.livemode,
        "mark": model_mark_object(found.mark, surroundings) if found.mark else None,
        "model": found.model,
        "open_changes": [price_change_object(change, surroundings) for change in found.open_changes],
        "output_tokens_max": current.price.output_tokens_max if current else None,
        "override": _override(current),
        "price_version": price_version_object(current) if current else None,
        "provider": found.provider,
        "scheduled": [*_scheduled(found.announced, found.open_changes)],
        "versions": [price_version_object(version) for version in found.versions],
    }


def _override(current: KnownVersion | None) -> JsonObject | None:
    """Return the operator's override that is in force, or None."""
    if current is None or not current.price.is_override:
        return None
    recorded = current.recorded
    return {
        "ends_at": unix_or_none(current.price.valid_to),
        "price_change": (recorded.change or None) if recorded else None,
        "price_version": current.price.id,
    }


def _scheduled(announced: Iterable[ScheduledEntry], changes: Iterable[PriceChange]) -> Iterable[JsonObject]:
    """Yield the announced prices: the snapshot's, and those that synchronisation has found since."""
    for entry in announced:
        components = [_component(component_from_entry(written)) for written in entry.components]
        yield {
            "announced_by": "bundled",
            "components": components,
            "price_change": None,
            "valid_from": unix(entry.valid_from),
        }
    for change in changes:
        if change.status == "scheduled":
            yield {
                "announced_by": change.announced_by or None,
                "components": [_component(component_from_entry(written)) for written in change.components],
                "price_change": change.id,
                "valid_from": unix(change.effective_at),
            }


def freshness_object(freshness: Freshness, surroundings: Surroundings) -> JsonObject:
    """Return how old the prices in use are."""
    return {
        "age_days": freshness.age_days,
        "snapshot_age_days": freshness.snapshot_age_days,
        "snapshot_taken_on": freshness.taken_on.isoformat(),
        "sources": [
            {
                "accepted_at": unix_or_none(reading.accepted_at),
                "age_days": _age_days(reading.accepted_at, at=reading.at),
                "name": reading.name,
                "status": reading.status,
            }
            for reading in freshness.sources
        ],
    }


def _age_days(accepted: datetime | None, *, at: datetime) -> int | None:
    return None if accepted is None else (at - accepted).days


def price_source_object(reading: SourceReading, surroundings: Surroundings) -> JsonObject:
    """Return one price list: whether it is followed, and what it said last."""
    return {
        "object": "token_billing.price_source",
        **_state(reading.state),
        "id": reading.name,
        "enabled": reading.is_followed,
        "livemode": surroundings.livemode,
        "stale": reading.is_stale,
        "stale_after_days": reading.stale_after_days,
        "status": reading.status,
        "url": reading.url,
    }


def source_state_object(state: SourceState, surroundings: Surroundings) -> JsonObject:
    """Return a price list as it was when an event told of it."""
    return {
        "object": "token_billing.price_source",
        **_state(state),
        "id": state.id,
        "livemode": surroundings.livemode,
        "stale": state.stale,
        "status": state.status,
        "url": state.url,
    }


def _state(state: SourceState | None) -> JsonObject:
    return {
        "accepted_at": unix_or_none(state.accepted_at) if state else None,
        "checked_at": unix_or_none(state.checked_at) if state else None,
        "error": (state.error or None) if state else None,
        "models": state.model_count if state else None,
        "revision": (state.revision or None) if state else None,
        "unknown_keys": list(state.unknown_keys) if state else [],
    }


def model_alias_object(alias: ModelAlias, surroundings: Surroundings) -> JsonObject:
    """Return a name that was declared to mean a model."""
    return {
        "id": alias.id,
        "object": "token_billing.model_alias",
        "created": unix(alias.created),
        "livemode": surroundings.livemode,
        "name": alias.name,
        "provider": alias.provider,
        "target": alias.target,
    }


def model_mark_object(mark: ModelMark, surroundings: Surroundings) -> JsonObject:
    """Return what sources say about a model besides its price."""
    return {
        "id": mark.id,
        "object": "token_billing.model_mark",
        "deprecated_at": unix_or_none(mark.deprecated_at),
        "gone_from": list(mark.gone_from),
        "livemode": surroundings.livemode,
        "model": mark.model,
        "provider": mark.provider,
        "redirect_to": mark.redirect_to or None,
    }


def price_change_detail(
    change: PriceChange, moves: Iterable[RecordedMove], impact: Impact | None, surroundings: Surroundings
) -> JsonObject:
    """Return a price change as it is judged: who says what of each part, why it waits, what it would do."""
    judged = replace(change, moves=tuple(moves))
    shown = price_change_object(judged, surroundings)
    parts = zip(shown["changes"], judged.moves, strict=True)
    return shown | {
        "announced_at": unix_or_none(change.announced_at),
        "announced_by": change.announced_by or None,
        "changes": [part | _beside(move, change.sources) for part, move in parts],
        "explanations": [{"explanation": REASON_TEXT[reason], "reason": reason} for reason in change.reasons],
        "impact": impact_object(impact) if impact else None,
        "undoes": change.undoes or None,
        "undone_by": change.undone_by or None,
        "unmapped": list(change.unmapped),
    }


def _beside(move: RecordedMove, revisions: Mapping[str, str]) -> JsonObject:
    """Return what a move is per million tokens, and each source's word with its revision."""
    return {
        "new_usd_per_million": per_million(move.new, leaf=move.leaf, when=move.when),
        "old_usd_per_million": per_million(move.old, leaf=move.leaf, when=move.when),
        "removed_by": list(move.removed_by),
        "said_by": [
            {
                "revision": revisions.get(source) or None,
                "source": source,
                "unit_amount": unit,
                "usd_per_million": per_million(unit, leaf=move.leaf, when=move.when),
            }
            for source, unit in move.votes.items()
        ],
    }
