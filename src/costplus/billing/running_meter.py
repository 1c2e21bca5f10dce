"""What events move a meter's value by within a billing period, whatever its formula: kept as running sums.

Rule 1: it is called behind the customer's balance lock, once for each new event, in the order of coming.
Rule 2: the value itself is the period's counter, which settling moves; what a formula needs besides (when the
last value was, how many there were, which ones) stands in counters whose names no meter can have.
Rule 3: an event counts in the period that is billed for it; in a time window the later event counts, also
where the earlier one is in a period that is billed already: what it changes is then this period's.
Source: spec "Stripe's wire", §5.3.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import Final

from costplus.billing.store import Tx
from costplus.metering.aggregate import TimeWindow, whole, window_start
from costplus.metering.event import UsageEvent
from costplus.metering.feeds.stripe import value_text
from costplus.metering.meter import Meter
from costplus.rating.item_charge import Metered

_NAME_MIN: Final = 101  # No meter's name is that long.
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class _State:
    """Two numbers that are kept for a customer's meter from an instant on."""

    def __init__(self, tx: Tx, event: UsageEvent, what: str, since: datetime) -> None:
        self._tx, self._customer, self._since = tx, event.customer, since
        self._name = f"meter/{event.meter}/{what}".ljust(_NAME_MIN, ".")
        found = tx.metered(self._customer, self._name, since)
        self.first, self.second = found.units, found.price_nano

    def set(self, first: int, second: int) -> None:
        """Keep two other numbers; counters are moved by differences."""
        moved = Metered(first - self.first, second - self.second)
        self._tx.add_metered(self._customer, self._name, self._since, moved)
        self.first, self.second = first, second


def moved_by(tx: Tx, meter: Meter | None, event: UsageEvent, start: datetime, *, counted: int) -> int:
    """Return how many units a new event adds to its meter's value in the period that begins at `start`.

    `counted` is that value before it. Without a meter (it was deactivated since) values add up.
    """
    value = event.usage.quantities.get("unit", 0)
    if meter is None:
        return value
    if meter.event_time_window is not None:
        added = _within_window(tx, meter.event_time_window, event, value)
        if meter.formula == "sum":
            return added[0]
        if meter.formula == "count":
            return added[1]
    if meter.formula == "last":
        return _last(tx, event, start, value, counted=counted)
    if meter.formula == "unique":
        return _unique(tx, event, start, meter)
    if meter.formula in ("avg", "min", "max"):
        return _among_all(tx, meter, event, start, value, counted=counted)
    return value


def _micros(at: datetime) -> int:
    return (at - _EPOCH) // _MICROSECOND


def _within_window(tx: Tx, window: TimeWindow, event: UsageEvent, value: int) -> tuple[int, int]:
    """Return what the event adds to the sum of all windows and to their number."""
    state = _State(tx, event, window, window_start(event.at, window))
    if state.second and _micros(event.at) < state.second:
        return 0, 0  # A later event stands for the window already.
    before, is_new = state.first, not state.second
    state.set(value, _micros(event.at))
    return value - before, int(is_new)


def _last(tx: Tx, event: UsageEvent, start: datetime, value: int, *, counted: int) -> int:
    state = _State(tx, event, "last", start)
    if state.second > _micros(event.at):
        return 0
    state.set(value, _micros(event.at))
    return value - counted


def _unique(tx: Tx, event: UsageEvent, start: datetime, meter: Meter) -> int:
    text = value_text(event, meter)
    digest = hashlib.sha256(text.encode()).hexdigest()
    seen = _State(tx, event, f"unique/{digest}", start)
    if seen.first:
        return 0
    seen.set(1, 0)
    return 1


def _among_all(tx: Tx, meter: Meter, event: UsageEvent, start: datetime, value: int, *, counted: int) -> int:
    """Return what one more value moves the least, the greatest or the average of all by."""
    state = _State(tx, event, "values", start)
    state.set(state.first + value, state.second + 1)
    if meter.formula == "avg":
        return whole(Fraction(state.first, state.second)) - counted
    if state.second == 1:
        return value - counted
    return (min(counted, value) if meter.formula == "min" else max(counted, value)) - counted
