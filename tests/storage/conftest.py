"""What the storage tests share: the stores, and builders of the nouns that they keep.

Rule 1: a test names only what it is about; builders fill in the rest.
"""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace

import pytest

from costplus.billing.alert import Alert
from costplus.billing.customer import Customer
from costplus.billing.event import Delivery, WebhookEndpoint
from costplus.billing.settle import Settlement
from costplus.billing.store import ChargedEvent, Store, Tx
from costplus.billing.subscription import Subscription
from costplus.catalog.price import Component, PriceVersion
from costplus.core.usage import Usage
from costplus.ledger.grant import Grant
from costplus.ledger.hold import Hold
from costplus.metering.event import UsageEvent, usage_event
from costplus.rating.charge import rate
from costplus.rating.rate_card import RateCardVersion, adjustment
from costplus.rating.sheet import RateSheet, compile_sheet
from costplus.storage.memory import MemoryStore
from costplus.storage.sqlite import SqliteStore

NewStore = Callable[[], Awaitable[Store]]

AT = datetime(2026, 3, 14, 9, 30, tzinfo=UTC)  # Within an hour, so that both of its ends are partial.
DOLLAR = 10**9
MINUTE = timedelta(minutes=1)


def customer(id: str = "cus_1", **changes: object) -> Customer:
    return Customer(id=id, created=AT, **changes)


def subscription(customer: str = "cus_1", **changes: object) -> Subscription:
    anchor = AT.replace(day=1, hour=0, minute=0)
    return Subscription(
        id=f"sub_{customer}",
        created=AT,
        customer=customer,
        plan="plan_1",
        rate_card_version="rcv_1",
        anchor=anchor,
        finalized_until=anchor,
        **changes,
    )


def enrol(tx: Tx, *customers: str) -> None:
    """Save the customers and their subscriptions."""
    for id in customers:
        tx.save(customer(id))
        tx.save(subscription(id))


def sheet(model: str = "large", *, margin: str = "30") -> RateSheet:
    """Return three leaves' rates of a model, sold at a margin that makes no finite decimals."""
    price = PriceVersion(
        id=f"pv_{model}",
        provider="openai",
        model=model,
        currency="usd",
        valid_from=AT - timedelta(days=400),
        valid_to=None,
        components=(
            Component("input", Decimal("2.5"), 1_000_000),
            Component("cached_input", Decimal("0.25"), 1_000_000),
            Component("output", Decimal("10"), 1_000_000),
        ),
    )
    card = RateCardVersion(
        id=f"rcv_{margin}", created=AT, rate_card="rcd_1", default=adjustment("margin", Decimal(margin))
    )
    return compile_sheet(price, card)


SHEET = sheet()


def event(
    key: str = "call-1",
    *,
    customer: str = "cus_1",
    at: datetime = AT,
    quantities: dict[str, int] | None = None,
    model: str = "large",
    **changes: object,
) -> UsageEvent:
    usage = Usage({"input": 1000, "output": 10} if quantities is None else quantities)
    return usage_event(
        customer=customer,
        at=at,
        key=key,
        usage=usage,
        source="gateway",
        provider="openai",
        model=model,
        **changes,
    )


def charged(
    key: str = "call-1", *, rates: RateSheet = SHEET, billed_at: datetime | None = None, **changes: object
) -> ChargedEvent:
    made = event(key, model=rates.model, **changes)
    return ChargedEvent(
        event=made, charge=rate(made.usage, rates), billed_at=billed_at or made.at, transaction="txn_1"
    )


def keep(tx: Tx, entries: Sequence[ChargedEvent]) -> None:
    """Append events and their charges, as a settlement does."""
    tx.append_events([entry.event for entry in entries])
    tx.append_charges(entries)


def settlement(
    key: str = "call-1",
    *,
    rates: RateSheet = SHEET,
    hold: str = "",
    release_nano: int = 0,
    closes: bool = False,
    **changes: object,
) -> Settlement:
    made = event(key, model=rates.model, **changes)
    return Settlement(
        event=made, charge=rate(made.usage, rates), hold=hold, release_nano=release_nano, closes=closes
    )


def grant(
    id: str = "credgr_1", *, customer: str = "cus_1", amount_nano: int = DOLLAR, **changes: object
) -> Grant:
    fields = {"remaining_nano": amount_nano, "effective_at": AT - MINUTE, "currency": "usd", **changes}
    return Grant(id=id, customer=customer, created=AT, amount_nano=amount_nano, **fields)


def hold(
    id: str = "hold_1", *, customer: str = "cus_1", amount_nano: int = DOLLAR, **changes: object
) -> Hold:
    fields = {"kind": "request", "owner": "gw_1", "placed_at": AT, "expires_at": AT + 10 * MINUTE, **changes}
    return Hold(id=id, customer=customer, amount_nano=amount_nano, **fields)


def delivery(id: str = "whd_1", *, due_at: datetime = AT, **changes: object) -> Delivery:
    return Delivery(id=id, due_at=due_at, **{"event": "evt_1", "endpoint": "we_1", **changes})


def alert(id: str = "alrt_1", *, threshold_minor: int = 0, **changes: object) -> Alert:
    return Alert(
        id=id, created=AT, title="Low credit", threshold_minor=threshold_minor, currency="usd", **changes
    )


def endpoint(id: str = "we_1", **changes: object) -> WebhookEndpoint:
    return WebhookEndpoint(
        id=id, created=AT, url="https://seller.example/hook", secret="whsec_test", **changes
    )


_fresh = itertools.count(1)


def fresh_customer() -> str:
    """Return an id that no test has used: examples of one property share a store."""
    return f"cus_fresh{next(_fresh)}"


BUILDERS = (
    *(customer, subscription, enrol, sheet, event, charged, keep, settlement, grant, hold, delivery),
    *(alert, endpoint, fresh_customer),
)


@pytest.fixture(scope="session")
def build() -> SimpleNamespace:
    """Return the builders, and the instant and amount that they take for granted."""
    return SimpleNamespace(
        at=AT, dollar=DOLLAR, minute=MINUTE, **{builder.__name__: builder for builder in BUILDERS}
    )


@pytest.fixture
async def memory() -> AsyncIterator[MemoryStore]:
    store = MemoryStore()
    yield store
    await store.close()


@pytest.fixture
async def sqlite(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    store = await SqliteStore.open(tmp_path / "costplus.db")
    yield store
    await store.close()


@pytest.fixture(params=["memory", "sqlite", "postgres"])
async def store(
    request: pytest.FixtureRequest, tmp_path: Path, new_postgres: NewStore
) -> AsyncIterator[Store]:
    """Return each adapter in turn: what holds for one holds for all."""
    opened: Store
    if request.param == "postgres":
        opened = await new_postgres()
    elif request.param == "sqlite":
        opened = await SqliteStore.open(tmp_path / "costplus.db")
    else:
        opened = MemoryStore()
    yield opened
    await opened.close()
