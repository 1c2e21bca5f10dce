"""Cost tracking only ("shadow"): usage is metered and rated, and nothing is asked for it.

Rule 1: switching counts from an instant on: what was used before stays as it was charged.
Rule 2: it is on where the plan or the customer says so; then neither fees nor minimums fall due.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Switch:
    """From `since` on, cost tracking only is on or off."""

    since: datetime
    on: bool


def is_on(switches: Sequence[Switch], at: datetime) -> bool:
    """Return whether it is on at an instant; before the first switch it is off."""
    for switch in reversed(switches):
        if switch.since <= at:
            return switch.on
    return False


def switched(switches: Sequence[Switch], *, on: bool, since: datetime) -> tuple[Switch, ...]:
    """Return the switches with it on or off from `since` on; what was planned for later is replaced."""
    kept = [switch for switch in switches if switch.since < since]
    if is_on(kept, since) == on:
        return tuple(kept)
    return (*kept, Switch(since, on))
