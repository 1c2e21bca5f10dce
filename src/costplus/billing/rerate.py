"""Rate a kept event again: by another card, by other prices, or now that there is a price at all.

Rule 1: one engine: a kept event is rated by what rated it first, so the same card and prices give the same.
Rule 2: the circumstances are those of the event; nothing about them is guessed.
Rule 3: nothing is changed here; what becomes of the new figure is for the caller.
"""

from __future__ import annotations

from dataclasses import replace

from costplus.billing.store import ChargedEvent
from costplus.catalog.context import RequestContext, asking, context_of, served
from costplus.catalog.names import ResolvedName
from costplus.core.usage import OTHER_MODEL
from costplus.metering.event import UsageEvent
from costplus.rating.charge import Charge, ChargeLine, charge_of, rate, uncovered
from costplus.rating.pricing import Priced, Prices
from costplus.rating.rate_card import RateCardVersion
from costplus.rating.sheet import sheet_for
from costplus.rating.waive import waived_like


def context_for(event: UsageEvent, name: ResolvedName) -> RequestContext:
    """Return the circumstances of an event whose model was understood as `name`."""
    if event.is_one_request:
        return context_of(event.circumstances, at=event.at)
    return asking(served(service_tier=event.service_tier, at=event.at), name.modifiers)


def rate_used(event: UsageEvent, *, pricing: Prices, card: RateCardVersion) -> Charge:
    """Return what an event is worth under a card at its own time. Raises `ModelUnpriced`."""
    return rate_priced(event, pricing.used(event.provider, event.model, card=card, at=event.at))


def rate_priced(event: UsageEvent, priced: Priced) -> Charge:
    """Return what an event is worth by its model's sheet.

    What the event shows to have been used but not counted, and what was served at a price that is not known,
    is said to be unpriced.
    """
    context = context_for(event, priced.name)
    charge = rate(event.usage, priced.sheet, context=context, is_one_request=event.is_one_request)
    if not event.is_one_request:
        return charge
    unpriced = [flag for flag in event.usage.flags if flag.startswith("unmetered_")]
    unpriced += [f"{field}={word}" for field, word in uncovered(priced.sheet.price, context)]
    return replace(charge, unpriced=(*charge.unpriced, *unpriced)) if unpriced else charge


def rate_again(entry: ChargedEvent, *, pricing: Prices, card: RateCardVersion) -> Charge:
    """Return what a charged event is worth under a card at the prices of `pricing`. Raises `ModelUnpriced`.

    A call that ran on several models, or on another than answered, is rated line by line, each by its own
    model. A reversal is worth what it takes back, whatever a price says now. What was waived stays waived.
    """
    if entry.event.source == "reversal":
        return entry.charge
    ran_on = {(line.rate.provider, line.rate.model) for line in entry.charge.lines}
    if len(ran_on) <= 1 and OTHER_MODEL not in entry.event.usage.flags:
        again = rate_used(entry.event, pricing=pricing, card=card)
    else:
        again = charge_of(
            (_line_again(entry.event, line, pricing=pricing, card=card) for line in entry.charge.lines),
            unpriced=entry.charge.unpriced,
        )
    return waived_like(again, entry.charge)


def _line_again(event: UsageEvent, line: ChargeLine, *, pricing: Prices, card: RateCardVersion) -> ChargeLine:
    priced = pricing.used(line.rate.provider, line.rate.model, card=card, at=event.at)
    context = context_for(event, priced.name)
    sheet = sheet_for(priced.sheet, event.usage.flags)
    rates = sheet.rates_for(prompt_tokens=line.rate.above_prompt_tokens + 1, context=context)
    found = rates.by_leaf.get(line.rate.leaf)
    return ChargeLine(line.quantity, found[2] if found else line.rate)
