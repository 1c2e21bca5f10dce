"""`/v1/invoices/{id}/pay`: money that came in another way is recorded, else a payment method is charged."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial

from costplus.billing.clock import customer_of
from costplus.billing.demand import keep, method_of, open_payment, payment_for, with_method
from costplus.billing.invoice import Invoice, InvoiceState, NoSuchInvoice
from costplus.billing.issue import pay
from costplus.billing.payments.base import ActionRequired, CardDeclined, ProcessorUnavailable
from costplus.billing.payments.payment import Payment, PaymentInProgress
from costplus.billing.store import Tx
from costplus.web.call import Call, post

PAYMENTS_MAX = 100  # So many of a customer's latest payments are searched for a repeated request.


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """An invoice that is to be charged."""

    invoice: str
    customer: str
    payment: str


def _invoice_of(tx: Tx, id: str) -> Invoice:
    invoice = tx.find(Invoice, id)
    if invoice is None:
        raise NoSuchInvoice(f"No such invoice: '{id}'", param="id")
    tx.balance_for_update(invoice.customer)
    return tx.find(Invoice, id) or invoice


def begin(tx: Tx, call: Call) -> object:
    """Charge the invoice to a payment method, or record with paid_out_of_band that it was paid."""
    params = call.params
    invoice = _invoice_of(tx, call.path["id"])
    at = call.present(tx, invoice.customer)
    named = params.text("payment_method") or ""
    params.flag("off_session")
    if params.flag("paid_out_of_band"):
        return pay(tx, invoice, at=at)
    if invoice.status == "paid":
        return invoice
    if invoice.status not in ("open", "uncollectible"):
        raise InvoiceState(f"Invoice {invoice.id} is {invoice.status} and cannot be paid.")
    payment = charge(tx, invoice, method=named, asked_by=call.request_key, at=at)
    return Wanted(invoice=invoice.id, customer=invoice.customer, payment=payment.id)


def charge(tx: Tx, invoice: Invoice, *, method: str, asked_by: str, at: datetime) -> Payment:
    """Return the payment that is to be attempted now; a repeated request finds the one it made."""
    if asked_by:
        for known in tx.page(Payment, parent=invoice.customer, limit=PAYMENTS_MAX):
            by = {known.asked_by, *(attempt.asked_by for attempt in known.attempts)}
            if known.subject == invoice.id and asked_by in by:
                return known
    param = "payment_method" if method else "paid_out_of_band"
    chosen = method_of(tx, customer_of(tx, invoice.customer), method, param=param)
    amount_minor = invoice.remaining_minor
    known_open = tx.find_by_lookup(Payment, invoice.id)
    if known_open is None:
        made = payment_for(chosen, invoice, amount_minor=amount_minor, asked_by=asked_by, at=at)
        # Whoever asks by hand hears of a decline and asks again by hand.
        return open_payment(tx, replace(made, is_retried=False), at=at)
    if known_open.is_asked or known_open.held or known_open.received_minor:
        raise PaymentInProgress(
            f"Payment {known_open.id} of invoice {invoice.id} is {known_open.status}.", param="id"
        )
    # Without a name of its own the request would lose its method to the customer's default one.
    hurried = replace(known_open, due_at=at, asked_by=asked_by or call_name(known_open))
    return keep(tx, with_method(tx, hurried, chosen, at=at))


def call_name(payment: Payment) -> str:
    """Return what names an attempt that was asked for without an Idempotency-Key."""
    return f"by hand {len(payment.attempts) + 1}"


def declined_error(payment: Payment) -> CardDeclined | ProcessorUnavailable | None:
    """Return the error that a payment's latest attempt means for whoever asked for it, or None."""
    attempt = payment.current
    if payment.status == "requires_action":
        asks = ActionRequired("This payment needs its customer's confirmation.", param="payment_method")
        asks.payment = payment.id
        return asks
    if attempt is not None and attempt.status == "declined":
        error = CardDeclined(f"The payment method was declined: {attempt.code}.", param="payment_method")
        error.decline_code, error.payment = attempt.code, payment.id
        return error
    if attempt is not None and attempt.status == "asked":
        return ProcessorUnavailable(f"The outcome of payment {payment.id} is not known yet.")
    return None


async def finish(call: Call, begun: object) -> object:
    """Ask the provider, and answer with the invoice as it is then."""
    if not isinstance(begun, Wanted):
        return begun
    payment = await call.context.collector.run(begun.payment, customer=begun.customer)
    if (error := declined_error(payment)) is not None:
        raise error
    return await call.context.store.read(partial(_found, id=begun.invoice))


def _found(tx: Tx, *, id: str) -> Invoice:
    invoice = tx.find(Invoice, id)
    assert invoice is not None
    return invoice


def _customer(tx: Tx, call: Call) -> Collection[str]:
    """Return whose invoice the path names."""
    invoice = tx.find(Invoice, call.path["id"])
    if invoice is None:
        raise NoSuchInvoice(f"No such invoice: '{call.path['id']}'", param="id")
    return [invoice.customer]


ENDPOINTS = (post("/v1/invoices/{id}/pay", begin, fresh=True, finish=finish, customers=_customer),)
