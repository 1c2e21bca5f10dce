"""What a grant paid of an invoice, as the credit balance transaction that the invoice names."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from costplus.billing.invoice import Invoice
from costplus.web.objects.invoice_line import applied_id
from costplus.web.objects.wire import JsonObject, Surroundings, monetary, unix

_GRANT = "_credgr_"


@dataclass(frozen=True, slots=True)
class AppliedCredit:
    """What one grant paid of an invoice."""

    invoice: Invoice
    grant: str
    amount_minor: int
    at: datetime


def names_of(id: str) -> tuple[str, str]:
    """Return the invoice and the grant that such an id names; empty where it names none."""
    invoice, found, grant = id.removeprefix("cbtxn_").rpartition(_GRANT)
    return (invoice, f"credgr_{grant}") if found else ("", "")


def applied_credit(invoice: Invoice, grant: str) -> AppliedCredit | None:
    """Return what the grant paid of the invoice, or None."""
    for share in invoice.credits:
        if share.grant == grant:
            at = invoice.finalized_at or invoice.created
            return AppliedCredit(invoice, grant, share.amount_minor, at)
    return None


def applied_credit_object(applied: AppliedCredit, surroundings: Surroundings) -> JsonObject:
    """Return it as Stripe writes a debit of credit by an invoice; the line is the first that it paid."""
    invoice, grant = applied.invoice, applied.grant
    paid = [line.id for line in invoice.lines if any(share.grant == grant for share in line.credits)]
    return {
        "id": applied_id(invoice.id, grant),
        "object": "billing.credit_balance_transaction",
        "created": unix(applied.at),
        "credit": None,
        "credit_grant": grant,
        "debit": {
            "amount": monetary(applied.amount_minor, currency=invoice.currency),
            "credits_applied": {"invoice": invoice.id, "invoice_line_item": paid[0] if paid else ""},
            "type": "credits_applied",
        },
        "effective_at": unix(applied.at),
        "livemode": surroundings.livemode,
        "test_clock": invoice.test_clock,
        "type": "debit",
    }
