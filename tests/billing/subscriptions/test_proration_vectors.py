"""Other systems' proration cases, run by their form through the functions that bill subscriptions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fractions import Fraction
from types import SimpleNamespace
from typing import Any

import pytest

from costplus.billing.proration import (
    ProratedTier,
    capped_credit,
    change,
    credited_with_tax,
    prorated,
    prorated_graduated,
    to_minor,
)

Case = Mapping[str, Any]
CENTS = 100


def minor(amount: Any) -> Fraction:
    """Return currency units as minor ones, exact."""
    return Fraction(str(amount)) * CENTS


def units(amount_minor: int) -> Fraction:
    return Fraction(amount_minor, CENTS)


def share(case: Case) -> Fraction:
    """Return the share of the period that is left, however the case says it."""
    if "share_left" in case:
        return Fraction(case["share_left"])
    whole = case.get("days") or case["of"]
    left = case["days_left"] if "days_left" in case else whole - case["day"]
    return Fraction(left, whole)


def graduated(case: Case) -> Any:
    tiers = [
        ProratedTier(
            None if tier["up_to"] is None else int(tier["up_to"]),
            Fraction(tier["unit"]),
            Fraction(tier["flat"]),
        )
        for tier in case["tiers"]
    ]
    worth = [Fraction(value) for value in case["event_prorated_units"]]
    total = prorated_graduated(tiers, list(zip(case["event_units"], worth, strict=True)))
    return units(to_minor(total * CENTS))


def credit_note(case: Case) -> Any:
    left = Fraction(case["days"] - case["days_used"], case["days"])
    net, tax = credited_with_tax(case["period_cents"], share=left, tax_percent=Fraction(case["tax_percent"]))
    return {"net": net, "tax": tax, "total": net + tax}


def upgrade(case: Case) -> Any:
    return prorated(case["quarter_cents"], Fraction(case["days"], case["of"]))


def plan_change(case: Case) -> Any:
    if "old_cents" in case:
        made = change(
            old_minor=case["old_cents"],
            new_minor=case["new_cents"],
            share=share(case),
            restarts=case.get("new_cycle_starts_now", False),
        )
        return {"credit": made.credit_minor, "debit": made.charge_minor}
    totals = [
        minor(side["price"]) * side["qty"] if isinstance(side, dict) else minor(side)
        for side in (case["old"], case["new"])
    ]
    made = change(old_minor=totals[0], new_minor=totals[1], share=share(case))
    if not isinstance(case["old"], dict):
        return units(made.net_minor)
    return {
        "charge": units(made.charge_minor),
        "credit": units(made.credit_minor),
        "net": units(made.net_minor),
    }


def quantity_change(case: Case) -> Any:
    price = minor(case["price"])
    made = change(old_minor=price * case["old_qty"], new_minor=price * case["new_qty"], share=share(case))
    return {"net": units(made.net_minor)}


def add_item(case: Case) -> Any:
    return units(change(old_minor=0, new_minor=minor(case["price"]), share=share(case)).net_minor)


def remove_item(case: Case) -> Any:
    return units(change(old_minor=minor(case["price"]), new_minor=0, share=share(case)).net_minor)


def credit_cap(case: Case) -> Any:
    return capped_credit(
        case["potential_credit"], paid_minor=case["original_paid"], credited_minor=case["already_credited"]
    )


RUNNERS: Mapping[str, Callable[[Case], Any]] = {
    "graduated": graduated,
    "credit_note": credit_note,
    "upgrade": upgrade,
    "plan_change": plan_change,
    "interval_change": plan_change,
    "quantity_change": quantity_change,
    "add_item": add_item,
    "remove_item": remove_item,
    "credit_cap": credit_cap,
}


def test_every_case_of_the_area_comes_to_what_its_system_says(vectors: SimpleNamespace) -> None:
    cases = [case for case in vectors.cases if case["area"] == "proration"]
    runners = {model: lambda build, case, run=run: run(case) for model, run in RUNNERS.items()}
    outcome = vectors.run(SimpleNamespace(), cases, runners, {})
    assert (outcome.run, outcome.wrong, dict(outcome.skipped)) == (29, {}, {})


@pytest.mark.parametrize("units_gone", [-1, -5, -6])
def test_units_that_go_before_any_came_leave_the_first_flat_amount_at_most(units_gone: int) -> None:
    tiers = [ProratedTier(5, Fraction(10), Fraction(100)), ProratedTier(None, Fraction(5))]
    assert 0 <= prorated_graduated(tiers, [(units_gone, Fraction(units_gone))]) <= 100
