"""Collect: take a payment from state to state, each step one transaction, the provider asked in between.

begin (what to ask) → the provider → record (what it said). Whoever dies in between is followed by somebody
who asks again under the same key. Callbacks and bank transfers enter at `count` and `receive`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal

from costplus.billing.clock import frozen_time
from costplus.billing.customer import Customer
from costplus.billing.demand import chargeable, keep
from costplus.billing.invoice import Invoice
from costplus.billing.notify import announce
from costplus.billing.payments.base import Notice, Order, Outcome
from costplus.billing.payments.callback import (
    BODY_CHARS_MAX,
    CallbackResult,
    PaymentCallback,
    callback_id,
)
from costplus.billing.payments.payment import Attempt, NoSuchPayment, Payment, PaymentState, number_in
from costplus.billing.payments.policy import ASK_AGAIN
from costplus.billing.receive import call_off, count, declined, under_way
from costplus.billing.recharge import may_charge
from costplus.billing.store import Tx
from costplus.billing.top_up import TopUp


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What a provider is to be asked about an attempt."""

    act: Literal["start", "look_up", "cancel"]
    provider: str
    order: Order
    number: int


def payment_of(tx: Tx, id: str, *, param: str = "id") -> Payment:
    """Return the payment, or raise `NoSuchPayment`."""
    payment = tx.find(Payment, id)
    if payment is None:
        raise NoSuchPayment(f"No such payment: '{id}'", param=param)
    return payment


def locked(tx: Tx, id: str) -> Payment:
    """Return the payment, its customer's balance locked."""
    tx.balance_for_update(payment_of(tx, id).customer)
    return payment_of(tx, id)


def moment(tx: Tx, payment: Payment, *, real: datetime) -> datetime:
    """Return when the payment's next step happens: on a test clock, when it was due."""
    customer = tx.find(Customer, payment.customer)
    present = frozen_time(tx, customer) if customer else None
    if present is None:
        return real
    return present if payment.due_at is None else min(payment.due_at, present)


def is_wanted(tx: Tx, payment: Payment) -> bool:
    """Return whether what is to be paid still asks for it."""
    if payment.purpose == "invoice":
        invoice = tx.find(Invoice, payment.subject)
        return (
            invoice is not None
            and invoice.status in ("open", "uncollectible")
            and (invoice.remaining_minor > 0)
        )
    top_up = tx.find(TopUp, payment.subject)
    return top_up is not None and top_up.status == "pending" and may_charge(tx, payment, wanted=top_up)


def _amount_minor(tx: Tx, payment: Payment) -> int:
    """Return what an attempt asks for: all that is missing."""
    invoice = tx.find(Invoice, payment.subject) if payment.purpose == "invoice" else None
    if invoice is not None:
        return invoice.remaining_minor
    return payment.amount_minor - (payment.received_minor - payment.surplus_minor)


def begin(tx: Tx, *, id: str, real: datetime, patience: timedelta | None) -> Step | None:
    """Return what to ask about the payment now, or None; what nobody wants any more is called off."""
    payment = locked(tx, id)
    at = moment(tx, payment, real=real)
    if payment.due_at is None or payment.due_at > at or not (payment.is_open or payment.held):
        return None
    if not payment.is_asked and not payment.held:
        payment_now = chargeable(tx, payment, at=at) if is_wanted(tx, payment) else None
        if payment_now is None:
            call_off(tx, payment, at=at)
            return None
        return _start(tx, payment_now, at=at)
    attempt = payment.current
    assert attempt is not None
    keep(tx, replace(payment, due_at=_again_at(payment, at=at)))
    act: Literal["start", "look_up", "cancel"] = "look_up"
    if payment.held:
        pass  # A person decides; what came is all that there is to learn.
    elif attempt.status == "asked" and is_wanted(tx, payment):
        act = "start"  # Whether the provider heard is not known; under the same key it may hear again.
    elif patience is not None and attempt.at + patience <= at:
        act = "cancel"
    return Step(
        act=act, provider=payment.provider, order=payment.order(attempt, at=at), number=attempt.number
    )


def _again_at(payment: Payment, *, at: datetime) -> datetime:
    """Return when somebody asks again if this asking comes to nothing; until then nobody else does.

    A test clock stands still, so there it may be at once.
    """
    return at if payment.test_clock else at + ASK_AGAIN


def _start(tx: Tx, payment: Payment, *, at: datetime) -> Step:
    attempt = Attempt(
        number=len(payment.attempts) + 1,
        at=at,
        amount_minor=_amount_minor(tx, payment),
        method=payment.method,
        token=payment.token,
        asked_by=payment.asked_by,
    )
    payment = replace(
        payment,
        amount_minor=attempt.amount_minor + payment.received_minor - payment.surplus_minor,
        status="pending",
        due_at=_again_at(payment, at=at),
        looks=0,
        asked_by="",
    ).with_attempt(attempt)
    keep(tx, payment)
    return Step(
        act="start", provider=payment.provider, order=payment.order(attempt, at=at), number=attempt.number
    )


def record(tx: Tx, *, id: str, step: Step, outcome: Outcome) -> Payment:
    """Keep what the provider said when it was asked."""
    payment = locked(tx, id)
    attempt = payment.attempt(step.number)
    assert attempt is not None
    return take(tx, payment, attempt, outcome, at=step.order.at, is_confirmed=True)[0]


def take(
    tx: Tx, payment: Payment, attempt: Attempt, outcome: Outcome, *, at: datetime, is_confirmed: bool
) -> tuple[Payment, CallbackResult]:
    """Take an outcome to its payment. Of an attempt that is over nothing but money counts."""
    if outcome.status == "succeeded":
        return count(tx, payment, attempt, outcome, at=at, is_confirmed=is_confirmed)
    if attempt.is_over or attempt.number != len(payment.attempts) or not payment.is_open:
        return payment, "no_news"
    if outcome.status == "unknown" and is_wanted(tx, payment):
        return payment, "no_news"  # It is started again, under the same key.
    if outcome.status in ("unknown", "canceled"):
        return call_off(tx, payment, at=at), "counted"
    if outcome.status == "declined":
        return declined(tx, payment, attempt, outcome, at=at), "counted"
    return under_way(tx, payment, attempt, outcome, at=at), "counted"


def count_callback(tx: Tx, notice: Notice, *, body: str, real: datetime) -> PaymentCallback:
    """Keep a callback and count what it tells of, once; one that fits no payment is kept and told of."""
    id = callback_id(notice.provider, notice.id)
    known = tx.find(PaymentCallback, id)
    if known is not None:
        return replace(known, result="duplicate")
    payment = tx.find(Payment, notice.payment)
    payment = None if payment is None else locked(tx, payment.id)
    attempt = payment.attempt(number_in(notice.key)) if payment else None
    is_ours = payment is not None and payment.provider == notice.provider
    result: CallbackResult = "unknown"
    if payment is not None and attempt is not None and is_ours:
        customer = tx.find(Customer, payment.customer)
        at = (frozen_time(tx, customer) if customer else None) or real
        _, result = take(tx, payment, attempt, notice.outcome, at=at, is_confirmed=False)
    kept = PaymentCallback(
        id=id,
        created=real,
        provider=notice.provider,
        kind=notice.kind,
        payment=notice.payment,
        status=notice.outcome.status,
        amount_minor=notice.outcome.amount_minor,
        currency=notice.outcome.currency,
        result=result,
        body=body[:BODY_CHARS_MAX],
    )
    tx.save(kept)
    if result == "unknown":
        announce(tx, "payment.unmatched", kept, at=real)
    return kept


def ask_cancel(tx: Tx, *, id: str, at: datetime) -> tuple[Payment, Step | None]:
    """Return the payment called off, or what its provider is to be asked before it can be."""
    payment = locked(tx, id)
    if payment.status == "canceled":
        return payment, None
    if not payment.is_open or payment.received_minor:
        raise PaymentState(f"Payment {payment.id} is {payment.status} and cannot be canceled.")
    attempt = payment.current
    if attempt is None or attempt.is_over:
        return call_off(tx, payment, at=at), None
    return payment, Step(
        act="cancel", provider=payment.provider, order=payment.order(attempt, at=at), number=attempt.number
    )
