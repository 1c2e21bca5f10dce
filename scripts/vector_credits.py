"""Runs cases of credit: which grant pays, what lapses, what rolls over, what a purchase buys.

Rule 1: a wallet, a bucket or a balance is a grant of ours; a plan's own credit comes from the plan.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from functools import partial
from typing import Any

from vector_case import Figures, Given, NotRun, Runner, fraction, whole
from vector_shop import CUSTOMER, DAY, HOUR, START, TICK, Shop, nano, shop_of, units

from costplus.billing.allowance import MILLI, Allowance, CreditTerms, Rollover
from costplus.billing.include import counters_of
from costplus.billing.pricing_unit import PricingUnit
from costplus.billing.settle import Settlement
from costplus.core.money import decimal_text
from costplus.ledger.post import expire_grant, void_grant
from costplus.ledger.scope import Scope
from costplus.metering.event import reversed_event
from costplus.rating.charge import reversal_of

Row = Mapping[str, Any]
GRANT = ("amount", "priority", "expires", "expired", "effective", "recurs")
PAYS_ALL = "credit that there is pays in burn order: no grant keeps the next one from paying"


def numbers_of(given: Given, name: str) -> list[Fraction]:
    return [fraction(value) for value in given.take(name, kind=list)]


def burn_down(given: Given) -> Figures:
    if given.has("monthly"):
        return _monthly_and_lifetime(given)
    if given.has("credits"):
        return _unordered(given)
    rows = given.rows("grants", *GRANT)
    recurring = [row for row in rows if row.get("recurs")]
    if len(recurring) > 1:
        raise NotRun("several grants that recur are no one plan's credit")
    credit = sum((fraction(row["amount"]) for row in recurring), Fraction(0))
    # What recurs is a plan's credit, of each period; a period may be a month for all that is told of it.
    shop = shop_of(given, credit_minor=_minor(credit))
    order = [
        next(iter(shop.live_grants())).id if row.get("recurs") else _give_stated(shop, row) for row in rows
    ]
    for step in given.rows("steps", "use", "activity_change", "void_grant") if given.has("steps") else []:
        _take_step(shop, step, order, credit=credit)
    if given.has("usage"):
        shop.use(given.number("usage"))
    balances = [units(shop.grant(id).remaining_nano) for id in order]
    lapsed = [bool(row.get("expired")) for row in rows]
    left = [Fraction(0) if is_lapsed else rest for rest, is_lapsed in zip(balances, lapsed, strict=True)]
    shop.check()
    return {"balances": left, "balance": sum(left), "overage": shop.owed()}


def _minor(amount: Fraction) -> int:
    if (amount * 100).denominator != 1:
        raise NotRun(f"{amount} is finer than a cent")
    return int(amount * 100)


def _give_stated(shop: Shop, row: Row) -> str:
    ends = START + whole(row["expires"]) * DAY if row.get("expires") is not None else None
    if row.get("expired"):
        ends = shop.at
    begins = shop.at
    if "effective" in row:
        if row["effective"] != "after_usage":
            raise NotRun(f"a grant effective '{row['effective']}' is not understood")
        begins += DAY
    priority = whole(row.get("priority", 50))
    return shop.give(fraction(row["amount"]), priority=priority, expires_at=ends, effective_at=begins)


def _take_step(shop: Shop, step: Row, order: Sequence[str], *, credit: Fraction) -> None:
    if "use" in step:
        shop.use(fraction(step["use"]))
    elif "void_grant" in step:  # A grant that was used cannot be voided; expiring it ends it too.
        grant = shop.grant(order[whole(step["void_grant"])])
        shop.write(lambda tx: expire_grant(tx, grant, at=shop.at))
    elif "activity_change" in step:  # Something else about the grants and the account changes.
        last = shop.grant(order[-1])
        shop.write(lambda tx: tx.save_grant(replace(last, metadata={"changed": "1"})))
        shop.set_up(credit_minor=_minor(credit))
        shop.close(shop.at)
        assert len(shop.grants()) == len(order)


def _unordered(given: Given) -> Figures:
    shop = shop_of(given)
    for row in given.rows("credits", "amt", "prio", "expires"):
        ends = shop.at + DAY if row.get("expires") else None
        shop.give(fraction(row["amt"]), priority=whole(row.get("prio", 50)), expires_at=ends)
    shop.use(given.number("debit"))
    shop.check()
    return {"left_total": sum(shop.left())}


def _monthly_and_lifetime(given: Given) -> Figures:
    shop = shop_of(given, credit_minor=_minor(given.number("monthly")))
    (monthly,) = shop.live_grants()
    lifetime = shop.give(given.number("lifetime"))
    after = []
    for use in numbers_of(given, "uses"):
        shop.use(use)
        after.append([units(shop.grant(id).remaining_nano) for id in (monthly.id, lifetime)])
    shop.close(shop.period().end)
    (renewed,) = (grant for grant in shop.live_grants() if grant.id != lifetime)
    reset = [units(renewed.remaining_nano), units(shop.grant(lifetime).remaining_nano)]
    shop.check()
    names = ("after_first", "after_second", "after_third")
    return {**dict(zip(names, after, strict=False)), "after_reset": reset}


def rollover(given: Given) -> Figures:
    if given.has("current"):
        return _rolled_tokens(given)
    pays = bool(given.take("preserve_overage", True))
    if given.has("preserve_overage"):
        given.under("preserve_overage" if pays else "drop_overage")
    least, most = _minor(given.number("reset_min_rollover", 0)), _minor(given.number("reset_max_rollover"))
    terms = CreditTerms(rollover=Rollover(periods=1, least=least, most=most, pays_overage=pays))
    shop = shop_of(given, credit_minor=_minor(given.number("grant")), credit_terms=terms)
    shop.use(given.number("used"))
    shop.close(shop.period().end)
    rolled, _ = shop.live_grants()  # The other is the new period's own.
    shop.check()
    return {"amount": units(rolled.remaining_nano)}


def _rolled_tokens(given: Given) -> Figures:
    """Return what is left of included tokens of which some rolled over."""
    terms = Rollover(periods=1, most=given.count("rolled_over"))
    shop = shop_of(given, allowances=(Allowance(id="t", units=given.count("current"), rollover=terms),))
    shop.close(shop.period().end + HOUR)
    tokens = given.count("use")
    shop.use(units(tokens))
    subscription, plan, at = shop.subscription(), shop.account.plan, shop.at
    (group,) = shop.write(lambda tx: counters_of(tx, subscription, plan, subscription.period, at=at))
    rolled, own = (Fraction(counter.room_milli(subscription.period), MILLI) for counter in group)
    return {"rolled_over": rolled, "current": own}


def wallet_allocation(given: Given) -> Figures:
    wallets = given.rows("wallets", "bal", "prio", "only_metric", "currency", "auto_topup")
    uses = given.take("usage_cents", kind=list)
    currencies = {key for use in uses if isinstance(use, Mapping) for key in use if key.isupper()}
    if len(currencies) > 1:
        raise NotRun("usage of a customer in several currencies")
    shop = shop_of(given, currency=min(currencies, default="usd").lower())
    if any(wallet.get("auto_topup") for wallet in wallets):
        given.contest(PAYS_ALL, {"allocated": _absorbed(wallets, uses)})
    for wallet in wallets:
        metric, currency = wallet.get("only_metric"), wallet.get("currency") or shop.account.plan.currency
        scope = Scope(models=(f"openai/{metric}",)) if metric else Scope()
        priority = whole(wallet.get("prio", 50))
        shop.give(fraction(wallet["bal"]), priority=priority, scope=scope, currency=currency.lower())
    shop.settle([_use_of(shop, use) for use in uses])
    balances = [fraction(wallet["bal"]) for wallet in wallets]
    allocated = [bal - rest for bal, rest in zip(balances, shop.left(), strict=True)]
    owed = shop.owed()
    if owed and given.follows("overage_on_last_wallet"):
        allocated[-1] += owed
        shop.give(owed)  # It is below zero indeed: the next credit makes up for it and leaves nothing.
        assert shop.owed() == shop.left()[-1] == 0
    shop.check()
    return {"allocated": allocated}


def _absorbed(wallets: Sequence[Row], uses: Sequence[Any]) -> list[Fraction]:
    """Return what each wallet pays where one that tops itself up takes all that is left and ends the rest."""
    if any(isinstance(use, Mapping) for use in uses) or any(w.get("only_metric") for w in wallets):
        raise NotRun("wallets that top themselves up and pay for some usage only")
    rest = sum((fraction(use) for use in uses), Fraction(0))
    taken = {}
    for number in sorted(range(len(wallets)), key=lambda n: whole(wallets[n].get("prio", 50))):
        has_no_end = bool(wallets[number].get("auto_topup"))
        taken[number] = rest if has_no_end else min(rest, fraction(wallets[number]["bal"]))
        rest -= taken[number]
    return [taken[number] for number in range(len(wallets))]


def _use_of(shop: Shop, use: Any) -> Settlement:
    """Return usage of a metric (or in a currency), or what is taken off because it was billed before."""
    if isinstance(use, Mapping):
        (name, amount), *more = use.items()
        if more:
            raise NotRun("one usage of several metrics")
    else:
        name, amount = "m", use
    model, worth = "m" if name.isupper() else name, fraction(amount)
    if worth >= 0:
        return shop.settlement(worth, model=model)
    return shop.settlement(0, charge=reversal_of(shop.settlement(-worth, model=model).charge))


def grant_traceability(given: Given) -> Figures:
    shop = shop_of(given)
    if given.has("granted"):
        amounts = [given.number("granted"), given.number("purchased")]
        purchased = shop.give(amounts[1])
        granted = shop.give(amounts[0], category="promotional")
        ids = [granted, purchased]
    else:
        amounts = numbers_of(given, "grants" if given.has("grants") else "grants_in_burn_order")
        ids = []
        for amount in amounts:
            ids.append(shop.give(amount))
            shop.at += TICK
    invoiced = given.take("invoiced")
    for use in invoiced if isinstance(invoiced, list) else [invoiced]:
        shop.use(fraction(use))
    rest = [units(shop.grant(id).remaining_nano) for id in ids]
    paid = [amount - part for amount, part in zip(amounts, rest, strict=True)]
    month = shop.month()  # The invoice says from which grant its credit came.
    shares = {share.grant: Fraction(share.amount_minor, 100) for share in month.credits}
    assert [shares.get(id, 0) for id in ids] == paid
    shop.check()
    split = {"granted_part": paid[0], "purchased_part": paid[-1], "purchased_left": rest[-1]}
    return {"from": paid, "remaining": rest, **split}


def expiry(given: Given) -> Figures:
    shop = shop_of(given)
    if given.has("grants"):
        rows = given.rows("grants", "amount", "expires_at")
        for row in rows:
            shop.give(fraction(row["amount"]), expires_at=START + whole(row["expires_at"]) * DAY)
        for use in numbers_of(given, "uses"):
            shop.use(use)
        shop.close(START + min(whole(row["expires_at"]) for row in rows) * DAY)
        shop.check()
        return {f"balance_at_{min(whole(row['expires_at']) for row in rows)}": shop.net()}
    ends, use = given.count("expires_at"), given.take("use", kind=dict)
    shop.give(given.number("grant"), expires_at=START + ends * DAY)
    seen = {"t0": shop.net()}
    shop.close(START + whole(use["at"]) * DAY)
    shop.use(fraction(use["amount"]))
    seen[f"t{use['at']}"] = shop.net()
    shop.close(START + ends * DAY)
    shop.check()
    return {**seen, f"t{ends}": shop.net(), "expired": shop.account_units("book/breakage")}


def breakage(given: Given) -> Figures:
    """A plan of breakage is a grant's amount; a release is usage of it, a reopening usage taken back."""
    if not given.has("records"):
        plans, releases, reopens = (given.count(name) for name in ("plans", "releases", "reopens"))
        return {"amount": _broken(given, plans, used=releases, returned=reopens)}
    plans_of: dict[str, list[int]] = {}
    for row in given.rows("records", "charge", "plan", "release"):
        sums = plans_of.setdefault(row["charge"], [0, 0])
        sums[0] += whole(row.get("plan", 0))
        sums[1] += whole(row.get("release", 0))
    return {charge: -_broken(given, plan, used=used) for charge, (plan, used) in plans_of.items()}


def _broken(given: Given, planned: int, *, used: int, returned: int = 0) -> Fraction:
    shop = shop_of(given)
    shop.give(planned, expires_at=START + DAY)
    for count in range(used):
        shop.use(1, key=f"use-{count}")
    for count in range(returned):
        found = shop.write(lambda tx: tx.charged_page(customer=CUSTOMER, limit=used + returned))
        entry = next(entry for entry in found if entry.event.key == f"use-{count}")
        charge, back = reversal_of(entry.charge), reversed_event(entry.event)
        shop.settle([Settlement(event=back, charge=charge, reverses=entry.transaction)])
    shop.close(START + DAY)
    shop.check()
    return shop.account_units("book/breakage")


def conversion(given: Given) -> Figures:
    """Money is counted in a custom unit, which is kept in the store."""
    shop = shop_of(given)
    rate = Decimal(decimal_text(1 / given.number("parent_per_usd")))
    made = PricingUnit(id="cpu_1", created=START, display_name="parents").with_rate("usd", rate, since=START)
    shop.write(lambda tx: tx.save(made))
    kept = shop.write(lambda tx: tx.find(PricingUnit, "cpu_1"))
    assert kept is not None
    amount = kept.units_of(nano(given.number("usd_cost")), currency="usd", at=START)
    return {"amount": Fraction(amount)}


def non_negative_running_sum(given: Given) -> Figures:
    """A revocation ends what was given; it takes nothing of what is given later."""
    shop = shop_of(given)
    for amount in numbers_of(given, "credits"):
        if amount >= 0:
            shop.give(amount)
            continue
        rest = -amount
        for grant in shop.live_grants():
            if units(grant.remaining_nano) > rest:
                raise NotRun("a revocation of a part of a grant")
            rest -= units(grant.remaining_nano)
            shop.write(partial(void_grant, grant=grant, at=shop.at))
    shop.check()
    return {"amount": shop.credit()}


def meter_balance(given: Given) -> Figures:
    return _debited(given, given.number("credited"), [("", given.number("consumed"))])


def wallet_debit(given: Given) -> Figures:
    given.take("negative_allowed", None)
    policy = given.take("policy", None)
    if policy not in (None, "overage"):
        raise NotRun(f"a policy called '{policy}' is not understood")
    if not given.has("debits"):
        return _debited(given, given.number("balance"), [("", given.number("debit"))])
    debits = [(row.get("key", ""), fraction(row["amt"])) for row in given.rows("debits", "key", "amt")]
    return _debited(given, given.number("balance"), debits)


def _debited(given: Given, credit: Fraction, debits: Sequence[tuple[str, Fraction]]) -> Figures:
    """Use credit; a debit with a key counts once, however often it comes."""
    shop = shop_of(given)
    shop.give(credit)
    for key, amount in debits:
        shop.use(amount, key=key)
    if shop.owed():
        given.under("overage_is_owed")
    shop.check()
    return {"amount": shop.net(), "balance": shop.net()}


RUNNERS: Mapping[tuple[str, str], Runner] = {
    **{
        ("credits", runner.__name__): runner
        for runner in (
            *(burn_down, rollover, wallet_allocation, grant_traceability, expiry, breakage, conversion),
            *(non_negative_running_sum, meter_balance, wallet_debit),
        )
    },
    ("idempotency", "wallet_debit"): wallet_debit,
}
