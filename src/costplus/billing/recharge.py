"""Recharge: where a customer's credit is low and a rule of its own says so, buy more.

Looked at where usage is settled, when a purchase has ended, and by a job: after a cool-down, a new month, an
expiry. Exactly one purchase is in flight, whoever looks.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from costplus.billing.auto_recharge import AutoRecharge, month_of
from costplus.billing.buy import Purchase, order_top_up
from costplus.billing.clock import frozen_time
from costplus.billing.customer import Customer
from costplus.billing.demand import method_of
from costplus.billing.notify import announce
from costplus.billing.payments.method import MethodDetached, NoPaymentMethod, NoSuchPaymentMethod
from costplus.billing.payments.payment import Payment
from costplus.billing.store import Tx
from costplus.billing.top_up import TopUp
from costplus.ledger.post import credit_of

PAGE = 500


def net_nano(tx: Tx, customer: str, *, at: datetime) -> int:
    """Return a customer's credit less what its usage owes."""
    return credit_of(tx, customer, at=at) - tx.balance_for_update(customer).owed_total_nano


def recharge(tx: Tx, customer: Customer, *, at: datetime) -> TopUp | None:
    """Order a top-up where the customer's rule asks for one; None where it does not."""
    if tx.find(AutoRecharge, customer.id) is None:
        return None
    tx.balance_for_update(customer.id)
    rule = tx.find(AutoRecharge, customer.id)  # As it is now that nobody else changes it.
    if rule is None or customer.deleted or not rule.is_free(at):
        return None
    amount_minor = rule.wanted_minor(net_nano(tx, customer.id, at=at))
    if amount_minor <= 0:
        return None
    if not rule.allows(amount_minor, at=at):
        if rule.capped_in != month_of(at):
            rule = replace(rule, capped_in=month_of(at))
            tx.save(rule)
            announce(tx, "auto_recharge.cap_reached", rule, at=at)
        return None
    try:
        method = method_of(tx, customer, rule.payment_method)
    except (NoPaymentMethod, NoSuchPaymentMethod, MethodDetached):
        _stop(tx, replace(rule, is_enabled=False, stopped="no_payment_method"), at=at)
        return None
    purchase = Purchase(amount_minor=amount_minor, origin="auto_recharge")
    top_up = order_top_up(tx, customer, purchase, method=method, at=at)
    tx.save(rule.begun(top_up.payment, amount_minor, at=at))
    return top_up


def _stop(tx: Tx, rule: AutoRecharge, *, at: datetime) -> None:
    tx.save(rule)
    announce(tx, "auto_recharge.stopped", rule, at=at)


def may_charge(tx: Tx, payment: Payment, *, wanted: TopUp) -> bool:
    """Return whether a purchase may still be charged: not once its rule is off or its customer gone."""
    customer = tx.find(Customer, payment.customer)
    if customer is None or customer.deleted:
        return False
    if wanted.origin != "auto_recharge":
        return True
    rule = tx.find(AutoRecharge, payment.customer)
    return rule is not None and rule.is_enabled and rule.payment == payment.id


def recharge_ended(tx: Tx, payment: Payment, *, at: datetime) -> None:
    """Let the rule whose purchase ended go on, and look at once whether more is needed."""
    rule, customer = tx.find(AutoRecharge, payment.customer), tx.find(Customer, payment.customer)
    if rule is None or customer is None or rule.payment != payment.id:
        return
    if payment.status == "succeeded":
        tx.save(rule.succeeded())
        recharge(tx, customer, at=at)
        return
    was_enabled = rule.is_enabled
    rule = rule.failed(
        payment.amount_minor, is_decline=payment.status == "failed", begun=payment.created, at=at
    )
    if was_enabled and not rule.is_enabled:
        _stop(tx, rule, at=at)
    else:
        tx.save(rule)


def due_recharges(tx: Tx, *, at: datetime, clock: str | None = None) -> list[str]:
    """Return the customers (of a test clock, or all) whose rule asks for a purchase in their present."""
    due: list[str] = []
    cursor: str | None = None
    while True:
        page = tx.page(AutoRecharge, limit=PAGE, older_than=cursor)
        for rule in page:
            customer = tx.find(Customer, rule.id)
            if customer is None or customer.deleted or clock not in (None, customer.test_clock):
                continue
            present = frozen_time(tx, customer) or at
            if rule.is_free(present) and rule.wanted_minor(net_nano(tx, rule.id, at=present)) > 0:
                due.append(rule.id)
        if len(page) < PAGE:
            return due
        cursor = page[-1].id


def recharge_customer(tx: Tx, id: str, *, at: datetime) -> TopUp | None:
    """Look at one customer in its present; `at` is real time."""
    customer = tx.find(Customer, id)
    return None if customer is None else recharge(tx, customer, at=frozen_time(tx, customer) or at)
