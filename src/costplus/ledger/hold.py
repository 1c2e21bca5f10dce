"""Holds: credit set aside before a call, and leases: holds that a gateway process parcels out itself.

Rule 1: placed → captured | released | expired, once.
Rule 2: a capture may exceed its hold (the rest is owed) and may come after expiry (it is still booked).
Rule 3: Σ placed holds of a customer ≤ its credit when each was placed, so no cent is promised twice.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from costplus.core.errors import PaymentRequired
from costplus.core.ids import CustomerId, HoldId
from costplus.ledger.scope import Subject

HoldState = Literal["placed", "captured", "released", "expired"]


class InsufficientCredit(PaymentRequired):
    """The customer's available credit does not cover the hold. Only `web` and `gateway` know the 402."""

    code = "customer_credit_exhausted"
    remedy = "Add credit with POST /v1/billing/credit_grants, or let the customer run into overage."


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """`amount_nano` of a customer's credit, reserved until captured, released or expired."""

    id: HoldId
    customer: CustomerId
    kind: Literal["request", "lease"]
    owner: str  # The gateway process that placed it.
    amount_nano: int
    placed_at: datetime
    expires_at: datetime
    state: HoldState = "placed"
    captured_nano: int = 0
    subject: str = ""  # The `provider/model` that it is for; empty where credit for any usage was reserved.

    @property
    def usage(self) -> Subject:
        """What it may be captured for."""
        provider, _, model = self.subject.partition("/")
        return Subject(provider=provider, model=model)
