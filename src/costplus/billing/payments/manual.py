"""Bank transfers and cash: a payment waits until a person says that the money is there."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

from costplus.billing.payments.base import (
    CallbackRefused,
    MethodFacts,
    MethodRefused,
    Notice,
    Order,
    Outcome,
    RefundOrder,
)

MANUAL = "manual"
TOKENS = {"bank_transfer": "Bank transfer", "cash": "Cash"}


class ManualPayments:
    """Satisfies `PaymentPort`: nothing happens by itself, and nothing expires."""

    name = MANUAL
    patience: timedelta | None = None

    async def describe(self, token: str) -> MethodFacts:
        if token not in TOKENS:
            raise MethodRefused(f"'{token}' is no way to pay by hand; there are {', '.join(TOKENS)}.")
        return MethodFacts(kind=token, label=TOKENS[token])

    async def start(self, order: Order) -> Outcome:
        return Outcome(status="processing", charge=order.reference)

    async def look_up(self, order: Order) -> Outcome:
        return Outcome(status="processing", charge=order.reference)

    async def cancel(self, order: Order) -> Outcome:
        return Outcome(status="canceled", charge=order.reference)

    async def refund(self, order: RefundOrder) -> Outcome:
        """Record that the seller sends the money back."""
        return Outcome(
            status="succeeded", charge=order.key, amount_minor=order.amount_minor, currency=order.currency
        )

    def verify(self, headers: Mapping[str, str], body: bytes, *, at: datetime) -> Notice:
        raise CallbackRefused("Nobody calls back about payments by hand.")
