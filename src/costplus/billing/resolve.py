"""Resolve unpriced usage: once a price is known, charge it, and take back what was charged meanwhile.

Rule 1: the real charge is a usage event of its own (`metering.event.rerated`), settled like any other; its
id follows from the event that it charges, so it can be there once only. The event itself stays as it is.
Rule 2: usage of a period that is open is taken back by a reversal, an event with every figure negated: the
period's sums are then those of the real charge. Once the period's invoice is final it is not touched: what
it asked for comes back as credit, and the real charge is asked for by the invoice that is open.
Rule 3: usage is rated under the card of its own time. A reported model that the card does not sell stays
open; a call was let in already.
Rule 4: an entry is resolved in the transaction that settles it, or not at all.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from costplus.billing.clock import frozen_time
from costplus.billing.customer import Customer
from costplus.billing.enqueue import count_unpriced
from costplus.billing.notify import announce, cross
from costplus.billing.pinned import card_of
from costplus.billing.rerate import rate_priced
from costplus.billing.settle import Settlement, billed_by, settle
from costplus.billing.store import ChargedEvent, Tx
from costplus.billing.unpriced import UnpricedModel, UnpricedUsage, WaitingUsage, correction_grant, lifts
from costplus.catalog.load import every
from costplus.catalog.price import ModelUnpriced
from costplus.core.ids import CustomerId
from costplus.ledger.post import grant_credit
from costplus.metering.event import rerated, reversed_event
from costplus.rating.charge import NOT_ON_CARD, Charge, reversal_of
from costplus.rating.pricing import Pricing
from costplus.rating.rate_card import ModelNotOnCard, RateCardVersion

BATCH = 200  # Entries a transaction: it must not keep calls waiting for long.


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolved:
    """How many entries were resolved, what they are charged now and were before, and how many still wait."""

    count: int
    price_nano: int
    previous_nano: int
    still_open: int


@dataclass(frozen=True, slots=True)
class Resolution:
    """An entry that can be priced now: its event with the old charge, and the real one."""

    entry: UnpricedUsage
    original: ChargedEvent
    charge: Charge


def resolve(
    tx: Tx,
    pricing: Pricing,
    *,
    at: datetime,
    provider: str | None = None,
    model: str | None = None,
    limit: int = BATCH,
) -> Resolved:
    """Resolve up to `limit` entries that can be priced now, of one provider or model or of all."""
    found = priceable(tx, pricing, provider=provider, model=model, limit=limit)
    by_customer: dict[CustomerId, list[Resolution]] = defaultdict(list)
    for resolution in found:
        by_customer[resolution.original.event.customer].append(resolution)
    for customer in sorted(by_customer):
        _resolve_customer(tx, by_customer[customer], at=at)
    done = Counter((item.entry.provider, item.entry.model) for item in found)
    for name, count in done.items():
        count_unpriced(tx, name, waiting=-count, at=at)
    return summary(tx, found, provider=provider, model=model)


def summary(
    tx: Tx, found: Sequence[Resolution], *, provider: str | None = None, model: str | None = None
) -> Resolved:
    """Return the sums of what was resolved, or could be, with what waits at this moment."""
    return Resolved(
        count=len(found),
        price_nano=sum(item.charge.price_nano for item in found),
        previous_nano=sum(item.original.charge.price_nano for item in found),
        still_open=sum(known.waiting for known in _models(tx, provider, model)),
    )


def priceable(
    tx: Tx, pricing: Pricing, *, provider: str | None = None, model: str | None = None, limit: int = BATCH
) -> list[Resolution]:
    """Return up to `limit` waiting entries that can be priced now, with what they are worth. Only reads."""
    cards = _Cards(tx)
    found: list[Resolution] = []
    for known in list(_models(tx, provider, model)):
        if not pricing.catalogue.knows(known.provider, known.model):
            continue
        for waiting in every(tx, WaitingUsage, parent=known.id):
            if len(found) == limit:
                return found
            resolution = _resolution(tx, waiting, pricing=pricing, cards=cards)
            if resolution is not None:
                found.append(resolution)
    return found


def entries_seen(tx: Tx) -> int:
    """Return how many entries the queue ever had: while that and the prices stay, nothing can be resolved."""
    return sum(known.seen for known in every(tx, UnpricedModel))


def _models(tx: Tx, provider: str | None, model: str | None) -> Iterator[UnpricedModel]:
    for known in every(tx, UnpricedModel):
        if known.waiting and provider in (None, known.provider) and model in (None, known.model):
            yield known


class _Cards:
    """The card versions that priced usage at its own time, each read once."""

    def __init__(self, tx: Tx) -> None:
        self._tx = tx
        self._found: dict[tuple[str, str], RateCardVersion] = {}

    def of(self, charged: ChargedEvent) -> RateCardVersion:
        event = charged.event
        subscription = billed_by(self._tx, event.customer)
        pin = subscription.pin_at(event.at)
        key = (subscription.id, f"{pin.version}{pin.adjustment}")
        if key not in self._found:
            self._found[key] = card_of(self._tx, subscription, pin)
        return self._found[key]


def _resolution(tx: Tx, waiting: WaitingUsage, *, pricing: Pricing, cards: _Cards) -> Resolution | None:
    """Return what the entry is worth, or None where that cannot be known yet."""
    entry = tx.find(UnpricedUsage, waiting.id)
    original = tx.charge_of(waiting.customer, waiting.id)
    assert entry is not None and original is not None  # They were written together.
    event, card = original.event, cards.of(original)
    try:
        if NOT_ON_CARD in entry.leaves:
            priced = pricing.sold(event.provider, event.model, card=card, at=event.at)
        else:
            priced = pricing.used(event.provider, event.model, card=card, at=event.at)
            if not event.is_one_request:
                card.check_sells(provider=priced.name.provider, model=priced.name.model)
    except (ModelUnpriced, ModelNotOnCard):
        return None
    charge = rate_priced(event, priced)
    return Resolution(entry, original, charge) if lifts(charge, entry.leaves) else None


def _resolve_customer(tx: Tx, resolutions: Sequence[Resolution], *, at: datetime) -> None:
    """Settle one customer's resolutions together, and close their entries."""
    event = resolutions[0].original.event
    record = tx.find(Customer, event.customer)
    assert record is not None  # Its usage was settled.
    finalized_until = billed_by(tx, event.customer, at=event.at).finalized_until
    is_final = {item.entry.id: item.original.billed_at < finalized_until for item in resolutions}
    credited = [item for item in resolutions if is_final[item.entry.id]]
    taken_back = _credit(tx, credited, record, at=frozen_time(tx, record) or at)
    settlements: list[Settlement] = []
    for item in resolutions:
        old = item.original.charge
        if is_final[item.entry.id]:  # Its price comes back as credit; what it cost is counted once.
            reversal = Charge(price_nano=0, cost_nano=-old.cost_nano, lines=())
        else:
            reversal = reversal_of(old)
        if reversal.price_nano or reversal.cost_nano or reversal.lines:
            back = reversed_event(item.original.event)
            settlements.append(Settlement(event=back, charge=reversal, reverses=item.original.transaction))
            taken_back.setdefault(item.entry.id, back.id)
        settlements.append(Settlement(event=rerated(item.original.event), charge=item.charge))
    settle(tx, settlements, at=at)
    for item in resolutions:
        _close(tx, item, taken_back.get(item.entry.id, ""), at=at)


def _credit(tx: Tx, resolutions: Sequence[Resolution], customer: Customer, *, at: datetime) -> dict[str, str]:
    """Give back as credit what final invoices asked for: one grant a model, named after its first event.

    Returns the grant's id by that of the entry.
    """
    by_model: dict[str, list[Resolution]] = defaultdict(list)
    for item in resolutions:
        if item.original.charge.price_nano:
            by_model[item.entry.parent].append(item)
    given: dict[str, str] = {}
    for items in by_model.values():
        first = min(items, key=lambda item: item.entry.id)
        grant = correction_grant(
            first.original.event,
            id=first.entry.id,
            nano=sum(item.original.charge.price_nano for item in items),
            currency=customer.currency,
            at=at,
        )
        crossing = grant_credit(tx, grant, at=at)
        announce(tx, "billing.credit_grant.created", grant, at=at)
        cross(tx, crossing, currency=customer.currency, at=at)
        given.update((item.entry.id, grant.id) for item in items)
    return given


def _close(tx: Tx, item: Resolution, taken_back: str, *, at: datetime) -> None:
    tx.save(
        replace(
            item.entry,
            resolved_at=at,
            resolved_nano=item.charge.price_nano,
            adjustment=rerated(item.original.event).id,
            taken_back=taken_back,
        )
    )
    tx.remove(WaitingUsage, item.entry.id)
