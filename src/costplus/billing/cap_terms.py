"""Set spend caps, and say how far they are used. Verbs of an open transaction."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from costplus.billing.customer import ApiKey, Customer
from costplus.billing.hold_cap import CapState, cap_state, window_of
from costplus.billing.spend_cap import (
    CAP_SPANS,
    CapMode,
    CapReached,
    CapSpan,
    SpendCap,
    cap_id,
    cap_window_id,
)
from costplus.billing.store import Tx
from costplus.billing.watched import mark_watched, unmark_watched
from costplus.core.errors import InvalidRequest


class KeyHasNoCustomer(InvalidRequest):
    """The seller's own keys spend on behalf of many customers, so they have no caps."""

    code = "key_without_customer"
    remedy = "Cap the customers, or give each a key of its own."


@dataclass(frozen=True, slots=True, kw_only=True)
class CapTerms:
    """What a cap is to be: an amount in minor units of the customer's currency, and whether it refuses."""

    amount_minor: int
    mode: CapMode = "hard"


def set_caps(
    tx: Tx,
    customer: Customer,
    key: ApiKey | None,
    wanted: Mapping[CapSpan, CapTerms | None],
    *,
    at: datetime,
) -> None:
    """Set, change or (None) remove caps of a customer or of one of its keys; the others stay.

    `at` is the customer's present. What was spent in the running day and month counts.
    """
    subject = key.id if key else customer.id
    for span, terms in wanted.items():
        known = tx.find(SpendCap, cap_id(subject, span))
        if terms is None:
            tx.remove(SpendCap, cap_id(subject, span))
            continue
        cap = known or SpendCap(
            id=cap_id(subject, span),
            created=at,
            customer=customer.id,
            api_key=key.id if key else "",
            span=span,
            amount_minor=terms.amount_minor,
            currency=customer.currency,
        )
        tx.save(replace(cap, amount_minor=terms.amount_minor, mode=terms.mode))
        if terms.amount_minor != cap.amount_minor:  # Reaching another amount is news.
            tx.remove(CapReached, cap_window_id(cap.id, window_of(cap, customer, at)))
        mark_watched(tx, customer.id, at=at)
    unmark_watched(tx, customer.id)
    tx.touch("config")


def cap_states(tx: Tx, customer: Customer, key: ApiKey | None, *, at: datetime) -> list[CapState]:
    """Return how far the caps of a customer, or of one of its keys, are used in their windows at `at`."""
    subject = key.id if key else customer.id
    caps = (tx.find(SpendCap, cap_id(subject, span)) for span in CAP_SPANS)
    return [cap_state(tx, cap, window_of(cap, customer, at)) for cap in caps if cap is not None]
