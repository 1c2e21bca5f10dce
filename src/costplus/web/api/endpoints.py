"""Every endpoint of the API, in the order in which paths are tried: the busiest first."""

from __future__ import annotations

from costplus.web.api import (
    alerts,
    credit_balance,
    credit_grants,
    customers,
    events,
    invoices,
    keys,
    meter_event_summaries,
    meter_events,
    meters,
    onboarding,
    price_changes,
    prices,
    rate_card_items,
    rate_cards,
    simulations,
    subscriptions,
    test_clocks,
    token_customers,
    unpriced_usage,
    usage_events,
    webhook_endpoints,
)
from costplus.web.call import Endpoint

ENDPOINTS: tuple[Endpoint, ...] = (
    *meter_events.ENDPOINTS,
    *customers.ENDPOINTS,
    *credit_grants.ENDPOINTS,
    *credit_balance.ENDPOINTS,
    *invoices.ENDPOINTS,
    *events.ENDPOINTS,
    *usage_events.ENDPOINTS,
    *unpriced_usage.ENDPOINTS,
    *token_customers.ENDPOINTS,
    *meter_event_summaries.ENDPOINTS,
    *meters.ENDPOINTS,
    *alerts.ENDPOINTS,
    *webhook_endpoints.ENDPOINTS,
    *subscriptions.ENDPOINTS,
    *test_clocks.ENDPOINTS,
    *keys.ENDPOINTS,
    *rate_cards.ENDPOINTS,
    *rate_card_items.ENDPOINTS,
    *simulations.ENDPOINTS,
    *price_changes.ENDPOINTS,
    *prices.ENDPOINTS,
    *onboarding.ENDPOINTS,
)
