"""Refunds of payments: money that goes back the way it came.

Rule 1: what pays for a refund is taken before the provider is asked, and given back where it refuses.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import ClassVar, Literal

from costplus.core.errors import InvalidRequest
from costplus.core.records import Record


class RefundTooLarge(InvalidRequest):
    """More is to go back than is there to give."""

    code = "refund_exceeds_payment"
    remedy = "Refund at most what was received and not refunded, and of a top-up what was not spent."


@dataclass(frozen=True, slots=True, kw_only=True)
class PaymentRefund(Record):
    """`amount_minor` of a payment on its way back (`re_…`). `from_grants`: what credit it took, in nanos."""

    KIND: ClassVar[str] = "payment_refund"

    customer: str
    payment: str
    amount_minor: int
    currency: str
    charge: str
    status: Literal["pending", "succeeded", "failed"] = "pending"
    from_surplus_minor: int = 0
    from_revenue_minor: int = 0
    from_grants: dict[str, int] = field(default_factory=dict)
    is_booked: bool = False  # By the credit note that it carries out: what pays for it was taken then.
    failure_code: str = ""
    ended_at: datetime | None = None

    @property
    def parent(self) -> str:
        return self.payment
