"""Builders of what invoices are made from: items, tax rates, coupons, and a desk that runs their verbs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from costplus.billing.coupon import Coupon, CustomerDiscount, discount_id
from costplus.billing.customer import Customer
from costplus.billing.edit_draft import add_item, blank_invoice, new_invoice
from costplus.billing.give_back import NoteRequest, issue_note
from costplus.billing.invoice import Invoice
from costplus.billing.invoice_item import InvoiceItem
from costplus.billing.issue import finalize, pay
from costplus.billing.levy import policy_of
from costplus.billing.plan import Plan
from costplus.billing.subscription import Subscription
from costplus.billing.surplus import adjust_surplus
from costplus.billing.tax import TaxRate
from costplus.core.period import Period, monthly_period

Shop = Any  # The shop of the tests above.


class Desk:
    """What a bookkeeper does with the invoices of a shop."""

    def __init__(self, shop: Shop) -> None:
        self.shop = shop
        self._count = 0

    def _id(self, prefix: str) -> str:
        self._count += 1
        return f"{prefix}_{self._count:06}"

    def policy(self, **changes: Any) -> None:
        self.shop.write(lambda tx: tx.save(replace(policy_of(tx), **changes)))

    def terms(self, **changes: Any) -> None:
        """Change the subscription's terms."""
        subscription = self.shop.subscription()
        self.shop.write(lambda tx: tx.save(replace(subscription, **changes)))

    def plan(self, **changes: Any) -> None:
        """Change the plan."""
        id = self.shop.subscription().plan
        plan = self.shop.write(lambda tx: tx.find(Plan, id))
        self.shop.write(lambda tx: tx.save(replace(plan, **changes)))

    def profile(self, **profile: Any) -> None:
        def verb(tx: Any) -> None:
            customer = tx.find(Customer, "cus_1")
            tx.save(replace(customer, profile={**customer.profile, **profile}))

        self.shop.write(verb)

    def tax(self, percentage: str = "20", *, inclusive: bool = False, **fields: Any) -> TaxRate:
        rate = TaxRate(
            id=self._id("txr"),
            created=self.shop.at,
            display_name="VAT",
            percentage=percentage,
            inclusive=inclusive,
            **fields,
        )
        self.shop.write(lambda tx: tx.save(rate))
        return rate

    def coupon(self, *, percent: str = "", amount: int = 0, duration: Any = "forever") -> Coupon:
        coupon = Coupon(
            id=self._id("co"), created=self.shop.at, percent=percent, amount_minor=amount, duration=duration
        )
        discount = CustomerDiscount(
            id=discount_id("cus_1"), created=self.shop.at, customer="cus_1", coupon=coupon.id
        )
        self.shop.write(lambda tx: (tx.save(coupon), tx.save(discount)))
        return coupon

    def item(self, amount: int, **fields: Any) -> InvoiceItem:
        at = self.shop.at
        currency = self.shop.write(lambda tx: tx.find(Customer, "cus_1")).currency
        item = InvoiceItem(
            id=self._id("ii"),
            created=at,
            customer="cus_1",
            currency=currency,
            description="Set-up",
            amount_minor=amount,
            period=Period(at, at),
            **fields,
        )
        self.shop.write(lambda tx: add_item(tx, item, at=at))
        return item

    def surplus(self, amount: int) -> None:
        """Give the customer a surplus by hand."""
        at = self.shop.at
        currency = self.shop.write(lambda tx: tx.find(Customer, "cus_1")).currency
        self.shop.write(lambda tx: adjust_surplus(tx, "cus_1", gained_minor=amount, currency=currency, at=at))

    def invoice(self, *amounts: int, is_final: bool = True, **fields: Any) -> Invoice:
        """Return an invoice by hand over items of those amounts."""
        for amount in amounts:
            self.item(amount)
        customer = self.shop.write(lambda tx: tx.find(Customer, "cus_1"))
        blank = replace(blank_invoice(customer, subscription="", at=self.shop.at), **fields)
        made = self.shop.write(lambda tx: new_invoice(tx, customer, blank, takes_items=True, at=self.shop.at))
        return self.do(finalize, made.id) if is_final else self.of(made.id)

    def of(self, id: str) -> Invoice:
        found = self.shop.write(lambda tx: tx.find(Invoice, id))
        assert found is not None
        return found  # type: ignore[no-any-return]  # The shop is untyped here.

    def do(self, verb: Callable[..., Any], id: str, **fields: Any) -> Any:
        """Run a verb on the invoice as it is now."""
        return self.shop.write(lambda tx: verb(tx, tx.find(Invoice, id), at=self.shop.at, **fields))

    def pay(self, id: str, amount: int | None = None) -> Invoice:
        return self.do(pay, id, amount_minor=amount)  # type: ignore[no-any-return]  # As above.

    def note(self, id: str, amount: int | None = None, **fields: Any) -> Any:
        request = NoteRequest(amount_minor=amount, **fields)
        return self.shop.write(lambda tx: issue_note(tx, tx.find(Invoice, id), request, at=self.shop.at))

    def month(self, ordinal: int = 0) -> Invoice:
        """Let a month end, with its grace; return its invoice."""
        period = monthly_period(self.shop.subscription().anchor, ordinal)
        self.shop.close(period.end + timedelta(hours=1))
        return next(i for i in reversed(self.shop.invoices()) if i.billing_reason == "subscription_cycle")

    def subscription(self) -> Subscription:
        return self.shop.subscription()  # type: ignore[no-any-return]  # As above.


@pytest.fixture
def desk(shop: Shop) -> Desk:
    return Desk(shop)


@pytest.fixture(scope="session")
def new_desk(build: SimpleNamespace) -> Callable[..., Desk]:
    """Return a maker of desks whose shops are set up as asked."""

    def make(**request: Any) -> Desk:
        shop = build.shop(**request)
        shop.customer()
        return Desk(shop)

    return make
