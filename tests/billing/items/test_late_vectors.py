"""Late usage of other billing systems' tests, through periods that have ended and wait for it."""

from __future__ import annotations

from fractions import Fraction
from types import SimpleNamespace
from typing import Any

import pytest

from costplus.core.period import monthly_period

Given = dict[str, Any]  # A case's input.
RUN_MIN = 7  # The number may only grow.


def billed(build: SimpleNamespace, items: SimpleNamespace, item: Any, *, early: int, late: int) -> Fraction:
    """Return what is invoiced in all for usage within a period and usage that came in its grace."""
    shop = items.shop(item)
    shop.use(early)
    end = monthly_period(build.at, 0).end
    shop.shop.close(end)
    if late:
        shop.use(late, at=end - build.tick)
    return Fraction(shop.close().total_minor, 100)


def delta(build: SimpleNamespace, items: SimpleNamespace, item: Any, *, before: int, now: int) -> Fraction:
    both = billed(build, items, item, early=before, late=now - before)
    return both - billed(build, items, item, early=before, late=0)


def runners(items: SimpleNamespace) -> dict[str, Any]:
    def per_unit(build: SimpleNamespace, case: Given) -> Any:
        if "cap_cents" in case:
            item = items.item(
                unit_amount=str(Fraction(case["unit_cents"], 100)),
                maximum_amount=str(Fraction(case["cap_cents"], 100)),
            )
            return billed(build, items, item, early=case["qty"], late=0) * 100
        before, now, unit = build.only(case, "already_billed_qty", "now_qty", "unit")
        return delta(build, items, items.item(unit_amount=str(unit)), before=before, now=now)

    def volume(build: SimpleNamespace, case: Given) -> Any:
        before, now, tiers = build.only(case, "already_billed_qty", "now_qty", "tiers")
        steps = [(tier["up_to"] and int(tier["up_to"]), tier["unit"], tier["flat"]) for tier in tiers]
        item = items.item("volume", tiers=items.tiers(*steps))
        return delta(build, items, item, before=before, now=now)

    def delta_billing(build: SimpleNamespace, case: Given) -> Any:
        block, price, already = case["block"], case["price"], case["already_billed"]
        total = sum(case.get("usage_parts") or [case["usage_total"]])
        item = items.item("package", package_amount=str(price), package_size=block)
        both = billed(build, items, item, early=block * already, late=total - block * already)
        return both - already * price

    return {"per_unit": per_unit, "volume": volume, "delta_billing": delta_billing}


def test_late_usage_bills_the_difference_that_it_makes_to_its_period(
    build: SimpleNamespace, items: SimpleNamespace, vectors: SimpleNamespace
) -> None:
    cases = [case for case in vectors.cases if case["area"] == "late_events"]
    cases += [case for case in vectors.cases if case["id"] == "po-unit-1000-100"]
    for case in cases:
        case["input"].pop("round", None)
    outcome = vectors.run(build, cases, runners(items), {})
    assert not outcome.wrong, outcome.wrong
    assert outcome.run >= RUN_MIN, outcome.skipped


@pytest.mark.parametrize(("late", "total"), [(0, 15_000), (1, 8_000)])
def test_a_volume_price_falls_for_all_units_when_late_ones_reach_the_next_tier(
    build: SimpleNamespace, items: SimpleNamespace, late: int, total: int
) -> None:
    item = items.item("volume", tiers=items.tiers((15, "10"), (None, "5")))
    assert billed(build, items, item, early=15, late=late) * 100 == total
