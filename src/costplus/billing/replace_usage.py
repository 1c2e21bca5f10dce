"""Replace an estimate by the truth: what a call really used may be known later, from the provider.

Rule 1: nothing is changed: the estimate is taken back by a reversal, as a canceled event is, and the truth is
an event of its own at the same instant, whose id follows from the estimate's.
Rule 2: it is charged under the card and at the prices of the call's own time.
Rule 3: the same truth again changes nothing; another one is refused, and so is what the provider counted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime

from costplus.billing.cancel_event import take_back
from costplus.billing.pinned import card_of
from costplus.billing.rerate import rate_used
from costplus.billing.settle import Settlement, billed_by, settle
from costplus.billing.store import ChargedEvent, Tx
from costplus.catalog.price import ModelUnpriced
from costplus.core.errors import Conflict, InvalidRequest
from costplus.core.ids import event_id
from costplus.core.usage import usage_of
from costplus.metering.event import UsageEvent
from costplus.rating.charge import unpriced_charge
from costplus.rating.pricing import Prices

REPLACES_ESTIMATE = "replaces_estimate"  # Flag: the provider's counts, which came after an estimate.


class UsageNotEstimated(InvalidRequest):
    """The event has the provider's own counts: there is nothing to replace."""

    code = "usage_not_estimated"
    remedy = "Replace events whose flags say `estimated`."


class UsageReplaced(Conflict):
    """The estimate was replaced by other counts before."""

    code = "usage_already_replaced"
    remedy = "Correct what remains with a credit grant or an invoice item."


def replace_usage(
    tx: Tx, pricing: Prices, estimate: ChargedEvent, quantities: Mapping[str, int], *, at: datetime
) -> ChargedEvent:
    """Charge what an estimated event really used instead of the estimate; return the event that says so."""
    event = estimate.event
    if not event.usage.is_estimated or event.is_correction:
        raise UsageNotEstimated(f"The usage of '{event.id}' is not an estimate.", param="id")
    tx.balance_for_update(event.customer)
    truth = _truth(event, quantities)
    known = tx.charge_of(event.customer, truth.id)
    if known is not None:
        if known.event.usage != truth.usage:
            raise UsageReplaced(f"The estimate '{event.id}' was replaced by other counts.", param="id")
        return known
    take_back(tx, event, at=at)
    subscription = billed_by(tx, event.customer, at=event.at)
    card = card_of(tx, subscription, subscription.pin_at(event.at))
    try:
        charge = rate_used(truth, pricing=pricing, card=card)
    except ModelUnpriced:
        charge = unpriced_charge()
    settle(tx, [Settlement(event=truth, charge=charge)], at=at)
    made = tx.charge_of(event.customer, truth.id)
    assert made is not None  # It was settled just now.
    return made


def _truth(event: UsageEvent, quantities: Mapping[str, int]) -> UsageEvent:
    key = f"truth:{event.id}"
    return replace(
        event,
        id=event_id(at=event.at, customer=event.customer, key=key),
        key=key,
        usage=usage_of(quantities, flags=[REPLACES_ESTIMATE]),
        source="gateway",
        raw_usage="",
    )
