"""`/v1/token_billing/onboarding/init` and `/v1/token_billing/settings`: the account in one step.

Source: spec "Stripe's wire", §4.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal

from costplus.billing.allowance import CreditTerms
from costplus.billing.close import account_settings
from costplus.billing.edit_draft import CurrencyMismatch
from costplus.billing.event import Event, WebhookEndpoint
from costplus.billing.offer import account_currency
from costplus.billing.outbox import ENDPOINTS_MAX
from costplus.billing.plan import Settings
from costplus.billing.proration import ProrationBy
from costplus.billing.setup import SetUp, SetUpRequest, set_up
from costplus.billing.store import Tx
from costplus.catalog.catalogue import Catalogue, canonical_model
from costplus.core.errors import InvalidRequest
from costplus.core.ids import new_id
from costplus.rating.rate_card import adjustment
from costplus.web.api.card_terms import TRACKING, fallback_prices, overrides, own_adjustment, unpriced_policy
from costplus.web.api.fx_rates import currency_of
from costplus.web.api.plan_terms import plan_terms
from costplus.web.call import Call, get, post
from costplus.web.objects.wire import JsonObject

MARKUP_DEFAULT = adjustment("markup", Decimal("20.0"))
CREDIT_DEFAULT_MINOR = 1000
GRACE_MAX_S = 72 * 3600
RECENT_EVENTS = 20


class NoModelPriced(InvalidRequest):
    """None of the models asked for has a price."""

    code = "models_unpriced"
    remedy = "Name models as provider/model, as GET /v1/models lists them, or leave models out to sell all."


@dataclass(frozen=True, slots=True)
class Sold:
    """The models asked for, by the catalogue's names, and those that it has no price for."""

    models: tuple[str, ...]
    unpriced: tuple[str, ...]


def _sold(catalogue: Catalogue, names: list[str], *, at: datetime) -> Sold:
    found: dict[str, None] = {}
    unpriced: list[str] = []
    for name in names:
        canonical = canonical_model(catalogue, name, at=at)
        if canonical is None:
            unpriced.append(name)
        else:
            found[canonical] = None
    if names and not found:
        raise NoModelPriced(f"None of {', '.join(names)} has a price.", param="models")
    return Sold(tuple(sorted(found)), tuple(unpriced))


def webhook_healthy(tx: Tx) -> bool:
    """Return whether some endpoint is enabled, something reached it lately and nothing failed for good."""
    enabled = {
        endpoint.id
        for endpoint in tx.page(WebhookEndpoint, limit=ENDPOINTS_MAX)
        if endpoint.status == "enabled"
    }
    statuses = [
        delivery.status
        for event in tx.page(Event, limit=RECENT_EVENTS)
        for delivery in tx.deliveries_of(event.id)
        if delivery.endpoint in enabled
    ]
    return "delivered" in statuses and "failed" not in statuses


def _next_steps(done: SetUp, unpriced: tuple[str, ...], *, healthy: bool) -> list[str]:
    steps = [
        f"{name} has no price yet and is not sold: check its name in GET /v1/models." for name in unpriced
    ]
    if not done.settings.gateway_tested:
        steps.append("Run one AI Gateway test request.")
    if not healthy:
        steps.append("Add a webhook endpoint for billing.alert.triggered with POST /v1/webhook_endpoints.")
    return steps


def _answer(done: SetUp, call: Call, sold: Sold, *, healthy: bool) -> JsonObject:
    base = call.context.base_url
    mode = "livemode" if call.context.livemode else "testmode"
    return {
        "status": "initialized",
        "message": f"Token Billing is initialized for {mode}.",
        "ai_gateway_enabled": True,
        "test_request_completed": done.settings.gateway_tested,
        "pricing_configured": True,
        "token_meters_configured": True,
        "zero_credit_rejection_enabled": done.settings.on_zero_credit == "block",
        "webhook_healthy": healthy,
        "inference_mode": "tested" if done.settings.gateway_tested else "not_tested",
        "gateway_endpoint": f"{base}/v1",
        "environment_variables": {
            "STRIPE_TOKEN_BILLING_GATEWAY_URL": f"{base}/v1",
            "STRIPE_TOKEN_BILLING_PRICING_PLAN_ID": done.plan.id,
            "OPENAI_BASE_URL": f"{base}/v1",
            "ANTHROPIC_BASE_URL": base,
        },
        "models": list(sold.models),
        "resources": {
            "pricing_plan_id": done.plan.id,
            "rate_card_id": done.card.id,
            "meter_id": done.meter.id,
            "settings_id": done.settings.id,
        },
        "next_steps": _next_steps(done, sold.unpriced, healthy=healthy),
    }


def book_currency(tx: Tx, named: str | None) -> str:
    """Return the book's currency: the one that is named first, and for ever."""
    settings = account_settings(tx)
    known = account_currency(tx) if settings and settings.default_plan else None
    wanted = currency_of(named, param="currency") if named else known or "usd"
    if known is not None and wanted != known:
        raise CurrencyMismatch(
            f"This book is in {known}.",
            param="currency",
            remedy="A book keeps its currency; set another one up.",
        )
    return wanted


def init(tx: Tx, call: Call) -> object:
    """Create or reuse everything that token billing needs; the same request again changes nothing."""
    params, catalogue = call.params, call.context.pricing.catalogue
    rejects = params.flag("zero_credit_rejection")
    sold = _sold(catalogue, params.texts("models"), at=call.at)
    providers, models = overrides(params, catalogue, at=call.at)
    params.choice("interval", ("month",))
    credit_minor = params.integer("credit_grant_per_period_amount", most=10**9)
    currency = book_currency(tx, params.text("currency", longest=3))
    terms = plan_terms(params, catalogue, at=call.at)
    request = SetUpRequest(
        plan_name=params.text("plan_name", longest=200) or "AI starter",
        models=sold.models,
        default=own_adjustment(params, prefix="default_") or MARKUP_DEFAULT,
        price_tracking=params.choice("price_tracking_preference", TRACKING) or "disabled",
        fee_minor=params.integer("subscription_fee_amount", most=10**9) or 0,
        credit_minor=CREDIT_DEFAULT_MINOR if credit_minor is None else credit_minor,
        on_zero_credit=None if rejects is None else "block" if rejects else "overage",
        providers=providers,
        model_overrides=models,
        unpriced=unpriced_policy(params),
        fallback=fallback_prices(params, {}),
        currency=currency,
        credit_terms=None if terms.credit_terms == CreditTerms() else terms.credit_terms,
        allowances=terms.allowances,
        minimum=terms.minimum,
        shadow=terms.shadow,
    )
    done = set_up(tx, request, at=call.at)
    return _answer(done, call, sold, healthy=webhook_healthy(tx))


def retrieve_settings(tx: Tx, call: Call) -> Settings:
    """Return the account's settings; before the set-up, the defaults."""
    return account_settings(tx) or Settings(id="", created=call.at)


def update_settings(tx: Tx, call: Call) -> Settings:
    """Change what was sent and leave the rest."""
    settings = account_settings(tx) or Settings(id=new_id("tbset", at=call.at), created=call.at)
    rejects = call.params.flag("zero_credit_rejection_enabled")
    grace_s = call.params.integer("invoice_grace_seconds", most=GRACE_MAX_S)
    if rejects is not None:
        settings = replace(settings, on_zero_credit="block" if rejects else "overage")
    by: ProrationBy | None = call.params.choice("proration_by", ("second", "day"))
    subscribes = call.params.flag("subscribe_new_customers")
    if by is not None:
        settings = replace(settings, proration_by=by)
    if subscribes is not None:
        settings = replace(settings, subscribe_new_customers=subscribes)
    if grace_s is not None:
        settings = replace(settings, invoice_grace_s=grace_s)
    tx.save(settings)
    tx.touch("config")
    return settings


ENDPOINTS = (
    post("/v1/token_billing/onboarding/init", init, fresh=True),
    get("/v1/token_billing/settings", retrieve_settings),
    post("/v1/token_billing/settings", update_settings),
)
