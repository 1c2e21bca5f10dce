"""What the gateway's benchmark prints follows from what was found."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

REPORT = Path(__file__).resolve().parents[2] / "bench" / "gateways_report.py"


@pytest.fixture(scope="module")
def report() -> ModuleType:
    """The report's module: the benchmark is no package."""
    spec = importlib.util.spec_from_file_location("gateways_report", REPORT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def rounds(*per_s: float, cpu_us: float = 100, **more: float) -> list[dict[str, float]]:
    """Rounds that found so many requests a second."""
    return [{"per_s": one, "cpu_us": cpu_us, "paced_cpu_us": cpu_us, "busy": 1, **more} for one in per_s]


def result(**found: list[dict[str, float]]) -> dict[str, Any]:
    """A run's findings, the same for both workloads."""
    load = {"callers": 32, "per_s": 500}
    return {
        "machine": "a machine",
        "at": "2026-11-24T12:00:00+00:00",
        "plan": {"rounds": 3, "full_s": 4, "paced_s": 3},
        "loads": {name: {"JSON": load, "SSE": load} for name in found},
        "found": {"JSON": found, "SSE": found},
        "memory": {name: {"idle_mb": 90, "ready_s": 1, "streams": 500} for name in found},
        "billed": {"costplus": bill(1000)},
        "two": None,
        "notes": [],
    }


def bill(calls: int, **other: int) -> dict[str, int]:
    """A bill of so many calls of ten tokens."""
    agreed = {"called": calls, "answered": calls, "billed": calls}
    return agreed | {"tokens": calls * 10, "tokens_billed": calls * 10} | other


def test_a_ratio_is_the_median_of_the_ratios_within_each_round(report: ModuleType) -> None:
    run = result(costplus=rounds(100, 50, 900), nginx=rounds(200, 200, 1000))
    assert report.ratio(run, "JSON", "costplus", "nginx") == 0.5  # Of 0.5, 0.25 and 0.9; not 100 ÷ 200.


def test_a_ratio_counts_the_rounds_that_both_have(report: ModuleType) -> None:
    run = result(costplus=rounds(100, 300, 900), LiteLLM=rounds(2))
    assert report.ratio(run, "JSON", "costplus", "LiteLLM") == 50


@pytest.mark.parametrize("other", ["nginx", "Portkey"])
def test_a_ratio_to_what_was_not_measured_is_none(report: ModuleType, other: str) -> None:
    run = result(costplus=rounds(100), Portkey=[])
    assert report.ratio(run, "JSON", "costplus", other) is None


GOALS = [(True, 9.9, "MISSED"), (True, 10, "met"), (True, 10.1, "met"), (True, None, "not measured")]
GOALS += [(False, 9.9, "met"), (False, 10, "met"), (False, 10.1, "MISSED")]


@pytest.mark.parametrize(("at_least", "found", "verdict"), GOALS)
def test_a_goal_is_met_up_to_its_edge(
    report: ModuleType, at_least: bool, found: float | None, verdict: str
) -> None:
    assert report.Goal("speed", found, 10, ".1f", at_least).verdict == verdict


def test_goals_compare_with_nginx_by_requests_and_by_cpu_time(report: ModuleType) -> None:
    run = result(costplus=rounds(7000, cpu_us=140), nginx=rounds(14_000, cpu_us=35))
    found = {goal.what: goal.found for goal in report.goals(run)}
    assert found["of nginx's requests/s"] == 0.5
    assert found["the same by CPU time, whoever waited"] == 0.25
    assert found["SSE: CPU a stream, times nginx's"] == 4
    assert found["times LiteLLM's requests/s"] is None


@pytest.mark.parametrize("lacking", [{"billed": 999}, {"answered": 1001}, {"tokens_billed": 9999}])
def test_all_is_billed_only_where_every_count_agrees(report: ModuleType, lacking: dict[str, int]) -> None:
    run = result(costplus=rounds(1))
    assert report.is_all_billed(run)
    run["billed"]["costplus"] = bill(1000, **lacking)
    assert not report.is_all_billed(run)


def test_tables_fit_a_hundred_columns_and_mark_what_waited(
    report: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    timed = dict.fromkeys(("p50_ms", "p99_ms", "first_p50_ms"), 1234.5)
    added = {f"added_{name}": value for name, value in timed.items()}
    found = {
        "direct": rounds(36_000, 40_000, **timed),
        "nginx": [one | {"busy": 0.5} for one in rounds(20_000, 30_000, **added)],
        "costplus": rounds(6_000, 6_200, **added),
        "costplus PostgreSQL": rounds(5_000, cpu_us=123_456, **added),
    }
    two = dict.fromkeys(("one_per_s", "two_per_s", "one_cpu_us", "two_cpu_us", "raw", "per_cpu"), 1.5)
    two |= {"one_longest_ms": 12.0, "two_longest_ms": 1234.0}
    report.tables(result(**found) | {"two": two})
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 100
    nginx = next(line for line in lines if line.startswith("nginx"))
    assert nginx.split()[1:5] == ["25,000*", "20,000–30,000", "1", "0.25"]
    assert next(line for line in lines if line.startswith("costplus PostgreSQL")).split()[2] == "5,000"
    assert next(line for line in lines if line.startswith("two processes;")).split()[-3:] == [
        "2",
        "2",
        "1,234",
    ]


def test_markdown_has_a_row_for_each_gateway_with_its_bill(report: ModuleType) -> None:
    run = result(direct=rounds(9), nginx=rounds(20_000), costplus=rounds(6_000), Portkey=[])
    rows = [line for line in report.markdown(run) if line.startswith("|")]
    assert [row.split(" | ")[0] for row in rows[2:]] == ["| nginx", "| costplus"]
    assert "1,000 of 1,000" in rows[3]
