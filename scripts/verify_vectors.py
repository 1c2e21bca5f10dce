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
from dataclasses import replace
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
from postgres_server import ABSENT
from vector_case import POLICIES, Given, NotRun, Outcome, Runner, difference
from vector_stores import NoPostgres, Place, places

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
BOTH = frozenset({"commitment", "rounding"})  # Areas of prices that books come to as well.
BOOKED_AREAS = frozenset(area for area, _ in BOOKED) - BOTH
STORES = ("sqlite", "postgres")


def outcome_of(case: Case, stores: Mapping[str, Place]) -> Outcome:
    """Run one case, in every store where it is about money, and compare its figures."""
    area, model = case["area"], case.get("model", "")
    booked = BOOKED.get((area, model))
    priced = PRICED.get(model) if area not in BOOKED_AREAS else None
    if booked is None or (priced is not None and area in BOTH):
        if priced is None:
            return Outcome(case, "not run", f"nothing runs a case of {area} called '{model}'")
        alone = outcome(case, priced)
        if booked is None or alone.kind != "holds":
            return alone
    else:
        alone = None
    found = {name: outcome(case, booked, place) for name, place in stores.items()}
    first, *others = found.values()
    if any((each.kind, each.why, each.figures) != (first.kind, first.why, first.figures) for each in others):
        why = "; ".join(f"on {name} it {each.kind} {each.why}" for name, each in found.items())
        return Outcome(case, "wrong", f"the stores differ: {why}")
    if alone is not None and first.kind == "not run":
        return alone  # Books count whole units only.
    policies = (*(alone.policies if alone else ()), *first.policies)
    return replace(first, by=tuple(found), policies=tuple(dict.fromkeys(policies)))


def outcome(case: Case, runner: Runner, place: Place | None = None) -> Outcome:
    """Run one case in one place and compare its figures."""
    given = Given(case.get("system", ""), case["input"], case["model"], place=place)
    try:
        found = runner(given)
        given.check_used()
        why = difference(found, case["expected"], is_listing=given.is_listing)
        is_disputed = bool(why) and given.is_disputed(case["expected"])
    except NotRun as reason:
        return Outcome(case, "not run", str(reason))
    except (KeyError, TypeError, ValueError) as reason:
        return Outcome(case, "not run", f"its form is not understood: {reason!r}")
    except BillingError as refusal:
        return Outcome(case, "not run", f"{refusal.code}: {refusal.message}", is_documented=True)
    except AssertionError as broken:
        return Outcome(case, "wrong", f"the books do not add up: {broken}")
    finally:
        given.close()
    policies = tuple(given.policies)
    if is_disputed:
        return Outcome(case, "dispute", f"{why}: {given.dispute}", policies, found)
    return Outcome(case, "wrong" if why else "holds", why, policies, found)


def verify(cases: Iterable[Case], stores: Mapping[str, Place]) -> list[Outcome]:
    """Run every case."""
    return [outcome_of(case, stores) for case in cases]


def fails(found: Outcome) -> bool:
    """Whether the outcome makes the command fail."""
    return found.kind == "wrong" or (found.kind == "not run" and not found.is_documented)


def report(outcomes: Sequence[Outcome]) -> Iterator[str]:
    """Yield the lines to print: a table by area, the policies that mattered, and whatever does not hold."""
    yield f"{'area':<16}{'cases':>7}" + "".join(f"{kind:>9}" for kind in KINDS) + "  run by"
    for area in (*dict.fromkeys(o.case["area"] for o in outcomes), "all"):
        of_area = [o for o in outcomes if area in (o.case["area"], "all")]
        counts = Counter(o.kind for o in of_area)
        by = {", ".join(o.by) for o in of_area if area != "all"}
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
    sys.stdout.writelines(f"{line}\n" for line in report(outcomes))
    return 1 if any(map(fails, outcomes)) else 0


if __name__ == "__main__":
    sys.exit(main())
