"""Grants begin at their own instant; credit that paid a voided invoice comes back."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from costplus.billing.issue import void
from costplus.core.period import monthly_period
from costplus.ledger.scope import Scope

Shop = Any  # The shop of conftest.
TRIGGERED, RECOVERED = "billing.alert.triggered", "billing.alert.recovered"


def left(shop: Shop) -> list[int]:
    return [grant.remaining_nano for grant in shop.write(lambda tx: tx.grants_of("cus_1"))]


def test_a_grant_pays_what_is_owed_at_the_instant_it_becomes_effective(
    shop: Shop, build: SimpleNamespace
) -> None:
    begins = build.at + build.day
    shop.give(100, effective_at=begins)
    shop.use(30)
    shop.close(begins - build.tick)
    assert (left(shop), shop.owed()) == ([100], [30])
    shop.close(begins)
    assert (left(shop), shop.owed()) == ([70], [])
    entry = shop.write(lambda tx: tx.transactions_of("cus_1"))[-1]
    assert (entry.kind, entry.at, entry.period_ms) == ("debt_payment", begins, build.ms(build.at))
    assert shop.close(begins) == 0


def test_alerts_recover_exactly_when_later_credit_begins(shop: Shop, build: SimpleNamespace) -> None:
    begins = build.at + build.day
    shop.give(10)
    shop.give(100, effective_at=begins)
    shop.use(10)
    shop.close(begins - build.tick)
    assert shop.announced("billing.alert") == [TRIGGERED]
    shop.close(begins)
    assert shop.announced("billing.alert") == [TRIGGERED, RECOVERED]


def test_usage_between_the_instant_and_its_step_pays_the_old_debt_first(
    shop: Shop, build: SimpleNamespace
) -> None:
    shop.give(10)
    shop.give(100, effective_at=build.at + build.day)
    shop.use(40)
    shop.at = build.at + build.day  # Nobody has come by yet.
    shop.use(50)
    assert (left(shop), shop.owed()) == ([0, 20], [])
    assert shop.announced("billing.alert") == [TRIGGERED, RECOVERED]
    shop.close(shop.at)
    assert shop.announced("billing.alert") == [TRIGGERED, RECOVERED]
    assert shop.wrongs() == []


def test_a_scoped_grant_pays_the_debt_of_its_scope_when_it_begins(shop: Shop, build: SimpleNamespace) -> None:
    begins = build.at + build.day
    shop.give(100, effective_at=begins, scope=Scope(models=("a",)))
    shop.use(30, rates=build.sheet(model="a"))
    shop.use(30, rates=build.sheet(model="b"))
    shop.at = begins
    shop.use(5, rates=build.sheet(model="b"))
    shop.close(begins)
    assert (left(shop), shop.owed()) == ([70], [35])


def test_a_grant_that_is_voided_before_it_begins_never_begins(shop: Shop, build: SimpleNamespace) -> None:
    begins = build.at + build.day
    later = shop.give(100, effective_at=begins)
    shop.write(lambda tx: build.void_grant(tx, later, at=shop.at))
    shop.use(30)
    shop.close(begins)
    assert shop.owed() == [30]


def closed(shop: Shop, build: SimpleNamespace) -> Any:
    """Close the first period and return its invoice."""
    shop.close(monthly_period(build.at, 0).end + build.hour)
    return shop.invoices()[-1]


def test_credit_that_paid_a_voided_invoice_comes_back_to_its_grants(
    shop: Shop, build: SimpleNamespace
) -> None:
    shop.give(3 * build.cent)
    shop.use(4 * build.cent)
    shop.give(2 * build.cent)  # Pays what is owed.
    shop.use(5 * build.cent)
    invoice = closed(shop, build)
    assert (invoice.total_minor, invoice.credit_minor, left(shop)) == (4, 5, [0, 0])
    shop.change(void, invoice)
    assert left(shop) == [3 * build.cent, 2 * build.cent]
    assert shop.account_nano("book/revenue") == 0
    kinds = [entry.kind for entry in shop.write(lambda tx: tx.transactions_of("cus_1"))]
    assert kinds[-3:] == ["invoice_void"] * 3
    assert RECOVERED in shop.announced("billing.alert")


def test_credit_that_comes_back_after_its_grants_end_is_breakage(shop: Shop, build: SimpleNamespace) -> None:
    shop.give(3 * build.cent, expires_at=build.at + build.day)
    shop.use(4 * build.cent)
    invoice = closed(shop, build)
    shop.change(void, invoice)
    assert left(shop) == [0]
    assert shop.account_nano("book/breakage") == 3 * build.cent
    assert shop.wrongs() == []


def test_movements_are_announced_as_credit_is_given_pays_debt_and_ends(
    shop: Shop, build: SimpleNamespace
) -> None:
    shop.use(3 * build.cent)
    shop.give(10 * build.cent, expires_at=build.at + build.day)
    shop.close(build.at + build.day)
    moved = shop.snapshots("billing.credit_balance_transaction.created")
    assert [(m["kind"], m["minor_change"]) for m in moved] == [
        ("grant", 10),
        ("debt_payment", -3),
        ("grant_expiry", -7),
    ]
