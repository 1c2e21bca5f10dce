"""Spend caps and forecasts, in the style of `token_billing.…` objects: exact amounts in currency units."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from costplus.billing.customer import ApiKey
from costplus.billing.forecast import Forecast
from costplus.billing.hold_cap import CapState
from costplus.billing.spend_cap import CapReached
from costplus.core.money import NANO, nano_text
from costplus.core.period import Period
from costplus.web.objects.caps import spend_caps_object
from costplus.web.objects.token_billing import key_object
from costplus.web.objects.wire import JsonObject, Surroundings, cut_decimal, unix, unix_or_none

DAY = timedelta(days=1)
RATE_DECIMALS = 9


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyState:
    """An API key with how far its caps are used."""

    key: ApiKey
    caps: tuple[CapState, ...]

    @property
    def id(self) -> str:
        return self.key.id


def key_state_object(state: KeyState, surroundings: Surroundings) -> JsonObject:
    """Return an API key with its caps."""
    return key_object(state.key, surroundings) | {"spend_caps": spend_caps_object(state.caps)}


def cap_reached_object(reached: CapReached, surroundings: Surroundings) -> JsonObject:
    """Return that a cap was reached in a window, with what was spent by then."""
    cap = reached.cap
    return {
        "object": "token_billing.spend_cap",
        "amount": cap.amount_minor,
        "api_key": cap.api_key or None,
        "created": unix(reached.created),
        "currency": cap.currency,
        "customer": cap.customer,
        "exceeded": reached.exceeded,
        "livemode": surroundings.livemode,
        "mode": cap.mode,
        "period": cap.span,
        "refused": reached.refused,
        "resets_at": unix(reached.window.end),
        "spent": nano_text(reached.spent_nano),
        "window_start": unix(reached.window.start),
    }


def forecast_object(forecast: Forecast, surroundings: Surroundings) -> JsonObject:
    """Return a forecast with everything that it is computed from."""
    ends_at = forecast.credit_ends_at
    return {
        "object": "token_billing.forecast",
        "as_of": unix(forecast.at),
        "computed_from": _reasons(forecast),
        "credit": {
            "balance": nano_text(forecast.credit_nano),
            "days_left": None if ends_at is None else (ends_at - forecast.at) // DAY,
            "ends_at": unix_or_none(ends_at),
        },
        "currency": forecast.currency,
        "customer": forecast.customer,
        "days": [_window(day.window) | {"spent": nano_text(day.spent_nano)} for day in forecast.days],
        "invoice": _invoice(forecast),
        "livemode": surroundings.livemode,
        "rate": {
            **_window(forecast.window),
            "per_day": cut_decimal(forecast.per_day_nano / NANO, places=RATE_DECIMALS),
            "spent": nano_text(forecast.spent_nano),
        },
    }


def _window(window: Period) -> JsonObject:
    return {"end": unix(window.end), "start": unix(window.start)}


def _invoice(forecast: Forecast) -> JsonObject | None:
    if forecast.period is None:
        return None
    return {
        "fee": nano_text(forecast.fee_nano),
        "owed": nano_text(forecast.owed_nano),
        "period": _window(forecast.period),
        "projected_total": nano_text(forecast.invoice_projected_nano),
        "projected_usage": nano_text(forecast.period_projected_nano),
        "spent": nano_text(forecast.period_spent_nano),
    }


def _reasons(forecast: Forecast) -> list[str]:
    """Return in sentences how the figures come about."""
    start, end = (f"{at:%Y-%m-%dT%H:%M:%SZ}" for at in (forecast.window.start, forecast.window.end))
    per_day = cut_decimal(forecast.per_day_nano / NANO, places=RATE_DECIMALS)
    spent = f"{nano_text(forecast.spent_nano)} {forecast.currency}"
    rate = f"rate: {spent} charged from {start} to {end}, spread evenly: {per_day} a day"
    credit = (
        "credit ends: the grants there are, and the plan's credit of the periods to come, are burned in burn "
        "order at that rate, each from when it is effective until it expires"
    )
    invoice = (
        "invoice: what is owed now, what usage until the period's end costs beyond credit at that rate, and "
        "the next period's fee; before tax, discounts and rounding"
    )
    return [rate, credit] if forecast.period is None else [rate, credit, invoice]
