"""Price changes and what follows from them, as events and answers show them.

Amounts are exact decimal text in currency units, percentages are cut off after six places.
"""

from __future__ import annotations

from fractions import Fraction

from costplus.billing.card_change import CardFollowed
from costplus.billing.correction import CorrectionLine, PriceCorrection
from costplus.billing.margin_alarm import MarginAlarm
from costplus.billing.notice import CUSTOMERS_MAX, PriceNotice
from costplus.catalog.book import PriceChange, RecordedMove
from costplus.core.money import nano_text, parse_exact
from costplus.rating.impact import Figures, Impact
from costplus.web.objects.wire import JsonObject, Surroundings, cut_decimal, plain, unix, unix_or_none

PERCENT_DECIMALS = 6


def percent(exact: Fraction | None) -> str | None:
    """Return a percentage, None where there is none."""
    return None if exact is None else cut_decimal(exact, places=PERCENT_DECIMALS)


def price_change_object(change: PriceChange, surroundings: Surroundings) -> JsonObject:
    """Return a price change: old, new, each part's difference, who says so and what was decided."""
    return {
        "id": change.id,
        "object": "token_billing.price_change",
        "affected": None,
        "changes": [_move_object(move) for move in change.moves],
        "components": [
            {"amount": amount, "per": per, "token_type": leaf, "when": _when(when)}
            for leaf, amount, per, when in change.components
        ],
        "created": unix(change.created),
        "decided_at": unix_or_none(change.decided_at),
        "decided_by": change.decided_by or None,
        "due_at": unix_or_none(change.due_at),
        "effective_at": unix(change.effective_at),
        "effective_precision": change.precision,
        "ends_at": unix_or_none(change.ends_at),
        "impact": None,
        "kind": change.kind,
        "large": change.large,
        "livemode": surroundings.livemode,
        "model": change.model,
        "multipliers": [
            {"applies_to": scope, "factor": factor, "when": when}
            for factor, scope, when in change.multipliers
        ],
        "new_price_version": change.new_version or None,
        "note": change.note or None,
        "old_price_version": change.old_version or None,
        "provider": change.provider,
        "reasons": list(change.reasons),
        "sources": plain(change.sources),
        "status": change.status,
    }


def _when(when: str | int | None) -> str:
    return f"prompt_tokens>{when}" if isinstance(when, int) else when or ""


def _move_object(move: RecordedMove) -> JsonObject:
    old, new = (None if text is None else parse_exact(text) for text in (move.old, move.new))
    return {
        "new": move.new,
        "old": move.old,
        "percent": percent((new / old - 1) * 100) if old and new is not None else None,
        "standing": move.standing,
        "token_type": move.leaf,
        "votes": plain(move.votes),
        "when": move.when,
    }


def price_notice_object(notice: PriceNotice, surroundings: Surroundings) -> JsonObject:
    """Return a price change with the rate cards and customers that it touches."""
    shown = price_change_object(notice.change, surroundings)
    impact = notice.impact
    customers = [entry.customer for card in impact.cards for entry in card.customers] if impact else []
    shown["affected"] = {
        "customers": customers[:CUSTOMERS_MAX],
        "customers_count": impact.customers_count if impact else None,
        "rate_cards": [card_followed_object(card) for card in notice.cards],
    }
    shown["impact"] = impact_object(impact) if impact else None
    return shown


def card_followed_object(followed: CardFollowed) -> JsonObject:
    """Return what a rate card does about price changes, and what it leaves and why."""
    return {
        "followed": list(followed.followed),
        "left": [
            {"model": left.model, "price_change": left.change or None, "reason": left.reason}
            for left in followed.left
        ],
        "mode": followed.mode,
        "rate_card": followed.rate_card,
        "rate_card_version": followed.version or None,
        "subscriptions_moved": followed.subscriptions,
    }


def impact_object(impact: Impact) -> JsonObject:
    """Return what a price change means for the usage of a stretch of time."""
    return {
        **_figures(impact.total),
        "customers_count": impact.customers_count,
        "period": {"end": unix(impact.end), "start": unix(impact.start)},
        "rate_cards": [
            {
                **_figures(card.figures),
                "customers": [
                    {
                        **_figures(entry.figures),
                        "customer": entry.customer,
                        "rate_card_version": entry.rate_card_version,
                    }
                    for entry in card.customers
                ],
                "customers_count": card.customers_count,
                "rate_card": card.rate_card,
            }
            for card in impact.cards
        ],
        "unrated_events": impact.unrated,
    }


def _figures(figures: Figures) -> JsonObject:
    return {
        "cost_now": nano_text(figures.cost_now_nano),
        "cost_then": nano_text(figures.cost_then_nano),
        "events": figures.events,
        "margin_percent_followed": percent(figures.margin_followed),
        "margin_percent_now": percent(figures.margin_now),
        "margin_percent_unfollowed": percent(figures.margin_unfollowed),
        "revenue_followed": nano_text(figures.revenue_followed_nano),
        "revenue_now": nano_text(figures.revenue_now_nano),
    }


def price_correction_object(correction: PriceCorrection, surroundings: Surroundings) -> JsonObject:
    """Return what usage was booked at before its price was learned; positive sums were booked too low."""
    return {
        "id": correction.id,
        "object": "token_billing.price_correction",
        "cost_understated": nano_text(correction.cost_understated_nano),
        "created": unix(correction.created),
        "detected_at": unix(correction.detected_at),
        "effective_at": unix(correction.effective_at),
        "lines": [_correction_line(line) for line in correction.lines],
        "livemode": surroundings.livemode,
        "model": correction.model,
        "price_change": correction.change,
        "price_understated": nano_text(correction.price_understated_nano),
        "provider": correction.provider,
        "unrated_events": correction.unrated,
    }


def _correction_line(line: CorrectionLine) -> JsonObject:
    return {
        "cost": nano_text(line.cost_right_nano),
        "cost_booked": nano_text(line.cost_booked_nano),
        "customer": line.customer,
        "events": line.events,
        "price_booked": nano_text(line.price_booked_nano),
        "price_followed": nano_text(line.price_followed_nano),
        "rate_card": line.rate_card,
    }


def margin_alarm_object(alarm: MarginAlarm, surroundings: Surroundings) -> JsonObject:
    """Return a model that a rate card sells below its cost or below its target."""
    target = None if alarm.target_percent is None else parse_exact(alarm.target_percent)
    margin = None if alarm.margin_percent is None else parse_exact(alarm.margin_percent)
    return {
        "id": alarm.id,
        "object": "token_billing.margin_alarm",
        "cost": nano_text(alarm.cost_nano),
        "created": unix(alarm.created),
        "livemode": surroundings.livemode,
        "margin_percent": percent(margin),
        "model": alarm.model,
        "price_version": alarm.price_version,
        "provider": alarm.provider,
        "rate_card": alarm.rate_card,
        "rate_card_version": alarm.rate_card_version,
        "recovered_at": unix_or_none(alarm.recovered_at),
        "revenue": nano_text(alarm.revenue_nano),
        "shortfall": alarm.shortfall,
        "target_percent": percent(target),
    }
