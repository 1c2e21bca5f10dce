"""What the billing tests share: a shop (an account that is set up, in memory) and its customers.

Rule 1: a test names only what it is about; the shop fills in the rest.
Rule 2: one token costs and sells for one nano, unless a test brings a sheet of its own.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Collection, Coroutine, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar

import pytest

from costplus.billing.alert import Alert
from costplus.billing.allowance import Allowance
from costplus.billing.audit import Auditor
from costplus.billing.close import account_settings, close_customer
from costplus.billing.customer import Customer, TestClock
from costplus.billing.event import Event
from costplus.billing.finding import Finding
from costplus.billing.invoice import Invoice
from costplus.billing.notify import cross
from costplus.billing.plan import Plan
from costplus.billing.settle import Settled, Settlement, settle
from costplus.billing.setup import SetUp, SetUpRequest, set_up
from costplus.billing.store import Tx
from costplus.billing.subscribe import subscribe
from costplus.billing.subscription import Subscription
from costplus.billing.surplus import SurplusEntry
from costplus.billing.watched import save_alert
from costplus.catalog.catalogue import Catalogue
from costplus.catalog.exchange import FxRate
from costplus.catalog.load import every
from costplus.catalog.price import Component, PriceVersion
from costplus.catalog.sources.bundled import bundled_snapshot
from costplus.core.ids import bucket_of, milliseconds
from costplus.core.money import nano_per_minor
from costplus.core.usage import Usage
from costplus.ledger.balance import Balance
from costplus.ledger.grant import Grant
from costplus.ledger.post import credit_of, grant_credit, void_grant
from costplus.metering.event import usage_event
from costplus.rating.charge import Charge, rate
from costplus.rating.rate_card import Adjustment, RateCardVersion, adjustment
from costplus.rating.sheet import RateSheet, compile_sheet
from costplus.storage.memory import MemoryStore
from costplus.storage.sqlite.connection import connect_writer
from costplus.storage.sqlite.transaction import SqliteTx

T = TypeVar("T")
AT = datetime(2026, 1, 31, 12, tzinfo=UTC)  # A day that most months do not have.
DAY, HOUR, TICK = timedelta(days=1), timedelta(hours=1), timedelta(microseconds=1)
CENT = 10_000_000
FAR = datetime(2126, 1, 1, tzinfo=UTC)
CUSTOMER = "cus_1"
PRICES = Catalogue(bundled_snapshot())
UNKNOWN = ("does not exist", "is none of price version pv_m")


class SqliteAtOnce:
    """A database file whose verbs run in the caller's thread, one a transaction."""

    def __init__(self, path: Path) -> None:
        self._tx = SqliteTx(connect_writer(path))

    async def write(self, verb: Callable[[Tx], T], *, customers: Collection[str] | None = None) -> T:
        db = self._tx.connection
        db.execute("BEGIN IMMEDIATE")
        try:
            result = self._tx.run(verb, customers=customers)
        except BaseException:
            db.execute("ROLLBACK")
            self._tx.batch_lost()
            raise
        db.execute("COMMIT")
        self._tx.committed()
        return result

    async def read(self, verb: Callable[[Tx], T]) -> T:
        return await self.write(verb)


def at_once(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that never waits, as those of the memory store."""
    try:
        work.send(None)
    except StopIteration as ended:
        return ended.value  # type: ignore[no-any-return]  # A coroutine's result is untyped here.
    raise AssertionError("the memory store waited")


def sheet(*, usd_per_million: str = "0.001", adjust: Adjustment | None = None, model: str = "m") -> RateSheet:
    parts = [Component(leaf, Decimal(usd_per_million), 1_000_000) for leaf in ("input", "output")]
    price = PriceVersion(f"pv_{model}", "openai", model, "usd", AT, None, tuple(parts))
    card = RateCardVersion(
        id="rcv_test",
        created=AT,
        rate_card="rcd_test",
        default=adjust or adjustment("markup", Decimal(0)),
    )
    return compile_sheet(price, card)


NANO_SHEET = sheet()


def set_up_request(**changes: object) -> SetUpRequest:
    fields: dict[str, object] = {
        "plan_name": "AI",
        "models": (),
        "default": adjustment("markup", Decimal(30)),
        "price_tracking": "disabled",
        "fee_minor": 0,
        "credit_minor": 0,
        **changes,
    }
    return SetUpRequest(**fields)  # type: ignore[arg-type]  # The fields are those above.


class Shop:
    """An account with one plan, and the verbs on it, run at once."""

    def __init__(self, *, grace_s: int = 3600, store: Any = None, **request: object) -> None:
        self.store = store or MemoryStore()
        self.at = AT
        self._keys = itertools.count(1)
        self.account: SetUp = self.set_up(**request)
        settings = self.write(account_settings)
        assert settings is not None
        self.write(lambda tx: tx.save(replace(settings, invoice_grace_s=grace_s)))

    def write(self, verb: Callable[[Tx], T]) -> T:
        return at_once(self.store.write(verb))

    def set_up(self, **request: object) -> SetUp:
        return self.write(lambda tx: set_up(tx, set_up_request(**request), at=self.at))

    def customer(self, id: str = CUSTOMER, *, clock: str | None = None, **fields: Any) -> Subscription:
        """Save a customer and subscribe it to the plan at the shop's present."""
        record = Customer(id=id, created=self.at, test_clock=clock, **fields)

        def verb(tx: Tx) -> Subscription:
            tx.save(record)
            plan = tx.find(Plan, self.account.plan.id)
            assert plan is not None
            return subscribe(tx, record, plan, at=self.at)

        return self.write(verb)

    def clock(self, id: str = "clock_1") -> TestClock:
        record = TestClock(id=id, created=self.at, frozen_time=self.at)
        self.write(lambda tx: tx.save(record))
        return record

    def settlement(
        self,
        tokens: int,
        *,
        customer: str = CUSTOMER,
        at: datetime | None = None,
        key: str = "",
        rates: RateSheet = NANO_SHEET,
        charge: Charge | None = None,
        **hold: Any,
    ) -> Settlement:
        usage = Usage({"input": tokens} if tokens else {})
        event = usage_event(
            customer=customer,
            at=at or self.at,
            key=key or f"call-{next(self._keys)}",
            usage=usage,
            source="gateway",
            provider="openai",
            model=rates.model,
        )
        return Settlement(event=event, charge=charge or rate(usage, rates), **hold)

    def settle(self, *items: Settlement) -> Settled:
        return self.write(lambda tx: settle(tx, items, at=self.at))

    def use(self, tokens: int, **fields: Any) -> Settled:
        return self.settle(self.settlement(tokens, **fields))

    def give(self, nano: int, *, customer: str = CUSTOMER, **changes: Any) -> Grant:
        fields = {"effective_at": self.at, "currency": "usd", **changes}
        grant = Grant(
            id=f"credgr_{next(self._keys):06}",  # type: ignore[arg-type]  # An id by any name.
            customer=customer,  # type: ignore[arg-type]  # An id by any name.
            created=self.at,
            amount_nano=nano,
            remaining_nano=nano,
            **fields,
        )

        def verb(tx: Tx) -> None:
            cross(tx, grant_credit(tx, grant, at=self.at), currency="usd", at=self.at)

        self.write(verb)
        return grant

    def alert(self, threshold_minor: int, id: str = "alrt_1", **changes: Any) -> Alert:
        fields = {"title": "Low", "currency": "usd", **changes}
        alert = Alert(id=id, created=self.at, threshold_minor=threshold_minor, **fields)
        self.write(lambda tx: save_alert(tx, alert))
        return alert

    def close(self, until: datetime, customer: str = CUSTOMER) -> int:
        """Let time pass until an instant, and do what became due."""
        self.at = max(self.at, until)
        record = self.write(lambda tx: tx.find(Customer, customer))
        assert record is not None
        return self.write(lambda tx: close_customer(tx, record, until=until))

    def subscription(self, customer: str = CUSTOMER) -> Subscription:
        return self.write(lambda tx: tx.page(Subscription, parent=customer))[0]

    def invoices(self, customer: str = CUSTOMER) -> list[Invoice]:
        """Return the customer's invoices, oldest first."""
        return list(reversed(self.write(lambda tx: tx.page(Invoice, parent=customer))))

    def change(self, verb: Callable[..., T], subject: Invoice) -> T:
        """Pay, void, … an invoice."""
        return self.write(lambda tx: verb(tx, subject, at=self.at))

    def balance(self, customer: str = CUSTOMER) -> Balance:
        return self.write(lambda tx: tx.balance_for_update(customer))

    def owed(self, customer: str = CUSTOMER) -> list[int]:
        owed = self.balance(customer).owed_nano
        return [owed[start] for start in sorted(owed)]

    def credit(self, customer: str = CUSTOMER) -> int:
        return self.write(lambda tx: credit_of(tx, customer, at=self.at))

    def account_nano(self, account: str, customer: str = CUSTOMER) -> int:
        return self.write(lambda tx: tx.account_balance(customer, account))

    def announced(self, prefix: str) -> list[str]:
        """Return the types of the announced events that begin so, oldest first."""
        events: Sequence[Event] = self.write(lambda tx: tx.page(Event, limit=10_000))
        return [event.type for event in reversed(events) if event.type.startswith(prefix)]

    def snapshots(self, type: str) -> list[dict[str, Any]]:
        """Return what the announced events of a type were about, oldest first."""
        events: Sequence[Event] = self.write(lambda tx: tx.page(Event, limit=10_000))
        return [json.loads(event.snapshot) for event in reversed(events) if event.type == type]

    def wrongs(self, customer: str = CUSTOMER) -> list[str]:
        """Return the invariants of the customer's books that do not hold."""
        balance = self.balance(customer)
        entries = self.write(lambda tx: tx.transactions_of(customer))
        invoices = self.invoices(customer)
        per_minor = nano_per_minor(invoices[-1].currency) if invoices else CENT
        unpaid = sum(i.remaining_minor for i in invoices if i.status == "open") * per_minor
        final = [i for i in invoices if i.status not in ("draft", "void")]
        taxed = sum(i.tax_total_minor - i.credited_tax_minor for i in final) * per_minor
        entries_of_surplus = self.write(lambda tx: tx.page(SurplusEntry, parent=customer, limit=1))
        surplus = -entries_of_surplus[0].ending_minor * per_minor if entries_of_surplus else 0
        known = self.write(lambda tx: tx.page(Subscription, parent=customer))
        since = next(each for each in known if each.prices_usage).finalized_until
        _, pending = self.write(lambda tx: tx.usage_totals(customer, since, FAR))
        paid = sum(sum(by_grant.values()) for by_grant in balance.paid_nano.values())
        checks = {
            "what is not invoiced is owed or paid": pending == balance.owed_total_nano + paid,
            "tax collected is payable": self.account_nano("book/tax_payable", customer) == taxed,
            "the surplus is what its last entry says": self.account_nano(f"{customer}/surplus", customer)
            == surplus,
            "all postings sum to zero": sum(p.amount_nano for e in entries for p in e.postings) == 0,
            "accrued is what is owed and carried": self.account_nano(f"{customer}/accrued", customer)
            == -(balance.owed_total_nano + balance.carried_nano),
            "receivable is what is unpaid": self.account_nano(f"{customer}/receivable", customer) == -unpaid,
            "lines add up to the subtotal": all(
                sum(line.amount_minor for line in i.lines) == i.subtotal_minor for i in invoices
            ),
            "a subtotal becomes its total": all(
                i.subtotal_minor - i.discount_minor - i.credit_minor + i.tax_minor - i.surplus_minor
                == i.total_minor
                >= 0
                for i in invoices
            ),
            "shares add up": all(
                sum(line.credit_minor for line in i.lines) in (i.credit_minor, 0)
                and sum(line.discount_minor for line in i.lines) == i.discount_minor
                and sum(t.amount_minor for line in i.lines for t in line.taxes) == i.tax_total_minor
                and sum(share.amount_minor for share in i.credits) == i.credit_minor
                for i in invoices
            ),
            "usage lines are the charges exactly": all(
                sum(line.amount_nano for line in i.lines if line.kind == "usage") == i.usage_nano
                for i in invoices
            ),
        }
        return [name for name, holds_true in checks.items() if not holds_true] + self.audited(customer)

    def audited(self, customer: str = CUSTOMER) -> list[str]:
        """Return what an audit of the customer finds; a test's prices are in no catalogue."""

        def verb(tx: Tx) -> list[Finding]:
            auditor = Auditor(PRICES, every(tx, FxRate))
            found = auditor.bucket(tx, bucket_of(customer)) + auditor.customer(tx, customer)[0]
            return found + auditor.account(tx)

        found = self.write(verb)
        return [f"{f.kind} {f.subject}: {f.wrong}" for f in found if not f.wrong.endswith(UNKNOWN)]


def shop_of(**request: Any) -> Shop:
    """Return a shop with a customer."""
    made = Shop(**request)
    made.customer()
    return made


@pytest.fixture
def shop() -> Shop:
    """Return a shop without fee or included credit, with the customer `cus_1` and an hour of grace."""
    made = Shop()
    made.customer()
    return made


@pytest.fixture(scope="session")
def build() -> SimpleNamespace:
    """Return the builders, and the instants and amounts that they take for granted."""
    return SimpleNamespace(
        sqlite_at_once=SqliteAtOnce,
        at=AT,
        day=DAY,
        hour=HOUR,
        tick=TICK,
        cent=CENT,
        ms=milliseconds,
        shop=Shop,
        shop_of=shop_of,
        void_grant=void_grant,
        sheet=sheet,
        set_up_request=set_up_request,
        decimal=Decimal,
        allowances=lambda units: (Allowance(id="tokens", name="tokens", units=units),),
    )
