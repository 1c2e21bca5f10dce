"""`/v1/billing/meters/{id}/event_summaries`: a customer's value on a meter per window."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from fractions import Fraction
from itertools import pairwise

from costplus.billing.clock import customer_of
from costplus.billing.store import Tx
from costplus.core.errors import InvalidRequest
from costplus.core.period import Period
from costplus.metering.aggregate import Reading, aggregate
from costplus.metering.event import UsageEvent
from costplus.metering.feeds.stripe import value_text
from costplus.metering.meter import Meter
from costplus.web.api.meters import meter_of
from costplus.web.call import Call, Listing, get
from costplus.web.listing import in_memory
from costplus.web.objects.meter import MeterSum
from costplus.web.objects.wire import unix

FETCH = 100_000
WINDOWS_MAX = 9_000  # A year of hours, and some.
_STEPS = {"hour": timedelta(hours=1), "day": timedelta(days=1)}
_ALIGNED_S = {None: 60, "hour": 3600, "day": 86_400}


class SummaryTimes(InvalidRequest):
    """The summary's times are out of order or not on the boundaries of its windows."""

    code = "meter_event_summary_times_invalid"
    remedy = "Give whole minutes (whole UTC hours or days where grouped), start_time before end_time."


def windows_of(start: datetime, end: datetime, grouping: str | None) -> list[Period]:
    """Return the windows of `[start, end)`, oldest first."""
    aligned_s = _ALIGNED_S[grouping]
    if unix(start) % aligned_s or unix(end) % aligned_s or start >= end:
        raise SummaryTimes(f"{start.isoformat()} to {end.isoformat()} cannot be summed.", param="start_time")
    if grouping is None:
        return [Period(start, end)]
    step = _STEPS[grouping]
    count = (end - start) // step
    if count > WINDOWS_MAX:
        raise SummaryTimes(
            f"{count} windows are too many.", param="end_time", remedy=f"Ask for at most {WINDOWS_MAX}."
        )
    return [Period(a, b) for a, b in pairwise(start + step * i for i in range(count + 1))]


def events_within(tx: Tx, customer: str, meter: str, span: Period) -> Iterator[UsageEvent]:
    """Yield the customer's usage on the meter in time order, however much there is.

    Corrections are none, and what was canceled, which is said at the same instant, is none any more.
    """
    events: Sequence[UsageEvent] = tx.events_between(customer, span.start, span.end, meter=meter, limit=FETCH)
    if len(events) < FETCH:
        canceled = {event.corrects for event in events if event.is_cancellation}
        yield from (event for event in events if not event.is_correction and event.id not in canceled)
        return
    middle = span.start + (span.end - span.start) / 2
    yield from events_within(tx, customer, meter, Period(span.start, middle))
    yield from events_within(tx, customer, meter, Period(middle, span.end))


def value_of(meter: Meter, events: Sequence[UsageEvent]) -> Fraction:
    """Return what the meter's formula makes of a window's events, which are in time order."""
    texts = meter.formula == "unique"
    readings = [
        Reading(event.at, sum(event.usage.quantities.values()), value_text(event, meter) if texts else "")
        for event in events
    ]
    return aggregate(meter.formula, readings, window=meter.event_time_window)


def index(tx: Tx, call: Call) -> Listing:
    """List the sums of the windows between two times, newest first."""
    meter = meter_of(tx, call.path["id"])
    params = call.params
    customer = customer_of(tx, params.required_text("customer"))
    start, end = params.required_time("start_time"), params.required_time("end_time")
    windows = windows_of(start, end, params.choice("value_grouping_window", ("hour", "day")))
    step = windows[0].end - windows[0].start
    grouped: list[list[UsageEvent]] = [[] for _ in windows]
    for event in events_within(tx, customer.id, meter.event_name, Period(start, end)):
        grouped[(event.at - start) // step].append(event)
    sums = [
        MeterSum(meter=meter.id, customer=customer.id, window=window, value=value_of(meter, events))
        for window, events in zip(windows, grouped, strict=True)
    ]
    return in_memory(params, sums[::-1])


ENDPOINTS = (get("/v1/billing/meters/{id}/event_summaries", index, fresh=True),)
