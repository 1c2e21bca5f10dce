"""Spend caps of one customer or key, with how far they are used."""

from __future__ import annotations

from collections.abc import Iterable

from costplus.billing.hold_cap import CapState
from costplus.billing.spend_cap import CAP_SPANS
from costplus.core.money import nano_text
from costplus.web.objects.wire import JsonObject, unix


def spend_caps_object(states: Iterable[CapState]) -> JsonObject:
    """Return the caps of one customer or key by their span; null where there is none."""
    by_span = {state.cap.span: state for state in states}
    return {span: _cap(by_span[span]) if span in by_span else None for span in CAP_SPANS}


def _cap(state: CapState) -> JsonObject:
    return {
        "amount": state.cap.amount_minor,
        "currency": state.cap.currency,
        "held": nano_text(state.held_nano),
        "left": nano_text(max(state.left_nano, 0)),
        "mode": state.cap.mode,
        "resets_at": unix(state.window.end),
        "spent": nano_text(state.spent_nano),
    }
