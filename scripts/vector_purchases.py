"""Runs cases of credit that is bought: packs, top-ups, what they pay first, and those that buy themselves.

Rule 1: the simulated processor takes the money and a collector asks for it, as in a deployment.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from fractions import Fraction
from functools import partial
from typing import Any

from vector_case import Figures, Given, Runner, fraction
from vector_shop import CUSTOMER, Shop, shop_of, units

from costplus.billing.auto_recharge import AutoRecharge
from costplus.billing.buy import Purchase, order_top_up
from costplus.billing.collector import Collector
from costplus.billing.credit_pack import CreditPack, price_minor
from costplus.billing.customer import Customer
from costplus.billing.demand import method_of
from costplus.billing.payments.fake import FakeProcessor
from costplus.billing.payments.fake_card import FakeCharge
from costplus.billing.payments.method import PaymentMethod
from costplus.billing.settle import settle
from costplus.billing.store import Tx
from costplus.billing.top_up import TopUp
from costplus.core.money import decimal_text

CARD = "pm_fake_ok"


class Till:
    """A shop whose customer has a card, and those who take money from it."""

    def __init__(self, shop: Shop) -> None:
        self.shop = shop

        async def ignored(body: bytes, headers: Mapping[str, str]) -> int:
            return 200  # Nothing here is told later than it is asked.

        fake = FakeProcessor(shop.books.store, secret=b"secret", now=lambda: shop.at, send=ignored)
        self._collector = Collector(shop.books.store, {"fake": fake}, now=lambda: shop.at)
        facts = shop.books.run(self._collector.describe("fake", CARD))
        method = PaymentMethod(
            id="pm_1",
            created=shop.at,
            customer=CUSTOMER,
            provider="fake",
            token=CARD,
            kind=facts.kind,
            label=facts.label,
        )

        def attach(tx: Tx) -> None:
            customer = tx.find(Customer, CUSTOMER)
            assert customer is not None
            tx.save(method)
            tx.save(replace(customer, default_payment_method=method.id))

        shop.write(attach)

    def buy(self, amount_minor: int, **fields: Any) -> TopUp:
        """Order a top-up and have it paid."""

        def verb(tx: Tx) -> TopUp:
            customer = tx.find(Customer, CUSTOMER)
            assert customer is not None
            purchase = Purchase(amount_minor=amount_minor, **fields)
            return order_top_up(
                tx, customer, purchase, method=method_of(tx, customer, ""), id="", at=self.shop.at
            )

        ordered = self.shop.write(verb)
        self.shop.books.run(self._collector.collect_due())
        paid = self.shop.write(lambda tx: tx.find(TopUp, ordered.id))
        assert paid is not None and paid.status == "succeeded"
        return paid

    def recharge(self) -> None:
        """Let the job that looks at the rules run, then the one that asks for money; time passes."""
        self.shop.at += timedelta(seconds=1)
        self.shop.books.run(self._collector.recharge_due())
        self.shop.books.run(self._collector.collect_due())

    def taken(self) -> Fraction:
        """Return what the processor really took."""
        charges = self.shop.write(lambda tx: tx.page(FakeCharge, limit=100))
        return Fraction(sum(each.taken_minor - each.given_back_minor for each in charges), 100)


def _price(units_bought: Fraction, unit_price: Fraction) -> int:
    return price_minor(units_bought, unit_price=Decimal(decimal_text(unit_price)), currency="usd")


def top_up(given: Given) -> Figures:
    till = Till(shop_of(given))
    bought = till.buy(_price(given.number("paid_credits"), given.number("rate")))
    till.shop.check()
    return {"credits": till.shop.credit(), "invoice_cents": bought.amount_minor}


def credit_pack(given: Given) -> Figures:
    till, credits = Till(shop_of(given)), given.count("credits")
    pack = CreditPack(
        id="cpack_1",
        created=till.shop.at,
        name="Credits",
        currency="usd",
        price_minor=_price(Fraction(credits), given.number("unit_price")),
        credit_minor=credits * 100,
    )
    till.buy(0, pack=pack)
    assert till.shop.credit() == credits
    till.shop.check()
    return {"amount": till.taken()}


def top_up_pays_overage(given: Given) -> Figures:
    """What is owed is of one month after the other; a purchase pays the oldest first."""
    shop = shop_of(given)
    till = Till(shop)
    for month, stated in enumerate(given.take("balances", kind=list)):
        if (balance := fraction(stated)) < 0:
            shop.use(-balance, at=shop.period(month).start)
        elif balance:
            shop.give(balance)
    credit, before = shop.credit(), shop.balance().owed_nano
    if amount := given.number("top_up"):
        till.buy(int(amount * 100))
    after = shop.balance().owed_nano
    paid = [units(before[start] - after.get(start, 0)) for start in sorted(before)]
    shop.check()
    return {"paydown": [part for part in paid if part], "prepaid": shop.credit() - credit}


def auto_top_up(given: Given) -> Figures:
    shop, balance = shop_of(given), given.number("balance")
    till = Till(shop)
    parallel = [fraction(debit) for debit in given.take("parallel_debits", [], kind=list)]
    in_turn = [fraction(debit) for debit in given.take("debits_in_turn", [], kind=list)]
    # Where no threshold is stated, what is left after the first debit is at it.
    threshold = given.number("threshold") if given.has("threshold") else balance - in_turn[0]
    rule = AutoRecharge(
        id=CUSTOMER,
        created=shop.at,
        currency="usd",
        cool_down_s=0,
        threshold_minor=int(threshold * 100),
        amount_minor=int(given.number("quantity") * 100),
    )
    shop.write(lambda tx: tx.save(rule))
    shop.give(balance)
    batches = [[shop.settlement(debit)] for debit in parallel]
    shop.books.write_at_once(
        [partial(settle, settlements=batch, at=shop.at) for batch in batches], customer=CUSTOMER
    )
    names, seen = ("after_first", "after_second", "after_third"), []
    for debit in in_turn:
        shop.use(debit)
        till.recharge()
        seen.append(shop.credit())
    till.recharge()
    done = shop.write(lambda tx: tx.page(TopUp, parent=CUSTOMER, limit=100))
    succeeded = sum(each.status == "succeeded" for each in done)
    shop.check()
    return {"balance": shop.credit(), "top_ups": succeeded, **dict(zip(names, seen, strict=False))}


RUNNERS: Mapping[tuple[str, str], Runner] = {
    ("credits", "top_up"): top_up,
    ("credits", "credit_pack"): credit_pack,
    ("credits", "top_up_pays_overage"): top_up_pays_overage,
    ("concurrency", "auto_top_up"): auto_top_up,
}
