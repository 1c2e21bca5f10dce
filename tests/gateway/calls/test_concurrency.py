"""Calls at once never spend the same credit twice."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import httpx2
import pytest

pytestmark = pytest.mark.e2e

CREDIT_NANO = 30_000_000
CALLS = 100
TOKENS = 500  # Of output: a call holds for these and uses them all.
BODY = {
    "model": "gpt-4o",
    "max_tokens": TOKENS,
    "messages": [{"role": "user", "content": f"[[input=40]] [[tokens={TOKENS}]] [[latency=150]]"}],
}
OVER_HOLD = {
    "model": "gpt-4o",
    "max_tokens": 10,
    "messages": [{"role": "user", "content": "[[input=9000]] [[tokens=10]] [[latency=150]]"}],
}


@pytest.fixture(scope="module")
def crowded(calls: Any, provider: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Run a gateway, its journal flushed to the disk for every call, with customers of little credit."""
    folder = tmp_path_factory.mktemp("crowded")
    calls.seed(folder, {"cus_poor": CREDIT_NANO, "cus_heavy": CREDIT_NANO, "cus_rich": 10**9})
    with calls.gateway_on(folder, calls.environment(provider.url, fsync="true")) as served:
        yield served


def at_once(gateway: Any, calls: Any, customer: str, body: Any) -> list[httpx2.Response]:
    """Send the call a hundred times at once."""
    headers = {"authorization": f"Bearer {calls.merchant_key}", "x-stripe-customer-id": customer}

    async def send() -> list[httpx2.Response]:
        limits = httpx2.Limits(max_connections=CALLS)
        async with httpx2.AsyncClient(timeout=30, trust_env=False, limits=limits) as http:
            url = f"{gateway.url}/v1/chat/completions"
            return await asyncio.gather(*(http.post(url, json=body, headers=headers) for _ in range(CALLS)))

    return asyncio.run(send())


def settled(gateway: Any, calls: Any, customer: str, count: int) -> int:
    """Return the total charged once everything is settled and nothing is held any more."""
    calls.until(lambda: len(gateway.books.of(customer)) == count, f"{count} calls are settled")
    calls.until(lambda: gateway.books.held_nano(customer) == 0, "nothing is held")
    assert gateway.books.unbalanced() == []
    return sum(call.price_nano for call in gateway.books.of(customer))


def test_of_a_hundred_calls_as_many_pass_as_the_credit_covers(crowded: Any, calls: Any) -> None:
    answers = at_once(crowded, calls, "cus_poor", BODY)
    statuses = Counter(answer.status_code for answer in answers)
    assert statuses.keys() == {200, 402} and statuses[200] >= 2
    passed = [answer for answer in answers if answer.status_code == 200]
    charged_nano = settled(crowded, calls, "cus_poor", len(passed))
    assert charged_nano <= CREDIT_NANO
    assert crowded.books.credit_nano("cus_poor") == CREDIT_NANO - charged_nano
    assert crowded.books.owed_nano("cus_poor") == 0
    for answer in passed:
        held_nano = Decimal(answer.headers["costplus-held"]) * 10**9
        booked = crowded.books.booked()[answer.headers["costplus-request-id"]]
        assert booked.price_nano <= held_nano
        assert booked.price_nano == Decimal(answer.headers["costplus-charged"]) * 10**9


def test_only_what_calls_use_beyond_their_holds_goes_over_the_credit(crowded: Any, calls: Any) -> None:
    answers = at_once(crowded, calls, "cus_heavy", OVER_HOLD)
    passed = [answer for answer in answers if answer.status_code == 200]
    charged_nano = settled(crowded, calls, "cus_heavy", len(passed))
    held_nano = sum(Decimal(answer.headers["costplus-held"]) * 10**9 for answer in passed)
    assert held_nano <= CREDIT_NANO < charged_nano
    assert crowded.books.credit_nano("cus_heavy") == 0
    assert crowded.books.owed_nano("cus_heavy") == charged_nano - CREDIT_NANO
    assert crowded.chat("hello", "cus_heavy").status_code == 402  # And there it ends.


def test_a_rich_customers_hundred_calls_all_pass_and_add_up(crowded: Any, calls: Any) -> None:
    answers = at_once(crowded, calls, "cus_rich", BODY)
    assert {answer.status_code for answer in answers} == {200}
    one_nano = calls.price_nano("openai/gpt-4o", {"input": 40, "output": TOKENS})
    assert settled(crowded, calls, "cus_rich", CALLS) == CALLS * one_nano
    assert crowded.books.credit_nano("cus_rich") == 10**9 - CALLS * one_nano
