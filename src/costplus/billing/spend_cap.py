"""Spend caps: how much a customer, or one of its keys, may spend in a calendar day or month.

Rule 1: a hard cap refuses calls. A call is admitted where spent + reserved + its hold ≤ the cap; gateway
processes reserve parts of the cap as they reserve credit, so that no part is promised twice.
Rule 2: what can pass a hard cap is what calls in flight cost beyond their holds, and usage that others
report: it is booked whatever the cap, and told.
Rule 3: a soft cap refuses nothing; reaching either is told once a window.
Rule 4: a call counts in the window of its admission, whenever it ends.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import ClassVar, Literal

from costplus.billing.spend import Scope
from costplus.core.errors import PaymentRequired
from costplus.core.ids import milliseconds
from costplus.core.period import Period
from costplus.core.records import Record

CapSpan = Literal["day", "month"]
CAP_SPANS: tuple[CapSpan, ...] = ("day", "month")
CapMode = Literal["hard", "soft"]
CAP_MODES: tuple[CapMode, ...] = ("hard", "soft")


class SpendCapReached(PaymentRequired):
    """A hard spend cap leaves no room for the call until its day or month is over."""

    code = "spend_cap_reached"
    remedy = "Wait until the cap resets, or raise it under /v1/token_billing/customers or /keys."

    def __init__(self, message: str, *, resets_at: datetime) -> None:
        super().__init__(message)
        self.resets_at = resets_at


def cap_id(subject: str, span: CapSpan) -> str:
    """Return the id of a customer's or a key's cap: there is one per subject and span."""
    return f"{subject}/{span}"


@dataclass(frozen=True, slots=True, kw_only=True)
class SpendCap(Record):
    """At most `amount_minor` in each `span`: of one key's usage, or of all its customer's."""

    KIND: ClassVar[str] = "spend_cap"

    customer: str
    api_key: str = ""
    span: CapSpan
    amount_minor: int
    currency: str
    mode: CapMode = "hard"

    @property
    def parent(self) -> str:
        return self.customer

    @property
    def subject(self) -> str:
        """The key or the customer that it is about."""
        return self.api_key or self.customer

    @property
    def scope(self) -> Scope:
        return Scope(api_key=self.api_key)

    @property
    def counter(self) -> str:
        """What its running sum is kept under; one that is set anew begins a new sum."""
        return f"{self.id}/{milliseconds(self.created)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class CapWindow(Record):
    """What gateway processes have reserved of a cap in one window, by process; gone once nothing is.

    It is money that changes with calls, kept as a record all the same: it is written only under the
    customer's balance lock, so no two writers ever see it at once.
    """

    KIND: ClassVar[str] = "cap_window"

    reserved_nano: Mapping[str, int] = field(default_factory=dict)

    @property
    def total_nano(self) -> int:
        return sum(self.reserved_nano.values())


def cap_window_id(cap: str, window: Period) -> str:
    """Return the id of a cap's window."""
    return f"{cap}/{milliseconds(window.start)}"


def reservation_id(owner: str, cap_window: str) -> str:
    """Return what a process's part of a cap's window is called in the journal."""
    return f"{owner}@{cap_window}"


def reservation_of(id: str) -> tuple[str, str]:
    """Return the owner and the cap window that a reservation's id names."""
    owner, _, cap_window = id.partition("@")
    return owner, cap_window


@dataclass(frozen=True, slots=True, kw_only=True)
class CapReached(Record):
    """That spend reached a cap in a window, or left no room for a call; its id is the window's.

    `exceeded` says that spend is above the cap: by reported usage, or by calls that cost more than they held.
    """

    KIND: ClassVar[str] = "cap_reached"

    cap: SpendCap
    window: Period
    spent_nano: int
    exceeded: bool = False
    refused: bool = False  # Found by a call that was turned away, not by what was spent.
