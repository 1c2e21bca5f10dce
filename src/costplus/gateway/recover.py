"""Recover: settle what an earlier process of this journal left behind, then take its reservations back.

Rule 1: usage that was journalled is settled as it was charged; settling it twice changes nothing.
Rule 2: an intent without usage is swept to an estimate of its input, flagged, never to zero.
Rule 3: reservations are released only after that; given back earlier, their credit could be spent twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime

from costplus.billing.settle import Settlement
from costplus.billing.store import Store, Tx
from costplus.catalog.snapshot import Catalogue
from costplus.core.usage import ESTIMATED, usage_of
from costplus.gateway.call import settlement_of
from costplus.gateway.journal import Entry, Intent, Journal, Rated, Used, Void, read_segment
from costplus.gateway.leases import reclaim
from costplus.gateway.settle import Settler
from costplus.metering.event import usage_event
from costplus.rating.charge import rate, unpriced_charge
from costplus.rating.rate_card import RateCardVersion
from costplus.rating.sheet import SheetCache, UnitRate


@dataclass(frozen=True, slots=True)
class Recovered:
    """What was found: calls with usage, calls swept to an estimate, reservations released."""

    used: int
    swept: int
    released: int


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
    intents: dict[str, Intent] = {}
    used: dict[str, Settlement] = {}
    ended: set[str] = set()
    for path in paths:
        for id, entry in _by_call(read_segment(path)):
            if isinstance(entry, Intent):
                intents[id] = entry
            elif isinstance(entry, Settlement):
                used[id] = entry
            else:
                ended.add(id)
    open_intents = [intent for id, intent in intents.items() if id not in used and id not in ended]
    versions = {intent.card_version for intent in open_intents}

    def cards(tx: Tx) -> dict[str, RateCardVersion]:
        found = ((version, tx.find(RateCardVersion, version)) for version in versions)
        return {version: card for version, card in found if card is not None}

    known = await store.read(cards)
    swept = [_estimate(intent, catalogue, sheets, known.get(intent.card_version)) for intent in open_intents]
    for settlement in (*used.values(), *swept):
        settler.submit(settlement)
    await settler.flush()
    released = await store.write(lambda tx: reclaim(tx, owner=owner))
    for path in paths:
        path.unlink()
    return Recovered(len(used), len(swept), released)


def _by_call(entries: Iterable[Entry]) -> Iterable[tuple[str, Intent | Settlement | Void]]:
    """Pair a segment's entries with their calls; usage is joined with the rates it was charged at."""
    rates: dict[str, UnitRate] = {}
    for entry in entries:
        if isinstance(entry, Rated):
            rates[entry.rate.id] = entry.rate
        elif isinstance(entry, Used):
            yield entry.id, settlement_of(entry, rates)
        else:
            yield entry.id, entry


def _estimate(
    intent: Intent, catalogue: Catalogue, sheets: SheetCache, card: RateCardVersion | None
) -> Settlement:
    """Return the settlement of a call of which nothing but its beginning is known."""
    usage = usage_of({"input": intent.input_tokens}, flags=[ESTIMATED, "swept"])
    price = catalogue.price_version(intent.price_version)
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
    charge = rate(usage, sheets.sheet(price, card)) if price and card else unpriced_charge()
    return Settlement(event=event, charge=charge)
