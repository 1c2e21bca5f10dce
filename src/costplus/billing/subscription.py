"""Subscriptions: a customer on a plan, its card version pinned, its periods counted from an anchor.

Rule 1: period `ordinal` is `[anchor + ordinal months, anchor + (ordinal + 1) months)`.
Rule 2: usage belongs to the period of its own time; once that period's invoice is final, to the open one.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar, Literal

from costplus.core.errors import InvalidRequest
from costplus.core.period import Period, monthly_period
from costplus.core.records import Record


class NotSubscribed(InvalidRequest):
    """The customer has no subscription whose rate card could price its usage."""

    code = "customer_not_subscribed"
    remedy = "Run POST /v1/token_billing/onboarding/init first; customers are then subscribed to its plan."


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscription(Record):
    """`ordinal` is the period that is open; periods below `finalized_until` have their final invoice."""

    KIND: ClassVar[str] = "subscription"

    customer: str
    plan: str
    rate_card_version: str
    anchor: datetime
    ordinal: int = 0
    finalized_until: datetime
    status: Literal["active", "canceled"] = "active"

    @property
    def parent(self) -> str:
        return self.customer

    @property
    def period(self) -> Period:
        """The open period."""
        return monthly_period(self.anchor, self.ordinal)

    def billed_in(self, at: datetime) -> Period:
        """Return the period whose invoice asks for usage at `at`.

        Usage from before the anchor, or from a period already invoiced, falls to the first one that is not.
        """
        bound = max(at, self.finalized_until)
        ordinal = self.ordinal
        while ordinal > 0 and bound < monthly_period(self.anchor, ordinal).start:
            ordinal -= 1
        while bound >= monthly_period(self.anchor, ordinal).end:
            ordinal += 1
        return monthly_period(self.anchor, ordinal)
