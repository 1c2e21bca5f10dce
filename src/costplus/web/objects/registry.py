"""Which record becomes which object, and events, which carry any of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from costplus.billing.alert import Alert, AlertTriggered
from costplus.billing.correction import PriceCorrection
from costplus.billing.customer import ApiKey, Customer, TestClock
from costplus.billing.event import Event, WebhookEndpoint
from costplus.billing.forecast import Forecast
from costplus.billing.invoice import Invoice
from costplus.billing.margin_alarm import MarginAlarm
from costplus.billing.movement import Movement
from costplus.billing.notice import PriceNotice
from costplus.billing.plan import Plan, Settings
from costplus.billing.price_report import SourceReading
from costplus.billing.pricing_unit import PricingUnit
from costplus.billing.reservation import Reservation
from costplus.billing.spend_cap import CapReached
from costplus.billing.store import ChargedEvent
from costplus.billing.subscription import Subscription
from costplus.billing.unpriced import UnpricedUsage
from costplus.catalog.book import ModelAlias, ModelMark, PriceChange, SourceState
from costplus.ledger.grant import Grant
from costplus.metering.meter import Meter
from costplus.rating.rate_card import RateCard, RateCardVersion
from costplus.web.objects.alerts import alert_object, alert_triggered_object, is_preview
from costplus.web.objects.credit import (
    CreditSummary,
    credit_summary_object,
    grant_object,
    movement_object,
    pricing_unit_object,
)
from costplus.web.objects.customer import customer_object, test_clock_object
from costplus.web.objects.holds import (
    HoldState,
    QuoteShown,
    expired_hold_object,
    hold_object,
    quote_object,
)
from costplus.web.objects.invoice import invoice_object
from costplus.web.objects.meter import MeterSum, meter_object, meter_sum_object
from costplus.web.objects.price_objects import (
    model_alias_object,
    model_mark_object,
    price_source_object,
    source_state_object,
)
from costplus.web.objects.prices import (
    margin_alarm_object,
    price_change_object,
    price_correction_object,
    price_notice_object,
)
from costplus.web.objects.spend import KeyState, cap_reached_object, forecast_object, key_state_object
from costplus.web.objects.subscription import subscription_object
from costplus.web.objects.token_billing import (
    CustomerState,
    customer_state_object,
    key_object,
    plan_object,
    rate_card_object,
    rate_card_version_object,
    settings_object,
    usage_event_object,
)
from costplus.web.objects.unpriced import unpriced_usage_object
from costplus.web.objects.webhook import webhook_endpoint_object
from costplus.web.objects.wire import JsonObject, Surroundings, View, unix

API_VERSION = "2026-10-28.endive"  # The version of Stripe's API whose shapes these are.

_RENDERERS: Mapping[type, Callable[[Any, Surroundings], JsonObject]] = {
    Alert: alert_object,
    AlertTriggered: alert_triggered_object,
    ApiKey: key_object,
    CapReached: cap_reached_object,
    ChargedEvent: usage_event_object,
    CreditSummary: credit_summary_object,
    Customer: customer_object,
    CustomerState: customer_state_object,
    Forecast: forecast_object,
    Grant: grant_object,
    HoldState: hold_object,
    Invoice: invoice_object,
    KeyState: key_state_object,
    MarginAlarm: margin_alarm_object,
    Meter: meter_object,
    MeterSum: meter_sum_object,
    ModelAlias: model_alias_object,
    ModelMark: model_mark_object,
    Movement: movement_object,
    Plan: plan_object,
    PriceChange: price_change_object,
    PriceCorrection: price_correction_object,
    PriceNotice: price_notice_object,
    PricingUnit: pricing_unit_object,
    QuoteShown: quote_object,
    RateCard: rate_card_object,
    RateCardVersion: rate_card_version_object,
    Reservation: expired_hold_object,
    Settings: settings_object,
    SourceReading: price_source_object,
    SourceState: source_state_object,
    Subscription: subscription_object,
    TestClock: test_clock_object,
    UnpricedUsage: unpriced_usage_object,
    WebhookEndpoint: webhook_endpoint_object,
}

# What events are about, by `Event.object_kind`.
_SUBJECTS: Mapping[str, type[Any]] = {
    "grant": Grant,
    **{
        kind.KIND: kind
        for kind in (
            Alert,
            AlertTriggered,
            CapReached,
            Customer,
            Invoice,
            MarginAlarm,
            Meter,
            ModelAlias,
            ModelMark,
            Movement,
            PriceChange,
            PriceCorrection,
            PriceNotice,
            Reservation,
            SourceState,
            Subscription,
            TestClock,
            UnpricedUsage,
            RateCard,
            RateCardVersion,
        )
    },
}


def object_of(record: object, context: Surroundings) -> JsonObject:
    """Return the object that stands for `record` on the wire."""
    if isinstance(record, Event):
        return _event_object(record, context, pending_webhooks=0, api_version=API_VERSION)
    return _RENDERERS[type(record)](record, context)


def event_object(
    event: Event,
    *,
    livemode: bool,
    pending_webhooks: int = 0,
    api_version: str | None = API_VERSION,
    base_url: str = "",
    link_secret: bytes = b"",
) -> JsonObject:
    """Return an event as Stripe writes it, its object as it was when the event happened.

    `base_url` and `link_secret` make the links inside the object; without them it has none.
    """
    view = View(livemode=livemode, base_url=base_url, link_secret=link_secret)
    return _event_object(event, view, pending_webhooks=pending_webhooks, api_version=api_version)


def _event_object(
    event: Event, context: Surroundings, *, pending_webhooks: int, api_version: str | None
) -> JsonObject:
    subject: object = msgspec.json.decode(event.snapshot, type=_SUBJECTS[event.object_kind])
    if isinstance(subject, AlertTriggered):
        shown = alert_triggered_object(subject, context, preview=is_preview(api_version))
    else:
        shown = object_of(subject, context)
    return {
        "id": event.id,
        "object": "event",
        "api_version": api_version or API_VERSION,
        "created": unix(event.created),
        "data": {"object": shown},
        "livemode": context.livemode,
        "pending_webhooks": pending_webhooks,
        "request": {"id": event.request_id, "idempotency_key": event.idempotency_key},
        "type": event.type,
    }
