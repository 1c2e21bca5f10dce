"""Ask for money: open a payment, so that a job asks its provider once the transaction is committed.

Rule 1: one payment counts for one invoice or top-up; asking again finds it.
Rule 2: an invoice is charged by itself where its customer has a default payment method and did not choose to
be sent invoices instead.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from costplus.billing.customer import Customer
from costplus.billing.invoice import Invoice
from costplus.billing.notify import announce
from costplus.billing.payments.manual import MANUAL
from costplus.billing.payments.method import (
    MethodDetached,
    NoPaymentMethod,
    NoSuchPaymentMethod,
    PaymentMethod,
)
from costplus.billing.payments.payment import Payment, PaymentReference, PaymentTask, reference_of
from costplus.billing.store import Tx
from costplus.billing.subscription import Subscription
from costplus.core.ids import new_id
from costplus.core.money import checked_nano, nano_per_minor


def method_of(tx: Tx, customer: Customer, id: str, *, param: str = "payment_method") -> PaymentMethod:
    """Return a method of the customer that can be charged: the one named, or its default one (empty id)."""
    wanted = id or customer.default_payment_method
    if not wanted:
        raise NoPaymentMethod(f"Customer {customer.id} has no default payment method.", param=param)
    method = tx.find(PaymentMethod, wanted)
    if method is None or method.customer != customer.id:
        raise NoSuchPaymentMethod(f"No such payment method of {customer.id}: '{wanted}'", param=param)
    if method.detached_at is not None:
        raise MethodDetached(f"Payment method {method.id} is detached.", param=param)
    return method


def keep(tx: Tx, payment: Payment) -> Payment:
    """Save the payment, and what is to be done about it."""
    tx.save(payment)
    if payment.due_at is not None and (payment.is_open or payment.held):
        task = PaymentTask(
            id=payment.id, created=payment.created, customer=payment.customer, due_at=payment.due_at
        )
        tx.save(task)
    else:
        tx.remove(PaymentTask, payment.id)
    return payment


def _referenced(tx: Tx, payment: Payment, *, at: datetime) -> Payment:
    """Return the payment with what a transfer must quote, where it is made by hand."""
    if payment.provider != MANUAL or payment.reference:
        return payment
    payment = replace(payment, reference=reference_of(payment.id))
    tx.save(PaymentReference(id=payment.reference, created=at, payment=payment.id))
    return payment


def with_method(tx: Tx, payment: Payment, method: PaymentMethod, *, at: datetime) -> Payment:
    """Return the payment as it is to be charged to another method from now on."""
    payment = replace(payment, provider=method.provider, method=method.id, token=method.token)
    return _referenced(tx, payment, at=at)


def chargeable(tx: Tx, payment: Payment, *, at: datetime) -> Payment | None:
    """Return the payment with the method for its next attempt, or None where none is left.

    A retry goes to the customer's default method of now: a new card is there to be used. What somebody asked
    for by name stays with that, as long as it is attached.
    """
    method, customer = tx.find(PaymentMethod, payment.method), tx.find(Customer, payment.customer)
    default = tx.find(PaymentMethod, customer.default_payment_method) if customer else None
    is_usable = method is not None and method.detached_at is None
    if is_usable and (payment.asked_by or not payment.is_retried or default is None):
        return payment
    if default is not None and default.detached_at is None and payment.is_retried:
        return with_method(tx, payment, default, at=at)
    return payment if is_usable else None


def open_payment(tx: Tx, payment: Payment, *, at: datetime) -> Payment:
    """Keep a new payment and announce it. Its method's provider is asked when it is due."""
    checked_nano(payment.amount_minor * nano_per_minor(payment.currency))
    payment = keep(tx, _referenced(tx, payment, at=at))
    announce(tx, "payment.created", payment, at=at)
    return payment


def payment_for(
    method: PaymentMethod, invoice: Invoice, *, amount_minor: int, asked_by: str = "", at: datetime
) -> Payment:
    """Return a new payment of an invoice, due at once."""
    return Payment(
        id=new_id("pay", at=at),
        created=at,
        customer=invoice.customer,
        provider=method.provider,
        method=method.id,
        token=method.token,
        currency=invoice.currency,
        amount_minor=amount_minor,
        purpose="invoice",
        subject=invoice.id,
        due_at=at,
        asked_by=asked_by,
        test_clock=invoice.test_clock,
    )


def collects(customer: Customer) -> bool:
    """Return whether the customer's invoices are charged by themselves."""
    return bool(customer.default_payment_method) and customer.collection_method != "send_invoice"


def _is_charged(tx: Tx, invoice: Invoice, customer: Customer) -> bool:
    """Return whether the invoice is charged by itself: as it says itself where it was made by hand, else as
    its subscription says, else as its customer is collected from."""
    subscription = tx.find(Subscription, invoice.subscription) if invoice.subscription else None
    said = invoice.collection_method if invoice.billing_reason == "manual" else None
    said = said or (subscription.collection_method if subscription else None)
    if said is None:
        return collects(customer)
    return said == "charge_automatically" and bool(customer.default_payment_method)


def ask_for_payment(tx: Tx, invoice: Invoice, *, at: datetime) -> Invoice:
    """Return a final invoice as it is collected; where that is by charging, its payment is opened."""
    customer = tx.find(Customer, invoice.customer)
    if customer is None or not _is_charged(tx, invoice, customer):
        return invoice
    invoice = replace(invoice, collection_method="charge_automatically")
    method = tx.find(PaymentMethod, customer.default_payment_method)
    amount_minor = invoice.remaining_minor
    if amount_minor <= 0 or method is None or method.detached_at is not None:
        return invoice
    if tx.find_by_lookup(Payment, invoice.id) is None:
        open_payment(tx, payment_for(method, invoice, amount_minor=amount_minor, at=at), at=at)
        invoice = replace(invoice, next_payment_attempt=at)
    return invoice
