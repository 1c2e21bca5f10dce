"""Cases of other billing systems' tests: each under its own system's policy, through the engine.

Rule 1: `scripts/verify_vectors.py` runs them; what does not hold is listed there with its reason.
Rule 2: here the books are in memory; one slow test runs them in the other stores.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from vector_case import POLICIES, POLICIES_OF, Outcome
from vector_stores import Place, places
from verify_vectors import BOOKED, BOTH, fails, main, outcome_of, report, verify

Case = dict[str, Any]
AREAS = {
    "pricing": 115,
    "llm": 16,
    "llm_usage_shape": 9,
    "model_id": 8,
    "rounding": 4,
    "conversion": 5,
    "commitment": 11,
    "credits": 42,
    "proration": 29,
    "reservation": 11,
    "concurrency": 7,
    "limits": 4,
    "late_events": 6,
    "invoice": 5,
    "metering": 5,
    "corrections": 2,
    "idempotency": 1,
}
DISPUTES_MAX = 7


@pytest.fixture(scope="module")
def memory() -> Iterator[Mapping[str, Place]]:
    with places("memory") as opened:
        yield opened


@pytest.fixture(scope="session")
def cases(shared_data: Path) -> list[Case]:
    text = (shared_data / "billing_vectors.json").read_text("utf-8")
    return list(json.loads(text, parse_float=Decimal))


@pytest.fixture(scope="module")
def outcomes(cases: list[Case], memory: Mapping[str, Place]) -> list[Outcome]:
    return verify(cases, memory)


def case_of(model: str, expected: Any, *, system: str = "other", **inputs: Any) -> Case:
    return {
        "id": "x",
        "system": system,
        "area": "pricing",
        "model": model,
        "input": inputs,
        "expected": expected,
    }


@pytest.mark.parametrize(("area", "count"), AREAS.items())
def test_every_case_of_the_area_gives_its_figure_but_for_those_disputed(
    outcomes: list[Outcome], area: str, count: int
) -> None:
    found = [each for each in outcomes if each.case["area"] == area]
    assert [each.line for each in found if each.kind not in ("holds", "dispute")] == []
    assert len(found) == count


def test_no_area_is_left_out_and_few_cases_are_disputed(
    outcomes: list[Outcome], capsys: pytest.CaptureFixture[str]
) -> None:
    with capsys.disabled():
        sys.stdout.write("\n" + "\n".join(report(outcomes)) + "\n")
    assert {each.case["area"] for each in outcomes} == set(AREAS)
    assert len([found for found in outcomes if found.kind == "dispute"]) <= DISPUTES_MAX
    assert all(each.by == ("memory",) for each in outcomes if each.case["area"] in BOTH - {"rounding"})


@pytest.mark.slow
def test_a_file_and_postgresql_come_to_the_same_figures(
    cases: list[Case], outcomes: list[Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    booked = [case for case in cases if (case["area"], case["model"]) in BOOKED]
    with places("sqlite", "postgres") as stores:
        found = verify(booked, stores)
    known = {each.case["id"]: (each.kind, each.figures) for each in outcomes}
    assert {each.case["id"]: (each.kind, each.figures) for each in found} == {
        case["id"]: known[case["id"]] for case in booked
    }


def changed(expected: Any) -> Any:
    """Return expected figures of which each is a little off."""
    if isinstance(expected, dict):
        return {name: changed(value) for name, value in expected.items()}
    if isinstance(expected, list):
        return [*map(changed, expected)] or ["1"]
    try:
        return str(Decimal(str(expected)) + Decimal("0.01"))
    except ArithmeticError:
        return f"{expected}-else"


def test_no_case_holds_with_another_figure(cases: list[Case], memory: Mapping[str, Place]) -> None:
    off = [{**case, "expected": changed(case["expected"])} for case in cases]
    found = verify(off, memory)
    assert [each.line for each in found if each.kind in ("holds", "not run")] == []
    assert [each.line for each in found if each.kind == "dispute" and each.case["area"] != "model_id"] == []


def test_no_outcome_depends_on_what_a_case_is_called(
    cases: list[Case], outcomes: list[Outcome], memory: Mapping[str, Place]
) -> None:
    nameless = [{**case, "id": str(i)} for i, case in enumerate(cases)]
    assert [each.kind for each in verify(nameless, memory)] == [each.kind for each in outcomes]


def priced(case: Case) -> Outcome:
    return outcome_of(case, {})


TIERS = [{"up_to": "5", "unit": "0", "flat": "100"}, {"up_to": None, "unit": "1", "flat": "0"}]
BOUNDED = [{"up_to": 10, "unit": "5"}]
POLICED: list[tuple[Case, str]] = [
    (case_of("graduated", 100, system="lago", qty=0, tiers=TIERS), "flat_at_zero"),
    (case_of("graduated", 0, system="polar", qty=0, tiers=TIERS), "no_flat_at_zero"),
    (case_of("graduated", 50, system="polar", qty=11, tiers=BOUNDED), "free_beyond_last_tier"),
    (case_of("volume", 55, system="killbill", qty=11, tiers=BOUNDED), "extend_last_tier"),
    (
        case_of("volume", 0, system="openmeter", qty=6, tiers=TIERS, line="first_split"),
        "volume_at_period_end",
    ),
    (case_of("package", 1, qty=19, package_size=10, package_amount=1, round="down"), "package_rounds_down"),
]


@pytest.mark.parametrize(("case", "policy"), POLICED)
def test_a_case_is_run_under_the_policy_that_it_or_its_system_states(case: Case, policy: str) -> None:
    found = priced(case)
    assert (found.kind, found.policies) == ("holds", (policy,)), found.why


def test_every_policy_that_a_system_follows_says_what_it_means() -> None:
    assert set().union(*POLICIES_OF.values()) <= set(POLICIES)


NOT_RUN: list[tuple[Case, str]] = [
    (case_of("astrology", 1, qty=1), "nothing runs a case of pricing called 'astrology'"),
    (case_of("per_unit", 1, qty=1, unit=1, moon="full"), "input 'moon' is not understood"),
    (case_of("per_unit", 1, unit=1), "none of the inputs"),
    (case_of("per_unit", 1, qty=1), "input 'unit' is missing"),
    (case_of("per_unit", "error", qty=1, unit=1), "'error' is not a number"),
    (case_of("per_unit", {"tax": 1}, qty=1, unit=1), "figure 'tax' is not computed"),
    (case_of("per_unit", 1, qty="1/3", unit=1), "'1/3' is not a number"),
    (case_of("per_unit", 1, qty=1, unit=1, line=[]), "input 'line' is no str"),
    (case_of("per_unit", 1, qty=-1, unit=1), "less than nothing was used"),
    (case_of("graduated", 1, qty=1, tiers=BOUNDED), "the last tier has an end"),
    (case_of("graduated", 1, qty=1, tiers=[{"upto": 1}]), "'upto' in 'tiers' is not understood"),
    (case_of("volume", 1, qty=2, included=1), "no price is stated"),
]


@pytest.mark.parametrize(("case", "why"), NOT_RUN)
def test_a_case_that_is_not_understood_is_not_run_and_fails_the_command(case: Case, why: str) -> None:
    found = priced(case)
    assert found.kind == "not run"
    assert why in found.why
    assert fails(found)


EXITS = [(10, 0), (11, 1)]


@pytest.mark.parametrize(("expected", "status"), EXITS)
def test_the_command_takes_any_file_and_fails_on_a_wrong_figure(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    expected: int,
    status: int,
) -> None:
    file = tmp_path / "vectors.json"
    cases = [case_of("per_unit", expected, qty=4, unit=2.5)]
    file.write_text(json.dumps(cases), "utf-8")
    monkeypatch.setattr(sys, "argv", ["verify_vectors.py", str(file)])
    assert main() == status
    assert "pricing               1" in capsys.readouterr().out


def test_a_case_of_an_area_that_nothing_knows_is_not_run_and_fails_the_command() -> None:
    found = priced({"id": "x", "area": "weather", "model": "rain", "input": {}, "expected": 1})
    assert (found.kind, fails(found)) == ("not run", True)


def test_a_price_that_the_engine_refuses_is_not_run_by_its_documented_code() -> None:
    found = priced(case_of("package", 1, qty=1, package_size=0, package_amount=1))
    assert (found.kind, fails(found)) == ("not run", False)
    assert found.why.startswith("price_model_invalid: ")


def test_a_reading_with_a_count_that_the_case_leaves_out_is_wrong() -> None:
    block = {"prompt_tokens": 5, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 3}}
    found = priced(case_of("usage_to_pools", {"input": 2, "output": 2}, raw_usage=block))
    assert (found.kind, found.why) == ("wrong", "cache_read is 3, expected 0")


def test_a_name_that_drops_a_region_is_disputed_and_not_run_around() -> None:
    found = priced(case_of("normalise_model", "amazon.nova-pro-v1:0", raw="eu.amazon.nova-pro-v1:0"))
    assert found.kind == "dispute"
    assert "a region is never dropped" in found.why
