"""The simulated processor's cards: what each magic name does, and what the processor remembers of a charge.

`pm_fake_ok` pays at once, the others decline, take their time, call back twice, or with wrong figures.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import ClassVar, Literal

from costplus.core.records import Record

Ending = Literal["succeeded", "declined", "requires_action", "never"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FakeCard:
    """How a magic method behaves. `delay` is how long it stays processing."""

    label: str
    ending: Ending = "succeeded"
    code: str = ""
    is_retryable: bool = True
    delay: timedelta = timedelta(0)
    callbacks: int = 1
    falls_short_minor: int = 0  # How much less than was asked for is taken.
    is_foreign: bool = False  # Takes another currency than was asked for.
    loses_first_answer: bool = False  # Takes the money and does not answer until asked again.
    recovers_after: int = 0  # Declines so many times before it pays.


DELAY = timedelta(seconds=5)
CARDS = {
    "pm_fake_ok": FakeCard(label="Card that pays"),
    "pm_fake_decline": FakeCard(label="Card that is declined", ending="declined", code="generic_decline"),
    "pm_fake_decline_insufficient": FakeCard(
        label="Card without funds", ending="declined", code="insufficient_funds"
    ),
    "pm_fake_decline_stolen": FakeCard(
        label="Stolen card", ending="declined", code="stolen_card", is_retryable=False
    ),
    "pm_fake_decline_once": FakeCard(
        label="Card that pays at the second time", code="insufficient_funds", recovers_after=1
    ),
    "pm_fake_delay": FakeCard(label="Card that takes its time", delay=DELAY),
    "pm_fake_delay_decline": FakeCard(
        label="Card that is declined later", ending="declined", code="generic_decline", delay=DELAY
    ),
    "pm_fake_double": FakeCard(label="Card that calls back twice", callbacks=2),
    "pm_fake_wrong_amount": FakeCard(
        label="Card that pays a cent too little", delay=DELAY, falls_short_minor=1
    ),
    "pm_fake_wrong_currency": FakeCard(label="Card that pays other money", delay=DELAY, is_foreign=True),
    "pm_fake_requires_action": FakeCard(label="Card that asks its owner", ending="requires_action"),
    "pm_fake_never": FakeCard(label="Card that never answers", ending="never"),
    "pm_fake_lost_answer": FakeCard(label="Card whose answer is lost", loses_first_answer=True),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class FakeCharge(Record):
    """What the processor knows of an order (its key is the id): its own books, apart from ours."""

    KIND: ClassVar[str] = "fake_charge"

    charge: str
    payment: str
    customer: str
    card: str
    amount_minor: int
    currency: str
    status: Literal["processing", "requires_action", "succeeded", "declined", "canceled"]
    ends_at: datetime | None = None  # When a processing one is over.
    taken_minor: int = 0
    taken_currency: str = ""
    given_back_minor: int = 0
    code: str = ""

    @property
    def lookup(self) -> str:
        return self.charge

    @property
    def parent(self) -> str:
        return self.customer


@dataclass(frozen=True, slots=True, kw_only=True)
class FakeCallback(Record):
    """A callback (its event's id) that is still to be sent, in the customer's time."""

    KIND: ClassVar[str] = "fake_callback"

    key: str  # The order's.
    customer: str
    due_at: datetime
    tries: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class FakeRefund(Record):
    """Money that the processor gave back (the order's key is the id)."""

    KIND: ClassVar[str] = "fake_refund"

    charge: str
    amount_minor: int
    currency: str


def ended(charge: FakeCharge, card: FakeCard) -> FakeCharge:
    """Return a charge as it ends, with what was really taken."""
    if card.ending == "declined":
        return replace(charge, status="declined", code=card.code, ends_at=None)
    currency = ("eur" if charge.currency != "eur" else "usd") if card.is_foreign else charge.currency
    return replace(
        charge,
        status="succeeded",
        ends_at=None,
        taken_minor=charge.amount_minor - card.falls_short_minor,
        taken_currency=currency,
    )
