"""Cost tracking only: usage is kept and rated, and nothing is asked for it, from an instant on."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from costplus.billing.customer import Customer
from costplus.billing.plan import Plan
from costplus.billing.shadow import Switch, is_on, switched
from costplus.billing.terms import terms_of
from costplus.core.money import NANO
from costplus.core.period import monthly_period
from costplus.rating.charge import explain
from costplus.rating.rate_card import adjustment
from costplus.rating.waive import list_nano

Shop = Any
USD = NANO


def track(shop: Shop, *switches: Switch, plan: bool = False) -> None:
    """Switch the customer, or its plan, to and from cost tracking only."""
    kind, id = (Plan, shop.account.plan.id) if plan else (Customer, "cus_1")
    record = shop.write(lambda tx: tx.find(kind, id))
    shop.write(lambda tx: tx.save(replace(record, shadow=switches)))


@pytest.mark.parametrize("plan", [False, True])
def test_usage_is_kept_with_cost_and_price_and_asked_nothing_for(build: SimpleNamespace, plan: bool) -> None:
    shop = build.shop(fee_minor=500)
    shop.customer()
    track(shop, Switch(build.at, True), plan=plan)
    sheet = build.sheet(usd_per_million="1", adjust=adjustment("markup", build.decimal("30")))
    shop.use(1_000_000, rates=sheet)
    (entry,) = shop.write(lambda tx: tx.charged_page(customer="cus_1", limit=5))
    assert (entry.charge.price_nano, entry.charge.cost_nano) == (0, USD)
    assert list_nano(entry.charge) == 1_300_000_000
    assert explain(entry.charge).steps[0].list_price == "0.0000013"
    shop.close(monthly_period(build.at, 0).end + build.hour)
    invoice = shop.invoices()[-1]
    assert (invoice.status, invoice.total_minor, invoice.subtotal_minor) == ("paid", 0, 0)
    (line,) = invoice.lines  # No fee falls due.
    assert (line.description, line.quantity) == ("openai/m · input (cost tracking only)", 1_000_000)
    assert (shop.account_nano("book/revenue"), shop.account_nano("book/cost")) == (5 * USD, -USD)
    assert shop.wrongs() == []


def test_it_counts_from_an_instant_on_and_until_one(build: SimpleNamespace) -> None:
    shop = build.shop()
    shop.customer()
    begins, ends = build.at + build.day, build.at + 2 * build.day
    track(shop, Switch(begins, True), Switch(ends, False))
    for at in (begins - build.tick, begins, ends - build.tick, ends):
        shop.use(7, at=at)
    assert shop.balance().owed_total_nano == 14


def test_what_is_tracked_uses_up_neither_credit_nor_included_tokens(build: SimpleNamespace) -> None:
    shop = build.shop(credit_minor=100, allowances=build.allowances(1000))
    shop.customer()
    track(shop, Switch(build.at, True))
    shop.use(5000)
    track(shop, Switch(build.at, True), Switch(build.at + build.day, False))
    shop.use(1000, at=build.at + build.day)
    assert shop.credit() == USD
    shop.use(1, at=build.at + build.day)
    assert shop.credit() == USD - 1


def test_what_is_waived_can_be_told_apart_from_a_loss(build: SimpleNamespace) -> None:
    shop = build.shop()
    shop.customer()
    shop.use(500)
    track(shop, Switch(build.at, True))
    shop.use(300)
    totals = shop.write(lambda tx: tx.waived_totals(None, build.at, build.at + build.hour))
    assert [(total.rate.waived, total.quantity) for total in totals] == [("shadow", 300)]


def test_a_call_that_is_only_tracked_needs_no_credit(build: SimpleNamespace) -> None:
    shop = build.shop(on_zero_credit="block")
    shop.customer()
    for plan in (False, True):
        assert shop.write(lambda tx: terms_of(tx, "cus_1")).holds(build.at)
        track(shop, Switch(build.at, True), plan=plan)
        terms = shop.write(lambda tx: terms_of(tx, "cus_1"))
        assert terms.blocks and not terms.holds(build.at) and terms.holds(build.at - build.tick)
        track(shop, plan=plan)


def test_a_later_switch_replaces_what_was_planned(build: SimpleNamespace) -> None:
    at, day = build.at, build.day
    planned = switched(switched((), on=True, since=at + day), on=False, since=at + 2 * day)
    assert planned == (Switch(at + day, True), Switch(at + 2 * day, False))
    assert switched(planned, on=True, since=at) == (Switch(at, True),)
    assert switched(planned, on=True, since=at + day) == (Switch(at + day, True),)
    assert switched((), on=False, since=at) == ()
    assert [is_on(planned, at + n * day) for n in range(4)] == [False, True, False, False]
