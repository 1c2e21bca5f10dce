"""Holds, limits and debits of other billing systems' tests, on the real ledger.

Rule 1: a case is run by the function named for its model; one that cannot be expressed is counted by reason.
Rule 2: where a case follows another policy than ours, `OUR_POLICY` has our figure and says why.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest

from costplus.core.money import NANO, NANO_MAX
from costplus.ledger.hold import Hold, InsufficientCredit
from costplus.ledger.post import expire_grant
from costplus.ledger.reserve import expire_hold, place_hold, release_hold
from costplus.rating.item import CardItem
from costplus.rating.item_charge import Metered, PricedItem, rate_item
from costplus.rating.quote import quote

Given = dict[str, Any]  # A case's input.
AREAS = {"concurrency", "idempotency", "limits", "reservation"}
RUN_MIN = 18  # The number may only grow.
OUR_POLICY: dict[str, Any] = {
    # Usage that ends after its hold is booked all the same: the call was served.
    "au-hold-expire-then-settle": {"left": [1, 10]},
    # Usage beyond the balance is not given away: it is used, and owed.
    "au-conc-cap": {"balance": -45, "usage": 50, "accepted": 5},
    # A hold reserves an amount, not certain grants: usage burns the credit that is there when it is captured.
    "au-hold-upgrade-refund": {"monthly": 23, "lifetime": 100, "total": 123},
    "au-hold-upgrade-gone": {"monthly": 30},
}


def hold_of(build: SimpleNamespace, id: str, amount_nano: int) -> Hold:
    times = {"placed_at": build.at, "expires_at": build.at + build.day}
    fields: Any = {"id": id, "customer": "cus_1", "kind": "request", "owner": "gw_1"}
    return Hold(amount_nano=amount_nano, **fields, **times)


def hold_settle(build: SimpleNamespace, case: Given) -> Any:
    buckets, ops = build.only(case, "buckets_in_burn_order", "ops")
    shop = build.shop_of()
    for priority, amount in enumerate(buckets):
        shop.give(build.nano(amount), priority=priority)
    for op, amount in ops:
        if op == "hold":
            shop.write(partial(place_hold, hold=hold_of(build, "hold_1", build.nano(amount)), at=shop.at))
        elif op == "settle":
            shop.use(
                build.nano(amount), key="call", hold="hold_1", release_nano=build.nano(amount), closes=True
            )
        elif op == "use":
            shop.use(build.nano(amount))
        elif op == "expire":
            ends = build.at + build.day
            shop.write(lambda tx, ends=ends: expire_hold(tx, "cus_1", "hold_1", at=ends))
        else:
            shop.write(lambda tx: release_hold(tx, "cus_1", "hold_1"))
    assert shop.balance().held_nano == 0
    return {"left": build.left(shop)}


def overage_policy(build: SimpleNamespace, case: Given) -> Any:
    shop = build.shop_of()
    shop.give(build.nano(case["balance"]))
    cost = build.nano(case["cost"])
    hold = hold_of(build, "hold_1", cost)
    if case["policy"] == "reject":
        with pytest.raises(InsufficientCredit):
            shop.write(lambda tx: place_hold(tx, hold, at=shop.at))
    else:
        shop.use(cost)
    return {"charged": Fraction(shop.account_nano("book/revenue"), NANO), "balance": build.net(shop)}


def parallel_debits(build: SimpleNamespace, case: Given) -> Any:
    """Each debit holds what it will take; what may be owed is the limit less what is included."""
    shop = build.shop_of()
    included, limit = case.get("balance", case.get("included")), case.get("usage_limit")
    shop.give(build.nano(included))
    overdraft_nano = NANO_MAX if limit is None else build.nano(limit - included)
    accepted = used = 0
    for number, debit in enumerate(case["debits"]):
        hold = hold_of(build, f"hold_{number}", build.nano(debit))
        try:
            shop.write(partial(place_hold, hold=hold, at=shop.at, overdraft_nano=overdraft_nano))
        except InsufficientCredit:
            continue
        shop.use(build.nano(debit), hold=hold.id, release_nano=build.nano(debit), closes=True)
        accepted, used = accepted + 1, used + debit
    rejected = len(case["debits"]) - accepted
    return {"accepted": accepted, "rejected": rejected, "usage": used, "balance": build.net(shop)}


def hold_settle_plan_change(build: SimpleNamespace, case: Given) -> Any:
    """A plan's credit ends with the plan, and that of the next one begins, while a call is under way."""
    shop = build.shop_of()
    old = shop.give(build.nano(case["monthly_free"]), priority=1)
    if "lifetime" in case:
        shop.give(build.nano(case["lifetime"]), priority=2)
    shop.write(partial(place_hold, hold=hold_of(build, "hold_1", build.nano(case["hold"])), at=shop.at))
    shop.write(lambda tx: expire_grant(tx, old, at=shop.at))
    shop.give(build.nano(case["upgrade_to_monthly"]), priority=1)
    if "then_use" in case:
        shop.use(build.nano(case["then_use"]))
    used = build.nano(case["settle"])
    shop.use(used, hold="hold_1", release_nano=used, closes=True)
    assert shop.balance().held_nano == 0
    rest = build.left(shop)
    return {"monthly": rest[-1], "lifetime": rest[1], "total": sum(rest)}


def reservation(build: SimpleNamespace, case: Given) -> Fraction:
    tokens, usd = build.only(case, "max_tokens", "usd_per_million_out")
    charge = quote(build.sheet(usd_per_million=str(usd)), body_bytes=0, output_tokens_max=tokens).charge
    output = next(line for line in charge.lines if line.rate.leaf == "output")
    return output.quantity * output.rate.unit_price


def per_unit(build: SimpleNamespace, case: Given) -> Any:
    """A price per unit with a maximum, charged event by event."""
    quantity, unit, cap, _ = build.only(case, "qty", "unit_cents", "cap_cents", "round")
    item = CardItem(
        event_name="unit",
        display_name="Unit",
        kind="per_unit",
        unit_amount=Decimal(unit) / 100,
        maximum_amount=Decimal(cap) / 100,
    )
    charge = rate_item(PricedItem("rcv_1", item), before=Metered(), metered=quantity)
    return Fraction(charge.price_nano * 100, NANO)


def wallet_debit(build: SimpleNamespace, case: Given) -> Any:
    if case.get("policy") not in (None, "overage"):
        raise build.not_expressible(f"policy '{case['policy']}'")
    shop = build.shop_of()
    shop.give(build.nano(case["balance"]))
    debits = case.get("debits") or [case["debit"]]
    for debit in debits:
        keyed = debit if isinstance(debit, dict) else {"amt": debit, "key": ""}
        shop.use(build.nano(keyed["amt"]), key=keyed["key"])
    return build.net(shop) if "policy" not in case else {"balance": build.net(shop)}


RUNNERS: dict[str, Callable[[SimpleNamespace, Given], Any]] = {
    **{f.__name__: f for f in (hold_settle, hold_settle_plan_change, overage_policy, parallel_debits)},
    **{f.__name__: f for f in (reservation, per_unit, wallet_debit)},
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
        reasons = ", ".join(f"{n} × {why}" for why, n in outcome.skipped.most_common())
        sys.stdout.write(
            f"\nhold vectors: run={outcome.run} passed={passed} left out={left_out} ({reasons})\n"
        )
    assert not outcome.wrong, outcome.wrong
    assert outcome.run >= RUN_MIN
