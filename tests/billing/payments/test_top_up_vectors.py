"""Top-ups, packs and auto-recharge of other billing systems' tests, through the real engine."""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from costplus.billing.credit_pack import CreditPack, price_minor
from costplus.core.money import NANO
from costplus.core.period import monthly_period

Given = dict[str, Any]
MODELS = ("top_up", "credit_pack", "top_up_pays_overage", "auto_top_up")


def top_up(till: Any, case: Given) -> Any:
    cents = price_minor(Decimal(case["paid_credits"]), unit_price=case["rate"], currency="usd")
    bought = till.buy(cents)
    return {"credits": Fraction(till.shop.credit(), NANO), "invoice_cents": bought.amount_minor}


def credit_pack(till: Any, case: Given) -> Any:
    price = price_minor(case["credits"], unit_price=Decimal(case["unit_price"]), currency="usd")
    pack = CreditPack(
        id="cpack_1",
        created=till.shop.at,
        name="Credits",
        currency="usd",
        price_minor=price,
        credit_minor=case["credits"] * 100,
    )
    till.buy(0, pack=pack)
    assert till.shop.credit() == case["credits"] * NANO
    return Fraction(till.taken(), 100)


def top_up_pays_overage(till: Any, case: Given) -> Any:
    shop = till.shop
    starts = [monthly_period(shop.at, month).start for month in range(len(case["balances"]))]
    for start, balance in zip(starts, case["balances"], strict=True):
        if balance < 0:
            shop.use(-balance * NANO, at=start)
        else:
            shop.give(balance * NANO)
    credit, before = shop.credit(), shop.owed()
    if case["top_up"]:
        till.buy(case["top_up"] * 100)
    after = ([0] * len(before) + shop.owed())[-len(before) :] if before else []
    paid = [Fraction(was - now, NANO) for was, now in zip(before, after, strict=True)]
    return {
        "paydown": [part for part in paid if part],
        "prepaid": Fraction(shop.credit() - credit, NANO),
    }


def auto_top_up(till: Any, case: Given) -> Any:
    shop = till.shop
    till.method("pm_fake_ok")
    # Where the case names no threshold, what is left after its first debit is below any that fits.
    threshold = case.get("threshold", case["balance"] - case.get("debits_in_turn", [0])[0])
    till.rule(threshold_minor=threshold * 100, amount_minor=case["quantity"] * 100)
    shop.give(case["balance"] * NANO)
    for debit in case.get("parallel_debits", ()):
        shop.use(debit * NANO)
    seen = {}
    for name, debit in zip(("after_first", "after_second"), case.get("debits_in_turn", ()), strict=False):
        shop.use(debit * NANO)
        till.recharge()
        seen[name] = Fraction(shop.credit(), NANO)
    till.recharge()
    done = [each for each in till.top_ups() if each.status == "succeeded"]
    return {"balance": Fraction(shop.credit(), NANO), "top_ups": len(done), **seen}


RUNNERS: dict[str, Callable[[Any, Given], Any]] = {
    each.__name__: each for each in (top_up, credit_pack, top_up_pays_overage, auto_top_up)
}


@pytest.fixture(scope="session")
def cases(shared_data: Path) -> list[Given]:
    found = json.loads((shared_data / "billing_vectors.json").read_text("utf-8"))
    return [case for case in found if case["model"] in MODELS]


def agrees(actual: Any, expected: Any) -> bool:
    """Return whether every figure that is expected was found."""
    if isinstance(expected, dict):
        return all(agrees(actual[name], value) for name, value in expected.items())
    if isinstance(expected, list):
        return len(actual) == len(expected) and all(map(agrees, actual, expected))
    return Fraction(actual) == Fraction(expected)


def test_every_case_gives_its_figure(till_of: Callable[..., Any], cases: list[Given]) -> None:
    wrong = {}
    for case in cases:
        actual = RUNNERS[case["model"]](till_of(), case["input"])
        if not agrees(actual, case["expected"]):
            wrong[case["id"]] = (actual, case["expected"])
    assert not wrong, wrong
    assert len(cases) >= 10
