"""Whatever the order of callbacks, looks, retries and deaths: what was granted is what was really taken.

The model is the simulated processor's own books. At every moment our books say no more than those, and once
everything was heard of, the very same.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from datetime import timedelta
from typing import Any, ClassVar

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from costplus.billing.collect import locked
from costplus.billing.payments.fake_card import CARDS
from costplus.billing.payments.payment import PaymentState
from costplus.billing.receive import accept

Open = Callable[..., Any]
# A failing run of thirty steps can be read as it is; making it shorter takes minutes.
PHASES = (Phase.explicit, Phase.generate)
SETTINGS = settings(max_examples=60, stateful_step_count=30, deadline=None, phases=PHASES)


class Killed(BaseException):
    """The process ends here."""


class Payments(RuleBasedStateMachine):
    """A customer that buys with every kind of card, and everything that can go wrong on the way."""

    open_till: ClassVar[Open]

    def __init__(self) -> None:
        super().__init__()
        self.till = type(self).open_till()
        self.heard: list[tuple[bytes, dict[str, str]]] = []
        take = self.till.take

        async def remember(body: bytes, headers: dict[str, str]) -> int:
            self.heard.append((body, headers))
            return int(await take(body, headers))

        self.till.fake._send = remember

    @rule(token=st.sampled_from(sorted(CARDS)), amount=st.integers(1, 5000))
    def order(self, token: str, amount: int) -> None:
        self.till.method(token)
        self.till.order(amount)

    @rule(threshold=st.integers(0, 3000), amount=st.integers(1, 2000), on=st.booleans())
    def set_rule(self, threshold: int, amount: int, on: bool) -> None:
        self.till.method("pm_fake_ok")
        self.till.rule(threshold_minor=threshold, amount_minor=amount, is_enabled=on, cool_down_s=3600)

    @rule(dollars=st.integers(1, 20))
    def use(self, dollars: int) -> None:
        self.till.shop.use(dollars * 10**9)

    @rule()
    def collect(self) -> None:
        self.till.recharge()

    @rule(lost=st.integers(0, 3))
    def call_back(self, lost: int) -> None:
        self.till.answers = [500] * lost
        self.till.call_back()
        self.till.answers = []

    @rule(number=st.integers(0, 10_000))
    def replay(self, number: int) -> None:
        if self.heard:
            body, headers = self.heard[number % len(self.heard)]
            self.till.run(self.till.take(body, headers))

    @rule(number=st.integers(0, 10_000), name=st.text(min_size=1, max_size=4))
    def say_again_in_another_call(self, number: int, name: str) -> None:
        charges = self.till.charges()
        if charges:
            body, headers = self.till.fake.callback(f"fevt_{name}", charges[number % len(charges)])
            self.till.run(self.till.take(body, headers))

    @rule(seconds=st.sampled_from([1, 10, 100, 10_000, 1_000_000]))
    def wait(self, seconds: int) -> None:
        self.till.shop.at += timedelta(seconds=seconds)

    @rule()
    def die(self) -> None:
        start = self.till.fake.start

        async def start_and_die(order: Any) -> Any:
            await start(order)
            raise Killed

        self.till.fake.start = start_and_die
        with contextlib.suppress(Killed):
            self.till.collect()
        self.till.fake.start = start

    @rule(number=st.integers(0, 10_000))
    def cancel(self, number: int) -> None:
        payments = self.till.payments()
        if payments:
            payment = payments[number % len(payments)]
            with contextlib.suppress(PaymentState):
                self.till.run(self.till.collector.cancel(payment.id, customer="cus_1"))

    @rule(number=st.integers(0, 10_000))
    def accept_held(self, number: int) -> None:
        payments = self.till.payments()
        if payments:
            id = payments[number % len(payments)].id
            with contextlib.suppress(PaymentState):
                self.till.shop.write(lambda tx: accept(tx, locked(tx, id), at=self.till.shop.at))

    @invariant()
    def books_never_say_more_than_was_taken(self) -> None:
        till = self.till
        assert till.granted() + till.surplus() == till.money() <= till.taken()
        assert till.shop.wrongs() == []
        rule_payments = [p for p in till.top_ups() if p.origin == "auto_recharge"]
        assert sum(each.status == "pending" for each in rule_payments) <= 1

    def teardown(self) -> None:
        """Hear of everything, and compare the books charge by charge."""
        till = self.till
        for _ in range(20):
            till.wait(days=1)
        till.rule(is_enabled=False)  # What it began last is heard of; nothing new begins.
        for _ in range(10):
            till.wait(days=1)
        assert till.granted() + till.surplus() == till.money() == till.taken()
        for payment in till.payments():
            taken = sum(c.taken_minor for c in till.charges() if c.payment == payment.id)
            is_foreign = payment.held == "wrong_currency"
            assert payment.received_minor == (0 if is_foreign else taken), payment
            top_up = till.top_up(payment.subject)
            assert top_up.granted_minor + payment.surplus_minor == payment.received_minor
            assert payment.surplus_minor == 0 or payment.held or payment.status == "canceled"


def machine_of(open_till: Open) -> type[Payments]:
    """Return the machine with a till of its own."""
    return type("PaymentsOfATill", (Payments,), {"open_till": staticmethod(open_till)})


@pytest.mark.slow
def test_granted_is_received_whatever_happens(till_of: Open) -> None:
    run_state_machine_as_test(machine_of(till_of), settings=SETTINGS)  # type: ignore[no-untyped-call]  # Its stub has no types.


def test_granted_is_received_in_a_few_short_runs(till_of: Open) -> None:
    brief = settings(SETTINGS, max_examples=10, stateful_step_count=12)
    run_state_machine_as_test(machine_of(till_of), settings=brief)  # type: ignore[no-untyped-call]  # Its stub has no types.
