"""Health of lanes, as calls find it, and how many retries there may be.

Rule 1: three failures in a row, or one 429 or rejected key, let a lane rest; each further one doubles it.
Rule 2: after its rest one call is let through to see; the others follow once that was answered.
Rule 3: a lane at rest is asked last, never not at all: where all are at rest, a call still has its chance.
Rule 4: retries are a fifth of the calls at most, so that a provider in trouble is not asked ever more.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

FAILURES_MAX = 3
REST_S, REST_MAX_S = 2, 60
RETRIES_PER_CALL = 0.2
RETRIES_SAVED_MAX = 20

State = Literal["well", "resting", "probing"]


@dataclass(slots=True)
class _Lane:
    failures: int = 0  # In a row.
    rests: int = 0
    rests_until: float = 0
    probing: bool = False


class Health:
    """The lanes of this process; `clock` counts seconds."""

    def __init__(self, *, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lanes: dict[str, _Lane] = {}

    def states(self) -> dict[str, State]:
        """Return how every lane is that was ever asked."""
        return {name: self._state(lane) for name, lane in self._lanes.items()}

    def is_ready(self, name: str) -> bool:
        """Return whether a lane may be asked before others."""
        lane = self._lanes.get(name)
        return lane is None or (self._clock() >= lane.rests_until and not lane.probing)

    def asked(self, name: str) -> None:
        """Note that a call asks the lane: after a rest it is the one that sees how the lane is."""
        lane = self._lanes.setdefault(name, _Lane())
        lane.probing = lane.rests > 0

    def answered(self, name: str) -> None:
        """Note that the lane is well."""
        self._lanes[name] = _Lane()

    def left(self, name: str) -> None:
        """Note that the call ended without telling how the lane is."""
        self._lanes[name].probing = False

    def failed(self, name: str, *, rest_s: int | None = None) -> None:
        """Note a failure; `rest_s` is how long the provider wants to be left alone (0: it does not say)."""
        lane = self._lanes[name]
        lane.failures += 1
        was_probe, lane.probing = lane.probing, False
        if rest_s is None and lane.failures < FAILURES_MAX and not was_probe:
            return
        least_s = min(REST_S * 2 ** min(lane.rests, 10), REST_MAX_S)
        lane.rests += 1
        lane.rests_until = self._clock() + max(least_s, min(rest_s or 0, REST_MAX_S))

    def _state(self, lane: _Lane) -> State:
        if lane.probing:
            return "probing"
        return "resting" if self._clock() < lane.rests_until else "well"


class RetryBudget:
    """How many retries the calls so far have earned."""

    def __init__(self) -> None:
        self._saved = float(RETRIES_SAVED_MAX) / 2

    def earn(self) -> None:
        """Count a call."""
        self._saved = min(self._saved + RETRIES_PER_CALL, RETRIES_SAVED_MAX)

    def spend(self) -> bool:
        """Take one retry; False where none is left."""
        if self._saved < 1:
            return False
        self._saved -= 1
        return True
