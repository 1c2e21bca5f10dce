"""Prices of other billing systems' tests: each case under its own system's policy, through the engine.

Rule 1: `scripts/verify_vectors.py` runs them; what does not hold is listed there with its reason.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))

from vector_case import POLICIES, POLICIES_OF
from verify_vectors import AREAS, fails, main, outcome, report, verify

Case = dict[str, Any]
RUN_MIN = 168  # Of 168; the number may only grow.
DISPUTES_MAX = 2


def case_of(model: str, expected: Any, *, system: str = "other", **inputs: Any) -> Case:
    return {
        "id": "x",
        "system": system,
        "area": "pricing",
        "model": model,
        "input": inputs,
        "expected": expected,
    }


def test_every_case_gives_its_figure_but_for_a_few_that_are_disputed(
    vectors: SimpleNamespace, capsys: pytest.CaptureFixture[str]
) -> None:
    outcomes = verify(vectors.cases)
    others = Counter(case["area"] for case in vectors.cases if case["area"] not in AREAS)
    with capsys.disabled():
        sys.stdout.write("\n" + "\n".join(report(outcomes, others=others)) + "\n")
    assert [found.line for found in outcomes if fails(found)] == []
    assert len([found for found in outcomes if found.kind != "not run"]) >= RUN_MIN
    assert len([found for found in outcomes if found.kind == "dispute"]) <= DISPUTES_MAX
    assert len(outcomes) + others.total() == len(vectors.cases)


def changed(expected: Any) -> Any:
    """Return expected figures of which each is a little off."""
    if isinstance(expected, dict):
        return {name: changed(value) for name, value in expected.items()}
    try:
        return str(Decimal(str(expected)) + Decimal("0.01"))
    except ArithmeticError:
        return f"{expected}-else"


def test_no_case_holds_with_another_figure_or_name(vectors: SimpleNamespace) -> None:
    cases = [{**case, "expected": changed(case["expected"])} for case in vectors.cases]
    assert [found.line for found in verify(cases) if found.kind in ("holds", "not run")] == []


def test_no_outcome_depends_on_what_a_case_is_called(vectors: SimpleNamespace) -> None:
    nameless = [{**case, "id": str(i)} for i, case in enumerate(vectors.cases)]
    assert [o.kind for o in verify(nameless)] == [o.kind for o in verify(vectors.cases)]


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
    found = outcome(case)
    assert (found.kind, found.policies) == ("holds", (policy,)), found.why


def test_every_policy_that_a_system_follows_says_what_it_means() -> None:
    assert set().union(*POLICIES_OF.values()) <= set(POLICIES)


NOT_RUN: list[tuple[Case, str]] = [
    (case_of("astrology", 1, qty=1), "nothing prices a model called 'astrology'"),
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
    found = outcome(case)
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
    cases = [case_of("per_unit", expected, qty=4, unit=2.5), {"area": "weather"}]
    file.write_text(json.dumps(cases), "utf-8")
    monkeypatch.setattr(sys, "argv", ["verify_vectors.py", str(file)])
    assert main() == status
    assert "not of this command: 1 (weather 1)" in capsys.readouterr().out


def test_a_price_that_the_engine_refuses_is_not_run_by_its_documented_code() -> None:
    found = outcome(case_of("package", 1, qty=1, package_size=0, package_amount=1))
    assert (found.kind, fails(found)) == ("not run", False)
    assert found.why.startswith("price_model_invalid: ")


def test_a_reading_with_a_count_that_the_case_leaves_out_is_wrong() -> None:
    block = {"prompt_tokens": 5, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 3}}
    found = outcome(case_of("usage_to_pools", {"input": 2, "output": 2}, raw_usage=block))
    assert (found.kind, found.why) == ("wrong", "cache_read is 3, expected 0")


def test_a_name_that_drops_a_region_is_disputed_and_not_run_around() -> None:
    found = outcome(case_of("normalise_model", "amazon.nova-pro-v1:0", raw="eu.amazon.nova-pro-v1:0"))
    assert found.kind == "dispute"
    assert "a region is never dropped" in found.why
