"""A lease: credit that a gateway process reserved in the ledger and parcels out to calls in memory.

Rule 1: the ledger's reservation = free + taken by calls in flight + charged but not yet settled.
Rule 2: `take` never goes below zero; whoever needs more grows the reservation in the ledger first.
Rule 3: settling a charge frees as much of the reservation as the charge took, so the credit is never
counted twice; what a charge takes beyond its hold comes out of the free part, and beyond that is owed.
Rule 4: what is left to its customer is the free part and what was left beside the lease when it grew last;
what other processes take meanwhile is seen when it grows again.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(slots=True, kw_only=True)
class Lease:
    """One customer's reservation held by this process."""

    customer: str
    hold_id: str
    free_nano: int = 0
    beside_nano: int = 0  # What was left beside the lease, when that was last looked at.
    in_flight: int = 0  # Calls that hold a part of it.
    used_at: datetime
    renewed_at: datetime  # When the ledger last heard of it.
    refill_below_nano: int = 0  # It is time to grow when less than this is free.
    was_ample: bool = False  # Whether there was credit for many calls when it grew last.

    def take(self, amount_nano: int, *, at: datetime) -> bool:
        """Set `amount_nano` aside for a call; False where the free part does not cover it."""
        if self.free_nano < amount_nano:
            return False
        self.free_nano -= amount_nano
        self.in_flight += 1
        self.used_at = at
        return True

    def close(self, *, held_nano: int, charged_nano: int) -> int:
        """End a call: return to the free part what the charge did not use.

        Returns how much of the ledger's reservation the settlement of this charge must free.
        """
        assert held_nano >= 0 and charged_nano >= 0 and self.in_flight > 0
        self.in_flight -= 1
        covered = min(charged_nano, held_nano + self.free_nano)
        self.free_nano += held_nano - covered
        self.beside_nano -= charged_nano - covered
        return covered

    @property
    def left_nano(self) -> int:
        """What may still be spent, as far as is known here: no call holds it."""
        return max(self.free_nano + self.beside_nano, 0)

    def grown(self, amount_nano: int) -> None:
        """Note that the ledger reserved `amount_nano` more of what was left beside the lease."""
        self.free_nano += amount_nano
        self.beside_nano -= amount_nano

    def surplus(self, keep_nano: int) -> int:
        """Remove and return the free part above `keep_nano`, to be given back to the ledger."""
        extra = max(self.free_nano - keep_nano, 0)
        self.free_nano -= extra
        self.beside_nano += extra
        return extra
