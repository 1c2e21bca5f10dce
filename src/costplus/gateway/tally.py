"""Tallies of the calls that passed, in plain integers: what metrics are made of.

Rule 1: counting costs a call a few microseconds and no lock: one event loop counts, and reads.
Rule 2: what is counted by has few values: providers, models of the price catalogue and endpoints; whatever a
caller may make up is `other`. Customers are never told apart.
Rule 3: money is summed in whole nanos of a dollar.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence

from costplus.core.usage import ESTIMATED
from costplus.gateway.watch import Exchange

OTHER = "other"
OVERHEAD_LIMITS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
WAIT_LIMITS_S = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0, 600.0)


class Spread:
    """How often a duration was within each of some limits, and their sum."""

    __slots__ = ("counts", "limits_s", "sum_s")

    def __init__(self, limits_s: Sequence[float]) -> None:
        self.limits_s = limits_s
        self.counts = [0] * (len(limits_s) + 1)
        self.sum_s = 0.0

    def note(self, duration_s: float) -> None:
        """Count one duration; one at a limit is within it."""
        self.counts[bisect_left(self.limits_s, duration_s)] += 1
        self.sum_s += duration_s


class ModelTally:
    """What one model's calls came to."""

    __slots__ = ("cost_nano", "estimated_calls", "price_nano", "tokens")

    def __init__(self) -> None:
        self.tokens: Counter[str] = Counter()  # By leaf.
        self.cost_nano = 0
        self.price_nano = 0
        self.estimated_calls = 0


class CallTally:
    """Counts every exchange of the gateway; a `Watcher`."""

    def __init__(self) -> None:
        self.requests: Counter[tuple[str, str, str, int]] = Counter()  # Provider, model, endpoint, status.
        self.refusals: Counter[str] = Counter()  # By the code that was told.
        self.models: dict[tuple[str, str], ModelTally] = {}
        self.overhead = Spread(OVERHEAD_LIMITS_S)
        self.first_piece: dict[str, Spread] = {}  # By provider.
        self.duration: dict[str, Spread] = {}

    def admitted(self, exchange: Exchange) -> None:
        """Nothing is counted before the end."""

    def ended(self, exchange: Exchange) -> None:
        """Count an exchange and what its call came to."""
        if exchange.error_code:
            self.refusals[exchange.error_code] += 1
        call, endpoint = exchange.call, exchange.endpoint
        wire = endpoint.wire if endpoint else OTHER
        if call is None:
            self.requests[endpoint.provider if endpoint else OTHER, OTHER, wire, exchange.noted_status] += 1
            return
        sheet = call.sheet
        provider, model = sheet.provider, OTHER if sheet.stands_in else sheet.model
        self.requests[provider, model, wire, exchange.noted_status] += 1
        self.overhead.note(exchange.overhead_s)
        _spread(self.duration, provider).note(exchange.ended_s - exchange.sent_on_s)
        if exchange.first_piece_s:
            _spread(self.first_piece, provider).note(exchange.first_piece_s - exchange.sent_on_s)
        used = call.used
        if used is None:
            return
        tally = self.models.get((provider, model))
        if tally is None:
            tally = self.models[provider, model] = ModelTally()
        tokens = tally.tokens
        for leaf, quantity in used.quantities.items():
            tokens[leaf] += quantity
        tally.cost_nano += used.cost_nano
        tally.price_nano += used.price_nano
        if ESTIMATED in used.flags:
            tally.estimated_calls += 1


def _spread(by_provider: dict[str, Spread], provider: str) -> Spread:
    found = by_provider.get(provider)
    if found is None:
        found = by_provider[provider] = Spread(WAIT_LIMITS_S)
    return found
