"""The account's rules for invoices: numbers, rounding, tax, late usage, terms of payment.

One record; what is not set is Stripe's way where Stripe has one, and exact where it rounds too early.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from costplus.billing.invoice import Rounding
from costplus.core.errors import InvalidRequest
from costplus.core.records import Record

POLICY_ID = "invpol_account"
LateUsage = Literal["next_invoice", "write_off"]
LATE_USAGE: tuple[LateUsage, ...] = ("next_invoice", "write_off")
GRACE_MAX_S = 72 * 3600


class InvalidInvoicePolicy(InvalidRequest):
    """A rule for invoices that cannot be."""

    code = "invoice_policy_invalid"


@dataclass(frozen=True, slots=True, kw_only=True)
class InvoicePolicy(Record):
    """How invoices are made.

    `credit_before_tax`: prepaid credit lessens what is taxed (Stripe's order). Switched off, usage is taxed
    whoever pays it, and credit comes off afterwards.
    """

    KIND: ClassVar[str] = "invoice_policy"

    rounding: Rounding = "down"
    late_usage: LateUsage = "next_invoice"
    number_prefix: str = "CP"
    number_scope: Literal["account", "customer"] = "account"
    number_yearly: bool = False
    collection_method: Literal["send_invoice", "charge_automatically"] = "send_invoice"
    days_until_due: int | None = None
    footer: str | None = None
    default_tax_rates: tuple[str, ...] = ()
    tax_by_address: bool = False  # Rates apply to customers by country and state.
    tax_scope: Literal["invoice", "line"] = "invoice"
    tax_rounding: Literal["half_up", "down"] = "half_up"
    credit_before_tax: bool = True
    upcoming_days: int = 0  # So many days before a period ends, `invoice.upcoming` tells of it; 0: never.
