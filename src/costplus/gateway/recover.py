"""Recover: settle what an earlier process of this journal left behind, then take its reservations back.

Rule 1: usage that was journalled is settled as it was charged; settling it twice changes nothing.
Rule 2: an intent without usage is swept to an estimate of its input, flagged, never to zero.
Rule 3: usage whose rates' record is torn is rated again under its intent's card; without one, it is unpriced.
A model without a price is charged by what its card lets stand in, as it would have been.
Rule 4: reservations are released only after that; given back earlier, their credit could be spent twice.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

import msgspec

from costplus.billing.settle import Settlement
from costplus.billing.store import Store, Tx
from costplus.billing.subscription import NotSubscribed
from costplus.billing.terms import terms_of
from costplus.catalog.context import context_of
from costplus.catalog.price import ModelUnpriced
from costplus.core.errors import NotFound
from costplus.core.usage import ESTIMATED, OWN_KEY, usage_of
from costplus.gateway.call import settlement_of
from costplus.gateway.journal import Intent, Journal, Rated, Used, read_segment
from costplus.gateway.leases import reclaim
from costplus.gateway.settle import Settler
from costplus.metering.event import UsageEvent, usage_event
from costplus.rating.charge import Charge, rate, unpriced_charge
from costplus.rating.fallback import stand_in
from costplus.rating.pricing import Pricing
from costplus.rating.rate_card import RateCardVersion
from costplus.rating.sheet import UnitRate


@dataclass(frozen=True, slots=True)
class Recovered:
    """What was found: calls with usage, calls swept to an estimate, reservations released."""

    used: int
    swept: int
    released: int


@dataclass(frozen=True, slots=True)
class _Left:
    """What the journal's segments say, by call."""

    intents: dict[str, Intent] = field(default_factory=dict)
    used: dict[str, Used] = field(default_factory=dict)
    rates: dict[str, UnitRate] = field(default_factory=dict)
    voided: set[str] = field(default_factory=set)


async def recover(
    store: Store,
    journal: Journal,
    settler: Settler,
    *,
    pricing: Pricing,
    owner: str,
    now: Callable[[], datetime],
) -> Recovered:
    """Settle everything left behind; the settler must be running. Deletes the old segments at the end."""
    assert now().tzinfo is not None
    paths = journal.left_behind()
    left = _read(paths)
    cards = await store.read(lambda tx: {id: _card(tx, intent) for id, intent in left.intents.items()})
    replayed = [
        _replayed(used, left.rates, pricing=pricing, card=cards.get(id)) for id, used in left.used.items()
    ]
    unheard = left.intents.keys() - left.used.keys() - left.voided
    swept = [_estimate(left.intents[id], pricing=pricing, card=cards[id]) for id in sorted(unheard)]
    for settlement in (*replayed, *swept):
        settler.submit(settlement)
    await settler.flush()
    released = await store.write(lambda tx: reclaim(tx, owner=owner))
    for path in paths:
        path.unlink()
    return Recovered(len(replayed), len(swept), released)


def _read(paths: Sequence[Path]) -> _Left:
    """Read the segments; calls and rates are joined over all of them."""
    left = _Left()
    for path in paths:
        for entry in read_segment(path):
            if isinstance(entry, Rated):
                left.rates[entry.rate.id] = entry.rate
            elif isinstance(entry, Intent):
                left.intents[entry.id] = entry
            elif isinstance(entry, Used):
                left.used[entry.id] = entry
            else:
                left.voided.add(entry.id)
    return left


def _card(tx: Tx, intent: Intent) -> RateCardVersion | None:
    """Return the card version of the intent as it applied to its customer."""
    with contextlib.suppress(NotFound, NotSubscribed):
        for _, card in terms_of(tx, intent.customer).cards:
            if card.id == intent.card_version:
                return card
    return tx.find(RateCardVersion, intent.card_version)


def _replayed(
    used: Used, rates: Mapping[str, UnitRate], *, pricing: Pricing, card: RateCardVersion | None
) -> Settlement:
    """Return the settlement that the record stands for."""
    if all(id in rates for id, _ in used.lines):
        return settlement_of(used, rates)
    settlement = settlement_of(msgspec.structs.replace(used, lines=[]), {})
    charge = _rated(settlement.event, pricing=pricing, card=card)
    return replace(settlement, charge=charge)


def _estimate(intent: Intent, *, pricing: Pricing, card: RateCardVersion | None) -> Settlement:
    """Return the settlement of a call of which nothing but its beginning is known."""
    flags = [ESTIMATED, "swept", *([OWN_KEY] if intent.own_key else ())]
    event = usage_event(
        customer=intent.customer,
        at=intent.at,
        key=intent.id,
        usage=usage_of({"input": intent.input_tokens}, flags=flags),
        source="sweep",
        provider=intent.provider,
        model=intent.model,
        requested_model=intent.requested_model,
        request_id=intent.id,
        circumstances=intent.circumstances,
        api_key=intent.api_key,
    )
    return Settlement(event=event, charge=_rated(event, pricing=pricing, card=card))


def _rated(event: UsageEvent, *, pricing: Pricing, card: RateCardVersion | None) -> Charge:
    """Return what the event is worth under the card, unpriced where that cannot be known."""
    if card is None:
        return unpriced_charge()
    try:
        sheet = pricing.used(event.provider, event.model, card=card, at=event.at).sheet
    except ModelUnpriced:
        sheet = stand_in(card, provider=event.provider, model=event.model)
    return rate(event.usage, sheet, context=context_of(event.circumstances, at=event.at))
