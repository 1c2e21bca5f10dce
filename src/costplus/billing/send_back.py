"""Send back what a credit note refunds, through the provider that took the money.

Rule 1: the ledger booked the refund with the note; here it is only carried out, and its outcome noted.
Rule 2: where no payment of the invoice has enough left to send back, the refund waits for a person.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from costplus.billing.demand import keep
from costplus.billing.give_back import fail_refund, succeed_refund
from costplus.billing.payments.base import Outcome
from costplus.billing.payments.payment import Payment
from costplus.billing.payments.refund import PaymentRefund
from costplus.billing.refund import Refund
from costplus.billing.refunding import RefundTask, end_refund
from costplus.billing.store import Tx

PAGE = 500


def send_back(tx: Tx, refund: Refund, *, at: datetime) -> PaymentRefund | None:
    """Order a credit note's refund of the payment that brought the money; None where there is none."""
    for payment in tx.page(Payment, parent=refund.customer, limit=PAGE):
        if payment.subject != refund.invoice or payment.currency != refund.currency:
            continue
        left = payment.received_minor - payment.surplus_minor - payment.refunded_minor
        charge = next((name for name, rest in payment.charges.items() if rest >= refund.amount_minor), None)
        if charge is None or left < refund.amount_minor:
            continue
        charges = {**payment.charges, charge: payment.charges[charge] - refund.amount_minor}
        refunded_minor = payment.refunded_minor + refund.amount_minor
        keep(tx, replace(payment, charges=charges, refunded_minor=refunded_minor))
        ordered = PaymentRefund(
            id=refund.id,
            created=at,
            customer=refund.customer,
            payment=payment.id,
            amount_minor=refund.amount_minor,
            currency=refund.currency,
            charge=charge,
            is_booked=True,
        )
        tx.save(ordered)
        tx.save(RefundTask(id=ordered.id, created=at, customer=ordered.customer))
        tx.save(replace(refund, payment=payment.id))
        return ordered
    return None


def refund_ended(tx: Tx, *, id: str, outcome: Outcome, at: datetime) -> PaymentRefund:
    """Keep what the provider said of a refund; a credit note's own hears of it."""
    ended = end_refund(tx, id=id, outcome=outcome, at=at)
    refund = tx.find(Refund, id) if ended.is_booked else None
    if refund is not None and ended.status == "succeeded":
        succeed_refund(tx, refund, at=at)
    elif refund is not None and ended.status == "failed":
        fail_refund(tx, refund, reason=ended.failure_code, at=at)
    return ended
