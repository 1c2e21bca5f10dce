"""Credits, holds and invoices of other billing systems' tests, as far as this engine can express them.

Rule 1: a case is run by the function named for its model; one that cannot be expressed is counted by reason.
Rule 2: where a case follows another policy than ours, `OUR_POLICY` has our figure and says why.
Rule 3: credits and dollars are both counted in units of 1e9 nano.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from fractions import Fraction
from types import SimpleNamespace
from typing import Any

import pytest

from costplus.core.money import NANO
from costplus.core.period import monthly_period
from costplus.ledger.hold import Hold, InsufficientCredit
from costplus.ledger.post import expire_grant
from costplus.ledger.reserve import place_hold, release_hold
from costplus.rating.quote import quote

Shop = Any  # The shop of conftest.
Given = dict[str, Any]  # A case's input.
AREAS = {"concurrency", "corrections", "credits", "idempotency", "invoice", "limits", "reservation"}
RUN_MIN = 43  # The number may only grow.
# Usage that ends after its hold is booked all the same: the call was served.
OUR_POLICY: dict[str, Any] = {"au-hold-expire-then-settle": {"left": [1, 10]}}


def shop_of(build: SimpleNamespace, **request: Any) -> Shop:
    shop = build.shop(**request)
    shop.customer()
    return shop


def nano(units: Any) -> int:
    return int(Fraction(units) * NANO)


def left(shop: Shop) -> list[Fraction]:
    """Return what remains of each grant, in the order they were given."""
    return [Fraction(g.remaining_nano, NANO) for g in shop.write(lambda tx: tx.grants_of("cus_1"))]


def overage(shop: Shop) -> Fraction:
    return Fraction(shop.balance().owed_total_nano, NANO)


def net(shop: Shop) -> Fraction:
    """Return credit less what is owed."""
    return Fraction(shop.credit(), NANO) - overage(shop)


def burn_down(build: SimpleNamespace, case: Given) -> Any:
    shop = shop_of(build)
    if "monthly" in case:
        return _monthly_and_lifetime(build, shop, case)
    if "credits" in case:
        for each in case["credits"]:
            ends = build.at + build.day if each.get("expires") else None
            shop.give(nano(each["amt"]), priority=each.get("prio", 50), expires_at=ends)
        shop.use(nano(case["debit"]))
        return {"left_total": sum(left(shop))}
    grants, usage, steps = build.only(case, "grants", "usage", "steps")
    for each in grants:
        _give_stated(build, shop, each)
    for step in steps or [{"use": usage}]:
        if "use" in step:
            shop.use(nano(step["use"]))
        elif "void_grant" in step:  # A grant that was used cannot be voided here; expiring it ends it too.
            grant = shop.write(lambda tx: tx.grants_of("cus_1"))[step["void_grant"]]
            shop.write(lambda tx, grant=grant: expire_grant(tx, grant, at=shop.at))
        else:
            raise build.not_expressible("recurring grants")
    balances = left(shop) if all("expired" not in each for each in grants) else [Fraction(0)]
    return {"balances": balances, "balance": sum(balances), "overage": overage(shop)}


def _give_stated(build: SimpleNamespace, shop: Shop, each: Given) -> None:
    if "recurs" in each:
        raise build.not_expressible("recurring grants")
    ends = build.at + each["expires"] * build.day if "expires" in each else None
    if each.get("expired"):
        ends = build.at
    begins = build.at + build.day if "effective" in each else build.at
    priority = each.get("priority", 50)
    shop.give(nano(each["amount"]), priority=priority, expires_at=ends, effective_at=begins)


def _monthly_and_lifetime(build: SimpleNamespace, shop: Shop, case: Given) -> Any:
    month = monthly_period(build.at, 0)
    shop.give(nano(case["monthly"]), expires_at=month.end)
    shop.give(nano(case["lifetime"]))
    after = []
    for use in case["uses"]:
        shop.use(nano(use))
        after.append(left(shop))
    shop.close(month.end)
    shop.give(nano(case["monthly"]), expires_at=monthly_period(build.at, 1).end)
    _, lifetime, monthly = left(shop)
    return {"after_first": after[0], "after_second": after[1], "after_reset": [monthly, lifetime]}


def rollover(build: SimpleNamespace, case: Given) -> Any:
    current, rolled, use = build.only(case, "current", "rolled_over", "use")
    shop = shop_of(build)
    shop.give(nano(current), expires_at=build.at + 9 * build.day)
    shop.give(nano(rolled), expires_at=build.at + build.day)
    shop.use(nano(use))
    return dict(zip(("current", "rolled_over"), left(shop), strict=True))


def wallet_allocation(build: SimpleNamespace, case: Given) -> Any:
    wallets, uses = build.only(case, "wallets", "usage_cents")
    shop = shop_of(build)
    for wallet in wallets:
        balance, priority = build.only(wallet, "bal", "prio")
        shop.give(nano(balance), priority=priority)
    if not all(isinstance(use, int) and use >= 0 for use in uses):
        raise build.not_expressible("a wallet's scope, or usage billed before")
    shop.use(nano(sum(uses)))
    if overage(shop):
        raise build.not_expressible("wallets that go negative")
    return {"allocated": [w["bal"] - rest for w, rest in zip(wallets, left(shop), strict=True)]}


def grant_traceability(build: SimpleNamespace, case: Given) -> Any:
    shop = shop_of(build)
    amounts = case.get("grants") or case.get("grants_in_burn_order")
    if amounts is None:
        amounts = [case["granted"], case["purchased"]]
        shop.give(nano(amounts[0]), category="promotional")
        shop.give(nano(amounts[1]))
    else:
        for amount in amounts:
            shop.give(nano(amount))
            shop.at += build.tick
    invoiced = case["invoiced"]
    for use in invoiced if isinstance(invoiced, list) else [invoiced]:
        shop.use(nano(use))
    rest = left(shop)
    paid = [amount - part for amount, part in zip(amounts, rest, strict=True)]
    split = {"granted_part": paid[0], "purchased_part": paid[-1], "purchased_left": rest[-1]}
    return {"from": paid, "remaining": rest, **split}


def top_up_pays_overage(build: SimpleNamespace, case: Given) -> Any:
    shop = shop_of(build)
    for month, balance in enumerate(case["balances"]):
        if balance < 0:
            shop.use(nano(-balance), at=monthly_period(build.at, month).start)
        else:
            shop.give(nano(balance))
    before = shop.owed()
    if case["top_up"]:
        shop.give(nano(case["top_up"]))
    after = dict(shop.balance().owed_nano)
    starts = [build.ms(monthly_period(build.at, n).start) for n in range(len(before))]
    paid = [Fraction(was - after.get(start, 0), NANO) for was, start in zip(before, starts, strict=True)]
    prepaid = left(shop)[-1] if case["top_up"] else Fraction(0)
    return {"paydown": [part for part in paid if part], "prepaid": prepaid}


def expiry(build: SimpleNamespace, case: Given) -> Any:
    shop = shop_of(build)
    if "grant" in case:
        shop.give(nano(case["grant"]), expires_at=build.at + case["expires_at"] * build.day)
        seen = {"t0": net(shop)}
        shop.close(build.at + case["use"]["at"] * build.day)
        shop.use(nano(case["use"]["amount"]))
        seen["t5"] = net(shop)
        shop.close(build.at + case["expires_at"] * build.day)
        return {**seen, "t10": net(shop), "expired": Fraction(shop.account_nano("book/breakage"), NANO)}
    for each in case["grants"]:
        shop.give(nano(each["amount"]), expires_at=build.at + each["expires_at"] * build.day)
    for use in case["uses"]:
        shop.use(nano(use))
    shop.close(build.at + 10 * build.day)
    return {"balance_at_10": net(shop)}


def hold_settle(build: SimpleNamespace, case: Given) -> Any:
    buckets, ops = build.only(case, "buckets_in_burn_order", "ops")
    shop = shop_of(build)
    for priority, amount in enumerate(buckets):
        shop.give(nano(amount), priority=priority)
    for op, amount in ops:
        if op == "hold":
            times = {"placed_at": build.at, "expires_at": build.at + build.day}
            fields = {"id": "hold_1", "customer": "cus_1", "kind": "request", "owner": "gw_1"}
            hold = Hold(amount_nano=nano(amount), **fields, **times)
            shop.write(lambda tx, hold=hold: place_hold(tx, hold, at=shop.at))
        elif op == "settle":
            shop.use(nano(amount), key="call", hold="hold_1", release_nano=nano(amount), closes=True)
        elif op == "use":
            shop.use(nano(amount))
        else:
            shop.write(lambda tx: release_hold(tx, "cus_1", "hold_1"))
    assert shop.balance().held_nano == 0
    return {"left": left(shop)}


def wallet_debit(build: SimpleNamespace, case: Given) -> Any:
    if case.get("policy") not in (None, "overage"):
        raise build.not_expressible(f"policy '{case['policy']}'")
    shop = shop_of(build)
    shop.give(nano(case["balance"]))
    debits = case.get("debits") or [case["debit"]]
    for debit in debits:
        keyed = debit if isinstance(debit, dict) else {"amt": debit, "key": ""}
        shop.use(nano(keyed["amt"]), key=keyed["key"])
    return net(shop) if "policy" not in case else {"balance": net(shop)}


def meter_balance(build: SimpleNamespace, case: Given) -> Any:
    return wallet_debit(build, {"balance": case["credited"], "debit": case["consumed"]})


def overage_policy(build: SimpleNamespace, case: Given) -> Any:
    shop = shop_of(build)
    shop.give(nano(case["balance"]))
    cost = nano(case["cost"])
    hold = Hold(
        id="hold_1",
        customer="cus_1",
        kind="request",
        owner="gw_1",
        amount_nano=cost,
        placed_at=build.at,
        expires_at=build.at + build.day,
    )
    if case["policy"] == "reject":
        with pytest.raises(InsufficientCredit):
            shop.write(lambda tx: place_hold(tx, hold, at=shop.at))
    else:
        shop.use(cost)
    return {"charged": Fraction(shop.account_nano("book/revenue"), NANO), "balance": net(shop)}


def credit_then_invoice(build: SimpleNamespace, case: Given) -> Any:
    invoice = _invoice(build, charge=case["charge"], credit=case["credit_balance"])
    return {
        "credits_used": Fraction(invoice.credit_minor, 100),
        "invoiced": Fraction(invoice.total_minor, 100),
    }


def metered_line(build: SimpleNamespace, case: Given) -> Any:
    units, credited, cents = build.only(case, "units", "credited", "unit_cents")
    return _invoice(
        build, charge=Fraction(units * cents, 100), credit=Fraction(credited * cents, 100)
    ).total_minor


def hybrid(build: SimpleNamespace, case: Given) -> Any:
    price = Fraction(case.get("overage_price") or case.get("price"))
    invoice = _invoice(build, charge=case["overage_units"] * price, fee_minor=case["base"] * 100)
    return Fraction(invoice.total_minor, 100)


def _invoice(build: SimpleNamespace, *, charge: Any, credit: Any = 0, fee_minor: int = 0) -> Any:
    """Return the first final invoice over usage."""
    shop = shop_of(build, fee_minor=fee_minor)
    if credit:
        shop.give(nano(credit))
    shop.use(nano(charge))
    shop.close(monthly_period(build.at, 0).end + build.hour)
    assert shop.wrongs() == []
    return shop.invoices()[-1]


def reservation(build: SimpleNamespace, case: Given) -> Fraction:
    tokens, usd = build.only(case, "max_tokens", "usd_per_million_out")
    charge = quote(build.sheet(usd_per_million=str(usd)), body_bytes=0, output_tokens_max=tokens).charge
    output = next(line for line in charge.lines if line.rate.leaf == "output")
    return output.quantity * output.rate.unit_price


RUNNERS: dict[str, Callable[[SimpleNamespace, Given], Any]] = {
    **{f.__name__: f for f in (burn_down, rollover, wallet_allocation, grant_traceability)},
    **{f.__name__: f for f in (top_up_pays_overage, expiry, hold_settle, wallet_debit, meter_balance)},
    **{f.__name__: f for f in (overage_policy, reservation, credit_then_invoice, metered_line, hybrid)},
    "parallel_debits": wallet_debit,
}


@pytest.fixture(scope="module")
def outcome(build: SimpleNamespace, vectors: SimpleNamespace) -> SimpleNamespace:
    cases = [case for case in vectors.cases if case["area"] in AREAS]
    return vectors.run(build, cases, RUNNERS, OUR_POLICY)


def test_every_expressible_case_gives_its_figure(
    outcome: SimpleNamespace, capsys: pytest.CaptureFixture[str]
) -> None:
    left_out = sum(outcome.skipped.values())
    with capsys.disabled():
        passed = outcome.run - len(outcome.wrong)
        sys.stdout.write(
            f"\ncredit vectors: run={outcome.run} passed={passed} not expressible yet={left_out}\n"
        )
    assert not outcome.wrong, outcome.wrong
    assert outcome.run >= RUN_MIN


def test_every_case_is_run_or_left_out_by_reason(
    outcome: SimpleNamespace, vectors: SimpleNamespace, capsys: pytest.CaptureFixture[str]
) -> None:
    cases = [case for case in vectors.cases if case["area"] in AREAS]
    assert outcome.run + sum(outcome.skipped.values()) == len(cases)
    assert all(outcome.skipped)
    with capsys.disabled():
        reasons = ", ".join(f"{n} × {why}" for why, n in outcome.skipped.most_common())
        sys.stdout.write(f"\nnot expressible yet: {reasons}\n")
