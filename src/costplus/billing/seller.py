"""Who the seller is, as its invoices say it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from costplus.core.records import Record

SELLER = "seller"  # The id of the account's one record.


@dataclass(frozen=True, slots=True, kw_only=True)
class Seller(Record):
    """Name and address on invoices, and how they are to be paid; every text is printed as it is."""

    KIND: ClassVar[str] = "seller"

    name: str = ""
    address: tuple[str, ...] = ()  # Line by line.
    email: str = ""
    tax_id: str = ""
    payment_instructions: str = ""  # Such as a bank account, and what to name in a transfer.
    footer: str = ""
