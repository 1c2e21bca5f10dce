"""What a subscription says about its invoices: thresholds, terms of payment, tax rates, grace, late usage."""

from __future__ import annotations

from dataclasses import replace

from costplus.billing.invoice_policy import GRACE_MAX_S, LATE_USAGE
from costplus.billing.store import Tx
from costplus.billing.subscription import Subscription
from costplus.billing.threshold import THRESHOLD_MIN_MINOR, InvalidThreshold
from costplus.web.api.invoice_params import AMOUNT_MAX, tax_rates_of
from costplus.web.params import Params

METHODS = ("send_invoice", "charge_automatically")


def with_invoice_terms(tx: Tx, params: Params, subscription: Subscription) -> Subscription:
    """Return the subscription with what the request says about its invoices."""
    changes: dict[str, object] = {}
    if "billing_thresholds" in params:
        if params.is_unset("billing_thresholds"):
            changes |= {"threshold_minor": 0, "threshold_resets_anchor": False}
        else:
            level = params.within("billing_thresholds")
            amount = level.required_integer("amount_gte", most=AMOUNT_MAX)
            if amount < THRESHOLD_MIN_MINOR:
                raise InvalidThreshold(
                    f"A threshold of {amount} is too low.", param="billing_thresholds[amount_gte]"
                )
            resets = level.flag("reset_billing_cycle_anchor") or False
            changes |= {"threshold_minor": amount, "threshold_resets_anchor": resets}
    if (method := params.choice("collection_method", METHODS)) is not None:
        changes["collection_method"] = method
    if "days_until_due" in params:
        changes["days_until_due"] = params.integer("days_until_due", most=365)
    if "default_tax_rates" in params:
        changes["default_tax_rates"] = tax_rates_of(tx, params, "default_tax_rates")
    if "invoice_grace_seconds" in params:
        changes["invoice_grace_s"] = params.integer("invoice_grace_seconds", most=GRACE_MAX_S)
    if "late_usage" in params:
        changes["late_usage"] = params.choice("late_usage", LATE_USAGE)
    return replace(subscription, **changes)  # type: ignore[arg-type]  # Its own fields.
