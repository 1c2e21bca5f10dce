"""What a settled call is charged: Σ tokens × the provider's price × 1.30, rounded up once at a nano."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

pytestmark = pytest.mark.e2e

TEXT = "[[input=1000]] [[tokens=7]]"
CACHED = "[[input=1000]] [[cached=400]] [[tokens=7]] [[reasoning=50]]"
WRITTEN = "[[input=1000]] [[cached=100]] [[cache_write=300]] [[cache_write_1h=200]] [[tokens=9]]"
CHAT = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": TEXT}]}
CACHED_CHAT = {"model": "gpt-5", "messages": [{"role": "user", "content": CACHED}]}
RESPONSES = {"model": "gpt-5", "input": CACHED}
EMBEDDINGS = {"model": "text-embedding-3-small", "input": "four tokens or so"}
MESSAGES = {
    "model": "claude-sonnet-4.5",
    "max_tokens": 99,
    "messages": [{"role": "user", "content": WRITTEN}],
}
DATED = {**MESSAGES, "model": "anthropic/claude-sonnet-4-5-20250929"}
STREAM = {"stream": True}

SOLD: list[tuple[str, dict[str, Any], str, dict[str, int]]] = [
    ("/v1/chat/completions", CHAT, "openai/gpt-4o-mini", {"input": 1000, "output": 7}),
    ("/chat/completions", CHAT, "openai/gpt-4o-mini", {"input": 1000, "output": 7}),
    ("/v1/chat/completions", CHAT | STREAM, "openai/gpt-4o-mini", {"input": 1000, "output": 7}),
    (
        "/v1/chat/completions",
        CACHED_CHAT | STREAM,
        "openai/gpt-5",
        {"input": 600, "cached_input": 400, "output": 7, "reasoning": 50},
    ),
    (
        "/v1/responses",
        RESPONSES,
        "openai/gpt-5",
        {"input": 600, "cached_input": 400, "output": 7, "reasoning": 50},
    ),
    (
        "/responses",
        RESPONSES | STREAM,
        "openai/gpt-5",
        {"input": 600, "cached_input": 400, "output": 7, "reasoning": 50},
    ),
    ("/v1/embeddings", EMBEDDINGS, "openai/text-embedding-3-small", {"input": 5}),
    ("/embeddings", EMBEDDINGS, "openai/text-embedding-3-small", {"input": 5}),
    (
        "/v1/messages",
        MESSAGES,
        "anthropic/claude-sonnet-4-5",
        {"input": 400, "cached_input": 100, "cache_write_5m": 300, "cache_write_1h": 200, "output": 9},
    ),
    (
        "/messages",
        MESSAGES | STREAM,
        "anthropic/claude-sonnet-4-5",
        {"input": 400, "cached_input": 100, "cache_write_5m": 300, "cache_write_1h": 200, "output": 9},
    ),
    (
        "/v1/messages",
        DATED,
        "anthropic/claude-sonnet-4-5",
        {"input": 400, "cached_input": 100, "cache_write_5m": 300, "cache_write_1h": 200, "output": 9},
    ),
]


@pytest.mark.parametrize(("path", "body", "model", "quantities"), SOLD, ids=lambda value: str(value)[:40])
def test_a_call_is_charged_its_tokens_at_cost_plus_thirty_percent(
    gateway: Any, calls: Any, customer: str, path: str, body: dict[str, Any], model: str, quantities: Any
) -> None:
    answer = gateway.post(path, body, customer)
    assert answer.status_code == 200, answer.text
    booked = gateway.books.wait_for(answer.headers["costplus-request-id"])
    assert booked.quantities == quantities
    assert booked.flags == [] and booked.source == "gateway" and booked.customer == customer
    assert booked.price_nano == calls.price_nano(model, quantities)
    if "stream" not in body:
        assert Decimal(answer.headers["costplus-charged"]) * 10**9 == booked.price_nano


def test_a_service_tier_with_a_price_is_sold(gateway: Any, customer: str) -> None:
    plain, dear = (
        gateway.chat(TEXT, customer, model="gpt-5", service_tier=tier) for tier in ("auto", "priority")
    )
    assert (plain.status_code, dear.status_code) == (200, 200), dear.text
    assert Decimal(dear.headers["costplus-held"]) > Decimal(plain.headers["costplus-held"])


def test_what_calls_are_charged_leaves_the_credit_and_nothing_else_does(
    gateway: Any, calls: Any, customer: str
) -> None:
    before = gateway.books.credit_nano(customer)
    for text in (TEXT, CACHED, WRITTEN):
        gateway.chat(text, customer)
        gateway.messages(text, customer, stream=True)
    calls.until(lambda: len(gateway.books.of(customer)) == 6, "six calls are settled")
    charged = sum(call.price_nano for call in gateway.books.of(customer))
    assert gateway.books.credit_nano(customer) + charged == before
    assert gateway.books.unbalanced() == []


def test_credit_set_aside_for_calls_goes_back_once_they_are_over(
    gateway: Any, calls: Any, customer: str
) -> None:
    gateway.chat(TEXT, customer)
    calls.until(lambda: gateway.books.held_nano(customer) == 0, "nothing is held")


def test_an_overage_customer_goes_on_at_zero_and_owes_what_it_used(gateway: Any) -> None:
    first, second = gateway.chat(TEXT, "cus_overage"), gateway.messages(TEXT, "cus_overage")
    booked = [gateway.books.wait_for(a.headers["costplus-request-id"]) for a in (first, second)]
    assert "costplus-held" not in first.headers
    assert gateway.books.owed_nano("cus_overage") == sum(call.price_nano for call in booked)


def test_a_virtual_key_charges_its_own_customer(gateway: Any) -> None:
    body = {**CHAT, "model": "openai/gpt-4o-mini"}
    answer = gateway.post("/v1/chat/completions", body, key="sk_test_virtual")
    assert gateway.books.wait_for(answer.headers["costplus-request-id"]).customer == "cus_virtual"


@pytest.mark.parametrize("stream", [False, True])
def test_answers_say_what_is_held_charged_and_left_and_never_what_it_cost(
    gateway: Any, customer: str, stream: bool
) -> None:
    answer = gateway.chat("hello [[tokens=40]]", customer, stream=stream)
    booked = gateway.books.wait_for(answer.headers["costplus-request-id"])
    ours = {name for name in answer.headers if name.startswith("costplus-")}
    charged = set() if stream else {"costplus-charged"}  # A stream's head is sent before that is known.
    assert ours == {"costplus-request-id", "costplus-held", "costplus-remaining"} | charged
    cost = f"{Decimal(booked.cost_nano) / 10**9:f}"
    assert booked.cost_nano > 0 and not any(cost in value for value in answer.headers.values())
