"""Tally: what the simulated provider was asked, answered and reported, to compare a bill with.

Rule 1: tokens are `reported` when a complete answer with its usage was sent, else `unreported`: the provider
generated them and nobody was told.   Rule 2: replayed exchanges are counted, their tokens are not.
"""

from __future__ import annotations

from collections import Counter

from costplus.devprovider.ask import Counts


class Tally:
    """Running totals since the start or the last reset."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        self.requests_by_path: Counter[str] = Counter()
        self.errors_by_status: Counter[int] = Counter()
        self.answered = 0
        self.broken = 0  # Garbage, cut and abandoned answers.
        self.replayed = 0
        self.reported: Counter[str] = Counter()
        self.unreported: Counter[str] = Counter()

    def answer(self, counts: Counts, *, reported: bool) -> None:
        """Count a complete answer."""
        self.answered += 1
        _add(self.reported if reported else self.unreported, counts, 1)

    def break_off(self, counts: Counts) -> None:
        """Count an answer that its client cannot have read to the end."""
        self.broken += 1
        _add(self.unreported, counts, 1)

    def take_back(self, counts: Counts, *, reported: bool) -> None:
        """Undo `answer`: the client had gone."""
        self.answered -= 1
        _add(self.reported if reported else self.unreported, counts, -1)

    def snapshot(self) -> dict[str, object]:
        """Return the totals as JSON likes them."""
        return {
            "requests": dict(self.requests_by_path),
            "answered": self.answered,
            "errors": sum(self.errors_by_status.values()),
            "errors_by_status": {str(status): n for status, n in self.errors_by_status.items()},
            "broken": self.broken,
            "replayed": self.replayed,
            "tokens": {leaf: n for leaf, n in self.reported.items() if n},
            "tokens_unreported": {leaf: n for leaf, n in self.unreported.items() if n},
        }


def _add(totals: Counter[str], counts: Counts, sign: int) -> None:
    totals["input"] += sign * counts.input
    totals["output"] += sign * counts.output
    if counts.input == counts.prompt and not counts.reasoning:
        return
    if counts.cached:
        totals["cached_input"] += sign * counts.cached
    if counts.cache_write_5m:
        totals["cache_write_5m"] += sign * counts.cache_write_5m
    if counts.cache_write_1h:
        totals["cache_write_1h"] += sign * counts.cache_write_1h
    if counts.reasoning:
        totals["reasoning"] += sign * counts.reasoning
