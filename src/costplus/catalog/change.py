"""A change of a model's price: which parts move, who says so, how large it is, what is decided.

Rule 1: what is compared are exact unit costs per leaf and condition; 0.1 % apart is the same price.
Rule 2: `ratio` is the largest of new/old and old/new over all parts that move.
Rule 3: a decision has words (`reasons`), permanent like error codes, so that it can be explained and tested.
Source: spec "prices", §6 (decision matrix).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from fractions import Fraction
from typing import Literal

Standing = Literal["confirmed", "single", "disputed"]
Verdict = Literal["apply", "soak", "hold", "pending"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """One part of a price that changes: a leaf under conditions; None is a part that was not or will not be.

    `votes` has, per source that states this part, the unit cost it states.
    """

    leaf: str
    when: str  # `when_text` of its conditions, empty for the list price; `×` begins a multiplier's.
    old: Fraction | None
    new: Fraction | None
    standing: Standing
    votes: Mapping[str, Fraction] = field(default_factory=dict)

    @property
    def ratio(self) -> Fraction | None:
        """How many times larger or smaller, None where it comes from or goes to nothing."""
        if not self.old or not self.new:
            return None
        return max(self.old / self.new, self.new / self.old)


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What to do with a change: `apply` it, let it `soak` until `due_at`, `hold` it for a person.

    `pending` is a new model that nobody has confirmed yet.
    """

    verdict: Verdict
    reasons: tuple[str, ...]
    large: bool = False
    due_at: datetime | None = None
