"""What the gateway's own parts share: a store with one customer, and records of calls."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from node_packages import ABSENT, NodeProject, OutOfReach, node_program, project

from costplus.billing.customer import Customer
from costplus.billing.setup import SetUpRequest, set_up
from costplus.billing.store import Store, Tx
from costplus.billing.subscribe import subscribe
from costplus.billing.terms import terms_of
from costplus.catalog.sources.bundled import bundled_catalogue
from costplus.core.ids import CustomerId, GrantId
from costplus.core.usage import Usage
from costplus.gateway.journal import Intent, Used
from costplus.ledger.grant import Grant
from costplus.ledger.post import grant_credit
from costplus.rating.charge import rate
from costplus.rating.rate_card import RateCardVersion, adjustment
from costplus.rating.sheet import compile_sheet
from costplus.storage.memory import MemoryStore
from costplus.storage.sqlite import SqliteStore

ROOT = Path(__file__).resolve().parents[2]
AT = datetime(2026, 6, 1, 12, tzinfo=UTC)
CUSTOMER = "cus_1"
CREDIT_NANO = 1_000_000_000


def prepare(tx: Tx) -> None:
    """Book one blocked customer with a dollar of credit, on a card at cost + 30 %."""
    request = SetUpRequest(
        plan_name="Tests",
        models=(),
        default=adjustment("markup", Decimal(30)),
        price_tracking="disabled",
        fee_minor=0,
        credit_minor=0,
    )
    plan = set_up(tx, request, at=AT).plan
    customer = Customer(id=CUSTOMER, created=AT, on_zero_credit="block")
    tx.save(customer)
    subscribe(tx, customer, plan, at=AT)
    grant = Grant(
        id=GrantId("credgr_1"),
        customer=CustomerId(CUSTOMER),
        created=AT,
        amount_nano=CREDIT_NANO,
        remaining_nano=CREDIT_NANO,
        currency="usd",
        effective_at=AT,
    )
    grant_credit(tx, grant, at=AT)


@pytest.fixture(params=["memory", "sqlite", "postgres"])
async def store(request: pytest.FixtureRequest, tmp_path: Path, new_postgres: Any) -> AsyncIterator[Store]:
    """Return a store of each kind with the customer in it."""
    opened: Any
    if request.param == "postgres":
        opened = await new_postgres()
    else:
        opened = MemoryStore() if request.param == "memory" else await SqliteStore.open(tmp_path / "test.db")
    await opened.write(prepare)
    yield opened
    await opened.close()


@pytest.fixture
def account() -> SimpleNamespace:
    """Return the customer's figures and how its store is prepared and read."""

    async def held_nano(store: Store) -> int:
        return await store.read(lambda tx: tx.balance_for_update(CUSTOMER).held_nano)

    async def credit_nano(store: Store) -> int:
        return await store.read(lambda tx: sum(grant.remaining_nano for grant in tx.live_grants(CUSTOMER)))

    async def terms(store: Store) -> Any:
        return await store.read(lambda tx: terms_of(tx, CUSTOMER))

    return SimpleNamespace(
        at=AT,
        customer=CUSTOMER,
        amount_nano=CREDIT_NANO,
        prepare=prepare,
        held_nano=held_nano,
        credit_nano=credit_nano,
        terms=terms,
    )


@pytest.fixture
def records() -> SimpleNamespace:
    """Return how to make the journal's records of a call: its intent, its usage with the rates of it."""
    price, _ = bundled_catalogue().price_at("openai", "gpt-4o-mini", at=AT)

    def intent(id: str, *, card: str = "rcv_1", **more: Any) -> Intent:
        fields: dict[str, Any] = {
            "id": id,
            "customer": CUSTOMER,
            "at": AT,
            "provider": "openai",
            "model": "gpt-4o-mini",
            "requested_model": "gpt-4o-mini",
            "input_tokens": 100,
            "price_version": price.id,
            "card_version": card,
        }
        return Intent(**{**fields, **more})

    def used(id: str, card: RateCardVersion | None = None, **more: Any) -> tuple[Used, list[Any]]:
        card = card or RateCardVersion(
            id="rcv_1", created=AT, rate_card="rcd_1", default=adjustment("markup", Decimal(30))
        )
        charge = rate(Usage({"input": 1000, "output": 10}), compile_sheet(price, card))
        fields: dict[str, Any] = {
            "id": id,
            "customer": CUSTOMER,
            "at": AT,
            "provider": "openai",
            "model": "gpt-4o-mini",
            "requested_model": "gpt-4o-mini",
            "quantities": {"input": 1000, "output": 10},
            "flags": (),
            "raw_usage": "{}",
            "service_tier": "",
            "price_nano": charge.price_nano,
            "cost_nano": charge.cost_nano,
            "lines": [(line.rate.id, line.quantity) for line in charge.lines],
        }
        return Used(**{**fields, **more}), [line.rate for line in charge.lines]

    return SimpleNamespace(intent=intent, used=used)


@pytest.fixture
def now() -> Callable[[], datetime]:
    """Return a clock that stands still."""
    return lambda: AT


@pytest.fixture(scope="session")
def node_scripts() -> NodeProject:
    """Return the Node scripts with their packages, or skip."""
    node = node_program()
    if node is None:
        pytest.skip(ABSENT)
    try:
        return project(node, ROOT / "tests" / "gateway" / "node", ROOT / "build" / "node")
    except OutOfReach as reason:
        pytest.skip(f"the Node SDKs cannot be installed here: {reason}")


@pytest.fixture(scope="session")
def billed() -> Callable[..., list[dict[str, int]]]:
    """Return how to read what a customer's calls to a model are booked as, each at its price."""

    def read(
        served: Any, calls: Any, *, customer: str, model: str, count: int, credit_nano: int
    ) -> list[dict[str, int]]:
        found = calls.until(
            lambda: (now := served.books.of(customer)) and len(now) >= count and now,
            f"calls of {customer} are settled",
        )
        assert len(found) == count
        assert [call.flags for call in found] == [[]] * count
        assert {call.model for call in found} == {model.partition("/")[2]}
        for call in found:
            assert call.price_nano == calls.price_nano(model, call.quantities)
        spent_nano = sum(call.price_nano for call in found)
        assert served.books.credit_nano(customer) == credit_nano - spent_nano
        return [call.quantities for call in found]

    return read
