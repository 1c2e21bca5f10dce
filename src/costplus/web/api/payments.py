"""`/v1/token_billing/payments`: what is to be paid, every attempt, and what a person decides about it."""

from __future__ import annotations

import hashlib
from datetime import datetime

from costplus.billing.clock import frozen_time
from costplus.billing.collect import locked, payment_of
from costplus.billing.customer import Customer, NoSuchCustomer
from costplus.billing.payments.payment import (
    NoSuchPayment,
    Payment,
    PaymentReference,
    PaymentStatus,
)
from costplus.billing.payments.refund import PaymentRefund
from costplus.billing.receive import accept, receive_transfer
from costplus.billing.refunding import begin_refund
from costplus.billing.store import Tx
from costplus.core.ids import new_id
from costplus.web.call import Call, Listing, get, post
from costplus.web.listing import records

STATUSES: tuple[PaymentStatus, ...] = (
    "pending",
    "processing",
    "requires_action",
    "succeeded",
    "failed",
    "canceled",
    "refunded",
)


def made_id(prefix: str, call: Call) -> str:
    """Return an id that follows from the request's Idempotency-Key, or empty where it has none."""
    if not call.request_key:
        return ""
    return f"{prefix}_" + hashlib.sha256(f"{prefix}\x00{call.request_key}".encode()).hexdigest()[:32]


def retrieve(tx: Tx, call: Call) -> Payment:
    """Return a payment."""
    return payment_of(tx, call.path["id"])


def index(tx: Tx, call: Call) -> Listing:
    """List payments, newest first; `reference` finds the one that a bank transfer means."""
    params = call.params
    customer, status = params.text("customer"), params.choice("status", STATUSES)
    invoice, is_held = params.text("invoice"), params.flag("held")
    reference = params.text("reference", longest=100)
    if customer and tx.find(Customer, customer) is None:
        raise NoSuchCustomer(f"No such customer: '{customer}'", param="customer")
    if reference is not None:
        found = tx.find(PaymentReference, reference.strip().upper())
        if found is None:
            raise NoSuchPayment(f"No payment has the reference '{reference}'.", param="reference")
        return Listing([payment_of(tx, found.payment)], False)

    def keep(payment: Payment) -> bool:
        return (
            status in (None, payment.status)
            and invoice in (None, payment.subject)
            and is_held in (None, bool(payment.held))
        )

    return records(tx, call, Payment, parent=customer, keep=keep)


def mark_paid(tx: Tx, call: Call) -> Payment:
    """Record a bank transfer or cash: all that is missing, or `amount`; a `transfer` counts once."""
    params = call.params
    amount_minor = params.integer("amount", least=1)
    payment = locked(tx, call.path["id"])
    at = _present(tx, call, payment.customer)
    transfer = params.text("transfer", longest=200) or call.request_key or new_id("transfer", at=at)
    return receive_transfer(tx, payment, amount_minor=amount_minor, transfer=transfer, at=at)


def accept_held(tx: Tx, call: Call) -> Payment:
    """Let a held payment count with what really came in."""
    payment = locked(tx, call.path["id"])
    return accept(tx, payment, at=_present(tx, call, payment.customer))


def _present(tx: Tx, call: Call, customer: str) -> datetime:
    """Return a customer's now; a deleted one may still be paid for."""
    record = tx.find(Customer, customer)
    return (frozen_time(tx, record) if record else None) or call.at


def cancel(tx: Tx, call: Call) -> Payment:
    """Call a payment off, as long as no money came in."""
    return payment_of(tx, call.path["id"])


async def _canceled(call: Call, begun: object) -> Payment:
    assert isinstance(begun, Payment)
    return await call.context.collector.cancel(begun.id, customer=begun.customer)


def refund(tx: Tx, call: Call) -> PaymentRefund:
    """Send money back: all of it, or `amount`; of a top-up only what is not spent."""
    payment = locked(tx, call.path["id"])
    return begin_refund(
        tx,
        payment_id=payment.id,
        amount_minor=call.params.integer("amount", least=1),
        id=made_id("re", call),
        at=_present(tx, call, payment.customer),
    )


async def _refunded(call: Call, begun: object) -> PaymentRefund:
    assert isinstance(begun, PaymentRefund)
    return await call.context.collector.refund(begun.id, customer=begun.customer)


def refunds(tx: Tx, call: Call) -> Listing:
    """List a payment's refunds, newest first."""
    return records(tx, call, PaymentRefund, parent=payment_of(tx, call.path["id"]).id)


PATH = "/v1/token_billing/payments"
ENDPOINTS = (
    get(PATH, index),
    get(f"{PATH}/{{id}}", retrieve),
    get(f"{PATH}/{{id}}/refunds", refunds),
    post(f"{PATH}/{{id}}/mark_paid", mark_paid, fresh=True),
    post(f"{PATH}/{{id}}/accept", accept_held, fresh=True),
    post(f"{PATH}/{{id}}/cancel", cancel, finish=_canceled),
    post(f"{PATH}/{{id}}/refund", refund, fresh=True, finish=_refunded),
)
