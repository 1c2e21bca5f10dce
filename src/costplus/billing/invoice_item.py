"""Invoice items: amounts that wait for a customer's next invoice, such as a one-off fee or a proration.

Rule 1: an item is asked for once: the draft that takes it up writes its id into the item, and gives it free
again only where that draft is deleted.
Rule 2: a credit to the customer is an item below zero; an invoice never asks for less than nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from costplus.core.errors import NotFound
from costplus.core.period import Period
from costplus.core.records import Record


class NoSuchInvoiceItem(NotFound):
    """The invoice item does not exist."""

    code = "resource_missing"


@dataclass(frozen=True, slots=True, kw_only=True)
class InvoiceItem(Record):
    """`amount_minor` for `quantity` units over `period`, for the customer's next invoice (`ii_…`)."""

    KIND: ClassVar[str] = "invoice_item"

    customer: str
    currency: str
    description: str
    amount_minor: int  # Below zero: a credit.
    period: Period  # Of one instant where the item is for no stretch of time.
    quantity: int = 1
    subscription: str = ""  # Waits for an invoice of this subscription only, where it has one.
    is_proration: bool = False
    invoice: str = ""  # The invoice that has it, or none yet.
    tax_rates: tuple[str, ...] = ()
    discountable: bool = True
    metadata: Mapping[str, str] = field(default_factory=dict)

    @property
    def parent(self) -> str:
        return self.customer
