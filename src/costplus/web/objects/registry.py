"""Which record becomes which object, and events, which carry any of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from costplus.billing.alert import Alert, AlertTriggered
from costplus.billing.auto_recharge import AutoRecharge
from costplus.billing.correction import PriceCorrection
from costplus.billing.coupon import Coupon, CustomerDiscount
from costplus.billing.credit_note import CreditNote
from costplus.billing.credit_pack import CreditPack
from costplus.billing.customer import ApiKey, Customer, TestClock
from costplus.billing.event import Delivery, Event, WebhookEndpoint
from costplus.billing.forecast import Forecast
from costplus.billing.invoice import Invoice
from costplus.billing.invoice_item import InvoiceItem
from costplus.billing.invoice_policy import InvoicePolicy
from costplus.billing.margin_alarm import MarginAlarm
from costplus.billing.meter_errors import RejectedMeterEvent
from costplus.billing.movement import Movement
from costplus.billing.notice import PriceNotice
from costplus.billing.payments.callback import PaymentCallback
from costplus.billing.payments.method import PaymentMethod
from costplus.billing.payments.payment import Payment
from costplus.billing.payments.policy import CollectionPolicy
from costplus.billing.payments.refund import PaymentRefund
from costplus.billing.plan import Plan, Settings
from costplus.billing.price_report import SourceReading
from costplus.billing.pricing_unit import PricingUnit
from costplus.billing.provider_key import CustomerProviderKey, StoredProvider
from costplus.billing.refund import Refund
from costplus.billing.replay import WebhookReplay
from costplus.billing.reservation import Reservation
from costplus.billing.spend_cap import CapReached
from costplus.billing.store import ChargedEvent
from costplus.billing.subscription import Subscription
from costplus.billing.surplus import SurplusEntry
from costplus.billing.tax import TaxId, TaxRate
from costplus.billing.top_up import Receipt, TopUp
from costplus.billing.unpriced import UnpricedUsage
from costplus.catalog.book import ModelAlias, ModelMark, PriceChange, SourceState
from costplus.catalog.exchange import FxRate
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
from costplus.web.objects.customer import (
    CustomerView,
    customer_object,
    customer_view_object,
    test_clock_object,
)
from costplus.web.objects.holds import (
    HoldState,
    QuoteShown,
    expired_hold_object,
    hold_object,
    quote_object,
)
from costplus.web.objects.invoice import invoice_object
from costplus.web.objects.invoice_credit import AppliedCredit, applied_credit_object
from costplus.web.objects.invoice_extras import (
    coupon_object,
    credit_note_object,
    discount_object,
    fx_rate_object,
    invoice_item_object,
    policy_object,
    refund_object,
    surplus_entry_object,
    tax_id_object,
    tax_rate_object,
)
from costplus.web.objects.meter import MeterSum, meter_object, meter_sum_object, rejected_event_object
from costplus.web.objects.payments import (
    auto_recharge_object,
    collection_policy_object,
    credit_pack_object,
    payment_callback_object,
    payment_method_object,
    payment_object,
    payment_refund_object,
    receipt_object,
    top_up_object,
)
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
from costplus.web.objects.provider import provider_key_object, provider_object
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
from costplus.web.objects.webhook import delivery_object, replay_object, webhook_endpoint_object
from costplus.web.objects.wire import JsonObject, Surroundings, View, unix

API_VERSION = "2026-10-28.endive"  # The version of Stripe's API whose shapes these are.

_RENDERERS: Mapping[type, Callable[[Any, Surroundings], JsonObject]] = {
    AutoRecharge: auto_recharge_object,
    CollectionPolicy: collection_policy_object,
    CreditPack: credit_pack_object,
    Payment: payment_object,
    PaymentCallback: payment_callback_object,
    PaymentMethod: payment_method_object,
    PaymentRefund: payment_refund_object,
    Receipt: receipt_object,
    TopUp: top_up_object,
    Alert: alert_object,
    AlertTriggered: alert_triggered_object,
    ApiKey: key_object,
    CustomerProviderKey: provider_key_object,
    StoredProvider: provider_object,
    AppliedCredit: applied_credit_object,
    CapReached: cap_reached_object,
    ChargedEvent: usage_event_object,
    Coupon: coupon_object,
    CreditNote: credit_note_object,
    CreditSummary: credit_summary_object,
    Customer: customer_object,
    CustomerDiscount: discount_object,
    CustomerView: customer_view_object,
    CustomerState: customer_state_object,
    FxRate: fx_rate_object,
    Delivery: delivery_object,
    Forecast: forecast_object,
    Grant: grant_object,
    HoldState: hold_object,
    Invoice: invoice_object,
    InvoiceItem: invoice_item_object,
    InvoicePolicy: policy_object,
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
    Refund: refund_object,
    RejectedMeterEvent: rejected_event_object,
    Reservation: expired_hold_object,
    Settings: settings_object,
    SourceReading: price_source_object,
    SourceState: source_state_object,
    Subscription: subscription_object,
    SurplusEntry: surplus_entry_object,
    TaxId: tax_id_object,
    TaxRate: tax_rate_object,
    TestClock: test_clock_object,
    UnpricedUsage: unpriced_usage_object,
    WebhookEndpoint: webhook_endpoint_object,
    WebhookReplay: replay_object,
}

# What events are about, by `Event.object_kind`.
_SUBJECTS: Mapping[str, type[Any]] = {
    "grant": Grant,
    **{
        kind.KIND: kind
        for kind in (
            AutoRecharge,
            Payment,
            PaymentCallback,
            TopUp,
            Alert,
            AlertTriggered,
            Coupon,
            CreditNote,
            CapReached,
            Customer,
            CustomerDiscount,
            Invoice,
            InvoiceItem,
            MarginAlarm,
            Meter,
            ModelAlias,
            ModelMark,
            Movement,
            PriceChange,
            PriceCorrection,
            PriceNotice,
            Refund,
            Reservation,
            SourceState,
            Subscription,
            TaxId,
            TaxRate,
            TestClock,
            UnpricedUsage,
            RateCard,
            RateCardVersion,
            WebhookEndpoint,
        )
    },
}
_SUBJECT_DECODERS = {name: msgspec.json.Decoder(kind) for name, kind in _SUBJECTS.items()}


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
    subject: object = _SUBJECT_DECODERS[event.object_kind].decode(event.snapshot)
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
