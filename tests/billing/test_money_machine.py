"""Whatever happens in whatever order, on any store: the audit finds nothing, and nothing happens twice.

Rule 1: the steps are those of sellers, customers and time; a step that is refused changes nothing.
Rule 2: what was settled is settled again now and then, under its own key: that changes nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Collection, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from costplus.billing.allowance import Allowance, CreditTerms, MinimumSpend, Rollover
from costplus.billing.amend import change_items
from costplus.billing.cancel import cancel, cancel_later
from costplus.billing.credit import give
from costplus.billing.customer import Customer
from costplus.billing.edit_draft import add_item
from costplus.billing.give_back import NoteRequest, issue_note
from costplus.billing.invoice import Invoice
from costplus.billing.invoice_item import InvoiceItem
from costplus.billing.issue import mark_uncollectible, pay, void
from costplus.billing.order import Chosen
from costplus.billing.plan import Plan
from costplus.billing.subscribe import subscribe
from costplus.billing.surplus import adjust_surplus
from costplus.core.errors import BillingError
from costplus.core.period import Period
from costplus.ledger.grant import Grant
from costplus.ledger.hold import Hold
from costplus.ledger.post import expire_grant, void_grant
from costplus.ledger.reserve import place_hold, release_hold
from costplus.ledger.scope import Scope
from costplus.ledger.transaction import EVERY_ONE
from costplus.metering.event import reversed_event
from costplus.rating.charge import reversal_of
from costplus.storage.memory import MemoryStore
from costplus.storage.postgres import PostgresStore

CENT = 10_000_000
CUSTOMER = "cus_1"
SETTINGS = settings(max_examples=40, stateful_step_count=30, deadline=None, phases=(Phase.generate,))
amounts = st.integers(1, 40_000).map(lambda tenths: tenths * 1_000_003)  # Up to $40, in odd nanos.


class PostgresAtOnce:
    """A PostgreSQL store whose loop runs in a thread of its own; the caller waits for it."""

    def __init__(self, url: str) -> None:
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()
        self.store = self.wait(PostgresStore.open(url, writers=1, readers=1))

    def wait(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result()

    async def write(self, verb: Callable[..., Any], *, customers: Collection[str] | None = None) -> Any:
        return self.wait(self.store.write(verb))

    def close(self) -> None:
        self.wait(self.store.close())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()


class Money(RuleBasedStateMachine):
    """One customer's life: usage, credit, holds, plans, invoices, payments and time."""

    build: ClassVar[SimpleNamespace]
    new_store: ClassVar[Callable[[], Any]]

    def __init__(self) -> None:
        super().__init__()
        build = type(self).build
        self.shop = build.shop(store=type(self).new_store(), fee_minor=500, credit_minor=300)
        self.subscription = self.shop.customer().id
        self.settled: list[Any] = []
        self.number = 0
        self.steps = 0
        card = self.shop.account.card.id
        fields = {"created": self.shop.at, "currency": "usd", "rate_card": card}
        rolls = CreditTerms(rollover=Rollover(periods=1, most=200))
        tokens = Allowance(id="tokens", name="tokens, of all kinds", units=CENT, rollover=Rollover(periods=1))
        self.plans = [
            Plan(
                id="plan_a", display_name="A", fee_minor=999, credit_minor=250, credit_terms=rolls, **fields
            ),
            Plan(
                id="plan_b",
                display_name="B",
                minimum=MinimumSpend(amount_minor=2_000),
                allowances=(tokens,),
                **fields,
            ),
            Plan(
                id="plan_c", display_name="C", interval="week", fee_minor=77, late_usage="write_off", **fields
            ),
        ]
        self.shop.write(lambda tx: [tx.save(plan) for plan in self.plans])

    def do(self, verb: Callable[..., Any]) -> Any:
        """Run a verb; what it refuses with an error of ours changes nothing."""
        with contextlib.suppress(BillingError):
            return self.shop.write(verb)

    def next(self, prefix: str) -> str:
        self.number += 1
        return f"{prefix}_{self.number:06}"

    @property
    def at(self) -> Any:
        return self.shop.at

    @rule(nano=amounts, hours_ago=st.sampled_from([0, 0, 0, 1, 30, 24 * 33]))
    def use(self, nano: int, hours_ago: int) -> None:
        if not self.shop.subscription().is_live:
            return  # What comes between two subscriptions: see test_between_subscriptions.
        item = self.shop.settlement(nano, at=self.at - timedelta(hours=hours_ago))
        with contextlib.suppress(BillingError):
            self.shop.settle(item)
            self.settled.append(item)

    @rule(number=st.integers(0, 1000), nano=amounts)
    def settle_again(self, number: int, nano: int) -> None:
        if not self.settled:
            return
        item = self.settled[number % len(self.settled)]
        before = self.seen()
        self.shop.settle(item, item)
        assert self.seen() == before

    @rule(number=st.integers(0, 1000))
    def take_back(self, number: int) -> None:
        if not self.settled:
            return
        event = self.settled[number % len(self.settled)].event
        known = self.shop.write(lambda tx: tx.charge_of(CUSTOMER, event.id))
        subscription = self.shop.subscription()
        if known.billed_at >= subscription.finalized_until and subscription.is_live:
            back = self.shop.settlement(0, at=event.at)
            back = replace(
                back,
                event=reversed_event(known.event),
                charge=reversal_of(known.charge),
                reverses=known.transaction,
            )
            self.shop.settle(back)
            self.settled.append(back)

    @rule(
        nano=amounts,
        category=st.sampled_from(["paid", "promotional"]),
        source=st.sampled_from(["api", "top_up"]),
        begins=st.sampled_from([0, 0, 48]),
        ends=st.sampled_from([None, 24, 24 * 20]),
        scope=st.sampled_from([Scope(), Scope(models=("other",)), Scope(token_types=("input",))]),
    )
    def grant(self, nano: int, begins: int, ends: int | None, **fields: Any) -> None:
        start = self.at + timedelta(hours=begins)
        made = Grant(
            id=self.next("credgr"),
            customer=CUSTOMER,
            created=self.at,
            amount_nano=nano,
            remaining_nano=nano,
            currency="usd",
            effective_at=start,
            expires_at=start + timedelta(hours=ends) if ends else None,
            **fields,
        )
        self.do(lambda tx: give(tx, made, at=self.at))
        before = self.seen()
        self.do(lambda tx: give(tx, made, at=self.at))  # Asked for again.
        assert self.seen() == before

    @rule(number=st.integers(0, 100), verb=st.sampled_from([void_grant, expire_grant]))
    def end_grant(self, number: int, verb: Any) -> None:
        grants = self.shop.write(lambda tx: tx.grants_of(CUSTOMER))
        if grants:
            self.do(lambda tx: verb(tx, grants[number % len(grants)], at=self.at))

    @rule(nano=amounts)
    def hold(self, nano: int) -> None:
        times = {"placed_at": self.at, "expires_at": self.at + timedelta(hours=2)}
        made = Hold(
            id=self.next("hold"), customer=CUSTOMER, kind="request", owner="gw", amount_nano=nano, **times
        )
        held = self.do(lambda tx: place_hold(tx, made, at=self.at))
        if held is not None:
            assert self.shop.balance().held_nano <= self.shop.credit()

    @rule(number=st.integers(0, 100), nano=amounts, captures=st.booleans())
    def end_hold(self, number: int, nano: int, captures: bool) -> None:
        holds = self.shop.write(lambda tx: tx.placed_holds(customer=CUSTOMER))
        if not holds:
            return
        hold = holds[number % len(holds)]
        if captures and self.shop.subscription().is_live:
            item = self.shop.settlement(nano, hold=hold.id, release_nano=nano, closes=True)
            self.shop.settle(item)
            self.settled.append(item)
        else:
            self.do(lambda tx: release_hold(tx, CUSTOMER, hold.id))

    @rule(hours=st.sampled_from([1, 5, 24, 24 * 8, 24 * 31]))
    def wait(self, hours: int) -> None:
        self.shop.close(self.at + timedelta(hours=hours))

    @rule(
        number=st.integers(0, 100),
        minor=st.integers(1, 3_000),
        deed=st.sampled_from(["pay", "part", "void", "give up", "note"]),
    )
    def invoice(self, number: int, minor: int, deed: str) -> None:
        invoices = self.shop.invoices()
        if not invoices:
            return
        id = invoices[number % len(invoices)].id
        verbs: dict[str, Callable[..., Any]] = {
            "pay": lambda tx, found: pay(tx, found, at=self.at),
            "part": lambda tx, found: pay(tx, found, amount_minor=minor, at=self.at),
            "void": lambda tx, found: void(tx, found, at=self.at),
            "give up": lambda tx, found: mark_uncollectible(tx, found, at=self.at),
            "note": lambda tx, found: issue_note(tx, found, NoteRequest(amount_minor=minor), at=self.at),
        }
        self.do(lambda tx: verbs[deed](tx, tx.find(Invoice, id)))

    @rule(minor=st.integers(-500, 500).filter(bool), is_surplus=st.booleans())
    def by_hand(self, minor: int, is_surplus: bool) -> None:
        if is_surplus:
            self.do(lambda tx: adjust_surplus(tx, CUSTOMER, gained_minor=minor, currency="usd", at=self.at))
            return
        item = InvoiceItem(
            id=self.next("ii"),
            created=self.at,
            customer=CUSTOMER,
            currency="usd",
            description="By hand",
            amount_minor=minor,
            period=Period(self.at, self.at),
        )
        self.do(lambda tx: add_item(tx, item, at=self.at))

    @rule(
        deed=st.sampled_from(["change", "change", "quantity", "later", "cancel"]),
        number=st.integers(0, 2),
        quantity=st.integers(1, 3),
    )
    def subscription_changes(self, deed: str, number: int, quantity: int) -> None:
        known = self.shop.subscription()
        customer = self.shop.write(lambda tx: tx.find(Customer, CUSTOMER))
        plan = self.plans[number]
        if not known.is_live:
            self.do(lambda tx: subscribe(tx, customer, plan, at=self.at))
        elif deed in ("change", "quantity"):
            if deed == "quantity":
                plan = self.shop.write(lambda tx: tx.find(Plan, known.plan))
            chosen = [Chosen(plan, quantity, id=known.every_item[0].id)]
            self.do(lambda tx: change_items(tx, customer, known, chosen, at=self.at))
        elif deed == "later":
            self.do(
                lambda tx: cancel_later(tx, customer, known, cancel_at=None, at_period_end=True, at=self.at)
            )
        else:
            # Usage of the very instant of an end and a new beginning would belong to both.
            self.shop.close(self.at + timedelta(hours=1))
            known = self.shop.subscription()
            self.do(lambda tx: cancel(tx, customer, known, prorates=quantity > 1, at=self.at))
            self.shop.close(self.at + timedelta(hours=1))

    def seen(self) -> object:
        """Return what must not change where nothing happens."""

        def verb(tx: Any) -> object:
            entries = tx.transactions_of(CUSTOMER, limit=EVERY_ONE)
            return tx.balance(CUSTOMER), list(tx.grants_of(CUSTOMER)), len(entries)

        return self.shop.write(verb)

    @invariant()
    def the_audit_finds_nothing(self) -> None:
        self.steps += 1
        if self.steps % 5 == 0:
            assert self.shop.audited() == []

    def teardown(self) -> None:
        self.shop.close(self.at + timedelta(days=70))
        assert self.shop.audited() == []


def run(build: SimpleNamespace, new_store: Callable[[], Any], **brief: int) -> None:
    fields = {"build": build, "new_store": staticmethod(new_store)}
    machine = type("MoneyOnAStore", (Money,), fields)
    run_state_machine_as_test(machine, settings=settings(SETTINGS, **brief))  # type: ignore[no-untyped-call,arg-type]  # Its stub has no types.


def test_money_in_a_few_short_runs(build: SimpleNamespace) -> None:
    run(build, MemoryStore, max_examples=8, stateful_step_count=15)


@pytest.mark.slow
def test_money_in_memory(build: SimpleNamespace) -> None:
    run(build, MemoryStore, max_examples=100)


@pytest.mark.slow
def test_money_on_sqlite(build: SimpleNamespace, tmp_path: Path) -> None:
    numbers = iter(range(10_000))
    run(build, lambda: build.sqlite_at_once(tmp_path / f"{next(numbers)}.db"))


@pytest.fixture
def postgres_stores(postgres_server: Any) -> Iterator[Callable[[], Any]]:
    opened: list[PostgresAtOnce] = []

    def new_store() -> PostgresAtOnce:
        opened.append(PostgresAtOnce(asyncio.run(postgres_server.make_database())))
        return opened[-1]

    yield new_store
    for store in opened:
        store.close()


@pytest.mark.slow
def test_money_on_postgres(build: SimpleNamespace, postgres_stores: Callable[[], Any]) -> None:
    run(build, postgres_stores, max_examples=8)
