"""A customer's running position, changed in the same transaction as the events that move it.

Rule 1: credit is what burnable grants hold; available = credit − held.
Rule 2: usage that credit did not cover is owed, per billing period, until an invoice asks for it.
Rule 3: what an invoice could not ask for (fractions of a minor unit) is carried to the next one.
Rule 4: what paid a period's usage is known by grant until its invoice is final: used = owed + paid.
Rule 5: an alert fires once per crossing: `fired` remembers it until the balance recovers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from costplus.core.ids import CustomerId
from costplus.ledger.transaction import Transaction


@dataclass(frozen=True, slots=True, kw_only=True)
class Balance:
    """Everything about a customer's money that is not a grant; grants carry their own remainder."""

    customer: CustomerId
    held_nano: int = 0
    owed_nano: Mapping[int, int] = field(default_factory=dict)  # Period start (ms) → nano, zeros left out.
    carried_nano: int = 0
    # Period start (ms) → grant → what it paid. Under no grant: usage of this period that paid what another
    # one owed, below 0, and the other way round.
    paid_nano: Mapping[int, Mapping[str, int]] = field(default_factory=dict)
    fired: tuple[str, ...] = ()  # Alerts that fired and have not recovered.

    @property
    def owed_total_nano(self) -> int:
        return sum(self.owed_nano.values())


@dataclass(frozen=True, slots=True)
class Crossing:
    """Credit passed from `before_nano` to `after_nano`; alerts look for their threshold between them.

    `refused` marks a call turned away because available credit did not cover its hold: to the customer
    the credit is gone, whatever fraction is left. `transactions` are those that moved it, where they are to
    be announced one by one.
    """

    customer: CustomerId
    before_nano: int
    after_nano: int
    refused: bool = False
    transactions: tuple[Transaction, ...] = ()


def paid_copy(paid_nano: Mapping[int, Mapping[str, int]]) -> dict[int, dict[str, int]]:
    """Return a copy of what grants paid per period, to be added to."""
    return {period: dict(by_grant) for period, by_grant in paid_nano.items()}


def note_paid(paid: dict[int, dict[str, int]], period: int, grant: str, nano: int) -> None:
    """Add to what a grant paid for a period."""
    if nano:
        by_grant = paid.setdefault(period, {})
        by_grant[grant] = by_grant.get(grant, 0) + nano


def drawn(rests: dict[int, int], nano: int) -> Iterator[tuple[int, int]]:
    """Yield from which periods' rests `nano` is drawn, and how much of each; they are left with less."""
    for period in sorted(rests):
        share = min(rests[period], nano)
        rests[period], nano = rests[period] - share, nano - share
        if share:
            yield period, share
    assert nano == 0
