"""What becomes due of a customer's credit as time passes: grants begin and end, reservations end."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from costplus.billing.credit import grant_steps, turn_grant
from costplus.billing.customer import Customer
from costplus.billing.store import Tx
from costplus.billing.sweep import expire_reservation, hold_steps


def credit_steps(tx: Tx, customer: str) -> Iterator[tuple[datetime, int, str]]:
    """Yield when something is due, its place among steps of one instant, and the grant's or hold's id."""
    yield from grant_steps(tx, customer)
    yield from hold_steps(tx, customer)


def turn(tx: Tx, customer: Customer, id: str, *, at: datetime) -> None:
    """Do what is due at `at` of a grant or a hold."""
    if tx.grant(id) is not None:
        turn_grant(tx, customer, id, at=at)
    else:
        expire_reservation(tx, customer.id, id, at=at)
