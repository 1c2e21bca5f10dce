"""The collector: asks payment providers, between the transactions that say what to ask and keep the answer.

Rule 1: no provider is asked inside a transaction; whatever kills the process in between is made good by
asking again under the same key.
Rule 2: everything due by a test clock's present happens in its own order, each step at its own instant.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial

import structlog

from costplus.billing.clock import frozen_time
from costplus.billing.collect import Step, ask_cancel, begin, count_callback, payment_of, record
from costplus.billing.customer import Customer
from costplus.billing.payments.base import (
    MethodFacts,
    NoSuchProvider,
    Outcome,
    PaymentPort,
    ProcessorUnavailable,
)
from costplus.billing.payments.callback import PaymentCallback
from costplus.billing.payments.payment import Payment, PaymentTask
from costplus.billing.payments.refund import PaymentRefund
from costplus.billing.recharge import due_recharges, recharge_customer
from costplus.billing.refunding import RefundTask, refund_order
from costplus.billing.send_back import refund_ended
from costplus.billing.store import Store, Tx

PAGE = 500
PASSES_MAX = 200  # Steps that one payment takes at most while a test clock catches up.

log = structlog.get_logger("costplus.collector")


@dataclass(frozen=True, slots=True)
class Due:
    """A payment that something is to be done about."""

    payment: str
    customer: str
    due_at: datetime


class Collector:
    """Takes payments through their steps with the providers of this installation."""

    def __init__(
        self, store: Store, ports: Mapping[str, PaymentPort], *, now: Callable[[], datetime]
    ) -> None:
        self._store = store
        self._ports = ports
        self._now = now

    @property
    def providers(self) -> list[str]:
        return list(self._ports)

    def port(self, provider: str) -> PaymentPort:
        """Return the provider's port, or raise `NoSuchProvider`."""
        port = self._ports.get(provider)
        if port is None:
            raise NoSuchProvider(
                f"There is no payment provider '{provider}' here; there are {', '.join(self._ports)}.",
                param="provider",
            )
        return port

    async def describe(self, provider: str, token: str) -> MethodFacts:
        """Return what the provider says of a payment method."""
        return await self.port(provider).describe(token)

    async def step(self, payment: str, *, customer: str) -> bool:
        """Take a payment one step further; False where nothing is due, or its provider does not answer."""
        found = await self._store.read(partial(payment_of, id=payment))
        port = self._ports.get(found.provider)
        if port is None:
            log.warning("payment_provider_missing", payment=payment, provider=found.provider)
            return False
        ask = partial(begin, id=payment, real=self._now(), patience=port.patience)
        step = await self._store.write(ask, customers=[customer])
        if step is None:
            return False
        try:
            outcome = await self._ask(step)
        except ProcessorUnavailable as error:
            log.warning("payment_provider_unavailable", payment=payment, message=error.message)
            return False
        await self._store.write(partial(record, id=payment, step=step, outcome=outcome), customers=[customer])
        return True

    async def _ask(self, step: Step) -> Outcome:
        port = self.port(step.provider)
        ask = {"start": port.start, "look_up": port.look_up, "cancel": port.cancel}[step.act]
        return await ask(step.order)

    async def run(self, payment: str, *, customer: str) -> Payment:
        """Take a payment through what is due now, and return it as it is then."""
        await self.step(payment, customer=customer)
        return await self._store.read(partial(payment_of, id=payment))

    async def cancel(self, payment: str, *, customer: str) -> Payment:
        """Call a payment off; where its provider has it, by asking that first."""
        found, step = await self._store.write(
            partial(ask_cancel, id=payment, at=self._now()), customers=[customer]
        )
        if step is None:
            return found
        outcome = await self._ask(step)
        return await self._store.write(
            partial(record, id=payment, step=step, outcome=outcome), customers=[customer]
        )

    async def refund(self, id: str, *, customer: str) -> PaymentRefund:
        """Ask for a refund, and keep the answer."""
        asked = await self._store.read(partial(refund_order, id=id, real=self._now()))
        if asked is not None:
            provider, order = asked
            outcome = await self.port(provider).refund(order)
            end = partial(refund_ended, id=id, outcome=outcome, at=order.at)
            return await self._store.write(end, customers=[customer])
        refund = await self._store.read(lambda tx: tx.find(PaymentRefund, id))
        assert refund is not None
        return refund

    async def called(self, provider: str, headers: Mapping[str, str], body: bytes) -> PaymentCallback:
        """Verify a provider's callback and count it."""
        at = self._now()
        notice = self.port(provider).verify(headers, body, at=at)
        payment = await self._store.read(lambda tx: tx.find(Payment, notice.payment))
        customers = [payment.customer] if payment else None
        text = body.decode("utf-8", "replace")
        return await self._store.write(
            partial(count_callback, notice=notice, body=text, real=at), customers=customers
        )

    async def collect_due(self, *, clock: str | None = None) -> None:
        """Do what is due: payments and refunds; of a test clock, also the purchases that rules ask for."""
        if clock is not None:
            await self.recharge_due(clock=clock)
        seen: dict[str, int] = {}
        stuck: set[str] = set()
        while True:
            due = [
                each
                for each in await self._store.read(partial(due_payments, real=self._now(), clock=clock))
                if each.payment not in stuck and seen.get(each.payment, 0) < PASSES_MAX
            ]
            if not due:
                break
            for each in due:
                seen[each.payment] = seen.get(each.payment, 0) + 1
                if not await self.step(each.payment, customer=each.customer):
                    stuck.add(each.payment)
            if clock is not None:
                await self.recharge_due(clock=clock)
        for task in await self._store.read(lambda tx: tx.page(RefundTask, limit=PAGE)):
            try:
                await self.refund(task.id, customer=task.customer)
            except ProcessorUnavailable as error:
                log.warning("payment_provider_unavailable", refund=task.id, message=error.message)

    async def recharge_due(self, *, clock: str | None = None) -> None:
        """Order what auto-recharge rules ask for and settlement did not see: cool-downs, months, expiries."""
        at = self._now()
        for customer in await self._store.read(partial(due_recharges, at=at, clock=clock)):
            await self._store.write(partial(recharge_customer, id=customer, at=at), customers=[customer])


def due_payments(tx: Tx, *, real: datetime, clock: str | None = None) -> list[Due]:
    """Return the payments that something is to be done about, in order of time."""
    due: list[Due] = []
    cursor: str | None = None
    while True:
        page = tx.page(PaymentTask, limit=PAGE, older_than=cursor)
        for task in page:
            customer = tx.find(Customer, task.customer)
            if clock is not None and (customer is None or customer.test_clock != clock):
                continue
            present = (frozen_time(tx, customer) if customer else None) or real
            if task.due_at <= present:
                due.append(Due(task.id, task.customer, task.due_at))
        if len(page) < PAGE:
            return sorted(due, key=lambda each: (each.due_at, each.payment))
        cursor = page[-1].id
