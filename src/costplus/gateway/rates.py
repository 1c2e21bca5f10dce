"""What a key may ask for in a minute and at once, counted in this process.

Rule 1: a minute slides: what was asked for is earned back evenly, so that nobody waits for a full minute.
Rule 2: tokens are those of the quote until the call has ended, and then its own.
Rule 3: a refusal counts nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from costplus.billing.customer import ApiKey
from costplus.core.errors import BillingError, InvalidRequest

_MINUTE_NS = 60_000_000_000
_SECOND_NS = 1_000_000_000
_REMEMBERED_MAX = 10_000


class RateLimited(BillingError):
    """The key has asked for as much as it may for now."""

    code = "key_rate_limited"
    remedy = "Send the call again after the seconds that `retry-after` says."

    def __init__(self, message: str, *, wait_ns: int) -> None:
        super().__init__(message)
        self.retry_after_s = -(-wait_ns // _SECOND_NS)


class CallOverRate(InvalidRequest):
    """One call may take more tokens than its key may have in a minute: it would never pass."""

    code = "call_over_key_tokens_per_minute"
    remedy = "Name a lower limit on the output, or raise the key's tokens_per_minute."


class _Counts:
    """What one key has asked for: until when its requests and tokens are used up, and what runs now."""

    __slots__ = ("requests_ns", "running", "tokens_ns")

    def __init__(self) -> None:
        self.requests_ns = 0
        self.tokens_ns = 0
        self.running = 0


class Ticket:
    """One call's place; `end` it once, whatever became of the call."""

    __slots__ = ("_counts", "_limit", "_tokens")

    def __init__(self, counts: _Counts | None = None, *, tokens: int = 0, limit: int = 0) -> None:
        self._counts = counts
        self._tokens = tokens
        self._limit = limit

    def used(self, tokens: int) -> None:
        """Note how many tokens it was; the rest of what was counted is earned back at once."""
        if self._counts is not None and self._limit:
            self._counts.tokens_ns += (tokens - self._tokens) * _MINUTE_NS // self._limit
            self._tokens = tokens

    def end(self) -> None:
        """Make room for another call."""
        if self._counts is not None:
            self._counts.running -= 1
            self._counts = None


NO_TICKET = Ticket()


class KeyRates:
    """Counts calls by the keys that they come with."""

    def __init__(self, *, clock: Callable[[], int] = time.monotonic_ns) -> None:
        self._clock = clock
        self._counts: dict[str, _Counts] = {}

    def begin(self, key: ApiKey, tokens: int) -> Ticket:
        """Count a call of up to `tokens`. Raises `RateLimited`, `CallOverRate`."""
        limits = key.limits
        if not limits.has_rates:
            return NO_TICKET
        now = self._clock()
        counts = self._counts.get(key.id) or self._fresh(key.id, now)
        if limits.parallel_requests and counts.running >= limits.parallel_requests:
            raise RateLimited(
                f"This key may have {limits.parallel_requests} calls under way at once.", wait_ns=_SECOND_NS
            )
        if limits.tokens_per_minute and tokens > limits.tokens_per_minute:
            raise CallOverRate(
                f"The call may take {tokens} tokens, its key {limits.tokens_per_minute} in a minute."
            )
        requests_ns = _taken(counts.requests_ns, 1, limits.requests_per_minute, "calls", now)
        tokens_ns = _taken(counts.tokens_ns, tokens, limits.tokens_per_minute, "tokens", now)
        counts.requests_ns, counts.tokens_ns = requests_ns, tokens_ns
        counts.running += 1
        return Ticket(counts, tokens=tokens, limit=limits.tokens_per_minute)

    def _fresh(self, id: str, now: int) -> _Counts:
        if len(self._counts) >= _REMEMBERED_MAX:
            self._counts = {
                known: counts
                for known, counts in self._counts.items()
                if counts.running or counts.requests_ns > now or counts.tokens_ns > now
            }
        counts = self._counts[id] = _Counts()
        return counts


def _taken(until_ns: int, amount: int, limit: int, what: str, now: int) -> int:
    """Return until when a minute's amount is used up once `amount` more is taken of it."""
    if not limit:
        return until_ns
    after_ns = max(until_ns, now) + amount * _MINUTE_NS // limit
    over_ns = after_ns - now - _MINUTE_NS
    if over_ns > 0:
        raise RateLimited(f"This key may have {limit} {what} in a minute.", wait_ns=over_ns)
    return after_ns
