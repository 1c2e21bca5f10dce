"""Payments: one thing to be paid (an invoice, a top-up), and every attempt to have it paid.

Rule 1: an attempt's key never changes; asking the provider again under it is never a second charge.
Rule 2: money is counted once per charge of the provider's; `charges` remembers which were counted.
Rule 3: a payment is held where what came does not fit it; then a person decides.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import ClassVar, Literal

from costplus.billing.payments.base import Order
from costplus.core.errors import Conflict, InvalidRequest, NotFound
from costplus.core.records import Record

PaymentStatus = Literal[
    "pending", "processing", "requires_action", "succeeded", "failed", "canceled", "refunded"
]
OPEN = ("pending", "processing", "requires_action")


class NoSuchPayment(NotFound):
    """The payment does not exist."""

    code = "resource_missing"


class PaymentState(InvalidRequest):
    """The payment is not in a state that allows this."""

    code = "payment_not_in_state"
    remedy = "pending → processing | requires_action → succeeded | failed | canceled; succeeded → refunded."


class PaymentInProgress(Conflict):
    """A payment for this is under way; a second one could take the money twice."""

    code = "payment_in_progress"
    remedy = "Wait for its outcome, or cancel it first."


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One time that the provider was asked; `asked_by` names the request that wanted it, if one did."""

    number: int
    at: datetime
    amount_minor: int
    method: str
    token: str
    status: Literal["asked", "processing", "requires_action", "succeeded", "declined", "canceled"] = "asked"
    charge: str = ""
    code: str = ""
    message: str = ""
    asked_by: str = ""

    @property
    def is_over(self) -> bool:
        return self.status in ("succeeded", "declined", "canceled")


@dataclass(frozen=True, slots=True, kw_only=True)
class Payment(Record):
    """`amount_minor` for `subject`. `received_minor` came in; of it `surplus_minor` serves nothing yet."""

    KIND: ClassVar[str] = "payment"

    customer: str
    provider: str
    method: str
    token: str  # What the provider calls the method.
    currency: str
    amount_minor: int
    purpose: Literal["invoice", "top_up"]
    subject: str
    status: PaymentStatus = "pending"
    reference: str = ""  # What a bank transfer must quote.
    received_minor: int = 0
    surplus_minor: int = 0
    refunded_minor: int = 0
    attempts: tuple[Attempt, ...] = ()
    # The provider's charges whose money was counted → what of each could still go back.
    charges: Mapping[str, int] = field(default_factory=dict)
    due_at: datetime | None = None  # When to ask (again), or to look what became of it.
    looks: int = 0  # How often that was looked at since the last attempt.
    asked_by: str = ""  # The request that wants the attempt that is due.
    is_retried: bool = True  # Whether declines are retried by the account's schedule.
    held: Literal["", "wrong_amount", "wrong_currency"] = ""
    stated_minor: int = 0  # What came instead, where it is held.
    stated_currency: str = ""
    failure_code: str = ""
    failure_message: str = ""
    action_url: str = ""
    succeeded_at: datetime | None = None
    failed_at: datetime | None = None
    canceled_at: datetime | None = None
    test_clock: str | None = None

    @property
    def parent(self) -> str:
        return self.customer

    @property
    def lookup(self) -> str:
        """What is to be paid, while this payment is at it: nothing else may be."""
        return self.subject if self.is_open else ""

    @property
    def is_open(self) -> bool:
        return self.status in OPEN

    @property
    def current(self) -> Attempt | None:
        """The latest attempt."""
        return self.attempts[-1] if self.attempts else None

    @property
    def is_asked(self) -> bool:
        """Whether the provider may be at it: it was asked, and nothing final is known."""
        return self.current is not None and not self.current.is_over

    def attempt(self, number: int) -> Attempt | None:
        """Return the attempt of this number, or None."""
        return self.attempts[number - 1] if 1 <= number <= len(self.attempts) else None

    def with_attempt(self, attempt: Attempt) -> Payment:
        """Return the payment with the attempt added, or in the place of the one with its number."""
        kept = list(self.attempts)
        kept[attempt.number - 1 : attempt.number] = [attempt]
        return replace(self, attempts=tuple(kept))

    def order(self, attempt: Attempt, *, at: datetime) -> Order:
        """Return what the provider is asked for in the attempt."""
        return Order(
            key=key_of(self.id, attempt.number),
            payment=self.id,
            customer=self.customer,
            method=attempt.token,
            amount_minor=attempt.amount_minor,
            currency=self.currency,
            reference=self.reference,
            at=at,
            charge=attempt.charge,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PaymentTask(Record):
    """That something is to be done about a payment (its id) at `due_at`; gone where nothing is."""

    KIND: ClassVar[str] = "payment_task"

    customer: str
    due_at: datetime

    @property
    def parent(self) -> str:
        return self.customer


@dataclass(frozen=True, slots=True, kw_only=True)
class PaymentReference(Record):
    """Which payment a bank transfer's text (the id) means."""

    KIND: ClassVar[str] = "payment_reference"

    payment: str


def key_of(payment: str, number: int) -> str:
    """Return the key under which the provider knows an attempt."""
    return f"{payment}:{number}"


def number_in(key: str) -> int:
    """Return the attempt's number that a key ends with; 0 where it is no key of ours."""
    number = key.rpartition(":")[2]
    return int(number) if number.isascii() and number.isdecimal() and len(number) < 9 else 0


def reference_of(payment: str) -> str:
    """Return the text by which a person recognises a transfer for the payment: `CP-7F3K9Q2M4T`."""
    letters = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"  # Crockford's: nothing that looks like something else.
    number = int(payment.rpartition("_")[2][-16:], 16)
    return "CP-" + "".join(letters[number >> shift & 31] for shift in range(45, -1, -5))
