"""Reservations: holds that a seller places itself, before a call that does not go through the gateway.

Rule 1: the money is in the ledger's hold of the same id; this is what it was placed for, and how it ended.
Rule 2: a quote shows its working: the tokens assumed and where they come from, at which rates.
Rule 3: one that nobody ends is swept when its time is over: by default to usage, as estimated when it was
placed. A capture that comes later takes the estimate's place.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import ClassVar, Literal

from costplus.core.errors import Conflict, InvalidRequest, NotFound
from costplus.core.records import Record
from costplus.rating.charge import Step
from costplus.rating.quote import Working

EXPIRES_IN_DEFAULT = timedelta(minutes=15)
EXPIRES_IN_MAX = timedelta(days=7)
CAPTURES_MAX = 1000  # Parts of one hold.
UNNAMED = "unnamed"  # The model of an amount that was held for nothing in particular.

OnExpiry = Literal["capture", "release"]


class NoSuchHold(NotFound):
    """The hold does not exist."""

    code = "resource_missing"


class HoldEnded(InvalidRequest):
    """The hold was captured in full, or released."""

    code = "hold_ended"
    remedy = "Place a new hold, or report the usage as a meter event."


class CaptureDiffers(Conflict):
    """The capture's identifier stands for something else already."""

    code = "hold_capture_differs"
    remedy = "Give each part its own identifier; to repeat one, send the same figures."


@dataclass(frozen=True, slots=True)
class Quoted:
    """What a call is expected to cost at most, with its derivation."""

    price_nano: int
    cost_nano: int
    tokens: Working
    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reservation(Record):
    """What a hold (`hold_…`) was placed for; `estimate_nano` is what it is swept to, `swept` how."""

    KIND: ClassVar[str] = "reservation"

    customer: str
    currency: str
    amount_nano: int  # As it was placed; growing adds to it.
    expires_at: datetime
    provider: str = ""
    model: str = ""
    quote: Quoted | None = None
    on_expiry: OnExpiry = "capture"
    estimate_nano: int = 0
    estimate_cost_nano: int = 0
    estimate_tokens: int = 0
    captures: tuple[str, ...] = ()  # The usage events that captured it, in order.
    swept: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)

    @property
    def parent(self) -> str:
        return self.customer
