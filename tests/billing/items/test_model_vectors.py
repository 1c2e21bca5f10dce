"""Cases of other systems' tests about pricing models, run through settlement, close and invoice.

Rule 1: a case is run by the function named for its model; every case of these forms must be run.
Rule 2: where a case follows another policy than ours, `OUR_POLICY` has our figure and says why.
"""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from types import SimpleNamespace
from typing import Any

import pytest

from costplus.billing.allowance import MILLI, Allowance, CreditTerms, Rollover
from costplus.billing.include import counters_of
from costplus.billing.settle import Settlement
from costplus.core.money import NANO
from costplus.core.period import monthly_period
from costplus.ledger.hold import Hold
from costplus.ledger.post import expire_grant
from costplus.ledger.reserve import place_hold
from costplus.metering.event import reversed_event
from costplus.metering.meter import Meter
from costplus.rating.charge import reversal_of

Given = dict[str, Any]
FORMS = {
    ("credits", "rollover"): 4,
    ("credits", "breakage"): 2,
    ("credits", "burn_down"): 1,
    ("reservation", "hold_settle_plan_change"): 2,
    ("commitment", "dynamic_markup"): 2,
    ("commitment", "package"): 1,
    ("commitment", "graduated"): 3,
    ("commitment", "volume"): 5,
    ("metering", "aggregation"): 5,
    ("late_events", "delta_billing"): 2,
    ("corrections", "graduated"): 2,
}
# A hold reserves and posts nothing: what a call used is paid, when it ends, by the credit that there is then.
# The replaced plan's credit has lapsed with its plan; the hold did not spend it.
OUR_POLICY: dict[str, Any] = {
    "au-hold-upgrade-refund": {"monthly": 23, "lifetime": 100, "total": 123},
    "au-hold-upgrade-gone": {"monthly": 30},
}


def nano(units: Any) -> int:
    return int(Fraction(str(units)) * NANO)


def left(shop: Any) -> list[Fraction]:
    return [Fraction(g.remaining_nano, NANO) for g in shop.write(lambda tx: tx.live_grants("cus_1"))]


def rollover(build: SimpleNamespace, items: SimpleNamespace, case: Given) -> Any:
    if "current" in case:
        return _rolled_tokens(build, case)
    least, most = case.get("reset_min_rollover", 0) * 100, case["reset_max_rollover"] * 100
    pays = case.get("preserve_overage", True)
    terms = CreditTerms(rollover=Rollover(periods=1, least=least, most=most, pays_overage=pays))
    shop = build.shop(credit_minor=case["grant"] * 100, credit_terms=terms)
    shop.customer()
    shop.use(nano(case["used"]))
    shop.close(monthly_period(build.at, 0).end)
    rolled, _ = left(shop)  # The other is the new period's own.
    return rolled


def _rolled_tokens(build: SimpleNamespace, case: Given) -> Any:
    """Return what is left of included tokens of which some rolled over."""
    terms = Rollover(periods=1, most=case["rolled_over"])
    shop = build.shop(allowances=(Allowance(id="t", units=case["current"], rollover=terms),))
    shop.customer()
    shop.close(monthly_period(build.at, 0).end + build.hour)
    shop.use(case["use"])
    subscription, plan = shop.subscription(), shop.account.plan
    (group,) = shop.write(lambda tx: counters_of(tx, subscription, plan, subscription.period, at=shop.at))
    rolled, own = (Fraction(counter.room_milli(subscription.period), MILLI) for counter in group)
    return {"rolled_over": rolled, "current": own}


def breakage(build: SimpleNamespace, items: SimpleNamespace, case: Given) -> Any:
    """A plan of breakage is a grant's amount; a release is usage of it, a reopening usage taken back."""
    if "records" not in case:
        return -_broken(build, case["plans"], used=case["releases"], returned=case["reopens"])
    plans: dict[str, list[int]] = {}
    for record in case["records"]:
        sums = plans.setdefault(record["charge"], [0, 0])
        sums[0] += record.get("plan", 0)
        sums[1] += record.get("release", 0)
    return {charge: _broken(build, planned, used=used) for charge, (planned, used) in plans.items()}


def _broken(build: SimpleNamespace, planned: int, *, used: int, returned: int = 0) -> Fraction:
    shop = build.shop()
    shop.customer()
    shop.give(nano(planned), expires_at=build.at + build.day)
    for count in range(used):
        shop.use(nano(1), key=f"use-{count}")
    for count in range(returned):
        found = shop.write(lambda tx: tx.charged_page(customer="cus_1", limit=50))
        entry = next(entry for entry in found if entry.event.key == f"use-{count}")
        back = reversed_event(entry.event)
        shop.settle(Settlement(event=back, charge=reversal_of(entry.charge), reverses=entry.transaction))
    shop.close(build.at + build.day)
    return -Fraction(shop.account_nano("book/breakage"), NANO)


def burn_down(build: SimpleNamespace, items: SimpleNamespace, case: Given) -> Any:
    """A grant that recurs is a plan's credit of each period; it burns first, as it expires sooner."""
    recurring, other = case["grants"]
    shop = build.shop(credit_minor=recurring["amount"] * 100)
    shop.customer()
    shop.give(nano(other["amount"]))
    for step in case["steps"]:
        if "use" in step:
            shop.use(nano(step["use"]))
        else:
            shop.set_up(credit_minor=recurring["amount"] * 100)
            shop.close(shop.at)
    return {"balances": left(shop)}


def hold_settle_plan_change(build: SimpleNamespace, items: SimpleNamespace, case: Given) -> Any:
    shop = build.shop()
    shop.customer()
    monthly = shop.give(nano(case["monthly_free"]), expires_at=monthly_period(build.at, 0).end)
    if "lifetime" in case:
        shop.give(nano(case["lifetime"]))
    times = {"placed_at": build.at, "expires_at": build.at + build.day}
    fields = {"id": "hold_1", "customer": "cus_1", "kind": "request", "owner": "gw_1"}
    hold = Hold(amount_nano=nano(case["hold"]), **fields, **times)
    shop.write(lambda tx: place_hold(tx, hold, at=shop.at))
    shop.write(lambda tx: expire_grant(tx, monthly, at=shop.at))
    shop.give(nano(case["upgrade_to_monthly"]), expires_at=monthly_period(build.at, 0).end)
    if "then_use" in case:
        shop.use(nano(case["then_use"]))
    shop.use(nano(case["settle"]), key="call", hold="hold_1", release_nano=hold.amount_nano, closes=True)
    assert shop.balance().held_nano == 0 and shop.wrongs() == []
    *lifetime, upgraded = left(shop)
    return {"monthly": upgraded, "lifetime": sum(lifetime), "total": sum(left(shop))}


def _item(items: SimpleNamespace, case: Given, kind: str) -> Any:
    limits = {
        f"{name}_amount": str(case[name]) for name in ("minimum", "maximum") if case.get(name) is not None
    }
    if kind == "package":
        amounts = {"package_size": case["package_size"], "package_amount": str(case["package_amount"])}
        return items.item("package", **amounts, **limits)
    if kind == "dynamic_markup":  # What is metered is money: cents of it here, sold at the multiplier.
        return items.item("per_unit", unit_amount=str(case["multiplier"]), **limits)
    steps = [
        (None if tier["up_to"] is None else int(tier["up_to"]), tier["unit"], tier["flat"])
        for tier in case["tiers"]
    ]
    return items.item(kind, tiers=items.tiers(*steps), **limits)


def _line(items: SimpleNamespace, case: Given, kind: str, *, before: int, line: int) -> Given:
    """Return what a line adds after the units before it, gross and net, and the period's total."""
    shop, free = (
        items.shop(_item(items, case, kind)),
        items.shop(_item(items, {**case, "maximum": None}, kind)),
    )
    found = []
    for each in (shop, free):
        each.use(*([before] if before else []))
        was = each.charged()
        each.use(*([line] if line else []))
        found.append((each.charged() - was, each))
    net, gross = found[0][0], found[1][0]
    return {"line": gross, "gross": gross, "discount": gross - net, "net": net, "shop": shop}


def commitment(build: SimpleNamespace, items: SimpleNamespace, kind: str, case: Given) -> Any:
    if "tier_cap" in case:
        capped = items.shop(items.item("per_unit", unit_amount="1", maximum_amount=str(case["tier_cap"])))
        capped.use(case["gross"])
        return capped.charged()
    if kind == "volume":
        shop = items.shop(_item(items, case, kind))
        if case["qty"]:
            shop.use(case["qty"])
        return Fraction(shop.close().total_minor, 100)
    before = int(case.get("pre_line_qty", case.get("pre_line_metered", 0)))
    line = int(case.get("line_qty", case.get("line_metered", case.get("qty", 0))))
    found = _line(items, case, kind, before=before, line=line)
    if case.get("line") == "last_split":
        was = found["shop"].charged()
        return Fraction(found["shop"].close().total_minor, 100) - Fraction(was)
    if "maximum" not in case:
        return found["net"]
    return {name: _cents(found[name]) for name in ("line", "gross", "discount", "net")}


def _cents(exact: Decimal) -> Fraction:
    """Return an amount as the case's system shows it: to the nearest cent."""
    return Fraction((Fraction(exact) * 100 + Fraction(1, 2)) // 1, 100)


def aggregation(build: SimpleNamespace, items: SimpleNamespace, case: Given) -> Any:
    shop = items.shop(items.item("per_unit", unit_amount="1"))
    at = shop.start
    meter = Meter(
        id="mtr_1", created=at, updated=at, display_name="", event_name=items.name, formula=case["fn"]
    )
    shop.shop.write(lambda tx: tx.save(meter))
    for value in case["values"]:
        shop.use(1 if case["fn"] == "count" else value)
    if case["fn"] == "avg":  # Billed in whole units; the exact figure is that of the summary.
        assert shop.charged() == 23
        return items.exact(meter, case["values"])
    return shop.charged()


def delta_billing(build: SimpleNamespace, items: SimpleNamespace, case: Given) -> Any:
    """The draft has some blocks; usage that comes late raises the period's total to what it is in all."""
    block = items.item("package", package_size=case["block"], package_amount=str(case["price"]))
    shop = items.shop(block)
    total = sum(case.get("usage_parts", [case.get("usage_total", 0)]))
    shop.use(case["already_billed"] * case["block"])
    assert shop.charged() == case["already_billed"] * case["price"]
    end = shop.shop.subscription().period.end
    shop.shop.close(end)
    shop.use(total - case["already_billed"] * case["block"], at=end - build.hour)
    return Fraction(shop.close().total_minor, 100) - case["already_billed"]


def corrections(build: SimpleNamespace, items: SimpleNamespace, case: Given) -> Any:
    shop = items.shop(_item(items, case, "graduated"))
    if case["allow_negative"]:
        shop.use(-case["qty"])
    was = shop.charged()
    shop.report(items.taking_back(shop, -case["qty"]))
    return shop.charged() - was


RUNNERS = {
    f.__name__: f
    for f in (rollover, breakage, burn_down, hold_settle_plan_change, aggregation, delta_billing)
}


def run(build: SimpleNamespace, items: SimpleNamespace, case: Given) -> Any:
    if case["area"] == "commitment":
        return commitment(build, items, case["model"], case["input"])
    if case["area"] == "corrections":
        return corrections(build, items, case["input"])
    return RUNNERS[case["model"]](build, items, case["input"])


def of_form(vectors: SimpleNamespace, form: tuple[str, str]) -> list[Given]:
    cases = [case for case in vectors.cases if (case["area"], case["model"]) == form]
    if form == ("credits", "burn_down"):
        cases = [case for case in cases if "recurs" in str(case["input"])]
    return cases


@pytest.mark.parametrize(("form", "count"), FORMS.items(), ids=lambda form: str(form))
def test_every_case_of_the_form_gives_its_figure(
    build: SimpleNamespace,
    items: SimpleNamespace,
    vectors: SimpleNamespace,
    form: tuple[str, str],
    count: int,
) -> None:
    cases = of_form(vectors, form)
    assert len(cases) == count
    for case in cases:
        expected = OUR_POLICY.get(case["id"], case["expected"])
        assert build.agrees(run(build, items, case), expected), case["id"]
