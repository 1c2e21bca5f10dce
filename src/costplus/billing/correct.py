"""Report what a price that was learned late means for usage booked in between; nothing is rated again."""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime

from costplus.billing.correction import CorrectionLine, PriceCorrection
from costplus.billing.notify import announce
from costplus.billing.rerate import rate_again
from costplus.billing.store import ChargedEvent, Tx
from costplus.billing.terms import card_of
from costplus.billing.weigh import charged_with, users_of
from costplus.catalog.book import PriceChange
from costplus.catalog.price import ModelUnpriced, PriceVersion
from costplus.core.ids import new_id
from costplus.rating.charge import Charge
from costplus.rating.pricing import Pricing
from costplus.rating.supposed import Supposed

Pair = tuple[ChargedEvent, Charge, Charge]  # As booked, as it was, as it could have been.


def correction_report(
    tx: Tx, pricing: Pricing, change: PriceChange, *, at: datetime
) -> PriceCorrection | None:
    """Keep and announce what an applied change means for usage between its effect and its detection.

    None where it was learned in time or nobody used the model. The same change again returns its report.
    """
    known = tx.find_by_lookup(PriceCorrection, change.id)
    new = pricing.catalogue.price_version(change.new_version)
    if known is not None or new is None or new.valid_from >= new.recorded_at:
        return known
    pairs, unrated = _rated_again(tx, pricing, new, at=at)
    if not pairs:
        return None
    report = PriceCorrection(
        id=new_id("pcor", at=at),
        created=at,
        change=change.id,
        provider=change.provider,
        model=change.model,
        effective_at=new.valid_from,
        detected_at=new.recorded_at,
        lines=tuple(
            CorrectionLine(
                customer=customer,
                rate_card=card,
                events=len(entries),
                cost_booked_nano=sum(entry.charge.cost_nano for entry, _, _ in entries),
                cost_right_nano=sum(right.cost_nano for _, right, _ in entries),
                price_booked_nano=sum(entry.charge.price_nano for entry, _, _ in entries),
                price_followed_nano=sum(could_be.price_nano for _, _, could_be in entries),
            )
            for (card, customer), entries in sorted(pairs.items(), key=lambda pair: pair[0])
        ),
        unrated=unrated,
    )
    tx.save(report)
    announce(tx, "price.correction_reported", report, at=at)
    return report


def _rated_again(
    tx: Tx, pricing: Pricing, new: PriceVersion, *, at: datetime
) -> tuple[dict[tuple[str, str], list[Pair]], int]:
    """Return per card and customer each event of the late days with what it cost and could have sold for."""
    followed = Supposed(pricing, new, at=at, basis=new)
    pairs: dict[tuple[str, str], list[Pair]] = defaultdict(list)
    unrated = 0
    start, end, provider, model = new.valid_from, new.recorded_at, new.provider, new.model
    for customer, subscription, _ in users_of(tx, start, provider=provider, model=model, at=at):
        for entry in charged_with(tx, customer.id, start, end, provider=provider, model=model):
            card = card_of(tx, subscription, subscription.pin_at(entry.event.at))
            try:
                right = rate_again(entry, pricing=pricing, card=card)
                could_be = rate_again(entry, pricing=followed, card=card)
            except ModelUnpriced:
                unrated += 1
                continue
            pairs[card.rate_card, customer.id].append((entry, right, could_be))
    return pairs, unrated
