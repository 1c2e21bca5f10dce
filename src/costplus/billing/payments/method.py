"""Payment methods: how a customer pays, by the name that the provider gave it. No card numbers are kept."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar

from costplus.core.errors import InvalidRequest, NotFound
from costplus.core.records import Record


class NoSuchPaymentMethod(NotFound):
    """The payment method does not exist, or belongs to somebody else."""

    code = "resource_missing"


class MethodDetached(InvalidRequest):
    """A payment method that was detached cannot be charged any more."""

    code = "payment_method_detached"
    remedy = "Attach it again, or name another one."


class NoPaymentMethod(InvalidRequest):
    """There is nothing that could be charged."""

    code = "invoice_no_payment_method"
    remedy = "Attach a payment method; once money has arrived in another way, send paid_out_of_band=true."


@dataclass(frozen=True, slots=True, kw_only=True)
class PaymentMethod(Record):
    """One of a customer's ways to pay (`pm_…`)."""

    KIND: ClassVar[str] = "payment_method"

    customer: str
    provider: str
    token: str
    kind: str
    label: str
    detached_at: datetime | None = None

    @property
    def parent(self) -> str:
        return self.customer
