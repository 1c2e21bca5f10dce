"""Runs cases of holds, limits and debits that come at the same time.

Rule 1: debits that a case has come in parallel are transactions side by side.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from fractions import Fraction
from functools import partial

from vector_case import Figures, Given, NotRun, Runner, fraction
from vector_shop import CUSTOMER, DAY, START, Shop, nano, shop_of, units

from costplus.billing.store import Tx
from costplus.catalog.price import Component, PriceVersion
from costplus.core.ids import HoldId
from costplus.core.money import NANO_MAX, decimal_text
from costplus.ledger.hold import Hold, InsufficientCredit
from costplus.ledger.post import expire_grant
from costplus.ledger.reserve import expire_hold, place_hold, release_hold
from costplus.rating.quote import quote
from costplus.rating.rate_card import RateCardVersion, adjustment
from costplus.rating.sheet import compile_sheet

BOOKED = "a call that was served is booked, whatever became of its hold"
NOT_GIVEN_AWAY = "what was used beyond the balance is owed, never given away"
MONEY_HELD = "a hold reserves an amount and takes from no grant: what was used is paid when the call ends"


def hold_of(amount: Fraction, id: str = "hold_1") -> Hold:
    return Hold(
        id=HoldId(id),
        customer=CUSTOMER,
        kind="request",
        owner="gw_1",
        amount_nano=nano(amount),
        placed_at=START,
        expires_at=START + DAY,
    )


def hold_settle(given: Given) -> Figures:
    shop, is_expired = shop_of(given), False
    for priority, amount in enumerate(given.take("buckets_in_burn_order", kind=list)):
        shop.give(fraction(amount), priority=priority)
    for op, stated in given.take("ops", kind=list):
        amount = fraction(stated)
        if op == "hold":
            shop.write(partial(place_hold, hold=hold_of(amount), at=shop.at))
        elif op == "settle":
            if is_expired:
                given.contest(BOOKED, {"left": shop.left()})  # They ignore it.
            settled = shop.settlement(
                amount, key="call", hold="hold_1", release_nano=nano(amount), closes=True
            )
            shop.settle([settled])
        elif op == "use":
            shop.use(amount)
        elif op == "expire":
            shop.write(lambda tx: expire_hold(tx, CUSTOMER, "hold_1", at=START + DAY))
            is_expired = True
        elif op == "release":
            shop.write(lambda tx: release_hold(tx, CUSTOMER, "hold_1"))
        else:
            raise NotRun(f"a step called '{op}' is not understood")
    assert shop.balance().held_nano == 0
    shop.check()
    return {"left": shop.left()}


def hold_settle_plan_change(given: Given) -> Figures:
    """A plan's credit ends with the plan, and that of the next one begins, while a call is under way."""
    given.contest(MONEY_HELD, _taken_when_held(given))
    shop = shop_of(given)
    old = shop.give(given.number("monthly_free"), priority=1)
    lifetime = shop.give(given.number("lifetime"), priority=2) if given.has("lifetime") else ""
    held, used = given.number("hold"), given.number("settle")
    shop.write(partial(place_hold, hold=hold_of(held), at=shop.at))
    shop.write(partial(expire_grant, grant=shop.grant(old), at=shop.at))
    monthly = shop.give(given.number("upgrade_to_monthly"), priority=1)
    if given.has("then_use"):
        shop.use(given.number("then_use"))
    shop.use(used, key="call", hold="hold_1", release_nano=nano(held), closes=True)
    assert shop.balance().held_nano == 0
    shop.check()
    left = units(shop.grant(monthly).remaining_nano)
    lasting = units(shop.grant(lifetime).remaining_nano) if lifetime else Fraction(0)
    return {"monthly": left, "lifetime": lasting, "total": left + lasting}


def _taken_when_held(given: Given) -> Figures:
    """Return what is left where a hold takes from the buckets, and gives back to them, the last one first.

    What the plan's own bucket gets back goes to the next plan's.
    """
    free, lasting, held = (given.number(name, 0) for name in ("monthly_free", "lifetime", "hold"))
    of_lasting = min(max(held - free, Fraction(0)), lasting)
    back = max(held - given.number("settle"), Fraction(0))
    to_lasting = min(back, of_lasting)
    monthly = given.number("upgrade_to_monthly") - given.number("then_use", 0) + back - to_lasting
    monthly = min(monthly, given.number("upgrade_to_monthly"))
    lasting += to_lasting - of_lasting
    return {"monthly": monthly, "lifetime": lasting, "total": monthly + lasting}


def overage_policy(given: Given) -> Figures:
    shop, cost = shop_of(given), given.number("cost")
    shop.give(given.number("balance"))
    policy = given.take("policy", kind=str)
    if policy == "reject":
        given.under("hold_to_limit")
        try:
            shop.write(partial(place_hold, hold=hold_of(cost), at=shop.at))
        except InsufficientCredit:
            pass
        else:
            shop.use(cost, hold="hold_1", release_nano=nano(cost), closes=True)
    elif policy == "overflow":
        given.under("overage_is_owed")
        shop.use(cost)
    else:
        raise NotRun(f"a policy called '{policy}' is not understood")
    shop.check()
    return {"charged": shop.account_units("book/revenue"), "balance": shop.net()}


def parallel_debits(given: Given) -> Figures:
    """Each debit holds what it will take; what may be owed is the limit less what is included."""
    policy = given.take("policy", kind=str)
    if policy not in ("cap", "overage", "reject_over_limit"):
        raise NotRun(f"a policy called '{policy}' is not understood")
    shop = shop_of(given)
    included = given.first("balance", "included")
    debits = [fraction(debit) for debit in given.take("debits", kind=list)]
    shop.give(included)
    overdraft_nano = NANO_MAX
    if policy == "reject_over_limit":
        given.under("hold_to_limit")
        overdraft_nano = nano(given.number("usage_limit") - included)
    elif policy == "cap":
        used = min(sum(debits, Fraction(0)), included)  # They book no more than there is.
        theirs = {"balance": included - used, "usage": used, "accepted": len(debits), "rejected": 0}
        given.contest(NOT_GIVEN_AWAY, theirs)
    else:
        given.under("overage_is_owed")
    took = shop.books.write_at_once(
        [_debit(shop, debit, n, overdraft_nano=overdraft_nano) for n, debit in enumerate(debits)],
        customer=CUSTOMER,
    )
    used = sum((debit for debit, is_taken in zip(debits, took, strict=True) if is_taken), Fraction(0))
    for number, debit in enumerate(debits):
        if took[number]:
            shop.use(debit, hold=f"hold_{number}", release_nano=nano(debit), closes=True)
    shop.check()
    accepted = sum(took)
    rejected = len(debits) - accepted
    return {"accepted": accepted, "rejected": rejected, "usage": used, "balance": shop.net()}


def _debit(shop: Shop, amount: Fraction, number: int, *, overdraft_nano: int) -> Callable[[Tx], bool]:
    hold = hold_of(amount, f"hold_{number}")

    def verb(tx: Tx) -> bool:
        try:
            place_hold(tx, hold, at=shop.at, overdraft_nano=overdraft_nano)
        except InsufficientCredit:
            return False
        return True

    return verb


def reservation(given: Given) -> Figures:
    """A call is held for at the price of all the tokens that it may be answered with."""
    tokens, usd = given.count("max_tokens"), Decimal(decimal_text(given.number("usd_per_million_out")))
    parts = tuple(Component(leaf, usd, 1_000_000) for leaf in ("input", "output"))
    card = RateCardVersion(
        id="rcv_v", created=START, rate_card="rcd_v", default=adjustment("markup", Decimal(0))
    )
    rates = compile_sheet(PriceVersion("pv_m", "openai", "m", "usd", START, None, parts), card)
    charge = quote(rates, body_bytes=0, output_tokens_max=tokens).charge
    output = next(line for line in charge.lines if line.rate.leaf == "output")
    exact = output.quantity * output.rate.unit_price
    shop = shop_of(given)
    shop.give(exact)
    shop.write(partial(place_hold, hold=hold_of(exact), at=shop.at))
    return {"amount": units(shop.balance().held_nano)}


RUNNERS: Mapping[tuple[str, str], Runner] = {
    ("reservation", "hold_settle"): hold_settle,
    ("reservation", "hold_settle_plan_change"): hold_settle_plan_change,
    ("limits", "overage_policy"): overage_policy,
    ("limits", "reservation"): reservation,
    ("concurrency", "parallel_debits"): parallel_debits,
}
