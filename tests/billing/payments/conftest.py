"""What the tests of payments share: a till, which is a shop with the simulated processor and a collector.

Rule 1: every test runs on the memory store and on a database file.
Rule 2: what the processor really took is read from its own books, apart from ours.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from costplus.billing.auto_recharge import AutoRecharge
from costplus.billing.buy import Purchase, order_top_up
from costplus.billing.collector import Collector
from costplus.billing.customer import Customer
from costplus.billing.demand import method_of
from costplus.billing.invoice import Invoice
from costplus.billing.payments.base import CallbackRefused, CallbackTooOld
from costplus.billing.payments.fake import FakeProcessor
from costplus.billing.payments.fake_card import FakeCharge
from costplus.billing.payments.manual import ManualPayments
from costplus.billing.payments.method import PaymentMethod
from costplus.billing.payments.payment import Payment
from costplus.billing.store import Tx
from costplus.billing.top_up import TopUp
from costplus.storage.memory import MemoryStore

CUSTOMER = "cus_1"
CENT = 10_000_000


def run(work: Any) -> Any:
    """Run a coroutine that never waits, as none does on these stores."""
    try:
        work.send(None)
    except StopIteration as ended:
        return ended.value
    raise AssertionError("the work waited")


class Till:
    """A shop that takes money; `now` of the processor and the collector is the shop's."""

    def __init__(self, shop: Any) -> None:
        self.shop = shop
        self.answers: list[int] = []  # What our callback endpoint says, then 200s.
        self.sent: list[bytes] = []
        self.results: list[str] = []
        self.fake = FakeProcessor(shop.store, secret=b"secret", now=lambda: shop.at, send=self.take)
        ports = {"fake": self.fake, "manual": ManualPayments()}
        self.collector = Collector(shop.store, ports, now=lambda: shop.at)

    def run(self, work: Any) -> Any:
        return run(work)

    async def take(self, body: bytes, headers: Mapping[str, str]) -> int:
        """Be our callback endpoint."""
        self.sent.append(body)
        if self.answers:
            return self.answers.pop(0)
        try:
            self.results.append((await self.collector.called("fake", headers, body)).result)
        except (CallbackRefused, CallbackTooOld):
            return 400
        return 200

    def method(self, token: str, *, customer: str = CUSTOMER, provider: str = "fake") -> str:
        """Attach a method and make it the customer's default one."""
        facts = run(self.collector.describe(provider, token))
        id = f"pm_{customer}_{token}"

        def verb(tx: Tx) -> None:
            record = PaymentMethod(
                id=id,
                created=self.shop.at,
                customer=customer,
                provider=provider,
                token=token,
                kind=facts.kind,
                label=facts.label,
            )
            tx.save(record)
            known = tx.find(Customer, customer)
            assert known is not None
            tx.save(replace(known, default_payment_method=id))

        self.shop.write(verb)
        return id

    def order(self, amount_minor: int = 1000, *, id: str = "", **fields: Any) -> TopUp:
        """Order a top-up with the default method; nobody asks for its money yet."""

        def verb(tx: Tx) -> TopUp:
            customer = tx.find(Customer, CUSTOMER)
            assert customer is not None
            purchase = Purchase(amount_minor=amount_minor, **fields)
            method = method_of(tx, customer, "")
            return order_top_up(tx, customer, purchase, method=method, id=id, at=self.shop.at)

        return self.shop.write(verb)  # type: ignore[no-any-return]  # The shop is untyped here.

    def buy(self, amount_minor: int = 1000, *, token: str = "pm_fake_ok", **fields: Any) -> TopUp:
        """Order a top-up and have it collected."""
        self.method(token)
        top_up = self.order(amount_minor, **fields)
        self.collect()
        return self.top_up(top_up.id)

    def collect(self) -> None:
        run(self.collector.collect_due())

    def recharge(self) -> None:
        """Be the job that looks at the rules, then the one that asks providers."""
        run(self.collector.recharge_due())
        self.collect()

    def call_back(self) -> None:
        run(self.fake.call_back_due())

    def wait(self, **time: Any) -> None:
        """Let time pass: the processor calls back, and the jobs run."""
        self.shop.at += timedelta(**time)
        self.call_back()
        self.recharge()

    def rule(self, **fields: Any) -> None:
        """Give the customer an auto-recharge, or change the one that it has."""
        defaults = {"currency": "usd", "cool_down_s": 0, "threshold_minor": 500, **fields}
        blank = AutoRecharge(id=CUSTOMER, created=self.shop.at, **defaults)

        def verb(tx: Tx) -> None:
            known = tx.find(AutoRecharge, CUSTOMER)
            tx.save(replace(known, **fields) if known else blank)

        self.shop.write(verb)

    def the_rule(self) -> AutoRecharge:
        found = self.shop.write(lambda tx: tx.find(AutoRecharge, CUSTOMER))
        assert isinstance(found, AutoRecharge)
        return found

    def top_up(self, id: str) -> TopUp:
        found = self.shop.write(lambda tx: tx.find(TopUp, id))
        assert isinstance(found, TopUp)
        return found

    def top_ups(self) -> list[TopUp]:
        return list(reversed(self.shop.write(lambda tx: tx.page(TopUp, parent=CUSTOMER, limit=1000))))

    def payments(self) -> list[Payment]:
        """Return all payments, oldest first."""
        return list(reversed(self.shop.write(lambda tx: tx.page(Payment, limit=1000))))

    def payment(self) -> Payment:
        """Return the one payment that there is."""
        (payment,) = self.payments()
        return payment

    def charges(self) -> list[FakeCharge]:
        return list(reversed(self.shop.write(lambda tx: tx.page(FakeCharge, limit=1000))))

    def taken(self, currency: str = "usd") -> int:
        """Return what the processor really took and did not give back, in minor units."""
        return sum(
            each.taken_minor - each.given_back_minor
            for each in self.charges()
            if each.taken_currency == currency
        )

    def granted(self) -> int:
        """Return the paid credit that was ever granted, in minor units."""
        grants = self.shop.write(lambda tx: tx.grants_of(CUSTOMER))
        return sum(grant.minor_amount for grant in grants if grant.category == "paid")

    def surplus(self) -> int:
        return int(self.shop.account_nano(f"{CUSTOMER}/surplus")) // CENT

    def money(self) -> int:
        """Return what the books say came in and did not go back, in minor units."""
        return -int(self.shop.account_nano("book/payments")) // CENT

    def events(self, prefix: str) -> list[str]:
        return list(self.shop.announced(prefix))

    def invoice(self) -> Invoice:
        """Return the latest invoice."""
        return self.shop.invoices()[-1]  # type: ignore[no-any-return]  # The shop is untyped here.


@pytest.fixture(params=["memory", "sqlite"])
def till(request: pytest.FixtureRequest, build: SimpleNamespace, tmp_path: Path) -> Till:
    """Return a till with one customer that has no payment method."""
    store = MemoryStore() if request.param == "memory" else build.sqlite_at_once(tmp_path / "till.db")
    shop = build.shop(store=store)
    shop.customer()
    return Till(shop)


@pytest.fixture
def till_of(build: SimpleNamespace) -> Callable[..., Till]:
    """Return how to open a till in memory, as often as is needed."""

    def open_till(**request: Any) -> Till:
        shop = build.shop(**request)
        shop.customer()
        return Till(shop)

    return open_till


@pytest.fixture(scope="session")
def noon() -> datetime:
    return datetime(2026, 1, 31, 12, tzinfo=UTC)
