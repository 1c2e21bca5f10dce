"""Drift: whether the ledger's kept balances are still what its postings make, looked at bit by bit.

Rule 1: one bucket at a time, in turn, so that a running server never feels it; the whole proof is the audit.
"""

from __future__ import annotations

from collections.abc import Sequence

from costplus.billing.finding import Finding
from costplus.core.ids import BUCKETS


class Drift:
    """What was found the last time that each bucket was looked at."""

    def __init__(self) -> None:
        self._found: dict[int, int] = {}
        self.looked_at = 0

    @property
    def next_bucket(self) -> int:
        """The bucket whose turn it is."""
        return self.looked_at % BUCKETS

    @property
    def findings(self) -> int:
        """How much does not agree, over all buckets that were looked at."""
        return sum(self._found.values())

    def note(self, bucket: int, found: Sequence[Finding]) -> None:
        """Keep what was found in the bucket whose turn it was."""
        assert bucket == self.next_bucket
        self._found.pop(bucket, None)
        if found:
            self._found[bucket] = len(found)
        self.looked_at += 1
