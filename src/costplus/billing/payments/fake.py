"""A simulated card processor: it keeps books of its own, takes its time, and calls back over HTTP, signed.

Rule 1: it is asked and it calls like a real one; nothing below or above knows that no money moves.
Rule 2: the same key is the same charge, after a restart too: its books are in the store, apart from ours.
Rule 3: it lives in the customer's time, so that test clocks drive it; signatures carry real time.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial

import msgspec

from costplus.billing.clock import frozen_time
from costplus.billing.customer import Customer
from costplus.billing.payments.base import (
    CallbackRefused,
    MethodFacts,
    MethodRefused,
    Notice,
    Order,
    Outcome,
    OutcomeStatus,
    ProcessorUnavailable,
    RefundOrder,
)
from costplus.billing.payments.fake_card import (
    CARDS,
    FakeCallback,
    FakeCharge,
    FakeRefund,
    ended,
)
from costplus.billing.payments.signature import check_signature, signature_of
from costplus.billing.store import Store, Tx
from costplus.core.ids import milliseconds

FAKE = "fake"
HEADER = "fake-signature"
RETRY = timedelta(seconds=30)
TRIES_MAX = 10
BATCH = 500
Send = Callable[[bytes, Mapping[str, str]], Awaitable[int]]  # Returns the status; 0: nobody answered.


class _Body(msgspec.Struct, kw_only=True, frozen=True):
    """What a callback carries."""

    id: str
    type: str
    created: int
    payment: str
    key: str
    charge: str
    status: OutcomeStatus
    amount: int
    currency: str
    code: str = ""


_decode_body = msgspec.json.Decoder(_Body).decode


def _digest(*parts: str) -> str:
    return hashlib.sha256("\x00".join(parts).encode()).hexdigest()[:24]


class FakeProcessor:
    """Satisfies `PaymentPort`. `send` posts a callback to this server and returns the answer's status."""

    name = FAKE
    patience: timedelta | None = timedelta(days=7)

    def __init__(self, store: Store, *, secret: bytes, now: Callable[[], datetime], send: Send) -> None:
        self._store = store
        self._secret = secret
        self._now = now
        self._send = send

    async def describe(self, token: str) -> MethodFacts:
        card = CARDS.get(token)
        if card is None:
            raise MethodRefused(
                f"The simulated processor has no method '{token}'; it has {', '.join(CARDS)}.", param="token"
            )
        return MethodFacts(kind="card", label=card.label)

    async def start(self, order: Order) -> Outcome:
        charge, is_new = await self._store.write(lambda tx: _begin(tx, order), customers=[order.customer])
        if is_new and CARDS[charge.card].loses_first_answer:
            raise ProcessorUnavailable("The simulated processor took the money and did not answer.")
        return _outcome(charge)

    async def look_up(self, order: Order) -> Outcome:
        return await self._store.write(lambda tx: _look(tx, order), customers=[order.customer])

    async def cancel(self, order: Order) -> Outcome:
        return await self._store.write(lambda tx: _cancel(tx, order), customers=[order.customer])

    async def refund(self, order: RefundOrder) -> Outcome:
        return await self._store.write(lambda tx: _refund(tx, order), customers=[order.customer])

    async def confirm(self, key: str, *, at: datetime) -> None:
        """Let the customer confirm a charge that waits for it, as on the processor's page."""
        await self._store.write(lambda tx: _confirm(tx, key, at=at))

    def verify(self, headers: Mapping[str, str], body: bytes, *, at: datetime) -> Notice:
        check_signature(self._secret, headers.get(HEADER, ""), body=body, at=at)
        try:
            said = _decode_body(body)
        except (msgspec.DecodeError, msgspec.ValidationError) as error:
            raise CallbackRefused(f"The callback is signed, but it cannot be read: {error}.") from error
        outcome = Outcome(
            status=said.status,
            charge=said.charge,
            amount_minor=said.amount,
            currency=said.currency,
            code=said.code,
        )
        return Notice(
            id=said.id, provider=FAKE, kind=said.type, payment=said.payment, key=said.key, outcome=outcome
        )

    async def call_back_due(self) -> None:
        """Send the callbacks that are due, each until it is taken."""
        for callback in await self._store.read(partial(_due, real=self._now())):
            whose = [callback.customer]
            charge = await self._store.write(partial(_told, callback=callback), customers=whose)
            body, headers = self.callback(callback.id, charge)
            status = await self._send(body, headers)
            is_over = 200 <= status < 300 or callback.tries + 1 >= TRIES_MAX
            await self._store.write(partial(_sent, callback=callback, is_over=is_over), customers=whose)

    def callback(self, id: str, charge: FakeCharge) -> tuple[bytes, dict[str, str]]:
        """Return a callback's body and headers, signed now."""
        timestamp_s = milliseconds(self._now()) // 1000
        outcome = _outcome(charge)
        body = msgspec.json.encode(
            _Body(
                id=id,
                type=f"payment.{outcome.status}",
                created=timestamp_s,
                payment=charge.payment,
                key=charge.id,
                charge=charge.charge,
                status=outcome.status,
                amount=outcome.amount_minor,
                currency=outcome.currency,
                code=outcome.code,
            )
        )
        signature = signature_of(self._secret, timestamp_s=timestamp_s, body=body)
        return body, {HEADER: signature, "content-type": "application/json"}


def _outcome(charge: FakeCharge) -> Outcome:
    card = CARDS[charge.card]
    done = charge.status == "succeeded"
    return Outcome(
        status=charge.status,
        charge=charge.charge,
        amount_minor=charge.taken_minor if done else charge.amount_minor,
        currency=charge.taken_currency if done else charge.currency,
        code=charge.code,
        message=f"{card.label}." if charge.status == "declined" else "",
        is_retryable=card.is_retryable,
        action_url=f"https://fake.example/confirm/{charge.charge}"
        if card.ending == "requires_action"
        else "",
    )


def _begin(tx: Tx, order: Order) -> tuple[FakeCharge, bool]:
    """Return the order's charge and whether it is new."""
    known = tx.find(FakeCharge, order.key)
    if known is not None:
        return known, False
    card = CARDS[order.method]
    charge = FakeCharge(
        id=order.key,
        created=order.at,
        charge=f"fch_{_digest(order.key)}",
        payment=order.payment,
        customer=order.customer,
        card=order.method,
        amount_minor=order.amount_minor,
        currency=order.currency,
        status="requires_action" if card.ending == "requires_action" else "processing",
        ends_at=order.at + card.delay if card.ending in ("succeeded", "declined") else None,
    )
    if card.recovers_after and _declined_before(tx, charge) < card.recovers_after:
        charge = replace(charge, status="declined", code=card.code, ends_at=None)
        _call(tx, charge, at=order.at)
    elif charge.ends_at is not None and not card.delay:
        charge = _end(tx, charge, at=order.at)
    elif charge.ends_at is not None:
        _call(tx, charge, at=charge.ends_at)
    tx.save(charge)
    return charge, True


def _declined_before(tx: Tx, charge: FakeCharge) -> int:
    earlier = tx.page(FakeCharge, parent=charge.customer, limit=1000)
    return sum(each.payment == charge.payment and each.status == "declined" for each in earlier)


def _end(tx: Tx, charge: FakeCharge, *, at: datetime, calls: bool = True) -> FakeCharge:
    charge = ended(charge, CARDS[charge.card])
    tx.save(charge)
    if calls:
        _call(tx, charge, at=at)
    return charge


def _call(tx: Tx, charge: FakeCharge, *, at: datetime) -> None:
    """Queue the callbacks that tell of the charge's end."""
    for number in range(CARDS[charge.card].callbacks):
        id = f"fevt_{_digest(charge.id, str(number))}"
        tx.save(FakeCallback(id=id, created=at, key=charge.id, customer=charge.customer, due_at=at))


def _look(tx: Tx, order: Order) -> Outcome:
    charge = tx.find(FakeCharge, order.key)
    if charge is None:
        return Outcome(status="unknown")
    if charge.status == "processing" and charge.ends_at is not None and charge.ends_at <= order.at:
        charge = _end(tx, charge, at=order.at, calls=False)  # Its callbacks are queued already.
    return _outcome(charge)


def _cancel(tx: Tx, order: Order) -> Outcome:
    charge = tx.find(FakeCharge, order.key)
    if charge is None:
        return Outcome(status="canceled")
    if charge.status in ("processing", "requires_action"):
        charge = replace(charge, status="canceled", ends_at=None)
        tx.save(charge)
    return _outcome(charge)


def _confirm(tx: Tx, key: str, *, at: datetime) -> None:
    charge = tx.find(FakeCharge, key)
    if charge is not None and charge.status == "requires_action":
        _end(tx, charge, at=at)


def _refund(tx: Tx, order: RefundOrder) -> Outcome:
    if tx.find(FakeRefund, order.key) is None:
        charge = tx.find_by_lookup(FakeCharge, order.charge)
        if charge is None or charge.taken_minor - charge.given_back_minor < order.amount_minor:
            return Outcome(status="declined", code="charge_already_refunded")
        tx.save(replace(charge, given_back_minor=charge.given_back_minor + order.amount_minor))
        tx.save(
            FakeRefund(
                id=order.key,
                created=order.at,
                charge=order.charge,
                amount_minor=order.amount_minor,
                currency=order.currency,
            )
        )
    return Outcome(
        status="succeeded", charge=order.charge, amount_minor=order.amount_minor, currency=order.currency
    )


def _due(tx: Tx, *, real: datetime) -> list[FakeCallback]:
    """Return the callbacks that are due in their customers' present, oldest first."""
    due: list[FakeCallback] = []
    cursor: str | None = None
    while True:
        page = tx.page(FakeCallback, limit=BATCH, older_than=cursor)
        for callback in page:
            customer = tx.find(Customer, callback.customer)
            present = (frozen_time(tx, customer) if customer else None) or real
            if callback.due_at <= present:
                due.append(callback)
        if len(page) < BATCH:
            return due[::-1]
        cursor = page[-1].id


def _told(tx: Tx, *, callback: FakeCallback) -> FakeCharge:
    """Return the charge that a callback tells of; where its time has come it ends with that."""
    charge = tx.find(FakeCharge, callback.key)
    assert charge is not None
    if charge.status == "processing":
        charge = _end(tx, charge, at=callback.due_at, calls=False)
    return charge


def _sent(tx: Tx, *, callback: FakeCallback, is_over: bool) -> None:
    if is_over:
        tx.remove(FakeCallback, callback.id)
    else:
        tries = callback.tries + 1
        tx.save(replace(callback, tries=tries, due_at=callback.due_at + RETRY * tries))
