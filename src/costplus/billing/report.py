"""Self-reported usage: a meter event becomes a usage event, is rated and settled like any other.

Rule 1: what the event says is kept even where it cannot be priced; then it is announced, never charged as 0
in silence. What it is charged meanwhile is for its card to say (`rating.fallback`).
Rule 2: events on meters that carry no tokens are kept and summed, and charged by the card's item of that
name; where there is none, nothing.
Rule 3: a reported event holds one kind of tokens, perhaps of many requests: long-context prices cannot apply.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from costplus.billing.rate_item import NOTHING, ItemRater
from costplus.billing.rerate import rate_priced
from costplus.billing.settle import Settled, Settlement, settle_kept
from costplus.billing.store import Tx
from costplus.billing.terms import card_for
from costplus.catalog.names import canonical_provider
from costplus.catalog.price import ModelUnpriced
from costplus.metering.event import TOKEN_METER, UsageEvent
from costplus.rating.charge import NOT_ON_CARD, Charge, rate, unpriced_charge
from costplus.rating.fallback import stand_in
from costplus.rating.pricing import Pricing
from costplus.rating.rate_card import ModelNotOnCard


def rate_event(tx: Tx, pricing: Pricing, items: ItemRater, event: UsageEvent) -> Charge:
    """Return a new event's charge under its customer's terms at its own time."""
    if event.meter != TOKEN_METER:
        return items.charge(event)
    card = card_for(tx, event.customer, at=event.at)
    try:
        priced = pricing.sold(event.provider, event.model, card=card, at=event.at)
    except ModelNotOnCard:
        return unpriced_charge(NOT_ON_CARD)
    except ModelUnpriced:
        sheet = stand_in(card, provider=canonical_provider(event.provider), model=event.model)
        return rate(event.usage, sheet, is_one_request=False)
    return rate_priced(event, priced)


def report(tx: Tx, pricing: Pricing, events: Sequence[UsageEvent], *, at: datetime) -> Settled:
    """Keep, rate and settle reported events; known ones are duplicates and change nothing."""
    new = tx.append_events(events)
    items = ItemRater(tx)
    charges: dict[str, Charge] = {}
    for event in events:
        if event.id not in charges:
            charges[event.id] = rate_event(tx, pricing, items, event) if event.id in new else NOTHING
    settlements = [
        Settlement(event=event, charge=charges[event.id], moved=items.moved.get(event.id)) for event in events
    ]
    return settle_kept(tx, settlements, new, at=at)
