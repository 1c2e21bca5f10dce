"""The shop that cases about money are run in: an account with a plan and one customer, on any store.

Rule 1: whatever cases count, credits or currency, is counted in units of 1e9 nano; a token costs one nano.
Rule 2: time is the shop's own; nothing here waits for a clock.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any, TypeVar

from vector_case import Given, NotRun
from vector_stores import Books

from costplus.billing.close import account_settings, close_customer
from costplus.billing.customer import Customer
from costplus.billing.invoice import Invoice
from costplus.billing.notify import cross
from costplus.billing.plan import Plan
from costplus.billing.settle import Settlement, settle
from costplus.billing.setup import SetUpRequest, set_up
from costplus.billing.store import Tx
from costplus.billing.subscribe import subscribe
from costplus.billing.subscription import Subscription
from costplus.catalog.price import Component, PriceVersion
from costplus.core.ids import CustomerId
from costplus.core.money import NANO
from costplus.core.period import Period, monthly_period
from costplus.core.usage import Usage
from costplus.ledger.balance import Balance
from costplus.ledger.grant import Grant
from costplus.ledger.post import credit_of, grant_credit
from costplus.metering.event import usage_event
from costplus.rating.charge import Charge, rate
from costplus.rating.rate_card import RateCardVersion, adjustment
from costplus.rating.sheet import RateSheet, compile_sheet

T = TypeVar("T")
START = datetime(2026, 1, 31, 12, tzinfo=UTC)  # A day that most months do not have.
DAY, HOUR, TICK = timedelta(days=1), timedelta(hours=1), timedelta(microseconds=1)
CENT = 10_000_000
CUSTOMER = CustomerId("cus_1")
FREE = adjustment("markup", Decimal(0))


def nano(units: Fraction | int) -> int:
    """Return units as nano; a case that needs finer ones is not run."""
    exact = Fraction(units) * NANO
    if exact.denominator != 1:
        raise NotRun(f"{units} is finer than a nano")
    return int(exact)


def units(amount_nano: int) -> Fraction:
    return Fraction(amount_nano, NANO)


def sheet(model: str = "m") -> RateSheet:
    """Return the rates of a model of which a token costs a nano."""
    parts = (Component("input", Decimal("0.001"), 1_000_000),)
    price = PriceVersion(f"pv_{model}", "openai", model, "usd", START, None, parts)
    return compile_sheet(price, RateCardVersion(id="rcv_v", created=START, rate_card="rcd_v", default=FREE))


def shop_of(given: Given, **request: Any) -> Shop:
    """Open a shop in fresh books of the case."""
    return Shop(given.books(), **request)


class Shop:
    """An account that is set up as asked, with the customer `cus_1` on its plan."""

    def __init__(self, books: Books, *, grace_s: int = 3600, **request: Any) -> None:
        self.books = books
        self.at = START
        self._numbers = itertools.count(1)
        self.set_up(**request)
        settings = self.write(account_settings)
        assert settings is not None
        self.write(lambda tx: tx.save(replace(settings, invoice_grace_s=grace_s)))
        self.write(self._enrol)

    def _enrol(self, tx: Tx) -> None:
        customer = Customer(id=CUSTOMER, created=self.at)
        plan = tx.find(Plan, self.account.plan.id)
        assert plan is not None
        tx.save(customer)
        subscribe(tx, customer, plan, at=self.at)

    def write(self, verb: Callable[[Tx], T]) -> T:
        return self.books.write(verb)

    def set_up(self, **request: Any) -> None:
        """Set the account up, or change what it is set up with."""
        fields: dict[str, Any] = {"fee_minor": 0, "credit_minor": 0, **request}
        wanted = SetUpRequest(plan_name="AI", models=(), default=FREE, price_tracking="disabled", **fields)
        self.account = self.write(lambda tx: set_up(tx, wanted, at=self.at))

    def number(self, prefix: str) -> str:
        """Return a new id."""
        return f"{prefix}_{next(self._numbers):06}"

    def settlement(
        self,
        amount: Fraction | int,
        *,
        model: str = "m",
        key: str = "",
        at: datetime | None = None,
        charge: Charge | None = None,
        **hold: Any,
    ) -> Settlement:
        """Return usage that comes to an amount, in units."""
        tokens = nano(amount)
        usage = Usage({"input": tokens} if tokens else {})
        event = usage_event(
            customer=CUSTOMER,
            at=at or self.at,
            key=key or self.number("call"),
            usage=usage,
            source="gateway",
            provider="openai",
            model=model,
        )
        return Settlement(event=event, charge=charge or rate(usage, sheet(model)), **hold)

    def settle(self, items: Iterable[Settlement]) -> None:
        batch = list(items)
        self.write(lambda tx: settle(tx, batch, at=self.at))

    def use(self, amount: Fraction | int, **fields: Any) -> None:
        self.settle([self.settlement(amount, **fields)])

    def give(self, amount: Fraction | int, **changes: Any) -> str:
        """Give credit and return the grant's id; grants of the same instant burn in order of their ids."""
        fields: dict[str, Any] = {"effective_at": self.at, "currency": "usd", **changes}
        grant = Grant(
            id=self.number("credgr"),  # type: ignore[arg-type]  # An id by any name.
            customer=CUSTOMER,
            created=self.at,
            amount_nano=nano(amount),
            remaining_nano=nano(amount),
            **fields,
        )

        def verb(tx: Tx) -> None:
            cross(tx, grant_credit(tx, grant, at=self.at), currency=grant.currency, at=self.at)

        self.write(verb)
        return grant.id

    def grants(self) -> list[Grant]:
        """Return all grants in the order they were given."""
        return list(self.write(lambda tx: tx.grants_of(CUSTOMER)))

    def live_grants(self) -> list[Grant]:
        return list(self.write(lambda tx: tx.live_grants(CUSTOMER)))

    def grant(self, id: str) -> Grant:
        return next(grant for grant in self.grants() if grant.id == id)

    def left(self) -> list[Fraction]:
        """Return what remains of each grant, in the order they were given."""
        return [units(grant.remaining_nano) for grant in self.grants()]

    def balance(self) -> Balance:
        return self.write(lambda tx: tx.balance_for_update(CUSTOMER))

    def credit(self) -> Fraction:
        return units(self.write(lambda tx: credit_of(tx, CUSTOMER, at=self.at)))

    def owed(self) -> Fraction:
        return units(self.balance().owed_total_nano)

    def net(self) -> Fraction:
        """Return credit less what is owed."""
        return self.credit() - self.owed()

    def account_units(self, account: str) -> Fraction:
        return units(self.write(lambda tx: tx.account_balance(CUSTOMER, account)))

    def subscription(self) -> Subscription:
        return self.write(lambda tx: tx.page(Subscription, parent=CUSTOMER))[0]

    def period(self, ordinal: int = 0) -> Period:
        return monthly_period(START, ordinal)

    def close(self, until: datetime) -> None:
        """Let time pass until an instant, and do what became due."""
        self.at = max(self.at, until)

        def verb(tx: Tx) -> None:
            customer = tx.find(Customer, CUSTOMER)
            assert customer is not None
            close_customer(tx, customer, until=until)

        self.write(verb)

    def invoices(self) -> list[Invoice]:
        """Return the customer's invoices, oldest first."""
        return list(reversed(self.write(lambda tx: tx.page(Invoice, parent=CUSTOMER))))

    def month(self) -> Invoice:
        """Let the first month end, with its grace; return its invoice."""
        self.close(self.period().end + HOUR)
        return next(i for i in reversed(self.invoices()) if i.billing_reason == "subscription_cycle")

    def check(self) -> None:
        """Assert what must be true of any books."""
        entries = self.write(lambda tx: tx.transactions_of(CUSTOMER))
        balance = self.balance()
        accrued = self.write(lambda tx: tx.account_balance(CUSTOMER, f"{CUSTOMER}/accrued"))
        assert sum(p.amount_nano for entry in entries for p in entry.postings) == 0
        assert accrued == -(balance.owed_total_nano + balance.carried_nano)
        for invoice in self.invoices():
            assert sum(line.amount_minor for line in invoice.lines) == invoice.subtotal_minor
