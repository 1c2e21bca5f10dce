"""Requests about one customer say so, and the store may serve them beside those of others."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import pytest

METER = "token-billing-tokens"


@pytest.fixture
async def customer(api: Any) -> str:
    await api.set_up()
    return str(await api.customer())


@pytest.fixture
def named(api: Any, monkeypatch: pytest.MonkeyPatch) -> list[Collection[str] | None]:
    """Return the customers that each write from now on names."""
    seen: list[Collection[str] | None] = []
    write = api.store.write

    async def spying(verb: Any, *, customers: Collection[str] | None = None) -> Any:
        seen.append(customers)
        return await write(verb, customers=customers)

    monkeypatch.setattr(api.store, "write", spying)
    return seen


async def test_credit_is_granted_changed_and_ended_for_one_customer(
    api: Any, customer: str, named: list[Any]
) -> None:
    grant = await api.grant(customer, 100)
    await api.post(f"/v1/billing/credit_grants/{grant['id']}", {"metadata[a]": "1"})
    await api.post(f"/v1/billing/credit_grants/{grant['id']}/void")
    assert named == [[customer]] * 3


async def test_reported_events_concern_the_customers_in_their_payloads(
    api: Any, customer: str, named: list[Any]
) -> None:
    await api.report(customer, 10)
    assert named == [[customer]]


async def test_a_customer_is_changed_and_deleted_alone(api: Any, customer: str, named: list[Any]) -> None:
    await api.post(f"/v1/customers/{customer}", {"name": "Other"})
    await api.delete(f"/v1/customers/{customer}")
    assert named == [[customer]] * 2


async def test_looking_at_a_customer_writes_nothing(api: Any, customer: str, named: list[Any]) -> None:
    await api.get(f"/v1/token_billing/customers/{customer}")
    assert named == []


@pytest.mark.parametrize("path", ["/v1/invoices/in_none/void", "/v1/billing/credit_grants/credgr_none/void"])
async def test_what_names_nobody_is_refused_as_ever(api: Any, named: list[Any], path: str) -> None:
    status, *_ = await api.refusal("POST", path, {})
    assert status in (400, 404)
    assert named == [None]


async def test_what_concerns_everybody_names_nobody(api: Any, customer: str, named: list[Any]) -> None:
    await api.post("/v1/customers", {"name": "New"})
    assert named == [None]
