"""The account's rules for invoices: `/v1/token_billing/invoice_policy`."""

from __future__ import annotations

import re
from dataclasses import replace

from costplus.billing.invoice_policy import LATE_USAGE, InvalidInvoicePolicy, InvoicePolicy
from costplus.billing.levy import policy_of
from costplus.billing.store import Tx
from costplus.web.api.invoice_params import tax_rates_of
from costplus.web.call import Call, get, post

PATH = "/v1/token_billing/invoice_policy"
_PREFIX = re.compile(r"[A-Z0-9]{1,12}")
_CHOICES = {
    "rounding": ("down", "line_half_up"),
    "late_usage": LATE_USAGE,
    "number_scope": ("account", "customer"),
    "collection_method": ("send_invoice", "charge_automatically"),
    "tax_scope": ("invoice", "line"),
    "tax_rounding": ("half_up", "down"),
}
_FLAGS = ("number_yearly", "tax_by_address", "credit_before_tax")


def retrieve(tx: Tx, call: Call) -> InvoicePolicy:
    """Return the rules by which invoices are made."""
    return policy_of(tx)


def update(tx: Tx, call: Call) -> InvoicePolicy:
    """Change the rules for invoices that become final from now on."""
    params, policy = call.params, policy_of(tx)
    changes: dict[str, object] = {}
    for name, options in _CHOICES.items():
        if (choice := params.choice(name, options)) is not None:
            changes[name] = choice
    for name in _FLAGS:
        if (flag := params.flag(name)) is not None:
            changes[name] = flag
    if (prefix := params.text("number_prefix")) is not None:
        if not _PREFIX.fullmatch(prefix):
            raise InvalidInvoicePolicy(
                f"Invalid prefix: '{prefix}'.",
                param="number_prefix",
                remedy="Give 1 to 12 capital letters and digits.",
            )
        changes["number_prefix"] = prefix
    if "days_until_due" in params:
        changes["days_until_due"] = params.integer("days_until_due", most=365)
    if "upcoming_days" in params:
        changes["upcoming_days"] = params.integer("upcoming_days", most=27) or 0
    if "footer" in params:
        changes["footer"] = params.text("footer")
    if "default_tax_rates" in params:
        changes["default_tax_rates"] = tax_rates_of(tx, params, "default_tax_rates")
    policy = replace(policy, **changes)  # type: ignore[arg-type]  # Its own fields.
    tx.save(policy)
    return policy


ENDPOINTS = (
    get(PATH, retrieve),
    post(PATH, update),
)
