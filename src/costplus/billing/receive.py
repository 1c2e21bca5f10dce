"""Receive: what becomes of money that came in, and of payments that come to nothing.

Rule 1: a charge of the provider's is counted once, whoever tells of it, however often and in whatever order.
Rule 2: money serves what it was asked for, up to that; the rest, and what came too late, is the customer's
surplus, and is announced.
Rule 3: an amount or a currency that does not fit never becomes credit: the payment is held for a person. What
came is booked only once the provider was asked and confirms it.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from costplus.billing.buy import complete, credit_received
from costplus.billing.demand import keep
from costplus.billing.invoice import Invoice
from costplus.billing.issue import mark_uncollectible, pay
from costplus.billing.notify import announce
from costplus.billing.payments.base import Outcome
from costplus.billing.payments.callback import CallbackResult
from costplus.billing.payments.manual import MANUAL
from costplus.billing.payments.payment import Attempt, Payment, PaymentState
from costplus.billing.payments.policy import POLICY, CollectionPolicy, look_at
from costplus.billing.recharge import recharge_ended
from costplus.billing.store import Tx
from costplus.billing.surplus import note_surplus
from costplus.billing.top_up import TopUp
from costplus.core.errors import InvalidRequest
from costplus.core.ids import from_milliseconds
from costplus.core.money import nano_per_minor
from costplus.ledger import account
from costplus.ledger.post import move


class SurplusUsed(InvalidRequest):
    """The money that was held has been used for something else meanwhile."""

    code = "payment_surplus_used"
    remedy = "An invoice has taken it: leave the payment, or cancel it."


def receive_transfer(
    tx: Tx, payment: Payment, *, amount_minor: int | None, transfer: str, at: datetime
) -> Payment:
    """Count money that a person found on the account; all that is missing by default, each transfer once."""
    if payment.provider != MANUAL:
        raise PaymentState(
            f"Payment {payment.id} is collected by {payment.provider}.",
            remedy="Only payments by hand are marked as paid by hand.",
        )
    if transfer in payment.charges:
        return payment
    missing = payment.amount_minor - (payment.received_minor - payment.surplus_minor)
    amount_minor = missing if amount_minor is None else amount_minor
    if amount_minor <= 0:
        raise PaymentState(f"Payment {payment.id} is {payment.status}: nothing is missing.")
    payment = with_charge(payment, transfer, amount_minor)
    return serve(tx, payment, amount_minor=amount_minor, at=at)[0]


def policy_of(tx: Tx) -> CollectionPolicy:
    """Return how the account collects."""
    found = tx.find(CollectionPolicy, POLICY)
    return found or CollectionPolicy(id=POLICY, created=from_milliseconds(0))


def count(
    tx: Tx, payment: Payment, attempt: Attempt, outcome: Outcome, *, at: datetime, is_confirmed: bool
) -> tuple[Payment, CallbackResult]:
    """Count a charge that succeeded, once; return the payment and what came of it.

    `is_confirmed` says that the provider itself answered, and nobody merely called.
    """
    assert outcome.status == "succeeded"
    charge = outcome.charge or f"{payment.id}:{attempt.number}"
    if charge in payment.charges:
        return payment, "duplicate"
    fits = outcome.currency == payment.currency and outcome.amount_minor == attempt.amount_minor
    if not fits:
        return _hold(tx, payment, outcome, charge=charge, at=at, is_confirmed=is_confirmed)
    payment = payment.with_attempt(replace(attempt, status="succeeded", charge=charge))
    payment = with_charge(payment, charge, outcome.amount_minor)
    if payment.held:  # The provider was asked, and the call that did not fit was wrong.
        payment = replace(payment, held="", stated_minor=0, stated_currency="")
    return serve(tx, payment, amount_minor=outcome.amount_minor, at=at)


def with_charge(payment: Payment, charge: str, amount_minor: int) -> Payment:
    """Return the payment with a charge that is counted."""
    return replace(payment, charges={**payment.charges, charge: amount_minor})


def serve(tx: Tx, payment: Payment, *, amount_minor: int, at: datetime) -> tuple[Payment, CallbackResult]:
    """Use money for what it was asked for; what nothing asks for any more is surplus."""
    was_open = payment.status not in ("canceled", "succeeded", "refunded")
    served = _use(tx, payment, amount_minor, at=at) if was_open else 0
    payment = replace(payment, received_minor=payment.received_minor + amount_minor)
    used_minor = payment.received_minor - payment.surplus_minor
    is_paid = served > 0 and (used_minor >= payment.amount_minor or not _asks(tx, payment))
    if is_paid:
        payment = replace(
            payment, status="succeeded", succeeded_at=at, due_at=None, failure_code="", failure_message=""
        )
    rest = amount_minor - served
    keep(tx, payment)
    if rest:
        payment = to_surplus(tx, payment, rest, at=at)
    if is_paid:
        announce(tx, "payment.succeeded", payment, at=at)
        recharge_ended(tx, payment, at=at)
    elif not served and payment.is_open:
        payment = call_off(tx, payment, at=at)  # What it was for is paid or withdrawn already.
    return payment, "surplus" if rest and not served else "counted"


def _use(tx: Tx, payment: Payment, amount_minor: int, *, at: datetime) -> int:
    """Return how much of the money its invoice or top-up took."""
    if payment.purpose == "invoice":
        invoice = tx.find(Invoice, payment.subject)
        if invoice is None or invoice.status not in ("open", "uncollectible"):
            return 0
        part = min(amount_minor, invoice.remaining_minor)
        if part:
            invoice = replace(invoice, attempt_count=len(payment.attempts), next_payment_attempt=None)
            pay(tx, invoice, at=at, amount_minor=part)
        return part
    top_up = tx.find(TopUp, payment.subject)
    if top_up is None or top_up.status in ("canceled", "succeeded"):
        return 0
    part = min(amount_minor, top_up.amount_minor - top_up.granted_minor)
    if part:
        credit_received(tx, top_up, payment, amount_minor=part, at=at)
    return part


def _asks(tx: Tx, payment: Payment) -> bool:
    """Return whether an invoice still asks for money, after what it took."""
    invoice = tx.find(Invoice, payment.subject) if payment.purpose == "invoice" else None
    return invoice is None or invoice.remaining_minor > 0


def to_surplus(tx: Tx, payment: Payment, amount_minor: int, *, at: datetime) -> Payment:
    """Book money that serves nothing as the customer's own, and say so."""
    nano = amount_minor * nano_per_minor(payment.currency)
    move(
        tx,
        customer=payment.customer,
        kind="payment",
        reference=payment.id,
        postings=[(account.surplus(payment.customer), nano), (account.book("payments"), -nano)],
        at=at,
    )
    _note(tx, payment, amount_minor, at=at)
    payment = replace(payment, surplus_minor=payment.surplus_minor + amount_minor)
    keep(tx, payment)
    announce(tx, "payment.surplus", payment, at=at)
    return payment


def from_surplus(tx: Tx, payment: Payment, amount_minor: int, *, at: datetime) -> Payment:
    """Take back what was booked as surplus, or raise `SurplusUsed`."""
    nano = amount_minor * nano_per_minor(payment.currency)
    if tx.account_balance(payment.customer, account.surplus(payment.customer)) < nano:
        raise SurplusUsed(f"The surplus of customer {payment.customer} is less than {amount_minor} by now.")
    move(
        tx,
        customer=payment.customer,
        kind="payment",
        reference=payment.id,
        postings=[(account.surplus(payment.customer), -nano), (account.book("payments"), nano)],
        at=at,
    )
    _note(tx, payment, -amount_minor, at=at)
    return replace(payment, surplus_minor=payment.surplus_minor - amount_minor)


def _note(tx: Tx, payment: Payment, gained_minor: int, *, at: datetime) -> None:
    note_surplus(
        tx,
        payment.customer,
        gained_minor=gained_minor,
        currency=payment.currency,
        type="adjustment",
        at=at,
        description=f"Payment {payment.id}",
    )


def _hold(
    tx: Tx, payment: Payment, outcome: Outcome, *, charge: str, at: datetime, is_confirmed: bool
) -> tuple[Payment, CallbackResult]:
    """Hold a payment whose money does not fit it; book what came where the provider confirms it."""
    is_foreign = outcome.currency != payment.currency
    is_news = not payment.held
    payment = replace(
        payment,
        held="wrong_currency" if is_foreign else "wrong_amount",
        stated_minor=outcome.amount_minor,
        stated_currency=outcome.currency,
        due_at=None if is_confirmed else at,
    )
    if is_confirmed:
        payment = with_charge(payment, charge, outcome.amount_minor)
        if not is_foreign and outcome.amount_minor > 0:
            payment = replace(payment, received_minor=payment.received_minor + outcome.amount_minor)
            payment = to_surplus(tx, payment, outcome.amount_minor, at=at)
    keep(tx, payment)
    if is_news:
        announce(tx, "payment.held", payment, at=at)
    return payment, "held"


def accept(tx: Tx, payment: Payment, *, at: datetime) -> Payment:
    """Let a held payment count with what really came: credit or a part of the invoice for that, no more."""
    if payment.held != "wrong_amount" or not payment.surplus_minor or not payment.is_open:
        raise PaymentState(
            f"Payment {payment.id} holds no money that could be used.",
            remedy="Only what came in the payment's currency, and was confirmed, can be accepted.",
        )
    amount_minor = payment.surplus_minor
    payment = from_surplus(tx, payment, amount_minor, at=at)
    payment = replace(
        payment,
        held="",
        amount_minor=amount_minor,
        received_minor=payment.received_minor - amount_minor,
    )
    payment, _ = serve(tx, payment, amount_minor=amount_minor, at=at)
    top_up = tx.find(TopUp, payment.subject) if payment.purpose == "top_up" else None
    if top_up is not None and top_up.status == "pending" and top_up.granted_minor:
        complete(tx, top_up, payment, at=at)
    return payment


def declined(tx: Tx, payment: Payment, attempt: Attempt, outcome: Outcome, *, at: datetime) -> Payment:
    """Keep that an attempt was declined: try again by the schedule, or give up."""
    attempt = replace(
        attempt,
        status="declined",
        charge=outcome.charge or attempt.charge,
        code=outcome.code or "generic_decline",
        message=outcome.message,
    )
    payment = replace(
        payment.with_attempt(attempt),
        held="",
        failure_code=attempt.code,
        failure_message=attempt.message,
    )
    policy = policy_of(tx)
    declines = sum(each.status == "declined" for each in payment.attempts)
    again_at = policy.retry_at(declines, at=at) if payment.is_retried and outcome.is_retryable else None
    if again_at is not None:
        payment = keep(tx, replace(payment, status="pending", due_at=again_at))
    else:
        payment = keep(tx, replace(payment, status="failed", failed_at=at, due_at=None))
    announce(tx, "payment.failed", payment, at=at)
    if payment.purpose == "invoice":
        _invoice_declined(tx, payment, at=at)
    elif payment.status == "failed":
        _top_up_ended(tx, payment, at=at)
    return payment


def _invoice_declined(tx: Tx, payment: Payment, *, at: datetime) -> None:
    invoice = tx.find(Invoice, payment.subject)
    if invoice is None:
        return
    invoice = replace(invoice, attempt_count=len(payment.attempts), next_payment_attempt=payment.due_at)
    tx.save(invoice)
    announce(tx, "invoice.payment_failed", invoice, at=at)
    if (
        payment.status == "failed"
        and invoice.status == "open"
        and policy_of(tx).finally_ == "mark_uncollectible"
    ):
        mark_uncollectible(tx, invoice, at=at)


def call_off(tx: Tx, payment: Payment, *, at: datetime) -> Payment:
    """Cancel a payment; money that comes for it after all is surplus."""
    if not payment.is_open:
        return payment
    attempt = payment.current
    if attempt is not None and not attempt.is_over:
        payment = payment.with_attempt(replace(attempt, status="canceled"))
    payment = keep(tx, replace(payment, status="canceled", canceled_at=at, due_at=None, held=""))
    announce(tx, "payment.canceled", payment, at=at)
    invoice = tx.find(Invoice, payment.subject) if payment.purpose == "invoice" else None
    if invoice is not None and invoice.next_payment_attempt is not None:
        tx.save(replace(invoice, next_payment_attempt=None))
    if payment.purpose == "top_up":
        _top_up_ended(tx, payment, at=at)
    return payment


def _top_up_ended(tx: Tx, payment: Payment, *, at: datetime) -> None:
    """End a top-up that is not paid (any further); what was granted for a part stays."""
    top_up = tx.find(TopUp, payment.subject)
    if top_up is not None and top_up.status == "pending":
        top_up = replace(
            top_up, status="canceled" if payment.status == "canceled" else "failed", completed_at=at
        )
        tx.save(top_up)
        announce(tx, "top_up.failed", top_up, at=at)
    recharge_ended(tx, payment, at=at)


def under_way(tx: Tx, payment: Payment, attempt: Attempt, outcome: Outcome, *, at: datetime) -> Payment:
    """Keep that an attempt is being worked on, or waits for its customer; look again later."""
    assert outcome.status in ("processing", "requires_action")
    is_news = payment.status != outcome.status
    attempt = replace(attempt, status=outcome.status, charge=outcome.charge or attempt.charge)
    payment = replace(
        payment,
        status=outcome.status,
        looks=payment.looks + 1,
        # Nobody can be asked about a transfer: a person will say.
        due_at=None if payment.provider == MANUAL else look_at(payment.looks, at=at),
        action_url=outcome.action_url or payment.action_url,
    ).with_attempt(attempt)
    keep(tx, payment)
    if is_news and outcome.status == "requires_action":
        announce(tx, "payment.requires_action", payment, at=at)
        _tell_invoice(tx, payment, "invoice.payment_action_required", at=at)
    return payment


def _tell_invoice(tx: Tx, payment: Payment, type: str, *, at: datetime) -> None:
    invoice = tx.find(Invoice, payment.subject) if payment.purpose == "invoice" else None
    if invoice is not None:
        announce(tx, type, invoice, at=at)
