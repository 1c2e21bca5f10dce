"""Four gateways on one PostgreSQL: 500 calls at once by a customer whose credit pays for 310.

Rule 1: what is charged never exceeds the credit, and every answer that a client got is billed once.
Rule 2: what one gateway has set aside for itself may refuse a call at another; it comes back, and sells.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2
import pytest

from costplus.audit import audit
from costplus.billing.store import ChargedEvent
from costplus.storage.postgres import PostgresStore

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

KEY = "sk_test_gateways_0123456789"
GATEWAYS, CALLS = 4, 500
CREDIT_NANO = 10_000_000  # One cent: the least that can be granted.
FIRST, LAST = datetime(2020, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)
IDLE_S = 4
PRICE_NANO = 32_175  # 5 tokens in at 0.15 USD a million and 40 out at 0.60, each with 30 %.
BODY = {
    "model": "gpt-4o-mini",
    "max_tokens": 40,
    "messages": [{"role": "user", "content": "[[input=5]] [[tokens=40]]"}],
}


@pytest.fixture
def database_url(new_postgres_server: Callable[..., Any]) -> str:
    url: str = asyncio.run(new_postgres_server(durable=False).make_database())
    return url


@pytest.fixture
def urls(running: Any, provider: str, database_url: str, tmp_path: Path) -> Iterator[list[str]]:
    """The API's URL and those of four gateways, each with a data directory of its own."""
    env = {
        "COSTPLUS_SECRET_KEY": KEY,
        "COSTPLUS_LOG_LEVEL": "warning",
        "COSTPLUS_DATABASE_URL": database_url,
        "COSTPLUS_PROVIDERS__OPENAI__BASE_URL": provider,
        "COSTPLUS_PROVIDERS__OPENAI__API_KEY": "simulated",
    }
    with ExitStack() as stack:
        yield [
            stack.enter_context(
                running("serve", "--role", role, "--port", "0", "--data-dir", str(tmp_path / str(n)), env=env)
            ).url
            for n, role in enumerate(("api", *["gateway"] * GATEWAYS))
        ]


def poor_customer(api_url: str) -> str:
    """Return a new customer with one cent, who is refused beyond it."""
    with httpx2.Client(base_url=api_url, auth=(KEY, ""), timeout=20) as api:
        setup = {"plan_name": "Plan", "default_markup_percent": "30", "credit_grant_per_period_amount": "0"}
        assert api.post("/v1/token_billing/onboarding/init", data=setup).status_code == 200
        customer: str = api.post("/v1/customers", data={"name": "Ann"}).json()["id"]
        blocked = api.post(f"/v1/token_billing/customers/{customer}", data={"on_zero_credit": "block"})
        assert blocked.status_code == 200
        grant = {
            "customer": customer,
            "amount[type]": "monetary",
            "amount[monetary][currency]": "usd",
            "amount[monetary][value]": "1",
            "applicability_config[scope][price_type]": "metered",
        }
        granted = api.post("/v1/billing/credit_grants", data=grant)
        assert granted.status_code == 200, granted.text
    return customer


async def call_all(urls: Sequence[str], customer: str) -> tuple[list[httpx2.Response], list[httpx2.Response]]:
    """Return the answers to calls at once, and to calls one by one until one is refused.

    What a gateway reserved and does not use goes back within seconds, so they begin after that.
    """
    headers = {"authorization": f"Bearer {KEY}", "x-stripe-customer-id": customer}
    limits = httpx2.Limits(max_connections=CALLS)
    async with httpx2.AsyncClient(headers=headers, timeout=120, limits=limits) as http:
        paths = [f"{urls[i % len(urls)]}/v1/chat/completions" for i in range(CALLS)]
        at_once = list(await asyncio.gather(*(http.post(path, json=BODY) for path in paths)))
        await asyncio.sleep(IDLE_S)
        one_by_one = []
        for path in paths:
            one_by_one.append(await http.post(path, json=BODY))
            if one_by_one[-1].status_code != 200:
                break
    return at_once, one_by_one


async def booked(url: str, customer: str) -> tuple[Sequence[ChargedEvent], Any, Any]:
    """Return the customer's charges and balance, and what an audit finds."""
    store = await PostgresStore.open(url, writers=1, readers=1)
    try:
        charged = await store.read(lambda tx: tx.charged_between(customer, FIRST, LAST, limit=10_000))
        return charged, await store.read(lambda tx: tx.balance(customer)), await audit(store)
    finally:
        await store.close()


def test_four_gateways_sell_all_of_the_credit_and_no_more_and_bill_every_answer_once(
    urls: list[str], database_url: str
) -> None:
    customer = poor_customer(urls[0])
    at_once, one_by_one = asyncio.run(call_all(urls[1:], customer))
    answers = at_once + one_by_one
    refusals = Counter(a.json()["error"]["code"] for a in answers if a.status_code != 200)
    assert refusals.keys() == {"customer_credit_exhausted"}
    assert one_by_one[-1].status_code != 200
    answered = [a.headers["costplus-request-id"] for a in answers if a.status_code == 200]
    charged, balance, made = asyncio.run(booked(database_url, customer))
    assert sorted(entry.event.request_id for entry in charged) == sorted(answered)
    assert {entry.charge.price_nano for entry in charged} == {PRICE_NANO}
    assert len(charged) == CREDIT_NANO // PRICE_NANO
    assert not any(balance.owed_nano.values())
    assert made.findings == ()
