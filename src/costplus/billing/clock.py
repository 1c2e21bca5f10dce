"""Whose time it is: a customer on a test clock lives by it, everybody else in real time."""

from __future__ import annotations

from datetime import datetime

from costplus.billing.customer import Customer, NoSuchCustomer, TestClock
from costplus.billing.store import Tx


def customer_of(tx: Tx, id: str, *, param: str = "customer") -> Customer:
    """Return the customer, or raise `NoSuchCustomer` (a deleted one does not exist any more)."""
    customer = tx.find(Customer, id)
    if customer is None or customer.deleted:
        raise NoSuchCustomer(f"No such customer: '{id}'", param=param)
    return customer


def frozen_time(tx: Tx, customer: Customer) -> datetime | None:
    """Return the time of the customer's test clock, or None where it lives in real time."""
    if customer.test_clock is None:
        return None
    clock = tx.find(TestClock, customer.test_clock)
    return clock.frozen_time if clock else None


def present(tx: Tx, customer: str, *, real: datetime) -> datetime:
    """Return the customer's now, given the real one."""
    return frozen_time(tx, customer_of(tx, customer)) or real
