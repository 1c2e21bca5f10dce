"""Attempts: which lane a call asks next, whether it may ask another, and what a failed attempt cost.

Rule 1: another attempt is made only while nothing was sent to the client, and where the failure is the
lane's: no connection, no answer in time, a broken one, a rejected key, 429, or 5xx.
Rule 2: attempts are bounded for a call, by a time after which none begins, and by the budget of all calls.
Rule 3: what a provider says of a customer's own key is between the two: the call goes nowhere else, and the
lane is as well as before for everybody's calls.
Rule 4: an attempt that the provider may have worked on has a row of its own in the books: its cost, estimated
where nothing was counted, and by the card's rule a price of nothing.
"""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import dataclass

import structlog

from costplus.core.errors import BillingError
from costplus.core.usage import ESTIMATED, Usage
from costplus.gateway.call import Call, charged, measured, record_of
from costplus.gateway.credentials.errors import TokenRefused, TokenUnavailable
from costplus.gateway.health import Health, RetryBudget
from costplus.gateway.journal import Used
from costplus.gateway.upstream import (
    UpstreamBodyTooLarge,
    UpstreamBroken,
    UpstreamOverloaded,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from costplus.gateway.wire import Reading
from costplus.gateway.wire.base import EMPTY_READING
from costplus.rating.charge import Charge
from costplus.rating.waive import unasked

FAILED_ATTEMPT = "failed_attempt"  # Flag: the cost of an attempt that gave no answer.
PAUSE_S = 0.05  # Before the same lane is asked again, doubled each time, and a part of it by chance.
_KEY_REJECTED = (401, 403)
_REFUSALS = frozenset((*_KEY_REJECTED, 429, 500, 502, 503, 504, 529))
_NEVER_SENT = (UpstreamUnreachable, UpstreamOverloaded, TokenRefused, TokenUnavailable)

log = structlog.get_logger("costplus.gateway.attempt")


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """How far a call may go to be answered."""

    attempts_max: int = 3
    within_s: int = 30  # No further attempt begins later than this.


class Attempts:
    """The attempts of one call."""

    def __init__(self, call: Call, *, health: Health, budget: RetryBudget, policy: RetryPolicy) -> None:
        self._call = call
        self._health = health
        self._budget = budget
        self._policy = policy
        self._began = time.monotonic()
        self._waiting = list(call.candidates)
        self._lane = ""
        self.number = 0
        budget.earn()
        self._take_next()

    def _take_next(self) -> None:
        """Make the call one of the best lane that was not asked yet."""
        ready = (place for place, each in enumerate(self._waiting) if self._health.is_ready(each.lane))
        candidate = self._waiting.pop(next(ready, 0))
        self.number += 1
        self._lane = candidate.lane
        self._health.asked(self._lane)
        self._call.use(candidate)

    def answered(self) -> None:
        """Note that the lane answered, be it with what the caller did wrong."""
        if self._lane:  # Else what the lane did was noted already.
            self._health.answered(self._lane)
            self._lane = ""

    def broke(self) -> None:
        """Note that the answer broke off in the middle: nobody else can go on with it."""
        self._health.failed(self._lane)
        self._lane = ""

    def end(self) -> None:
        """Note that the call is over."""
        if self._lane:
            self._health.left(self._lane)
            self._lane = ""

    def refused(self, status: int, retry_after: str | None) -> bool:
        """Note a refusal; return whether the call has moved on to another lane."""
        if status not in _REFUSALS:
            self.answered()
            return False
        if self._call.own_credential and (status == 429 or status in _KEY_REJECTED):
            self.end()
            return False
        rest_s = None
        if status == 429 or status in _KEY_REJECTED:
            rest_s = int(retry_after) if retry_after and retry_after.isdecimal() else 0
        self._health.failed(self._lane, rest_s=rest_s)
        self._lane = ""
        return self._may_go_on() and self._go_on(f"status {status}")

    async def failed(self, error: BillingError) -> bool:
        """Note a failure; return whether the call goes on: at another lane, or at the same once more."""
        if isinstance(error, UpstreamBodyTooLarge):
            self.answered()
            return False
        if self._call.own_credential and isinstance(error, TokenRefused):
            self.end()
            return False
        lane, self._lane = self._lane, ""
        self._health.failed(lane)
        if not self._may_go_on():
            return False
        if not self._waiting and _was_never_sent(error):
            pause_s = PAUSE_S * 2**self.number * random.uniform(0.5, 1)
            await asyncio.sleep(pause_s)
            self._waiting = [each for each in self._call.candidates if each.lane == lane]
        return self._go_on(error.code)

    def _may_go_on(self) -> bool:
        is_late = time.monotonic() - self._began > self._policy.within_s
        return self.number < self._policy.attempts_max and not is_late

    def _go_on(self, reason: str) -> bool:
        if not self._waiting or not self._budget.spend():
            return False
        before = self._call.sending.provider.lane
        self._take_next()
        log.warning("retried", request=self._call.id, reason=reason, left=before, lane=self._lane)
        return True


def _was_never_sent(error: BillingError) -> bool:
    return isinstance(error, _NEVER_SENT) or (isinstance(error, UpstreamTimeout) and error.phase == "connect")


def may_have_cost(error: BillingError) -> bool:
    """Return whether the provider may have worked on an attempt that ended so."""
    return not _was_never_sent(error) and not (isinstance(error, UpstreamBroken) and error.stale)


def cost_row(call: Call, number: int, reading: Reading = EMPTY_READING) -> tuple[Used, Charge]:
    """Return the record of a failed attempt and its charge."""
    usage = measured(call, reading)
    usage = Usage(usage.quantities, (*dict.fromkeys((*usage.flags, ESTIMATED)), FAILED_ATTEMPT))
    charge = charged(call, usage, reading)
    if call.sheet.card.failed_attempts == "free":
        charge = unasked(charge)
    return record_of(call, usage, reading, charge, id=f"{call.id}#{number}"), charge
