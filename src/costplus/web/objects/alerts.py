"""Alerts and their firings. Usage alerts are those of Stripe's general release, others of its preview."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fractions import Fraction

from costplus.billing.alert import Alert, AlertTriggered, AlertType
from costplus.billing.spend import ALL_TIME
from costplus.core.money import decimal_text, nano_per_minor
from costplus.web.objects.wire import JsonObject, Surroundings, minor, unix


def is_preview(api_version: str | None) -> bool:
    """Return whether a version of Stripe's API is one of its previews."""
    return "preview" in (api_version or "")


def _filters(alert: Alert) -> list[JsonObject]:
    filters = [{"type": "customer", "customer": alert.customer}] if alert.customer else []
    filters += [{"type": "api_key", "api_key": alert.api_key}] if alert.api_key else []
    filters += [{"type": "model", "model": alert.model}] if alert.model else []
    return filters


def _amount(alert: Alert) -> JsonObject:
    return {"currency": alert.currency, "value": alert.threshold_minor}


def _credit(alert: Alert) -> JsonObject:
    lte = {"balance_type": "monetary", "custom_pricing_unit": None, "monetary": _amount(alert)}
    return {"filters": _filters(alert), "lte": lte}


def _spend(alert: Alert) -> JsonObject:
    return {
        "aggregation_period": alert.span,
        "filters": _filters(alert),
        "group_by": None,
        "gte": {"amount": _amount(alert), "custom_pricing_unit": None, "type": "amount"},
    }


def _usage(alert: Alert) -> JsonObject:
    return {
        "filters": _filters(alert),
        "gte": alert.threshold_units,
        "meter": alert.meter,
        "recurrence": alert.recurrence,
    }


def _burn_rate(alert: Alert) -> JsonObject:
    return {
        "filters": _filters(alert),
        "gte": {"amount": _amount(alert), "type": "amount"},
        "per": alert.per,
    }


def _run_out(alert: Alert) -> JsonObject:
    return {
        "filters": _filters(alert),
        "lookback_days": alert.lookback_days,
        "lte": {"days": alert.days},
    }


_TERMS: Mapping[AlertType, Callable[[Alert], JsonObject]] = {
    "credit_balance_threshold": _credit,
    "spend_threshold": _spend,
    "usage_threshold": _usage,
    "burn_rate": _burn_rate,
    "credit_run_out": _run_out,
}


def alert_object(alert: Alert, surroundings: Surroundings) -> JsonObject:
    """Return an alert with the terms of its type; the general release knows usage alerts only."""
    return {
        "id": alert.id,
        "object": "billing.alert",
        "alert_type": alert.alert_type,
        "livemode": surroundings.livemode,
        "status": alert.status,
        "title": alert.title,
        "usage_threshold": None,
        alert.alert_type: _TERMS[alert.alert_type](alert),
    }


def alert_triggered_object(
    fired: AlertTriggered, surroundings: Surroundings, *, preview: bool = False
) -> JsonObject:
    """Return that an alert fired or recovered, with what it measured at that moment.

    Money is in minor units: whole ones, rounded down, in the general release; exact decimal text in the
    preview. A usage alert's value is the meter's units, a run-out's the days that are left.
    """
    alert = fired.alert
    in_units = alert.alert_type in ("usage_threshold", "credit_run_out")
    general: JsonObject = {
        "object": "billing.alert_triggered",
        "alert": alert_object(alert, surroundings),
        "created": unix(fired.created),
        "customer": fired.customer,
        "livemode": surroundings.livemode,
        "value": fired.units if in_units else minor(fired.credit_nano, currency=alert.currency),
    }
    if not preview:
        return general
    exact = Fraction(fired.credit_nano, nano_per_minor(alert.currency))
    window = fired.window if fired.window not in (None, ALL_TIME) else None
    return general | {
        "aggregation_period": alert.span if alert.alert_type == "spend_threshold" else None,
        "currency": None if in_units else alert.currency,
        "custom_pricing_unit": alert.custom_pricing_unit or None,
        "external_customer_id": None,
        "group_by": None,
        "triggered_at": unix(fired.created),
        "value": str(fired.units) if in_units else decimal_text(exact),
        "window": {"end": unix(window.end), "start": unix(window.start)} if window else None,
    }
