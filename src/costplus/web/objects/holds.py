"""Holds that sellers place themselves, and quotes with their working."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from costplus.billing.reservation import Quoted, Reservation
from costplus.core.money import nano_text
from costplus.ledger.hold import Hold
from costplus.web.objects.wire import JsonObject, Surroundings, plain, unix


@dataclass(frozen=True, slots=True)
class HoldState:
    """A reservation and the money behind it, None where it is announced after its end."""

    reservation: Reservation
    hold: Hold | None


@dataclass(frozen=True, slots=True, kw_only=True)
class QuoteShown:
    """What a call would hold, for whom and of which model."""

    customer: str
    currency: str
    provider: str
    model: str
    quote: Quoted


def _quoted(quote: Quoted) -> JsonObject:
    tokens = quote.tokens
    return {
        "amount": nano_text(quote.price_nano),
        "cost": nano_text(quote.cost_nano),
        "steps": [asdict(step) for step in quote.steps],
        "tokens": {
            "body_bytes": tokens.body_bytes,
            "bytes_per_token": tokens.bytes_per_token,
            "input": tokens.input_tokens,
            "model_context_maximum": tokens.context_tokens_max,
            "model_output_maximum": tokens.output_tokens_max,
            "output": tokens.output_tokens,
            "output_from": tokens.output_tokens_from,
        },
    }


def quote_object(shown: QuoteShown, surroundings: Surroundings) -> JsonObject:
    """Return what a call is expected to cost at most, and how that comes about."""
    return {
        "object": "token_billing.quote",
        "currency": shown.currency,
        "customer": shown.customer,
        "livemode": surroundings.livemode,
        "model": f"{shown.provider}/{shown.model}",
        **_quoted(shown.quote),
    }


def hold_object(state: HoldState, surroundings: Surroundings) -> JsonObject:
    """Return a hold; amounts are exact, in currency units."""
    known, hold = state.reservation, state.hold
    return {
        "id": known.id,
        "object": "token_billing.hold",
        "amount": nano_text(known.amount_nano),
        "captured": nano_text(hold.captured_nano if hold else 0),
        "captures": list(known.captures),
        "created": unix(known.created),
        "currency": known.currency or None,
        "customer": known.customer,
        "estimate": known.swept or None,
        "expires_at": unix(known.expires_at),
        "held": nano_text(hold.amount_nano if hold and hold.state == "placed" else 0),
        "livemode": surroundings.livemode,
        "metadata": plain(known.metadata),
        "model": f"{known.provider}/{known.model}" if known.model else None,
        "on_expiry": known.on_expiry,
        "quote": _quoted(known.quote) if known.quote else None,
        "status": hold.state if hold else "expired",
    }


def expired_hold_object(known: Reservation, surroundings: Surroundings) -> JsonObject:
    """Return a hold as it is announced when its time is over."""
    return hold_object(HoldState(known, None), surroundings)
