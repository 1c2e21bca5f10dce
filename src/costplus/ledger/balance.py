"""A customer's running position, changed in the same transaction as the events that move it.

Rule 1: credit is what burnable grants hold; available = credit − held.
Rule 2: usage that credit did not cover is owed, per billing period, until an invoice asks for it.
Rule 3: what an invoice could not ask for (fractions of a minor unit) is carried to the next one.
Rule 4: an alert fires once per crossing: `fired` remembers it until the balance recovers.
"""

from __future__ import annotations

from collections.abc import Mapping
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
    # What grants with a scope paid of open periods, by `period start (ms)/grant id`: a later one must not pay
    # for the same usage again.
    scoped_nano: Mapping[str, int] = field(default_factory=dict)
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
