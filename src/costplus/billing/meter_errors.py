"""What was wrong with meter events that were taken in without an answer of their own: a stream's.

Rule 1: an event that cannot be used is kept with the reason; nothing is dropped in silence.
Rule 2: the errors of ten seconds on one meter make one report, counted by code with a few samples; events
without a meter make a report of their own. Source: spec "Stripe's wire", §5.3, and the SDK's event classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import ClassVar

from costplus.billing.notify import announce
from costplus.billing.store import Tx
from costplus.core.errors import BillingError
from costplus.core.ids import from_milliseconds, milliseconds, new_id
from costplus.core.records import Record

WINDOW = timedelta(seconds=10)
SAMPLES_MAX = 5
PAGE = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class RejectedMeterEvent(Record):
    """A meter event that could not be used, as it was reported, and why."""

    KIND: ClassVar[str] = "rejected_meter_event"

    event_name: str
    identifier: str
    payload: Mapping[str, str]
    timestamp: datetime | None
    meter: str  # The meter's id, or empty.
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class SampleError:
    """One of the errors that a report counts."""

    identifier: str
    message: str


@dataclass(frozen=True, slots=True)
class ErrorKind:
    """How often an error happened within a window."""

    code: str
    count: int
    samples: tuple[SampleError, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class MeterErrorReport(Record):
    """The errors of one meter (empty: of events without one) in `[start, end)`; gone once announced."""

    KIND: ClassVar[str] = "meter_error_report"

    meter: str
    start: datetime
    end: datetime
    errors: tuple[ErrorKind, ...] = ()


def reject(tx: Tx, event: RejectedMeterEvent, *, at: datetime) -> None:
    """Keep a meter event that cannot be used, and count it in the report of its window."""
    tx.lock("meter_errors")  # All customers' errors on a meter make one report.
    tx.save(event)
    step_ms = milliseconds(from_milliseconds(0) + WINDOW)
    start = from_milliseconds(milliseconds(at) // step_ms * step_ms)
    id = f"{event.meter or '-'}@{milliseconds(start)}"
    report = tx.find(MeterErrorReport, id) or MeterErrorReport(
        id=id, created=at, meter=event.meter, start=start, end=start + WINDOW
    )
    sample = SampleError(event.identifier, event.message)
    kinds = {kind.code: kind for kind in report.errors}
    known = kinds.get(event.code) or ErrorKind(event.code, 0, ())
    samples = known.samples if len(known.samples) == SAMPLES_MAX else (*known.samples, sample)
    kinds[event.code] = ErrorKind(event.code, known.count + 1, samples)
    tx.save(replace(report, errors=tuple(kinds[code] for code in sorted(kinds))))


def rejected(
    error: BillingError,
    *,
    event_name: str,
    identifier: str,
    payload: Mapping[str, str],
    timestamp: datetime | None,
    meter: str,
    at: datetime,
) -> RejectedMeterEvent:
    """Return the record of a meter event that `error` speaks of."""
    return RejectedMeterEvent(
        id=new_id("mevr", at=at),
        created=at,
        event_name=event_name,
        identifier=identifier,
        payload=payload,
        timestamp=timestamp,
        meter=meter,
        code=error.code,
        message=error.message,
    )


def has_reports(tx: Tx, *, at: datetime) -> bool:
    """Return whether some window has ended by `at` and is not announced."""
    return any(report.end <= at for report in tx.page(MeterErrorReport, limit=PAGE))


def announce_reports(tx: Tx, *, at: datetime) -> int:
    """Announce the reports of all windows that ended by `at`, each once; return how many there were."""
    ended = [report for report in tx.page(MeterErrorReport, limit=PAGE) if report.end <= at]
    for report in reversed(ended):
        if report.meter:
            announce(tx, "v1.billing.meter.error_report_triggered", report, at=at)
        else:
            announce(tx, "v1.billing.meter.no_meter_found", report, at=at)
        tx.remove(MeterErrorReport, report.id)
    return len(ended)
