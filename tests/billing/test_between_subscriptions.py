"""Usage that comes after one subscription has ended and before the next begins is shown on one invoice."""

from __future__ import annotations

from datetime import timedelta
from types import SimpleNamespace

from costplus.billing.cancel import cancel
from costplus.billing.customer import Customer
from costplus.billing.plan import Plan
from costplus.billing.subscribe import subscribe

HOUR, DOLLAR = timedelta(hours=1), 10**9


def test_usage_between_two_subscriptions_is_on_one_invoice(build: SimpleNamespace) -> None:
    shop = build.shop_of()
    shop.use(DOLLAR)
    shop.close(shop.at + HOUR)
    old, customer = shop.subscription(), shop.write(lambda tx: tx.find(Customer, "cus_1"))
    plan = shop.write(lambda tx: tx.find(Plan, old.plan))
    shop.write(lambda tx: cancel(tx, customer, old, at=shop.at))
    shop.close(shop.at + 2 * HOUR)
    shop.use(3 * DOLLAR)
    shop.at += timedelta(minutes=1)
    shop.write(lambda tx: subscribe(tx, customer, plan, at=shop.at))
    shop.at += timedelta(minutes=1)
    shop.use(5 * DOLLAR)
    shop.close(shop.at + timedelta(days=70))
    assert shop.audited() == []


def test_what_comes_and_goes_at_one_instant_is_on_one_invoice_each(build: SimpleNamespace) -> None:
    shop = build.shop_of()
    shop.use(DOLLAR)
    old, customer = shop.subscription(), shop.write(lambda tx: tx.find(Customer, "cus_1"))
    plan = shop.write(lambda tx: tx.find(Plan, old.plan))
    shop.write(lambda tx: cancel(tx, customer, old, at=shop.at))
    shop.write(lambda tx: subscribe(tx, customer, plan, at=shop.at))
    shop.use(2 * DOLLAR)
    shop.close(shop.at + timedelta(days=70))
    assert shop.audited() == []
    assert sum(invoice.usage_nano for invoice in shop.invoices()) == 3 * DOLLAR
