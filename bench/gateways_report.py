"""What the gateway's benchmark prints: tables, goals and the README's table, from what a run found.

Rule 1: pure but for the printing: the same findings print the same tables.
Rule 2: figures are medians over the rounds; a ratio is the median of the ratios within each round.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

WIDTH = 100
OURS = "costplus"
FULL_SHARE = 0.9  # A target that used less of its core waited for the load.
WORKLOADS = {
    "JSON": "JSON: a request of 0.6 KB, an answer of 0.9 KB",
    "SSE": "SSE: the same request, a stream of 50 chunks, 1 ms apart",
}

# A stream's CPU time is taken at the fixed rate: where a target is saturated, chunks arrive together.
CPU = {"JSON": "cpu_us", "SSE": "paced_cpu_us"}

Result = Mapping[str, Any]


def middle(result: Result, workload: str, name: str, figure: str) -> float | None:
    """Return the median of a figure over the rounds, None where it was not found."""
    rounds = result["found"][workload].get(name) or []
    values = [one[figure] for one in rounds if figure in one]
    return statistics.median(values) if values else None


def ratio(result: Result, workload: str, one: str, other: str, figure: str = "per_s") -> float | None:
    """Return the median of one target's figure over another's within each round that has both."""
    found = result["found"][workload]
    pairs = zip(found.get(one) or [], found.get(other) or [], strict=False)
    ratios = [first[figure] / second[figure] for first, second in pairs if second[figure]]
    return statistics.median(ratios) if ratios else None


LEGEND = """\
ours ÷: costplus over that line · CPU µs: a request's when saturated, a stream's at the fixed rate
at/s: the fixed rate · +: ms over the provider alone at that rate, to the last and to the first byte
[ ]: the provider's own ms · *: did not fill its core; the load, or somebody else, was the limit"""


@dataclass(frozen=True, slots=True)
class Goal:
    """A figure and what it is meant to be."""

    what: str
    found: float | None
    goal: float
    form: str
    at_least: bool
    aim: float | None = None

    @property
    def verdict(self) -> str:
        """Say whether the goal was met."""
        if self.found is None:
            return "not measured"
        return "met" if (self.found >= self.goal) == self.at_least or self.found == self.goal else "MISSED"

    @property
    def wanted(self) -> str:
        """Return the goal in words."""
        sign = "≥" if self.at_least else "≤"
        aim = f" (aim {self.aim:{self.form}})" if self.aim is not None else ""
        return f"{sign} {self.goal:{self.form}}{aim}"


def goals(result: Result) -> list[Goal]:
    """Return every goal with what was found."""

    def found(workload: str, figure: str, name: str = OURS) -> float | None:
        return middle(result, workload, name, figure)

    def times(other: str) -> float | None:
        return ratio(result, "JSON", OURS, other)

    cpu = ratio(result, "SSE", OURS, "nginx", CPU["SSE"])
    by_cpu = ratio(result, "JSON", "nginx", OURS, CPU["JSON"])
    kept = result["memory"].get(OURS, {})
    two = result["two"] or {}
    return [
        Goal("JSON requests/s on one core", found("JSON", "per_s"), 6000, ",.0f", True, 9000),
        Goal("of nginx's requests/s", times("nginx"), 0.25, ".2f", True, 0.33),
        Goal("the same by CPU time, whoever waited", by_cpu, 0.25, ".2f", True, 0.33),
        Goal("times LiteLLM's requests/s", times("LiteLLM"), 50, ".0f", True),
        Goal("times Portkey's requests/s", times("Portkey"), 10, ".1f", True),
        Goal("added at 500/s, p50 ms", found("JSON", "added_p50_ms"), 1, ".2f", False),
        Goal("added at 500/s, p99 ms", found("JSON", "added_p99_ms"), 5, ".2f", False),
        Goal("the same with fsync, p50 ms", found("JSON", "added_p50_ms", "costplus fsync"), 4, ".2f", False),
        Goal("SSE: CPU a stream, times nginx's", cpu, 1.5, ".2f", False),
        Goal("SSE: first byte later by, p50 ms", found("SSE", "added_first_p50_ms"), 2, ".2f", False),
        Goal("KB an open stream", kept.get("stream_kb"), 40, ".0f", False),
        Goal("MB idle", kept.get("idle_mb"), 120, ".0f", False),
        Goal("two processes, times one (per CPU second)", two.get("per_cpu"), 1.8, ".2f", True),
    ]


def is_all_billed(result: Result) -> bool:
    """Return whether every answered call was billed, with all its tokens."""
    return all(
        one["called"] == one["answered"] == one["billed"] and one["tokens"] == one["tokens_billed"]
        for one in result["billed"].values()
    )


def tables(result: Result) -> None:
    """Print everything."""
    console = Console(file=sys.stdout, width=WIDTH, highlight=False)
    plan = result["plan"]
    console.print(f"\n{result['machine']}")
    console.print(
        f"{plan['rounds']} round(s), {plan['full_s']} s saturated and {plan['paced_s']} s at a fixed rate; "
        "medians. The target on one core, load, provider and PostgreSQL on the other."
    )
    for workload, title in WORKLOADS.items():
        console.print(f"\n{title}")
        console.print(_speeds(result, workload))
    console.print(LEGEND)
    console.print("\nMemory")
    console.print(_memory(result))
    if result["two"]:
        console.print("\nTwo processes on two cores, PostgreSQL, JSON")
        console.print(_two(result["two"]))
    console.print("\nBilled, after SIGTERM: the client's count, the provider's and the store's")
    console.print(_billed(result))
    console.print("\nGoals")
    console.print(_goals(result))
    for note in result["notes"]:
        console.print(f"Note: {note}")


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("", no_wrap=True)
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    return table


def _speeds(result: Result, workload: str) -> Table:
    table = _table(
        *("requests/s", "least–most", "of nginx", "ours ÷", "CPU µs"),
        *("at/s", "p50 + ms", "p99 + ms", "first +"),
    )
    for name, rounds in result["found"][workload].items():
        if not rounds:
            continue
        is_direct = name == "direct"
        rates = [one["per_s"] for one in rounds]
        starved = "" if is_direct or (middle(result, workload, name, "busy") or 0) >= FULL_SHARE else "*"
        table.add_row(
            name,
            f"{statistics.median(rates):,.0f}{starved}",
            f"{min(rates):,.0f}–{max(rates):,.0f}",
            _written(ratio(result, workload, name, "nginx"), ".3f") if name != "nginx" else "1",
            _written(ratio(result, workload, OURS, name), ".2f") if name != OURS else "1",
            "–" if is_direct else _written(middle(result, workload, name, CPU[workload]), ",.0f"),
            str(result["loads"][name][workload]["per_s"]),
            *(_delay(result, workload, name, figure) for figure in ("p50_ms", "p99_ms", "first_p50_ms")),
        )
    return table


def _delay(result: Result, workload: str, name: str, figure: str) -> str:
    if name == "direct":
        return f"[{middle(result, workload, name, figure):.2f}]"
    return _written(middle(result, workload, name, f"added_{figure}"), "+.2f")


def _written(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form)


def _memory(result: Result) -> Table:
    table = _table("MB idle", "MB loaded", "KB an open stream", "of streams", "s to ready")
    for name, one in result["memory"].items():
        table.add_row(
            name,
            _written(one["idle_mb"], ".0f"),
            _written(one.get("loaded_mb"), ".0f"),
            _written(one.get("stream_kb"), ".1f"),
            f"{one['streams']:,.0f}",
            _written(one["ready_s"], ".1f"),
        )
    return table


def _two(two: Mapping[str, float]) -> Table:
    table = _table("requests/s", "CPU µs", "longest ms")
    titles = {
        "one": "one process; the load has the other core",
        "two": "two processes; the load shares their cores",
    }
    for name, title in titles.items():
        figures = (two[f"{name}_{figure}"] for figure in ("per_s", "cpu_us", "longest_ms"))
        table.add_row(title, *(f"{figure:,.0f}" for figure in figures))
    table.add_row("times one: as measured", f"{two['raw']:.2f}", "", "")
    table.add_row("times one: per CPU second, two cores' worth", f"{two['per_cpu']:.2f}", "", "")
    return table


def _billed(result: Result) -> Table:
    table = _table("called", "answered", "billed", "tokens answered", "tokens billed")
    for name, one in result["billed"].items():
        figures = ("called", "answered", "billed", "tokens", "tokens_billed")
        table.add_row(name, *(f"{one[figure]:,}" for figure in figures))
    return table


def _goals(result: Result) -> Table:
    table = _table("found", "goal", "")
    for goal in goals(result):
        table.add_row(goal.what, _written(goal.found, goal.form), goal.wanted, goal.verdict)
    return table


Cell = Callable[[Result, str], str]


def markdown(result: Result) -> Iterator[str]:
    """Yield the README's table in Markdown, a line each."""
    columns: Sequence[tuple[str, Cell]] = (
        ("JSON requests/s", _cell("JSON", "per_s", ",.0f")),
        ("ours ÷", lambda result, name: _written(ratio(result, "JSON", OURS, name), ".2f")),
        ("CPU µs", _cell("JSON", "cpu_us", ",.0f")),
        ("added p50 / p99 ms", _added_cell),
        ("SSE streams/s", _cell("SSE", "per_s", ",.0f")),
        ("first byte later, ms", _cell("SSE", "added_first_p50_ms", ".1f")),
        ("MB loaded", lambda result, name: _written(result["memory"][name].get("loaded_mb"), ".0f")),
        ("billed", _billed_cell),
    )
    yield "| one core each | " + " | ".join(title for title, _ in columns) + " |"
    yield "|---" * (len(columns) + 1) + "|"
    for name, rounds in result["found"]["JSON"].items():
        if rounds and name != "direct":
            yield f"| {name} | " + " | ".join(cell(result, name) for _, cell in columns) + " |"
    yield ""
    yield f"{result['machine']}; {result['at'][:10]}, `make bench-gateway`."


def _cell(workload: str, figure: str, form: str) -> Cell:
    return lambda result, name: _written(middle(result, workload, name, figure), form)


def _added_cell(result: Result, name: str) -> str:
    p50, p99 = (middle(result, "JSON", name, f"added_{figure}") for figure in ("p50_ms", "p99_ms"))
    rate = result["loads"][name]["JSON"]["per_s"]
    return f"{_written(p50, '.2f')} / {_written(p99, '.2f')} at {rate}/s"


def _billed_cell(result: Result, name: str) -> str:
    one = result["billed"].get(name)
    return f"{one['billed']:,} of {one['called']:,}" if one else "–"
