"""Self-reported usage: a meter event becomes a usage event, is rated and settled like any other.

Rule 1: what the event says is kept even where it cannot be priced; then it is announced, never charged as 0
in silence. Rule 2: events on meters that carry no tokens are kept and summed, and charged nothing.
Rule 3: a reported event holds one kind of tokens, perhaps of many requests: long-context prices cannot apply.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from costplus.billing.settle import Settled, Settlement, settle
from costplus.billing.store import Tx
from costplus.billing.terms import terms_of
from costplus.catalog.context import asking, served
from costplus.catalog.price import ModelUnpriced
from costplus.catalog.snapshot import Catalogue
from costplus.metering.event import TOKEN_METER, UsageEvent
from costplus.rating.charge import Charge, rate, unpriced_charge
from costplus.rating.rate_card import ModelNotOnCard
from costplus.rating.sheet import SheetCache


def rate_event(tx: Tx, catalogue: Catalogue, sheets: SheetCache, event: UsageEvent) -> Charge:
    """Return the event's charge under its customer's terms at its own time."""
    if event.meter != TOKEN_METER:
        return Charge(price_nano=0, cost_nano=0, lines=())
    try:
        price, name = catalogue.price_at(event.provider, event.model, at=event.at)
        card = terms_of(tx, event.customer).card
        card.check_sells(provider=price.provider, model=price.model)
    except (ModelUnpriced, ModelNotOnCard):
        return unpriced_charge()
    context = asking(served(service_tier=event.service_tier, at=event.at), name.modifiers)
    return rate(event.usage, sheets.sheet(price, card), context=context, is_one_request=False)


def report(
    tx: Tx, catalogue: Catalogue, sheets: SheetCache, events: Sequence[UsageEvent], *, at: datetime
) -> Settled:
    """Rate and settle reported events; known ones are duplicates and change nothing."""
    return settle(
        tx,
        [Settlement(event=event, charge=rate_event(tx, catalogue, sheets, event)) for event in events],
        at=at,
    )
