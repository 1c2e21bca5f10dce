"""Top-ups: credit that a customer buys, and the receipt for it.

Rule 1: credit is granted for money that came in, in the transaction that counts it, and never for more.
Rule 2: a top-up is no revenue: the receipt is a document of its own, and usage earns the money later.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import ClassVar, Literal

from costplus.core.errors import InvalidRequest, NotFound
from costplus.core.records import Record


class NoSuchTopUp(NotFound):
    """The top-up does not exist."""

    code = "resource_missing"


class TopUpInvalid(InvalidRequest):
    """A top-up needs one amount in the customer's currency."""

    code = "top_up_invalid"
    remedy = "Give one of amount (minor units), credits (currency units) or credit_pack."


@dataclass(frozen=True, slots=True, kw_only=True)
class TopUp(Record):
    """`amount_minor` of paid credit, and `promotional_minor` once it is paid in full (`topup_…`)."""

    KIND: ClassVar[str] = "top_up"

    customer: str
    currency: str
    amount_minor: int
    payment: str
    promotional_minor: int = 0
    credit_pack: str = ""
    pack_name: str = ""
    valid_days: int | None = None
    promotional_valid_days: int | None = None
    origin: Literal["api", "auto_recharge"] = "api"
    status: Literal["pending", "succeeded", "failed", "canceled"] = "pending"
    granted_minor: int = 0  # Of paid credit, so far.
    grants: tuple[str, ...] = ()
    promotional_grant: str = ""
    receipt: str = ""
    completed_at: datetime | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)

    @property
    def parent(self) -> str:
        return self.customer


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt(Record):
    """That `amount_minor` was received for credit: numbered without gaps, never changed (`rcpt_…`)."""

    KIND: ClassVar[str] = "receipt"
    IMMUTABLE: ClassVar[bool] = True

    number: str
    customer: str
    currency: str
    amount_minor: int
    promotional_minor: int
    description: str
    top_up: str
    payment: str
    method: str  # As people know it.
    paid_at: datetime

    @property
    def parent(self) -> str:
        return self.customer
