"""Find the card version that a subscription's pin stands for."""

from __future__ import annotations

from costplus.billing.store import Tx
from costplus.billing.subscription import NotSubscribed, Pin, Subscription
from costplus.rating.rate_card import RateCardVersion


def card_of(tx: Tx, subscription: Subscription, pin: Pin) -> RateCardVersion:
    """Return the card version that a pin stands for, as it applies to its customer."""
    card = tx.find(RateCardVersion, pin.version)
    if card is None:
        raise NotSubscribed(f"Subscription {subscription.id} has no rate card version.")
    return card.for_customer(subscription.customer, pin.adjustment) if pin.adjustment else card
