"""What the single parts print: medians over the rounds, the least and the greatest beside them."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping
from typing import Any


def spread(values: list[float], form: str) -> str:
    """Write the median, and the range where there is one."""
    middle = format(statistics.median(values), form)
    return middle if len(values) < 2 else f"{middle} ({min(values):{form}}–{max(values):{form}})"


def rating_lines(figures: Mapping[str, Any]) -> Iterator[str]:
    """Yield what rating costs, each figure beside what it is meant to be."""
    models, versions = figures["models"][0], figures["versions"][0]
    yield "rating: one core, the whole bundled catalogue in memory"
    rows = [
        ("an event of 4 leaves, long prompt, priority, EU", "one_event_us", ".1f", "µs", "≤ 15"),
        ("mixed models and customers: name, sheet, charge", "batch_per_s", ",.0f", "events/s", "≥ 60,000"),
        ("first event of a model and a card", "first_us", ".0f", "µs", ""),
        ("the same events through genai-prices", "theirs_per_s", ",.0f", "events/s", ""),
        ("how many times as fast as that", "ratio", ".1f", "×", ""),
        (f"load of {models:,} models ({figures['file_mb']:.1f} MB)", "load_ms", ".0f", "ms", "< 300"),
        ("resident memory of that load", "load_mb", ".1f", "MB", "< 60"),
        (f"to build all of its {versions:,} versions besides", "build_ms", ".0f", "ms", ""),
        ("resident memory with every version built", "built_mb", ".1f", "MB", ""),
    ]
    for what, figure, form, unit, target in rows:
        aim = f"  (target {target})" if target else ""
        yield f"  {what:<50} {spread(figures[figure], form)} {unit}{aim}"
    yield f"  the models: {figures['origin']}"


def credit_lines(figures: Mapping[str, Any]) -> Iterator[str]:
    """Yield what credit costs a call, each figure beside what it is meant to be."""
    yield "credit: SQLite, fsync; a call holds all it charges, batches of 20 settle meanwhile"
    rows = [
        ("admission on a lease, mean with its growths", "admit_us", ".1f", "µs", "≤ 10"),
        ("admission on a lease, median", "admit_p50_us", ".2f", "µs", ""),
        ("store transactions a call", "per_call", ".4f", "", "≤ 0.02"),
        ("the same where some credit is for one model", "scoped_admit_us", ".1f", "µs", "≤ 10"),
        ("its store transactions a call", "scoped_per_call", ".4f", "", "≤ 0.02"),
        ("exact hold, median", "hold_p50_ms", ".2f", "ms", "≤ 1"),
        ("exact hold, 99 of 100", "hold_p99_ms", ".2f", "ms", ""),
        ("500 holds at once on credit for 300: admitted", "crowd_admitted", ".0f", "", "300"),
    ]
    for title, name, form, unit, target in rows:
        yield f"  {title:<50}{figures[name]:>12{form}} {unit:<4}{target}".rstrip()


def books_lines(figures: Mapping[str, Any]) -> Iterator[str]:
    """Yield what keeping the books costs, by how many customers the events are spread over."""
    runs = figures["runs"]
    yield (
        f"books: SQLite, fsync; {runs[0]['events']:,} events in batches of 1,000, rated and settled, "
        "each customer's credit pays half"
    )
    yield f"  {'customers':<50}" + "".join(f"{run['customers']:>12,}" for run in runs)
    rows = [
        ("rated and settled, events/s (target ≥ 15,000)", "events_per_s", ",.0f"),
        ("the first tenth, events/s", "first_per_s", ",.0f"),
        ("the last tenth, events/s", "last_per_s", ",.0f"),
        ("CPU µs an event", "cpu_us", ",.0f"),
        ("a month by model and type, median ms", "p50_ms", ".2f"),
        ("the same, 99 of 100, ms (target < 5)", "p99_ms", ".2f"),
        ("CPU ms a read", "read_cpu_ms", ".2f"),
        ("periods closed and invoiced, customers/s (≥ 167)", "closed_per_s", ",.0f"),
        ("CPU ms a customer", "close_cpu_ms", ".2f"),
    ]
    for title, name, form in rows:
        yield f"  {title:<50}" + "".join(f"{run[name]:>12{form}}" for run in runs)
