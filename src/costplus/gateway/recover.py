"""Recover: settle what an earlier process of this journal left behind, then take its reservations back.

Rule 1: usage that was journalled is settled as it was charged; settling it twice changes nothing.
Rule 2: an intent without usage is swept to an estimate of its input, flagged, never to zero.
Rule 3: a rate whose record is torn is compiled anew from the intent; without it too, the usage is unpriced.
Rule 4: reservations are released only after that; given back earlier, their credit could be spent twice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

import msgspec

from costplus.billing.settle import Settlement
from costplus.billing.store import Store, Tx
from costplus.catalog.context import served
from costplus.catalog.snapshot import Catalogue
from costplus.core.usage import ESTIMATED, usage_of
from costplus.gateway.call import settlement_of
from costplus.gateway.journal import Intent, Journal, Rated, Used, read_segment
from costplus.gateway.leases import reclaim
from costplus.gateway.settle import Settler
from costplus.metering.event import usage_event
from costplus.rating.charge import rate, unpriced_charge
from costplus.rating.rate_card import RateCardVersion
from costplus.rating.sheet import RateSheet, SheetCache, UnitRate


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
    catalogue: Catalogue,
    sheets: SheetCache,
    owner: str,
    now: Callable[[], datetime],
) -> Recovered:
    """Settle everything left behind; the settler must be running. Deletes the old segments at the end."""
    assert now().tzinfo is not None
    paths = journal.left_behind()
    left = _read(paths)
    versions = {intent.card_version for intent in left.intents.values()}

    def cards(tx: Tx) -> dict[str, RateCardVersion]:
        found = ((version, tx.find(RateCardVersion, version)) for version in versions)
        return {version: card for version, card in found if card is not None}

    known = await store.read(cards)
    sheet_of = {id: _sheet(intent, catalogue, sheets, known) for id, intent in left.intents.items()}
    replayed = [_replayed(used, left.rates, sheet_of.get(id)) for id, used in left.used.items()]
    unheard = left.intents.keys() - left.used.keys() - left.voided
    swept = [_estimate(left.intents[id], sheet_of[id]) for id in sorted(unheard)]
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


def _sheet(
    intent: Intent, catalogue: Catalogue, sheets: SheetCache, cards: Mapping[str, RateCardVersion]
) -> RateSheet | None:
    price, card = catalogue.price_version(intent.price_version), cards.get(intent.card_version)
    return sheets.sheet(price, card) if price and card else None


def _replayed(used: Used, rates: Mapping[str, UnitRate], sheet: RateSheet | None) -> Settlement:
    """Return the settlement that the record stands for."""
    if any(id not in rates for id, _ in used.lines):
        rates = {rate.id: rate for rate in (sheet.every_rate() if sheet else ())} | dict(rates)
    if any(id not in rates for id, _ in used.lines):
        return replace(settlement_of(msgspec.structs.replace(used, lines=[]), {}), charge=unpriced_charge())
    return settlement_of(used, rates)


def _estimate(intent: Intent, sheet: RateSheet | None) -> Settlement:
    """Return the settlement of a call of which nothing but its beginning is known."""
    usage = usage_of({"input": intent.input_tokens}, flags=[ESTIMATED, "swept"])
    event = usage_event(
        customer=intent.customer,
        at=intent.at,
        key=intent.id,
        usage=usage,
        source="sweep",
        provider=intent.provider,
        model=intent.model,
        requested_model=intent.requested_model,
        request_id=intent.id,
    )
    context = served(at=intent.at)
    return Settlement(event=event, charge=rate(usage, sheet, context=context) if sheet else unpriced_charge())
