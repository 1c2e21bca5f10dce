"""Run the priced cases of other billing systems through the engine, each under its own system's policy.

    python scripts/verify_vectors.py [FILE]

Rule 1: a case is run by what it states, its area, its model and the names of its inputs; nothing knows one by
its id, so that any file of the same form can be given.
Rule 2: a case holds, is disputed (with the rule of ours that forbids what it wants), is wrong, or is not run
(with its reason).
Rule 3: a wrong figure makes the exit status 1, and so does a case that is not run, unless the engine refuses
its price at set-up with a documented error code.
Rule 4: a case about money is run through the books, on SQLite and on PostgreSQL; both must come to the same.
Where no PostgreSQL is installed SQLite stands alone, which is an error in continuous integration.
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

import vector_changes
import vector_credits
import vector_holds
import vector_invoices
import vector_items
import vector_prices
import vector_purchases
import vector_usage
from vector_case import POLICIES, Given, NotRun, Outcome, Runner, difference
from vector_stores import ABSENT, NoPostgres, Place, places

from costplus.core.errors import BillingError

Case = Mapping[str, Any]

ROOT = Path(__file__).resolve().parent.parent
KINDS = ("holds", "dispute", "wrong", "not run")
# What is computed by a price alone, whatever the area.
PRICED: Mapping[str, Runner] = {**vector_prices.RUNNERS, **vector_usage.RUNNERS}
# What happens in books, by area and model.
BOOKED: Mapping[tuple[str, str], Runner] = {
    **vector_changes.RUNNERS,
    **vector_credits.RUNNERS,
    **vector_holds.RUNNERS,
    **vector_invoices.RUNNERS,
    **vector_items.RUNNERS,
    **vector_purchases.RUNNERS,
}
BOOKED_AREAS = frozenset(area for area, _ in BOOKED) - {"rounding"}  # Which has prices alone as well.
STORES = ("sqlite", "postgres")


def outcomes_of(case: Case, stores: Mapping[str, Place]) -> Outcome:
    """Run one case, in every store where it is about money, and compare its figures."""
    booked = BOOKED.get((case["area"], case.get("model", "")))
    runner = booked or (None if case["area"] in BOOKED_AREAS else PRICED.get(case.get("model", "")))
    if runner is None:
        return Outcome(case, "not run", f"nothing runs a {case['area']} called '{case.get('model')}'")
    if booked is None:
        return outcome(case, runner)
    found = {name: outcome(case, runner, place) for name, place in stores.items()}
    told = {(each.kind, each.why) for each in found.values()}
    if len(told) > 1:
        why = "; ".join(f"on {name} {each.kind} {each.why}" for name, each in found.items())
        return Outcome(case, "wrong", f"the stores differ: {why}")
    return next(iter(found.values()))


def outcome(case: Case, runner: Runner, place: Place | None = None) -> Outcome:
    """Run one case in one place and compare its figures."""
    given = Given(case.get("system", ""), case["input"], place=place)
    try:
        found = runner(given)
        given.check_used()
        why = difference(found, case["expected"], is_listing=given.is_listing)
    except NotRun as reason:
        return Outcome(case, "not run", str(reason))
    except BillingError as refusal:
        return Outcome(case, "not run", f"{refusal.code}: {refusal.message}", is_documented=True)
    finally:
        given.close()
    policies = tuple(given.policies)
    if why and given.dispute:
        return Outcome(case, "dispute", f"{why}: {given.dispute}", policies)
    return Outcome(case, "wrong" if why else "holds", why, policies)


def verify(cases: Iterable[Case], stores: Mapping[str, Place]) -> list[Outcome]:
    """Run every case."""
    return [outcomes_of(case, stores) for case in cases]


def fails(found: Outcome) -> bool:
    """Whether the outcome makes the command fail."""
    return found.kind == "wrong" or (found.kind == "not run" and not found.is_documented)


def report(outcomes: Sequence[Outcome], stores: Sequence[str]) -> Iterator[str]:
    """Yield the lines to print: a table by area, the policies that mattered, and whatever does not hold."""
    yield f"{'area':<16}{'cases':>7}" + "".join(f"{kind:>9}" for kind in KINDS) + "  run by"
    for area in (*dict.fromkeys(o.case["area"] for o in outcomes), "all"):
        of_area = [o for o in outcomes if area in (o.case["area"], "all")]
        counts = Counter(o.kind for o in of_area)
        by = {", ".join(stores) if _is_booked(o) else "prices" for o in of_area} if area != "all" else ()
        figures = "".join(f"{counts[kind]:>9}" for kind in KINDS)
        yield f"{area:<16}{counts.total():>7}{figures}  {'; '.join(sorted(by))}".rstrip()
    used = Counter(policy for o in outcomes for policy in o.policies)
    if used:
        yield "policies that mattered:"
        yield from (f"  {name}: {used[name]} ({POLICIES[name]})" for name in POLICIES if used[name])
    left = [o for o in outcomes if o.kind != "holds"]
    if left:
        yield f"not holding: {len(left)}"
        yield from (o.line for o in sorted(left, key=lambda o: KINDS.index(o.kind)))


def _is_booked(found: Outcome) -> bool:
    return (found.case["area"], found.case.get("model", "")) in BOOKED


def main() -> int:
    shared = Path(os.environ.get("COSTPLUS_SHARED", ROOT.parent / "shared"))
    parser = argparse.ArgumentParser(description="Run other billing systems' cases through the engine.")
    parser.add_argument("vectors", type=Path, nargs="?", default=shared / "data" / "billing_vectors.json")
    cases = json.loads(parser.parse_args().vectors.read_text("utf-8"), parse_float=Decimal)
    try:
        with places(*STORES) as stores:
            outcomes = verify(cases, stores)
    except NoPostgres as absent:
        sys.stderr.write(f"{absent}\n")
        return 1
    if "postgres" not in stores:
        sys.stdout.write(f"{ABSENT}; run on SQLite alone\n")
    sys.stdout.writelines(f"{line}\n" for line in report(outcomes, list(stores)))
    return 1 if any(map(fails, outcomes)) else 0


if __name__ == "__main__":
    sys.exit(main())
