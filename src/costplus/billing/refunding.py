"""Refund payments: take what pays for it first, ask the provider, and give it back where that refuses.

Money that lies in surplus goes first. A top-up's refund takes unspent credit; an invoice's lessens revenue.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import ClassVar

from costplus.billing.clock import frozen_time
from costplus.billing.collect import locked
from costplus.billing.customer import Customer
from costplus.billing.demand import keep
from costplus.billing.notify import announce, cross
from costplus.billing.payments.base import Outcome, RefundOrder
from costplus.billing.payments.payment import Payment, PaymentState
from costplus.billing.payments.refund import PaymentRefund, RefundTooLarge
from costplus.billing.store import Tx
from costplus.billing.surplus import note_surplus
from costplus.billing.top_up import TopUp
from costplus.core.ids import CustomerId, new_id
from costplus.core.money import nano_per_minor
from costplus.core.records import Record
from costplus.ledger import account
from costplus.ledger.balance import Crossing
from costplus.ledger.post import credit_of, expire_grant, move


@dataclass(frozen=True, slots=True, kw_only=True)
class RefundTask(Record):
    """That a refund (its id) is under way, and to be asked about until it has ended."""

    KIND: ClassVar[str] = "refund_task"

    customer: str

    @property
    def parent(self) -> str:
        return self.customer


def begin_refund(
    tx: Tx, *, payment_id: str, amount_minor: int | None, id: str, at: datetime
) -> PaymentRefund:
    """Keep a refund and take what pays for it; one that has the id already is returned."""
    payment = locked(tx, payment_id)
    if id and (known := tx.find(PaymentRefund, id)) is not None:
        return known
    if payment.held == "wrong_currency":
        amount_minor, left = payment.stated_minor, payment.stated_minor
    else:
        left = payment.received_minor - payment.refunded_minor
        amount_minor = left if amount_minor is None else amount_minor
    if not payment.charges or left <= 0:
        raise PaymentState(f"Payment {payment.id} is {payment.status}: there is nothing to refund.")
    charge = next(
        (name for name, rest in reversed(list(payment.charges.items())) if rest >= amount_minor), None
    )
    if amount_minor > left or charge is None:
        raise RefundTooLarge(
            f"{amount_minor} cannot be refunded of {left} that came in and is not refunded.", param="amount"
        )
    refund = PaymentRefund(
        id=id or new_id("re", at=at),
        created=at,
        customer=payment.customer,
        payment=payment.id,
        amount_minor=amount_minor,
        currency=payment.stated_currency if payment.held == "wrong_currency" else payment.currency,
        charge=charge,
    )
    if payment.held != "wrong_currency":
        refund, payment = _take(tx, refund, payment, at=at)
        payment = replace(payment, refunded_minor=payment.refunded_minor + amount_minor)
    charges = {**payment.charges, charge: payment.charges[charge] - amount_minor}
    keep(tx, replace(payment, charges=charges))
    tx.save(refund)
    tx.save(RefundTask(id=refund.id, created=at, customer=refund.customer))
    return refund


def _take(tx: Tx, refund: PaymentRefund, payment: Payment, *, at: datetime) -> tuple[PaymentRefund, Payment]:
    """Book the money as gone: out of the surplus first, then out of what it was used for."""
    surplus = min(refund.amount_minor, payment.surplus_minor)
    rest = refund.amount_minor - surplus
    nano = surplus * nano_per_minor(payment.currency)
    if surplus and tx.account_balance(payment.customer, account.surplus(payment.customer)) < nano:
        raise RefundTooLarge("The surplus that this payment left has been used by an invoice.")
    refund = replace(refund, from_surplus_minor=surplus)
    if rest and payment.purpose == "top_up":
        refund = replace(refund, from_grants=_credit_for(tx, refund, payment, rest, at=at))
    elif rest:
        refund = replace(refund, from_revenue_minor=rest)
    _book(tx, refund, sign=1, at=at)
    return refund, replace(payment, surplus_minor=payment.surplus_minor - surplus)


def _credit_for(
    tx: Tx, refund: PaymentRefund, payment: Payment, minor: int, *, at: datetime
) -> dict[str, int]:
    """Return which of a top-up's grants give up how much; only credit that nobody spent or holds can."""
    nano = rest = minor * nano_per_minor(payment.currency)
    free = credit_of(tx, payment.customer, at=at) - tx.balance_for_update(payment.customer).held_nano
    top_up = tx.find(TopUp, payment.subject)
    parts: dict[str, int] = {}
    for id in reversed(top_up.grants if top_up else ()):
        grant = tx.grant(id)
        if grant is not None and grant.is_burnable(at) and rest:
            parts[id] = min(grant.remaining_nano, rest)
            rest -= parts[id]
    if rest or free < nano:
        raise RefundTooLarge(
            f"Of the credit that {payment.id} bought, {minor} is spent, held or has ended.", param="amount"
        )
    return parts


def _book(tx: Tx, refund: PaymentRefund, *, sign: int, at: datetime) -> None:
    """Move the money out (`sign` 1), or back in (-1)."""
    customer, per_minor = refund.customer, nano_per_minor(refund.currency)
    nano = refund.amount_minor * per_minor * sign
    before = credit_of(tx, customer, at=at)
    for id, part in refund.from_grants.items():
        grant = tx.grant(id)
        assert grant is not None
        tx.save_grant(replace(grant, remaining_nano=grant.remaining_nano - part * sign, updated=at))
    postings = [
        (account.surplus(customer), -refund.from_surplus_minor * per_minor * sign),
        *((account.credit(customer, id), -part * sign) for id, part in refund.from_grants.items()),
        (account.book("revenue"), -refund.from_revenue_minor * per_minor * sign),
        (account.book("payments"), nano),
    ]
    move(tx, customer=customer, kind="refund", reference=refund.id, postings=postings, at=at)
    if refund.from_surplus_minor:
        note_surplus(
            tx,
            customer,
            gained_minor=-refund.from_surplus_minor * sign,
            currency=refund.currency,
            type="adjustment",
            at=at,
            description=f"Refund {refund.id}",
        )
    crossing = Crossing(CustomerId(customer), before, credit_of(tx, customer, at=at))
    cross(tx, crossing, currency=refund.currency, at=at)


def refund_order(tx: Tx, id: str, *, real: datetime) -> tuple[str, RefundOrder] | None:
    """Return the provider and what it is asked for a refund that has not ended, or None."""
    refund = tx.find(PaymentRefund, id)
    payment = tx.find(Payment, refund.payment) if refund else None
    if refund is None or payment is None or refund.status != "pending":
        return None
    customer = tx.find(Customer, refund.customer)
    order = RefundOrder(
        key=refund.id,
        customer=refund.customer,
        charge=refund.charge,
        method=payment.token,
        amount_minor=refund.amount_minor,
        currency=refund.currency,
        at=(frozen_time(tx, customer) if customer else None) or real,
    )
    return payment.provider, order


def end_refund(tx: Tx, *, id: str, outcome: Outcome, at: datetime) -> PaymentRefund:
    """Keep what the provider said of a refund; one that it refuses gives back what was taken."""
    refund = tx.find(PaymentRefund, id)
    assert refund is not None
    payment = locked(tx, refund.payment)
    refund = tx.find(PaymentRefund, id) or refund
    if refund.status != "pending" or outcome.status not in ("succeeded", "declined", "canceled"):
        return refund
    tx.remove(RefundTask, id)
    is_foreign = payment.held == "wrong_currency"
    if outcome.status == "succeeded":
        refund = replace(refund, status="succeeded", ended_at=at)
        tx.save(refund)
        is_whole = is_foreign or payment.refunded_minor >= payment.received_minor
        if is_whole:
            payment = replace(payment, status="refunded", held="", due_at=None)
            _end_bonus(tx, payment, at=at)
        keep(tx, payment)
        announce(tx, "payment.refunded", payment, at=at)
        return refund
    refund = replace(refund, status="failed", failure_code=outcome.code, ended_at=at)
    tx.save(refund)
    if not is_foreign:
        if not refund.is_booked:
            _book(tx, refund, sign=-1, at=at)
        payment = replace(
            payment,
            refunded_minor=payment.refunded_minor - refund.amount_minor,
            surplus_minor=payment.surplus_minor + refund.from_surplus_minor,
        )
    left = payment.charges.get(refund.charge, 0) + refund.amount_minor
    keep(tx, replace(payment, charges={**payment.charges, refund.charge: left}))
    announce(tx, "payment.refund_failed", payment, at=at)
    return refund


def _end_bonus(tx: Tx, payment: Payment, *, at: datetime) -> None:
    """End the promotional credit that came with a top-up whose money went back."""
    top_up = tx.find(TopUp, payment.subject) if payment.purpose == "top_up" else None
    grant = tx.grant(top_up.promotional_grant) if top_up and top_up.promotional_grant else None
    if grant is not None and grant.voided_at is None and grant.expired_at is None:
        crossing = expire_grant(tx, grant, at=at)
        cross(tx, crossing, currency=grant.currency, at=at)
