"""Invoice numbers: a series without gaps for the account or for each customer, begun anew yearly or not."""

from __future__ import annotations

import hashlib
from datetime import datetime

from costplus.billing.invoice_policy import InvoicePolicy

DIGITS = 8


def number_of(
    policy: InvoicePolicy, *, customer: str, own_prefix: str | None, at: datetime
) -> tuple[str, str]:
    """Return the series that the next number comes from and what is written before it.

    A customer without a prefix of its own has one that follows from its id.
    """
    series, prefix = "invoice", policy.number_prefix
    if policy.number_scope == "customer":
        digest = hashlib.sha256(customer.encode()).hexdigest()
        series, prefix = f"invoice/{customer}", own_prefix or digest[:DIGITS].upper()
    if policy.number_yearly:
        series, prefix = f"{series}/{at:%Y}", f"{prefix}-{at:%Y}"
    return series, prefix
