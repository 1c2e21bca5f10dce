"""Credit: grants, movements and summaries."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Literal

from costplus.billing.movement import Movement
from costplus.billing.pricing_unit import PricingUnit
from costplus.ledger.grant import Grant
from costplus.ledger.scope import Scope
from costplus.ledger.transaction import Kind
from costplus.web.objects.wire import (
    JsonObject,
    Surroundings,
    cut_decimal,
    minor,
    monetary,
    plain,
    unix,
    unix_or_none,
)

DebitType = Literal["credits_applied", "credits_expired", "credits_voided"]
_DEBITS: Mapping[Kind, DebitType] = {
    "grant_expiry": "credits_expired",
    "grant_rollover": "credits_expired",  # It goes on in a grant of its own.
    "grant_void": "credits_voided",
}


def scope_object(scope: Scope) -> JsonObject:
    """Return what a grant pays for: in Stripe's words, and in ours where they say more."""
    if scope.is_all:
        return {"price_type": "metered"}
    ours = {
        name: list(names)
        for name, names in (
            ("meters", scope.meters),
            ("providers", scope.providers),
            ("models", scope.models),
            ("token_types", scope.token_types),
        )
        if names
    }
    if scope.prices:
        return {"prices": [{"id": id} for id in scope.prices], **ours}
    return {"price_type": "metered", **ours}


def _amount(grant: Grant) -> JsonObject:
    """Return what a grant was given in: money, or custom pricing units with what they were worth."""
    money = monetary(grant.minor_amount, currency=grant.currency)
    if not grant.unit:
        return money
    units = {"id": grant.unit, "value": grant.unit_amount}
    return money | {"custom_pricing_unit": units, "type": "custom_pricing_unit"}


def grant_object(grant: Grant, surroundings: Surroundings) -> JsonObject:
    """Return a credit grant as Stripe writes it."""
    return {
        "id": grant.id,
        "object": "billing.credit_grant",
        "amount": _amount(grant),
        "applicability_config": {"scope": scope_object(grant.scope)},
        "category": grant.category,
        "created": unix(grant.created),
        "customer": grant.customer,
        "customer_account": None,
        "effective_at": unix(grant.effective_at),
        "expires_at": unix_or_none(grant.expires_at),
        "livemode": surroundings.livemode,
        "metadata": plain(grant.metadata),
        "name": grant.name or None,
        "priority": grant.priority,
        "test_clock": None,
        "updated": unix(grant.updated or grant.created),
        "voided_at": unix_or_none(grant.voided_at),
    }


def movement_object(movement: Movement, surroundings: Surroundings) -> JsonObject:
    """Return a movement as Stripe writes it: billing.credit_balance_transaction."""
    # Usage can be taken back, and so little that no minor unit moves.
    is_credit = movement.kind in ("grant", "invoice_void") or movement.nano_change > 0
    amount = monetary(abs(movement.minor_change), currency=movement.currency)
    if movement.unit:
        units = {"id": movement.unit, "value": movement.unit_change.removeprefix("-")}
        amount |= {"custom_pricing_unit": units, "type": "custom_pricing_unit"}
    named = {"invoice": movement.invoice, "invoice_line_item": movement.invoice_line}
    is_back = movement.kind == "invoice_void"
    added = {
        "amount": amount,
        "credits_application_invoice_voided": named if is_back else None,
        "type": "credits_application_invoice_voided" if is_back else "credits_granted",
    }
    taken = {
        "amount": amount,
        "credits_applied": named if movement.invoice else None,
        "type": _DEBITS.get(movement.kind, "credits_applied"),
    }
    return {
        "id": movement.id,
        "object": "billing.credit_balance_transaction",
        "created": unix(movement.created),
        "credit": added if is_credit else None,
        "credit_grant": movement.grant,
        "debit": None if is_credit else taken,
        "effective_at": unix(movement.created),
        "livemode": surroundings.livemode,
        "test_clock": None,
        "type": "credit" if is_credit else "debit",
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class CreditSummary:
    """A customer's credit: all of it, and what calls in flight have not reserved.

    `ledger_nano` counts grants that have ended, or not begun, only as far as the ledger has not booked that.
    `units` is the same in custom pricing units, by unit: (ledger, available), exact.
    """

    customer: str
    currency: str
    ledger_nano: int
    available_nano: int
    units: Mapping[str, tuple[Fraction, Fraction]] = field(default_factory=dict)


def credit_summary_object(summary: CreditSummary, surroundings: Surroundings) -> JsonObject:
    """Return a summary as Stripe writes it; whole minor units, rounded down."""
    currency = summary.currency

    def shown(nano: int) -> JsonObject:
        return monetary(minor(max(nano, 0), currency=currency), currency=currency)

    def counted(unit: str, units: Fraction) -> JsonObject:
        value = {"id": unit, "value": cut_decimal(max(units, Fraction(0)))}
        return {"custom_pricing_unit": value, "type": "custom_pricing_unit"}

    return {
        "object": "billing.credit_balance_summary",
        "balances": [
            {
                "available_balance": shown(summary.available_nano),
                "ledger_balance": shown(summary.ledger_nano),
            },
            *(
                {"available_balance": counted(unit, free), "ledger_balance": counted(unit, all_of_it)}
                for unit, (all_of_it, free) in summary.units.items()
            ),
        ],
        "customer": summary.customer,
        "customer_account": None,
        "livemode": surroundings.livemode,
    }


def pricing_unit_object(unit: PricingUnit, surroundings: Surroundings) -> JsonObject:
    """Return a custom pricing unit with its rates, oldest first."""
    return {
        "id": unit.id,
        "object": "token_billing.custom_pricing_unit",
        "active": unit.active,
        "created": unix(unit.created),
        "display_name": unit.display_name,
        "livemode": surroundings.livemode,
        "metadata": plain(unit.metadata),
        "rates": [
            {"currency": entry.currency, "effective_at": unix(entry.since), "rate": entry.rate}
            for entry in unit.rates
        ],
    }
