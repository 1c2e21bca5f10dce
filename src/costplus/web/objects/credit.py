"""Credit: grants, movements, summaries and the alerts that watch a balance."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from costplus.billing.alert import Alert, AlertTriggered
from costplus.core.money import nano_per_minor
from costplus.ledger.account import credit
from costplus.ledger.grant import Grant
from costplus.ledger.transaction import Kind, Transaction
from costplus.web.objects.wire import (
    JsonObject,
    Surroundings,
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


def grant_object(grant: Grant, surroundings: Surroundings) -> JsonObject:
    """Return a credit grant as Stripe writes it."""
    return {
        "id": grant.id,
        "object": "billing.credit_grant",
        "amount": monetary(grant.minor_amount, currency=grant.currency),
        "applicability_config": {"scope": {"price_type": "metered"}},
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Movement:
    """What one transaction did to one grant, in minor units.

    The figure is the change of the rounded-down balance, so a grant's movements always add up to what the
    summary shows, although single calls cost fractions of a cent.
    """

    id: str
    at: datetime
    grant: str
    currency: str
    minor_change: int
    kind: Kind


def movement_id(transaction: str, grant: str) -> str:
    """Return a movement's id, from which its grant can be found again."""
    return f"cbtxn_{transaction.removeprefix('txn_')}_{grant.removeprefix('credgr_')}"


def grant_in(movement_id: str) -> str:
    """Return the id of the grant that a movement's id names."""
    return "credgr_" + movement_id.rpartition("_")[2]


def movements(transactions: Iterable[Transaction], grants: Iterable[Grant]) -> list[Movement]:
    """Return what a customer's transactions (all of them, oldest first) did to its grants, newest first."""
    by_account = {credit(grant.customer, grant.id): grant for grant in grants}
    balance_nano = dict.fromkeys(by_account, 0)
    moved: list[Movement] = []
    for entry in transactions:
        for posting in entry.postings:
            grant = by_account.get(posting.account)
            if grant is None:
                continue
            before = balance_nano[posting.account]
            after = balance_nano[posting.account] = before + posting.amount_nano
            per_minor = nano_per_minor(grant.currency)
            moved.append(
                Movement(
                    id=movement_id(entry.id, grant.id),
                    at=entry.at,
                    grant=grant.id,
                    currency=grant.currency,
                    minor_change=after // per_minor - before // per_minor,
                    kind=entry.kind,
                )
            )
    moved.reverse()
    return moved


def movement_object(movement: Movement, surroundings: Surroundings) -> JsonObject:
    """Return a movement as Stripe writes it: billing.credit_balance_transaction."""
    is_credit = movement.kind == "grant" or movement.minor_change > 0  # Usage can be taken back.
    amount = monetary(abs(movement.minor_change), currency=movement.currency)
    added = {"amount": amount, "credits_application_invoice_voided": None, "type": "credits_granted"}
    taken = {
        "amount": amount,
        "credits_applied": None,
        "type": _DEBITS.get(movement.kind, "credits_applied"),
    }
    return {
        "id": movement.id,
        "object": "billing.credit_balance_transaction",
        "created": unix(movement.at),
        "credit": added if is_credit else None,
        "credit_grant": movement.grant,
        "debit": None if is_credit else taken,
        "effective_at": unix(movement.at),
        "livemode": surroundings.livemode,
        "test_clock": None,
        "type": "credit" if is_credit else "debit",
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class CreditSummary:
    """A customer's credit: all of it, and what calls in flight have not reserved."""

    customer: str
    currency: str
    ledger_nano: int
    available_nano: int


def credit_summary_object(summary: CreditSummary, surroundings: Surroundings) -> JsonObject:
    """Return a summary as Stripe writes it; whole minor units, rounded down."""
    currency = summary.currency

    def shown(nano: int) -> JsonObject:
        return monetary(minor(max(nano, 0), currency=currency), currency=currency)

    return {
        "object": "billing.credit_balance_summary",
        "balances": [
            {
                "available_balance": shown(summary.available_nano),
                "ledger_balance": shown(summary.ledger_nano),
            }
        ],
        "customer": summary.customer,
        "customer_account": None,
        "livemode": surroundings.livemode,
    }


def alert_object(alert: Alert, surroundings: Surroundings) -> JsonObject:
    """Return an alert in the shape of Stripe's preview: the GA one knows no credit thresholds."""
    filters = [{"type": "customer", "customer": alert.customer}] if alert.customer else []
    return {
        "id": alert.id,
        "object": "billing.alert",
        "alert_type": "credit_balance_threshold",
        "credit_balance_threshold": {
            "filters": filters,
            "lte": {
                "balance_type": "monetary",
                "custom_pricing_unit": None,
                "monetary": {"currency": alert.currency, "value": alert.threshold_minor},
            },
        },
        "livemode": surroundings.livemode,
        "status": alert.status,
        "title": alert.title,
        "usage_threshold": None,
    }


def alert_triggered_object(fired: AlertTriggered, surroundings: Surroundings) -> JsonObject:
    """Return that an alert fired, with the credit at that moment in whole minor units, rounded down."""
    return {
        "object": "billing.alert_triggered",
        "alert": alert_object(fired.alert, surroundings),
        "created": unix(fired.created),
        "customer": fired.customer,
        "livemode": surroundings.livemode,
        "value": minor(fired.credit_nano, currency=fired.alert.currency),
    }
