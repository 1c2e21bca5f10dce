"""Providers' own APIs below `/providers/`: what goes through, what is refused, and how that is said."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

pytestmark = pytest.mark.e2e

GENERATE = "/v1beta/models/gemini-2.5-flash:generateContent"
ASK = {"contents": [{"role": "user", "parts": [{"text": "Hello [[input=5]] [[tokens=11]]"}]}]}


def test_a_native_call_is_billed_like_any_other(gateway: Any, calls: Any, customer: str) -> None:
    answer = gateway.post(f"/providers/google{GENERATE}", ASK, customer)
    assert answer.status_code == 200, answer.text
    booked = gateway.books.wait_for(answer.headers["costplus-request-id"])
    assert booked.quantities == {"input": 5, "output": 11}
    assert booked.price_nano == calls.price_nano("google/gemini-2.5-flash", booked.quantities)


def test_what_the_caller_limits_is_what_is_held(gateway: Any, customer: str) -> None:
    held = []
    for limit in (10, 1000):
        body = {**ASK, "generationConfig": {"maxOutputTokens": limit}}
        held.append(float(gateway.post(GENERATE, body, customer).headers["costplus-held"]))
    assert held[1] > held[0] * 10


@pytest.mark.parametrize("wrong", ["ten", -1, 1.5, True])
def test_a_limit_that_is_none_is_refused_in_googles_words(gateway: Any, customer: str, wrong: Any) -> None:
    body = {**ASK, "generationConfig": {"maxOutputTokens": wrong}}
    answer = gateway.post(GENERATE, body, customer)
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert (error["code"], error["status"]) == (400, "INVALID_ARGUMENT")
    assert error["details"][0]["reason"] == "max_tokens_invalid"


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/providers/openai/v1/files", 404, "endpoint_unknown"),
        ("/providers/openai/v1/batches", 404, "endpoint_unknown"),
        ("/providers/nobody/v1/chat/completions", 400, "provider_not_configured"),
        ("/providers/", 400, "provider_not_configured"),
        ("/providers/openai", 404, "endpoint_unknown"),
    ],
)
def test_what_cannot_be_metered_is_refused(
    gateway: Any, customer: str, provider_calls: Callable[[], int], path: str, status: int, code: str
) -> None:
    asked = provider_calls()
    answer = gateway.post(path, {"model": "gpt-4o-mini"}, customer)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert provider_calls() == asked


def test_what_is_kept_at_a_provider_is_nobodys(gateway: Any, customer: str) -> None:
    headers = {"authorization": "Bearer sk_test_merchant_of_the_tests", "x-stripe-customer-id": customer}
    answer = gateway.http.get("/providers/openai/v1/responses/resp_of_another", headers=headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (405, "method_not_allowed")


@pytest.mark.parametrize("path", [GENERATE, f"/providers/google{GENERATE}"])
def test_a_key_in_the_query_is_taken_and_stays_here(gateway: Any, path: str) -> None:
    answer = gateway.post(f"{path}?key=sk_test_virtual", ASK, key=None)
    assert answer.status_code == 200, answer.text
    assert gateway.books.wait_for(answer.headers["costplus-request-id"]).customer == "cus_virtual"


def test_without_a_key_nothing_is_passed_on(gateway: Any, provider_calls: Callable[[], int]) -> None:
    asked = provider_calls()
    for path in (GENERATE, "/v1/messages/count_tokens", "/providers/bedrock/model/m/converse"):
        assert gateway.post(path, ASK, key=None).status_code == 401
    assert provider_calls() == asked


def test_counting_tokens_is_passed_on_and_costs_nothing(gateway: Any, customer: str) -> None:
    before = gateway.books.credit_nano(customer)
    answer = gateway.post(
        "/v1/messages/count_tokens",
        {"model": "claude-sonnet-4-5", "messages": [{"role": "user", "content": "Hello"}]},
        customer,
    )
    assert answer.status_code == 200 and answer.json()["input_tokens"] > 0
    assert gateway.books.credit_nano(customer) == before
    assert gateway.books.open_intents(customer) == []
