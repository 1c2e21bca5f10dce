"""Run the priced cases of other billing systems through the engine, each under its own system's policy.

    python scripts/verify_vectors.py [FILE]

Rule 1: a case is run by what it states; nothing knows one by its id, so that any file of the same form can
be given.
Rule 2: a case holds, is disputed (with the rule of ours that forbids what it wants), is wrong, or is not run
(with its reason). Cases of other areas are counted and left alone.
Rule 3: a wrong figure makes the exit status 1, and so does a case that is not run, unless the engine refuses
its price at set-up with a documented error code.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import vector_prices
import vector_usage
from vector_case import POLICIES, Given, NotRun, Outcome, Runner, difference

from costplus.core.errors import BillingError

Case = Mapping[str, Any]

ROOT = Path(__file__).resolve().parent.parent
AREAS = ("pricing", "llm", "llm_usage_shape", "model_id", "rounding", "conversion", "commitment")
KINDS = ("holds", "dispute", "wrong", "not run")
RUNNERS: Mapping[str, Runner] = {**vector_prices.RUNNERS, **vector_usage.RUNNERS}


def outcome(case: Case) -> Outcome:
    """Run one case and compare its figures."""
    given = Given(case.get("system", ""), case["input"])
    try:
        runner = RUNNERS.get(case["model"])
        if runner is None:
            raise NotRun(f"nothing prices a model called '{case['model']}'")
        found = runner(given)
        given.check_used()
        why = difference(found, case["expected"], is_listing=given.is_listing)
    except NotRun as reason:
        return Outcome(case, "not run", str(reason))
    except BillingError as refusal:
        return Outcome(case, "not run", f"{refusal.code}: {refusal.message}", is_documented=True)
    policies = tuple(given.policies)
    if why and given.dispute:
        return Outcome(case, "dispute", f"{why}: {given.dispute}", policies)
    return Outcome(case, "wrong" if why else "holds", why, policies)


def verify(cases: Iterable[Case]) -> list[Outcome]:
    """Run every case of this command's areas."""
    return [outcome(case) for case in cases if case["area"] in AREAS]


def fails(found: Outcome) -> bool:
    """Whether the outcome makes the command fail."""
    return found.kind == "wrong" or (found.kind == "not run" and not found.is_documented)


def report(outcomes: Sequence[Outcome], *, others: Counter[str]) -> Iterator[str]:
    """Yield the lines to print: a table by area, the policies that mattered, and whatever does not hold."""
    yield f"{'area':<16}{'cases':>7}" + "".join(f"{kind:>9}" for kind in KINDS)
    for area in (*AREAS, "all"):
        counts = Counter(o.kind for o in outcomes if area in (o.case["area"], "all"))
        yield f"{area:<16}{counts.total():>7}" + "".join(f"{counts[kind]:>9}" for kind in KINDS)
    listed = ", ".join(f"{area} {count}" for area, count in sorted(others.items()))
    yield f"not of this command: {others.total()} ({listed or 'no other areas'})"
    used = Counter(policy for o in outcomes for policy in o.policies)
    if used:
        yield "policies that mattered:"
        yield from (f"  {name}: {used[name]} ({POLICIES[name]})" for name in POLICIES if used[name])
    left = [o for o in outcomes if o.kind != "holds"]
    if left:
        yield f"not holding: {len(left)}"
        yield from (o.line for o in sorted(left, key=lambda o: KINDS.index(o.kind)))


def main() -> int:
    shared = Path(os.environ.get("COSTPLUS_SHARED", ROOT.parent / "shared"))
    parser = argparse.ArgumentParser(description="Run other billing systems' cases through the engine.")
    parser.add_argument("vectors", type=Path, nargs="?", default=shared / "data" / "billing_vectors.json")
    cases = json.loads(parser.parse_args().vectors.read_text("utf-8"), parse_float=Decimal)
    outcomes = verify(cases)
    others = Counter(case["area"] for case in cases if case["area"] not in AREAS)
    sys.stdout.writelines(f"{line}\n" for line in report(outcomes, others=others))
    return 1 if any(map(fails, outcomes)) else 0


if __name__ == "__main__":
    sys.exit(main())
