"""Refunds: money that goes back to a customer. A credit note asks for one; a payment port carries it out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from costplus.core.errors import NotFound
from costplus.core.records import Record


class NoSuchRefund(NotFound):
    """The refund does not exist."""

    code = "resource_missing"


@dataclass(frozen=True, slots=True, kw_only=True)
class Refund(Record):
    """`amount_minor` of an invoice's payment, to be sent back (`re_…`).

    The ledger booked it from `payments` when it was made. A refund that fails puts it back as the customer's
    surplus. `payment` is whatever the port knows the payment by.
    """

    KIND: ClassVar[str] = "refund"

    customer: str
    currency: str
    amount_minor: int
    invoice: str = ""
    credit_note: str = ""
    payment: str = ""
    status: Literal["pending", "succeeded", "failed", "canceled"] = "pending"
    reason: str | None = None
    failure_reason: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)

    @property
    def parent(self) -> str:
        return self.customer
