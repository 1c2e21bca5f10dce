"""A shop whose customers live through their subscriptions: plans, changes, pauses, endings."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest

from costplus.billing.amend import change_items, schedule_items
from costplus.billing.cancel import cancel, cancel_later
from costplus.billing.customer import Customer
from costplus.billing.entitlement import Terms
from costplus.billing.event import Event
from costplus.billing.invoice_item import InvoiceItem
from costplus.billing.order import Chosen, Order
from costplus.billing.pause import pause, resume
from costplus.billing.plan import Plan
from costplus.billing.store import Tx
from costplus.billing.subscribe import start
from costplus.billing.subscription import Subscription
from costplus.billing.terms import terms_of
from costplus.billing.trial import end_trial, move_trial_end
from costplus.rating.rate_card import RateCard, RateCardVersion, adjustment

JANUARY = datetime(2026, 1, 1, tzinfo=UTC)
CUSTOMER = "cus_1"


class Life:
    """A shop at the beginning of January, with one customer that has no subscription yet."""

    def __init__(self, shop: Any, *, timezone: str = "UTC", clock: str | None = None) -> None:
        self.shop = shop
        self.shop.at = JANUARY
        self.shop.set_up()
        self._numbers = itertools.count(1)
        self.customer = Customer(id=CUSTOMER, created=JANUARY, timezone=timezone, test_clock=clock)
        self.shop.write(lambda tx: tx.save(self.customer))

    @property
    def at(self) -> datetime:
        return self.shop.at  # type: ignore[no-any-return]  # The shop is conftest's.

    def card(self, markup_percent: str) -> str:
        """Save a rate card and return its id."""
        number = next(self._numbers)
        version = RateCardVersion(
            id=f"rcv_{number}",
            created=JANUARY,
            rate_card=f"rcd_{number}",
            default=adjustment("markup", Decimal(markup_percent)),
        )
        card = RateCard(
            id=f"rcd_{number}",
            created=JANUARY,
            display_name="",
            currency="usd",
            live_version=version.id,
            latest_version=version.id,
        )

        def run(tx: Tx) -> None:
            tx.save(version)
            tx.save(card)

        self.shop.write(run)
        return card.id

    def terms(self) -> Terms:
        return self.shop.write(lambda tx: terms_of(tx, CUSTOMER))  # type: ignore[no-any-return]  # The shop's.

    def plan(self, fee_minor: int = 3100, *, priced: bool = True, card: str = "", **fields: Any) -> Plan:
        """Save a plan; `priced` on the shop's rate card or on `card`, else a fee only."""
        number = next(self._numbers)
        plan = Plan(
            id=f"bpp_{number}",
            created=JANUARY,
            display_name=f"Plan {number}",
            currency="usd",
            rate_card=(card or self.shop.account.card.id) if priced else "",
            fee_minor=fee_minor,
            **fields,
        )
        self.shop.write(lambda tx: tx.save(plan))
        return plan

    def do(self, verb: Callable[..., Subscription], id: str, *args: Any, **fields: Any) -> Subscription:
        """Run a verb on the subscription at the shop's present."""

        def run(tx: Tx) -> Subscription:
            subscription = tx.find(Subscription, id)
            assert subscription is not None
            return verb(tx, self.customer, subscription, *args, at=self.at, **fields)

        return self.shop.write(run)  # type: ignore[no-any-return]  # The shop is conftest's.

    def start(self, *plans: Plan | tuple[Plan, int], **fields: Any) -> Subscription:
        order = Order(chosen=chosen(plans), **fields)
        return self.shop.write(lambda tx: start(tx, self.customer, order, at=self.at))  # type: ignore[no-any-return]  # The shop's.

    def change(self, id: str, *plans: Plan | tuple[Plan, int], **fields: Any) -> Subscription:
        """Change the only item to a plan, or all items to several."""
        return self.do(change_items, id, self._of(id, plans), **fields)

    def schedule(self, id: str, *plans: Plan | tuple[Plan, int]) -> Subscription:
        return self.do(schedule_items, id, self._of(id, plans))

    def _of(self, id: str, plans: Sequence[Plan | tuple[Plan, int]]) -> list[Chosen]:
        known = self.get(id).every_item
        return [
            replace(entry, id=item.id if item else "")
            for entry, item in itertools.zip_longest(chosen(plans), known[: len(plans)])
        ]

    def cancel(self, id: str, **fields: Any) -> Subscription:
        return self.do(cancel, id, **fields)

    def cancel_later(self, id: str, **fields: Any) -> Subscription:
        return self.do(cancel_later, id, **{"cancel_at": None, "at_period_end": False, **fields})

    def pause(self, id: str, **fields: Any) -> Subscription:
        return self.do(pause, id, **fields)

    def resume(self, id: str, **fields: Any) -> Subscription:
        return self.do(resume, id, **fields)

    def end_trial(self, id: str) -> Subscription:
        return self.do(end_trial, id)

    def move_trial_end(self, id: str, to: datetime) -> Subscription:
        return self.do(move_trial_end, id, to)

    def get(self, id: str) -> Subscription:
        found = self.shop.write(lambda tx: tx.find(Subscription, id))
        assert isinstance(found, Subscription)
        return found

    def to(self, until: datetime) -> None:
        """Let time pass until an instant, and do what became due."""
        self.shop.close(until)

    def items(self) -> list[tuple[int, bool]]:
        """Return amounts and kinds of the prorations made so far, oldest first."""
        kept = self.shop.write(lambda tx: tx.page(InvoiceItem, limit=10_000))
        return [(item.amount_minor, item.is_proration) for item in reversed(kept)]

    def amounts(self) -> list[int]:
        return [amount for amount, _ in self.items()]

    def fees(self) -> list[int]:
        """Return the plain fees on invoices, oldest first."""
        return [
            line.amount_minor
            for invoice in self.shop.invoices()
            for line in invoice.lines
            if line.kind == "fee" and "time on" not in line.description
        ]

    def totals(self) -> list[tuple[str, str, int]]:
        return [(i.billing_reason, i.status, i.total_minor) for i in self.shop.invoices()]

    def told(self) -> list[str]:
        """Return what happened to subscriptions, oldest first."""
        events: Sequence[Event] = self.shop.write(lambda tx: tx.page(Event, limit=10_000))
        prefix = "customer.subscription."
        types = (event.type for event in reversed(events))
        return [type.removeprefix(prefix) for type in types if type.startswith(prefix)]


def chosen(plans: Sequence[Plan | tuple[Plan, int]]) -> list[Chosen]:
    return [Chosen(*entry) if isinstance(entry, tuple) else Chosen(entry) for entry in plans]


def day(number: int, month: int = 1, *, hour: int = 0, year: int = 2026) -> datetime:
    return datetime(year, month, number, hour, tzinfo=UTC)


@pytest.fixture
def life(build: SimpleNamespace) -> Life:
    return Life(build.shop(grace_s=0))


@pytest.fixture(scope="session")
def make(build: SimpleNamespace) -> SimpleNamespace:
    """Return the builders of this folder."""
    return SimpleNamespace(
        life=lambda grace_s=0, **fields: Life(build.shop(grace_s=grace_s), **fields),
        day=day,
        tick=timedelta(microseconds=1),
    )
