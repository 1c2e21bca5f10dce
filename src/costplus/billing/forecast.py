"""When credit ends at the present rate: grants as they begin, burn and expire.

Rule 1: the rate is what was charged over the last days, spread evenly; it pays from grants in burn order.
Rule 2: credit ends at the first instant at which no grant that has begun and not expired holds anything.
Rule 3: everything is exact: instants are found as fractions and rounded up to whole seconds.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from fractions import Fraction

from costplus.core.period import Period
from costplus.ledger.grant import Grant, burnable

SECOND = timedelta(seconds=1)
DAY_S = 86_400


@dataclass(frozen=True, slots=True)
class Day:
    """What one day was charged."""

    window: Period
    spent_nano: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """What the last days say about the next ones, with what it is computed from.

    `credit_ends_at` is None where credit outlasts `horizon`; `period_projected_nano` is what usage of the
    running billing period is expected to be charged, `invoice_projected_nano` what of it credit will not pay,
    with the next period's fee.
    """

    customer: str
    currency: str
    at: datetime
    days: tuple[Day, ...]
    window: Period  # What the rate is measured over.
    spent_nano: int
    credit_nano: int
    credit_ends_at: datetime | None
    horizon: datetime
    period: Period | None = None
    period_spent_nano: int = 0
    period_projected_nano: int = 0
    owed_nano: int = 0
    fee_nano: int = 0
    invoice_projected_nano: int = 0

    @property
    def per_day_nano(self) -> Fraction:
        return self.per_second * DAY_S

    @property
    def per_second(self) -> Fraction:
        seconds = (self.window.end - self.window.start) // SECOND
        return Fraction(max(self.spent_nano, 0), seconds) if seconds else Fraction(0)


def seconds_between(start: datetime, end: datetime) -> Fraction:
    """Return the time between two instants in seconds, exactly."""
    return Fraction((end - start) // timedelta(microseconds=1), 1_000_000)


def credit_end(
    grants: Sequence[Grant], per_second: Fraction, *, at: datetime, horizon: datetime
) -> datetime | None:
    """Return when credit ends at a rate, or None where that is not before `horizon`.

    Where there is none at `at`, it has ended already.
    """
    left = _Left(grants)
    for now, then in _stretches(grants, at=at, horizon=horizon):
        live = left.live(now)
        credit_nano = sum((nano for _, nano in live), Fraction(0))
        if credit_nano <= 0:
            return now
        need_nano = per_second * seconds_between(now, then)
        if need_nano >= credit_nano and per_second > 0:
            return now + _ceil(credit_nano / per_second) * SECOND
        left.pay(live, need_nano)
    return None


def unpaid(grants: Sequence[Grant], per_second: Fraction, *, at: datetime, until: datetime) -> Fraction:
    """Return what usage at a rate from `at` until then costs beyond what credit pays, in nanos."""
    left, rest = _Left(grants), Fraction(0)
    for now, then in _stretches(grants, at=at, horizon=until):
        rest += left.pay(left.live(now), per_second * seconds_between(now, then))
    return rest


class _Left:
    """What projected grants still hold."""

    def __init__(self, grants: Sequence[Grant]) -> None:
        self._grants = [grant for grant in grants if grant.remaining_nano > 0]
        self._nano = {grant.id: Fraction(grant.remaining_nano) for grant in self._grants}

    def live(self, at: datetime) -> list[tuple[Grant, Fraction]]:
        """Return what can be burned at `at`, in burn order."""
        return [(g, self._nano[g.id]) for g in burnable(self._grants, at=at) if self._nano[g.id]]

    def pay(self, live: Sequence[tuple[Grant, Fraction]], nano: Fraction) -> Fraction:
        """Burn `nano`; return what the grants do not cover."""
        for grant, held in live:
            part = min(held, nano)
            self._nano[grant.id], nano = held - part, nano - part
        return nano


def _stretches(
    grants: Sequence[Grant], *, at: datetime, horizon: datetime
) -> list[tuple[datetime, datetime]]:
    """Return the stretches of time in which the same grants can be burned."""
    turns = {grant.effective_at for grant in grants}
    turns |= {grant.expires_at for grant in grants if grant.expires_at is not None}
    marks = [at, *sorted(turn for turn in turns if at < turn < horizon), horizon]
    return list(itertools.pairwise(marks))


def _ceil(exact: Fraction) -> int:
    return -(-exact.numerator // exact.denominator)
