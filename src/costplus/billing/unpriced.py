"""The queue of unpriced usage: what was kept although no price covers it, and what became of it.

Rule 1: every event whose charge says that something is unpriced is in the queue, once, with its reasons; it
stays there for ever, open until it is resolved.
Rule 2: an entry waits where rating its event again could make a difference: for a price of the model, of a
leaf or for some circumstance, or for the card to sell the model. What a provider did not count
(`unmetered_…`) and runs on other models (`model:…`) are not to be had by that: they are open, and wait for a
person.
Rule 3: an alarm goes off for the first such event of a customer's model within an hour. Thousands of calls
that fail for one reason are one thing to be told; the queue has every one of them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar

from costplus.core.errors import NotFound
from costplus.core.ids import GrantId
from costplus.core.money import nano_per_minor
from costplus.core.records import Record
from costplus.core.usage import OTHER_MODEL, Usage
from costplus.ledger.grant import Grant
from costplus.metering.event import UsageEvent
from costplus.rating.charge import FALLBACK, MODEL, NOT_ON_CARD, Charge
from costplus.rating.rate_card import UnpricedPolicy

WHOLE = frozenset({MODEL, FALLBACK, NOT_ON_CARD})  # Reasons that concern all that the event used.


class NoSuchUnpricedUsage(NotFound):
    """The queue has no such entry."""

    code = "resource_missing"
    remedy = "List it with GET /v1/token_billing/unpriced_usage."


def model_name(event: UsageEvent) -> str:
    """Return the `provider/model` that an event's entry is filed under."""
    return f"{event.provider}/{event.model}"


@dataclass(frozen=True, slots=True, kw_only=True)
class UnpricedUsage(Record):
    """An event that no price covers, or not all of; its id is the event's, `created` when it was settled.

    `price_nano` is what the event was charged meanwhile. Once resolved, `adjustment` is the usage event that
    charges it at its price, and `taken_back` the reversal or the credit grant that returned the old charge.
    """

    KIND: ClassVar[str] = "unpriced_usage"

    customer: str
    provider: str
    model: str
    leaves: tuple[str, ...]  # The reasons: leaves, circumstances, or one of `WHOLE`.
    policy: UnpricedPolicy = "block"
    price_nano: int = 0
    resolved_at: datetime | None = None
    resolved_nano: int = 0  # What it is charged in the end.
    adjustment: str = ""
    taken_back: str = ""

    @property
    def parent(self) -> str:
        return f"{self.provider}/{self.model}"


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitingUsage(Record):
    """That an entry waits to be rated again; it goes when that is done. Its id is the entry's."""

    KIND: ClassVar[str] = "waiting_usage"

    customer: str
    name: str  # provider/model

    @property
    def parent(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True, kw_only=True)
class UnpricedModel(Record):
    """How many entries of a model wait, and how many there ever were; its id is `provider/model`."""

    KIND: ClassVar[str] = "unpriced_model"

    provider: str
    model: str
    waiting: int = 0
    seen: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class UnpricedAlarm(Record):
    """When the alarm last went off (`created`) for a customer's model: `customer/provider/model`."""

    KIND: ClassVar[str] = "unpriced_alarm"


def is_priceable(reason: str) -> bool:
    """Return whether a price that becomes known could lift the reason."""
    return not reason.startswith(("unmetered_", "model:"))


def waits(charge: Charge, usage: Usage) -> bool:
    """Return whether rating the event of a charge and its usage again could make a difference.

    The runs of a call on other models are known while it is made only, so its event cannot be rated again.
    """
    ran_on = {(line.rate.provider, line.rate.model) for line in charge.lines}
    is_whole = len(ran_on) <= 1 and OTHER_MODEL not in usage.flags
    return is_whole and any(map(is_priceable, charge.unpriced))


def lifts(charge: Charge, reasons: Iterable[str]) -> bool:
    """Return whether a new charge leaves fewer of the reasons than the old one had.

    Where all of the event had no price, any charge does; the leaves that it leaves open are a new entry's.
    """
    before = {reason for reason in reasons if is_priceable(reason)}
    return bool(before & WHOLE) or {r for r in charge.unpriced if is_priceable(r)} < before


def correction_grant(
    event: UsageEvent, *, id: str, nano: int, currency: str, at: datetime, name: str = ""
) -> Grant:
    """Return the credit that gives back what was charged for usage of the event's model, or of an item."""
    return Grant(
        id=GrantId(f"credgr_{id}"),
        customer=event.customer,
        created=at,
        amount_nano=nano,
        remaining_nano=nano,
        currency=currency,
        effective_at=at,
        category="promotional",
        name=name or f"Price correction: {model_name(event)}",
        source="correction",
        minor_amount=nano // nano_per_minor(currency),
    )
