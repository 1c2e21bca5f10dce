"""Report what a price that was learned late means for usage booked in between; nothing is rated again.

Rule 1: the report is worked out in a reading transaction, however much usage there is, and kept in another.
Rule 2: a change has one report.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from costplus.billing.correction import CorrectionLine, PriceCorrection
from costplus.billing.notify import announce
from costplus.billing.pinned import card_of
from costplus.billing.rerate import rate_again
from costplus.billing.store import Tx
from costplus.billing.weigh import charged_with, users_of
from costplus.catalog.book import PriceChange
from costplus.catalog.load import every
from costplus.catalog.price import ModelUnpriced, PriceVersion
from costplus.core.ids import new_id
from costplus.rating.pricing import Pricing
from costplus.rating.supposed import Supposed


@dataclass(slots=True)
class _Sums:
    """One customer's usage of the late days on one card: as booked, as it was, as it could have sold."""

    events: int = 0
    cost_booked_nano: int = 0
    cost_right_nano: int = 0
    price_booked_nano: int = 0
    price_followed_nano: int = 0


def uncorrected(tx: Tx) -> Sequence[PriceChange]:
    """Return the applied changes that were learned after they took effect and have no report yet."""
    reported = {correction.change for correction in every(tx, PriceCorrection)}
    return [
        change
        for change in every(tx, PriceChange)
        if change.status == "applied"
        and change.kind != "new_model"
        and change.decided_at is not None
        and change.effective_at < change.decided_at
        and change.id not in reported
    ]


def correction_of(tx: Tx, pricing: Pricing, change: PriceChange, *, at: datetime) -> PriceCorrection | None:
    """Return what an applied change means for usage between its effect and its detection.

    None where it was learned in time.
    """
    new = pricing.catalogue.price_version(change.new_version)
    if new is None or new.valid_from >= new.recorded_at:
        return None
    sums, unrated = _late_usage(tx, pricing, new, at=at)
    return PriceCorrection(
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
                events=sum.events,
                cost_booked_nano=sum.cost_booked_nano,
                cost_right_nano=sum.cost_right_nano,
                price_booked_nano=sum.price_booked_nano,
                price_followed_nano=sum.price_followed_nano,
            )
            for (card, customer), sum in sorted(sums.items(), key=lambda pair: pair[0])
        ),
        unrated=unrated,
    )


def keep_correction(tx: Tx, report: PriceCorrection, *, at: datetime) -> PriceCorrection:
    """Keep a change's report, and announce it where it is about any usage; the first one stays."""
    known = tx.find_by_lookup(PriceCorrection, report.lookup)
    if known is not None:
        return known
    tx.save(report)
    if report.lines or report.unrated:
        announce(tx, "price.correction_reported", report, at=at)
    return report


def _late_usage(
    tx: Tx, pricing: Pricing, new: PriceVersion, *, at: datetime
) -> tuple[dict[tuple[str, str], _Sums], int]:
    """Return the sums per card and customer, and how many events fit no price."""
    followed = Supposed(pricing, new, at=at, basis=new)
    sums: dict[tuple[str, str], _Sums] = defaultdict(_Sums)
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
            found = sums[card.rate_card, customer.id]
            found.events += 1
            found.cost_booked_nano += entry.charge.cost_nano
            found.cost_right_nano += right.cost_nano
            found.price_booked_nano += entry.charge.price_nano
            found.price_followed_nano += could_be.price_nano
    return sums, unrated
