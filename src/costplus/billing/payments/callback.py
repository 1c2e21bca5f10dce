"""What providers called back with: every callback is kept, by the provider's own id of it.

Rule 1: a callback counts once; the same id again changes nothing.
Rule 2: one that names no payment of ours is kept and told of: somebody's money may have arrived.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from costplus.core.records import Record

CallbackResult = Literal["counted", "duplicate", "held", "surplus", "unknown", "no_news"]
BODY_CHARS_MAX = 16_384


@dataclass(frozen=True, slots=True, kw_only=True)
class PaymentCallback(Record):
    """One callback (`provider:id`), with what came of it."""

    KIND: ClassVar[str] = "payment_callback"

    provider: str
    kind: str
    payment: str
    status: str
    amount_minor: int
    currency: str
    result: CallbackResult
    body: str  # As it came, for whoever has to find out.

    @property
    def parent(self) -> str:
        return self.payment


def callback_id(provider: str, id: str) -> str:
    """Return the id under which a callback is kept."""
    return f"{provider}:{id}"
