"""Bad input is refused in the caller's own dialect, with a permanent code, and leaves nothing behind."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import anthropic
import openai
import pytest

pytestmark = pytest.mark.e2e

CHAT, MESSAGES = "/v1/chat/completions", "/v1/messages"
DIALECT_PATHS = [CHAT, "/v1/responses", "/v1/embeddings", MESSAGES]
ANTHROPIC_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    405: "api_error",
    413: "request_too_large",
}


def body_for(path: str, **over: Any) -> dict[str, Any]:
    """Return a good body for the endpoint, with what is wrong in it."""
    hello = [{"role": "user", "content": "hello"}]
    good: dict[str, Any] = {
        CHAT: {"model": "gpt-4o-mini", "messages": hello},
        "/v1/responses": {"model": "gpt-4o-mini", "input": "hello"},
        "/v1/embeddings": {"model": "text-embedding-3-small", "input": "hello"},
        MESSAGES: {"model": "claude-sonnet-4-5", "max_tokens": 9, "messages": hello},
    }[path]
    return {**good, **over}


def assert_refused(answer: Any, path: str, status: int, code: str) -> None:
    """Compare status, code and the dialect's envelope."""
    assert answer.status_code == status, answer.text
    body = answer.json()
    if path.endswith("messages"):
        assert body["type"] == "error"
        assert body["error"]["type"] == ANTHROPIC_TYPES[status]
        assert body["request_id"] == answer.headers["costplus-request-id"]
    else:
        assert body.keys() == {"error"}
        assert {"message", "type", "param", "code"} <= body["error"].keys()
        assert body["error"]["type"] == "invalid_request_error"
    assert body["error"]["code"] == code
    assert len(body["error"]["message"]) > 10
    assert "costplus-charged" not in answer.headers


@pytest.fixture(autouse=True)
def nothing_happens(gateway: Any, customer: str, provider_calls: Callable[[], int]) -> Iterator[None]:
    """Show that a refusal calls no provider, holds no credit and leaves no intent open."""
    asked, credit_nano = provider_calls(), gateway.books.credit_nano(customer)
    yield
    assert provider_calls() == asked
    assert gateway.books.open_intents() == []
    assert gateway.books.held_nano(customer) == 0
    assert gateway.books.credit_nano(customer) == credit_nano
    assert gateway.books.of(customer) == []


BAD_BODIES = [
    ({"model": "no-such-model"}, "model_unpriced"),
    ({"model": ""}, "model_missing"),
    ({"model": None}, "model_missing"),
    ({"model": 7}, "model_invalid"),
    ({"stream": "yes"}, "stream_invalid"),
    ({"max_tokens": -1}, "max_tokens_invalid"),
    ({"max_tokens": "many"}, "max_tokens_invalid"),
    ({"n": 0}, "choices_invalid"),
    ({"model": "groq/llama-3.3-70b-versatile"}, "provider_not_configured"),
]


@pytest.mark.parametrize("path", DIALECT_PATHS)
@pytest.mark.parametrize(("over", "code"), BAD_BODIES, ids=lambda value: json.dumps(value))
def test_a_bad_field_is_named_in_the_callers_dialect(
    gateway: Any, customer: str, path: str, over: dict[str, Any], code: str
) -> None:
    assert_refused(gateway.post(path, body_for(path, **over), customer), path, 400, code)


@pytest.mark.parametrize("path", DIALECT_PATHS)
@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "body_not_json"),
        (b"{", "body_not_json"),
        (b'{"model": "gpt-4o-mini"', "body_not_json"),
        (b"\xff\xfe", "body_not_json"),
        (b"[]", "body_not_object"),
        (b'"text"', "body_not_object"),
        (b"null", "body_not_object"),
        (b"{}", "model_missing"),
    ],
)
def test_a_body_that_is_no_request_is_refused(
    gateway: Any, customer: str, path: str, body: bytes, code: str
) -> None:
    assert_refused(gateway.post(path, body, customer), path, 400, code)


@pytest.mark.parametrize("path", DIALECT_PATHS)
def test_a_customer_that_does_not_exist_is_refused(gateway: Any, path: str) -> None:
    assert_refused(gateway.post(path, body_for(path), "cus_nobody"), path, 404, "resource_missing")


@pytest.mark.parametrize("key", [None, "sk_test_unknown", "cus_000"])
@pytest.mark.parametrize("path", DIALECT_PATHS)
def test_a_key_that_is_missing_or_unknown_is_refused(
    gateway: Any, customer: str, path: str, key: str | None
) -> None:
    assert_refused(gateway.post(path, body_for(path), customer, key=key), path, 401, "api_key_invalid")


@pytest.mark.parametrize("path", [CHAT, MESSAGES])
def test_a_revoked_key_is_refused(gateway: Any, customer: str, path: str) -> None:
    answer = gateway.post(path, body_for(path), key="sk_test_revoked")
    assert_refused(answer, path, 401, "api_key_invalid")


@pytest.mark.parametrize("path", [CHAT, MESSAGES])
def test_a_merchant_key_that_names_no_customer_charges_nobody(gateway: Any, path: str) -> None:
    assert_refused(gateway.post(path, body_for(path)), path, 400, "customer_missing")


@pytest.mark.parametrize("path", [CHAT, MESSAGES])
def test_a_virtual_key_cannot_charge_another_customer(gateway: Any, customer: str, path: str) -> None:
    answer = gateway.post(path, body_for(path), customer, key="sk_test_virtual")
    assert_refused(answer, path, 403, "customer_mismatch")


@pytest.mark.parametrize("path", [CHAT, MESSAGES])
def test_a_body_over_the_limit_is_refused(gateway: Any, customer: str, path: str) -> None:
    answer = gateway.post(path, body_for(path, user="x" * 50_000), customer)
    assert_refused(answer, path, 413, "request_too_large")


@pytest.mark.parametrize("path", [CHAT, MESSAGES])
def test_a_body_in_chunks_is_refused_where_it_passes_the_limit(
    gateway: Any, customer: str, calls: Any, path: str
) -> None:
    headers = {"authorization": f"Bearer {calls.merchant_key}", "x-stripe-customer-id": customer}
    pieces = (b" " * 10_000 for _ in range(6))
    assert_refused(gateway.http.post(path, content=pieces, headers=headers), path, 413, "request_too_large")


@pytest.mark.parametrize("path", [*DIALECT_PATHS, "/messages", "/chat/completions"])
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_an_endpoint_takes_post_only(gateway: Any, path: str, method: str) -> None:
    answer = gateway.http.request(method, path)
    assert answer.status_code == 405
    assert answer.json()["error"]["code"] == "method_not_allowed"


WRONG_DIALECTS = [
    ("/v1/responses", "anthropic/claude-sonnet-4-5"),
    ("/v1/embeddings", "anthropic/claude-sonnet-4-5"),
    (CHAT, "cohere/command-a-03-2025"),
    (MESSAGES, "cohere/command-a-03-2025"),
]


@pytest.mark.parametrize(("path", "model"), WRONG_DIALECTS)
def test_a_model_at_the_other_dialects_endpoint_is_refused(
    gateway: Any, customer: str, path: str, model: str
) -> None:
    answer = gateway.post(path, body_for(path, model=model), customer)
    assert_refused(answer, path, 400, "dialect_unsupported")


def test_a_service_tier_without_a_price_is_refused(gateway: Any, customer: str) -> None:
    answer = gateway.chat("hello", customer, model="gpt-5", service_tier="ultrafast")
    assert_refused(answer, CHAT, 400, "service_tier_unpriced")
    assert answer.json()["error"]["param"] == "service_tier"


def test_a_model_that_the_rate_card_does_not_list_is_refused(
    narrow_gateway: Any, provider_calls: Callable[[], int]
) -> None:
    answer = narrow_gateway.chat("hello", "cus_rich", model="gpt-4o")
    assert_refused(answer, CHAT, 400, "model_not_on_rate_card")
    assert narrow_gateway.books.held_nano() == 0
    assert narrow_gateway.books.open_intents() == []


@pytest.mark.parametrize("path", DIALECT_PATHS)
def test_a_blocked_customer_without_credit_is_told_to_pay(gateway: Any, path: str) -> None:
    answer = gateway.post(path, body_for(path), "cus_empty")
    assert_refused(answer, path, 402, "customer_credit_exhausted")
    assert gateway.books.held_nano("cus_empty") == 0


def openai_client(gateway: Any, key: str, customer: str) -> openai.OpenAI:
    """Return the real SDK, with its retries, in front of the gateway."""
    headers = {"X-Stripe-Customer-ID": customer}
    return openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=key, default_headers=headers)


def anthropic_client(gateway: Any, key: str, customer: str) -> anthropic.Anthropic:
    """Return the real SDK, with its retries, in front of the gateway."""
    headers = {"X-Stripe-Customer-ID": customer}
    return anthropic.Anthropic(base_url=gateway.url, api_key=key, default_headers=headers)


def test_the_openai_sdk_raises_what_each_refusal_means(gateway: Any, customer: str, calls: Any) -> None:
    hello: Any = [{"role": "user", "content": "hello"}]
    with openai_client(gateway, "sk_wrong", customer) as client, pytest.raises(openai.AuthenticationError):
        client.chat.completions.create(model="gpt-4o-mini", messages=hello)
    with openai_client(gateway, calls.merchant_key, customer) as client:
        with pytest.raises(openai.BadRequestError) as refused:
            client.chat.completions.create(model="no-such-model", messages=hello)
        assert refused.value.code == "model_unpriced"
    with (
        openai_client(gateway, "sk_test_virtual", customer) as client,
        pytest.raises(openai.PermissionDeniedError),
    ):
        client.chat.completions.create(model="gpt-4o-mini", messages=hello)


def test_the_anthropic_sdk_raises_what_each_refusal_means(gateway: Any, customer: str, calls: Any) -> None:
    hello: Any = [{"role": "user", "content": "hello"}]
    with (
        anthropic_client(gateway, "sk_wrong", customer) as client,
        pytest.raises(anthropic.AuthenticationError),
    ):
        client.messages.create(model="claude-sonnet-4-6", max_tokens=9, messages=hello)
    with anthropic_client(gateway, calls.merchant_key, customer) as client:
        with pytest.raises(anthropic.BadRequestError) as refused:
            client.messages.create(model="no-such-model", max_tokens=9, messages=hello)
        assert refused.value.type == "invalid_request_error"


def test_the_sdks_do_not_send_a_402_again(gateway: Any, calls: Any) -> None:
    hello: Any = [{"role": "user", "content": "hello"}]
    sent: list[Any] = []
    with openai_client(gateway, calls.merchant_key, "cus_empty") as client:
        client._client.event_hooks = {"response": [sent.append]}
        with pytest.raises(openai.APIStatusError) as refused:
            client.chat.completions.create(model="gpt-4o-mini", messages=hello)
        assert (refused.value.status_code, refused.value.code) == (402, "customer_credit_exhausted")
    with anthropic_client(gateway, calls.merchant_key, "cus_empty") as claude:
        claude._client.event_hooks = {"response": [sent.append]}
        with pytest.raises(anthropic.APIStatusError) as unpaid:
            claude.messages.create(model="claude-sonnet-4-6", max_tokens=9, messages=hello)
        assert (unpaid.value.status_code, unpaid.value.type) == (402, "billing_error")
    assert len(sent) == 2
