"""Find the card version that a subscription's pin stands for."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Literal

from costplus.billing.store import Tx
from costplus.billing.subscription import NotSubscribed, Pin, Subscription
from costplus.core.usage import LEAVES
from costplus.rating.rate_card import FixedPrice, RateCardVersion, adjustment

OWN, FREE = "~", "free"  # What follows a version's id where it does not apply as it is.
KINDS: tuple[Literal["markup", "margin"], ...] = ("markup", "margin")


def card_of(tx: Tx, subscription: Subscription, pin: Pin) -> RateCardVersion:
    """Return the card version that a pin stands for, as it applies to its customer."""
    card = tx.find(RateCardVersion, pin.version)
    if card is None:
        raise NotSubscribed(f"Subscription {subscription.id} has no rate card version.")
    if pin.usage == "free":
        return free_of_charge(card)
    return card.for_customer(subscription.customer, pin.adjustment) if pin.adjustment else card


def card_named(tx: Tx, id: str, *, customer: str) -> RateCardVersion | None:
    """Return the card version that a rate names, as it applied to the customer; None where there is none."""
    version, _, own = id.partition(OWN)
    card = tx.find(RateCardVersion, version)
    if card is None or not own:
        return card
    if own == FREE:
        return free_of_charge(card)
    for kind in KINDS:
        if own.startswith(kind):
            return card.for_customer(customer, adjustment(kind, Decimal(own.removeprefix(kind))))
    return None


def free_of_charge(card: RateCardVersion) -> RateCardVersion:
    """Return the card with nothing to pay for anything on it, as in a free trial."""
    nothing = FixedPrice(Decimal(0), 1)
    free = dict.fromkeys(LEAVES, nothing)
    return replace(
        card,
        id=f"{card.id}{OWN}{FREE}",
        fixed=free,
        fallback=dict.fromkeys(card.fallback, nothing),
        floor_margin_percent=None,
        own_key_fee_percent=Decimal(0),
        items={},
    )
