"""Rate a kept event again: by another card, by other prices, or now that there is a price at all.

Rule 1: one engine: a kept event is rated by what rated it first, so the same card and prices give the same.
Rule 2: the circumstances are those of the event; nothing about them is guessed.
Rule 3: nothing is changed here; what becomes of the new figure is for the caller.
"""

from __future__ import annotations

from costplus.billing.store import ChargedEvent
from costplus.catalog.context import RequestContext, asking, context_of, served
from costplus.catalog.names import ResolvedName
from costplus.metering.event import UsageEvent
from costplus.rating.charge import Charge, ChargeLine, charge_of, rate
from costplus.rating.pricing import Prices
from costplus.rating.rate_card import RateCardVersion

ONE_REQUEST = frozenset({"gateway", "sweep"})  # Sources whose events are one call each.


def context_for(event: UsageEvent, name: ResolvedName) -> RequestContext:
    """Return the circumstances of an event whose model was understood as `name`."""
    if event.source in ONE_REQUEST:
        return context_of(event.circumstances, at=event.at)
    return asking(served(service_tier=event.service_tier, at=event.at), name.modifiers)


def rate_used(event: UsageEvent, *, pricing: Prices, card: RateCardVersion) -> Charge:
    """Return what an event is worth under a card at its own time. Raises `ModelUnpriced`."""
    priced = pricing.used(event.provider, event.model, card=card, at=event.at)
    is_one_request = event.source in ONE_REQUEST
    return rate(
        event.usage, priced.sheet, context=context_for(event, priced.name), is_one_request=is_one_request
    )


def rate_again(entry: ChargedEvent, *, pricing: Prices, card: RateCardVersion) -> Charge:
    """Return what a charged event is worth under a card at the prices of `pricing`. Raises `ModelUnpriced`.

    A call that ran on several models is rated line by line, each by its own model.
    """
    ran_on = {(line.rate.provider, line.rate.model) for line in entry.charge.lines}
    if len(ran_on) <= 1:
        return rate_used(entry.event, pricing=pricing, card=card)
    return charge_of(
        (_line_again(entry.event, line, pricing=pricing, card=card) for line in entry.charge.lines),
        unpriced=entry.charge.unpriced,
    )


def _line_again(event: UsageEvent, line: ChargeLine, *, pricing: Prices, card: RateCardVersion) -> ChargeLine:
    priced = pricing.used(line.rate.provider, line.rate.model, card=card, at=event.at)
    context = context_for(event, priced.name)
    rates = priced.sheet.rates_for(prompt_tokens=line.rate.above_prompt_tokens + 1, context=context)
    found = rates.by_leaf.get(line.rate.leaf)
    return ChargeLine(line.quantity, found[2] if found else line.rate)
