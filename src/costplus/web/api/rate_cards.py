"""`/v1/token_billing/rate_cards` and `…/pricing_plans`: what the set-up made; markups in both readings."""

from __future__ import annotations

from costplus.billing.offer import NoSuchRateCard
from costplus.billing.plan import NoSuchPlan, Plan
from costplus.billing.store import Tx
from costplus.rating.rate_card import RateCard, RateCardVersion
from costplus.web.call import Call, Listing, get
from costplus.web.listing import records
from costplus.web.objects.token_billing import rate_card_object


def retrieve(tx: Tx, call: Call) -> object:
    """Return a rate card with its live version."""
    card = tx.find(RateCard, call.path["id"])
    if card is None:
        raise NoSuchRateCard(f"No such rate card: '{call.path['id']}'", param="id")
    live = tx.find(RateCardVersion, card.live_version)
    return rate_card_object(card, call.context, live=live)


def index(tx: Tx, call: Call) -> Listing:
    """List rate cards, newest first."""
    return records(tx, call, RateCard)


def versions(tx: Tx, call: Call) -> Listing:
    """List the versions of a rate card, newest first."""
    return records(tx, call, RateCardVersion, parent=call.path["id"])


def retrieve_plan(tx: Tx, call: Call) -> Plan:
    """Return a pricing plan."""
    plan = tx.find(Plan, call.path["id"])
    if plan is None:
        raise NoSuchPlan(f"No such pricing plan: '{call.path['id']}'", param="id")
    return plan


ENDPOINTS = (
    get("/v1/token_billing/rate_cards", index),
    get("/v1/token_billing/rate_cards/{id}", retrieve),
    get("/v1/token_billing/rate_cards/{id}/versions", versions),
    get("/v1/token_billing/pricing_plans/{id}", retrieve_plan),
)
