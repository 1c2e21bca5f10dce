"""What the benchmark prints: medians over the rounds, the least and the greatest beside them."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

from rich.console import Console
from rich.table import Table
from targets import Target

COLUMNS = (
    *("requests/s", "÷ nginx", "÷ direct", "CPU µs/request"),
    *("added p50 ms", "added p99 ms", "MB idle → loaded", "ready s"),
)

Rounds: TypeAlias = list[dict[str, float]]
Found: TypeAlias = dict[tuple[str, str], Rounds]  # (workload, target) → the figures of each round.


def spread(values: list[float], form: str) -> str:
    """Write the median, and the range where there is one."""
    middle = format(statistics.median(values), form)
    return middle if len(values) < 2 else f"{middle} ({min(values):{form}}–{max(values):{form}})"


def show(
    found: Found,
    targets: list[Target],
    *,
    idle_mb: dict[str, float],
    loaded_mb: dict[str, float],
    rate_per_s: int,
) -> None:
    """Print one row per workload and target."""
    table = Table(box=None, pad_edge=False)
    table.add_column("")
    for column in COLUMNS:
        table.add_column(column, justify="right")
    for workload, name in found:
        process = next(target.process for target in targets if target.name == name)
        table.add_row(
            f"{workload} {name}",
            spread([one["per_s"] for one in found[workload, name]], ",.0f"),
            _ratio(found, workload, name, "nginx"),
            _ratio(found, workload, name, "direct"),
            spread([one["cpu_us"] for one in found[workload, name]], ".0f") if process else "–",
            _added(found, workload, name, "p50_ms"),
            _added(found, workload, name, "p99_ms"),
            f"{idle_mb[name]:.0f} → {loaded_mb[name]:.0f}" if process else "–",
            f"{process.ready_s:.2f}" if process else "–",
        )
    Console(file=sys.stdout, width=160).print(table)


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


def _ratio(found: Found, workload: str, name: str, other: str) -> str:
    """Write the median over the rounds of the ratio within each round."""
    if (workload, other) not in found or name == other:
        return "–"
    pairs = zip(found[workload, name], found[workload, other], strict=True)
    return f"{statistics.median(one['per_s'] / two['per_s'] for one, two in pairs):.2f}"


def _added(found: Found, workload: str, name: str, figure: str) -> str:
    direct = found[workload, "direct"]
    if name == "direct":
        return f"[{spread([one[figure] for one in direct], '.2f')}]"
    pairs = zip(found[workload, name], direct, strict=True)
    return spread([one[figure] - two[figure] for one, two in pairs], "+.2f")


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
