"""Self-reported usage: a meter event becomes a usage event, is rated and settled like any other.

Rule 1: what the event says is kept even where it cannot be priced; then it is announced, never charged as 0
in silence. What it is charged meanwhile is for its card to say (`rating.fallback`).
Rule 2: events on meters that carry no tokens are kept and summed, and charged nothing.
Rule 3: a reported event holds one kind of tokens, perhaps of many requests: long-context prices cannot apply.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from costplus.billing.rerate import rate_priced
from costplus.billing.settle import Settled, Settlement, settle
from costplus.billing.store import Tx
from costplus.billing.terms import terms_of
from costplus.catalog.names import canonical_provider
from costplus.catalog.price import ModelUnpriced
from costplus.metering.event import TOKEN_METER, UsageEvent
from costplus.rating.charge import NOT_ON_CARD, Charge, rate, unpriced_charge
from costplus.rating.fallback import stand_in
from costplus.rating.pricing import Pricing
from costplus.rating.rate_card import ModelNotOnCard


def rate_event(tx: Tx, pricing: Pricing, event: UsageEvent) -> Charge:
    """Return the event's charge under its customer's terms at its own time."""
    if event.meter != TOKEN_METER:
        return Charge(price_nano=0, cost_nano=0, lines=())
    card = terms_of(tx, event.customer).card_at(event.at)
    try:
        priced = pricing.sold(event.provider, event.model, card=card, at=event.at)
    except ModelNotOnCard:
        return unpriced_charge(NOT_ON_CARD)
    except ModelUnpriced:
        sheet = stand_in(card, provider=canonical_provider(event.provider), model=event.model)
        return rate(event.usage, sheet, is_one_request=False)
    return rate_priced(event, priced)


def report(tx: Tx, pricing: Pricing, events: Sequence[UsageEvent], *, at: datetime) -> Settled:
    """Rate and settle reported events; known ones are duplicates and change nothing."""
    return settle(
        tx,
        [Settlement(event=event, charge=rate_event(tx, pricing, event)) for event in events],
        at=at,
    )
