"""Whatever the provider does, the caller is told in its dialect and the books say what is known."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

pytestmark = pytest.mark.e2e

CHAT, MESSAGES = "/v1/chat/completions", "/v1/messages"
DIALECTS = [(CHAT, "gpt-4o-mini"), (MESSAGES, "claude-sonnet-4-5")]


def ask(text: str, model: str, **more: Any) -> dict[str, Any]:
    return {"model": model, "max_tokens": 500, "messages": [{"role": "user", "content": text}], **more}


def assert_unbilled(gateway: Any, customer: str) -> None:
    """Show that nothing is open or charged, whatever it cost us; what is held is shown once, for all."""
    assert gateway.books.open_intents(customer) == []
    assert sum(call.price_nano for call in gateway.books.of(customer)) == 0


@pytest.mark.parametrize(("path", "model"), DIALECTS)
@pytest.mark.parametrize("status", [400, 404, 429, 500, 503])
@pytest.mark.parametrize("stream", [False, True])
def test_a_providers_refusal_passes_through_and_costs_nothing(
    gateway: Any, provider: Any, customer: str, path: str, model: str, status: int, stream: bool
) -> None:
    body = ask(f"[[error={status}]]", model, stream=stream)
    answer = gateway.post(path, body, customer)
    direct = httpx2.post(
        f"{provider.url}{path}", json=body, headers={"x-api-key": "any"}, trust_env=False, verify=False
    )
    assert (answer.status_code, direct.status_code) == (status, status)
    same = [{**reply.json(), "request_id": "", "serial": ""} for reply in (answer, direct)]
    assert same[0] == same[1]
    assert answer.headers.get("retry-after") == direct.headers.get("retry-after")
    assert_unbilled(gateway, customer)


@pytest.mark.parametrize(("path", "model"), DIALECTS)
@pytest.mark.parametrize("fault", ["[[garbage]]", "[[truncate]]"])
def test_an_answer_that_is_no_answer_is_a_502_and_costs_nothing(
    gateway: Any, customer: str, path: str, model: str, fault: str
) -> None:
    answer = gateway.post(path, ask(fault, model), customer)
    assert answer.status_code == 502
    expected = "provider_answer_invalid" if fault == "[[garbage]]" else "upstream_broken"
    error = answer.json()["error"]
    assert (error["code"], error["type"]) == (expected, "api_error")
    assert_unbilled(gateway, customer)


@pytest.mark.parametrize(("path", "model"), DIALECTS)
def test_a_stream_of_garbage_costs_nothing(gateway: Any, customer: str, path: str, model: str) -> None:
    gateway.post(path, ask("[[garbage]]", model, stream=True), customer)
    assert_unbilled(gateway, customer)


def events(text: str) -> list[dict[str, Any]]:
    """Return what an SSE body says, event by event."""
    lines = [line[5:].strip() for line in text.splitlines() if line.startswith("data:")]
    return [json.loads(line) for line in lines if line.startswith("{")]


def chars_in(path: str, seen: list[dict[str, Any]]) -> int:
    """Return how many generated characters the client saw."""
    if path == MESSAGES:
        return sum(len(event["delta"].get("text", "")) for event in seen if "delta" in event)
    choices = [choice for event in seen for choice in event.get("choices", ())]
    return sum(len(choice["delta"].get("content") or "") for choice in choices)


@pytest.mark.parametrize(("path", "model"), DIALECTS)
@pytest.mark.parametrize("fault", ["[[truncate]]", "[[early_end]]"])
def test_a_stream_that_ends_early_is_billed_by_what_was_seen_and_flagged(
    gateway: Any, calls: Any, customer: str, path: str, model: str, fault: str
) -> None:
    body = ask(f"[[tokens=100]] {fault}", model, stream=True)
    answer = gateway.post(path, body, customer)
    seen = events(answer.text)
    booked = gateway.books.wait_for(answer.headers["costplus-request-id"])
    assert "estimated" in booked.flags
    estimate = -(-chars_in(path, seen) // 4)
    assert estimate > 20
    assert booked.quantities["output"] == estimate
    if path == MESSAGES:  # Its first event told the input: provider's own count, not the estimate.
        assert booked.quantities["input"] == seen[0]["message"]["usage"]["input_tokens"]
    else:
        assert booked.quantities["input"] == -(-len(json.dumps(body)) // 3)
    provider = "anthropic" if path == MESSAGES else "openai"
    assert booked.price_nano == calls.price_nano(f"{provider}/{model}", booked.quantities)
    assert gateway.books.open_intents(customer) == []


@pytest.mark.parametrize(("path", "model"), DIALECTS)
def test_a_stream_that_breaks_ends_with_an_error_in_the_dialect(
    gateway: Any, customer: str, path: str, model: str
) -> None:
    answer = gateway.post(path, ask("[[tokens=50]] [[truncate]]", model, stream=True), customer)
    last = events(answer.text)[-1]
    assert last["error"]["code"] == "upstream_broken"
    assert answer.text.endswith("\n\n")
    if path == MESSAGES:
        assert last["type"] == "error"
        assert "\n\nevent: error\n" in answer.text


@pytest.mark.parametrize(("path", "model"), DIALECTS)
@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_without_counts_is_estimated_and_flagged(
    gateway: Any, customer: str, path: str, model: str, stream: bool
) -> None:
    body = ask("[[tokens=40]] [[no_usage]]", model, stream=stream)
    answer = gateway.post(path, body, customer)
    assert answer.status_code == 200
    booked = gateway.books.wait_for(answer.headers["costplus-request-id"])
    assert booked.flags == ["estimated"] and booked.raw_usage == ""
    assert booked.quantities["input"] == -(-len(json.dumps(body)) // 3)
    assert 40 <= booked.quantities["output"] <= 80  # Words of five to eight letters, four to a token.


def test_an_estimate_never_exceeds_what_the_call_could_have_generated(gateway: Any, customer: str) -> None:
    body = ask("[[tokens=20000]] [[no_usage]]", "gpt-4o-mini", max_tokens=20_000)
    answer = gateway.post(CHAT, body, customer)
    booked = gateway.books.wait_for(answer.headers["costplus-request-id"])
    assert booked.quantities["output"] == 16_384  # The model's own maximum.


def send_raw(gateway: Any, path: str, body: Any, *, key: str, customer: str) -> socket.socket:
    """Send a call on a socket of its own and return that, unread."""
    content = json.dumps(body)
    head = [
        f"POST {path} HTTP/1.1",
        "host: gateway",
        f"authorization: Bearer {key}",
        f"x-stripe-customer-id: {customer}",
        f"content-length: {len(content)}",
    ]
    host, _, port = gateway.url.removeprefix("http://").partition(":")
    client = socket.create_connection((host, int(port)))
    client.settimeout(10)
    client.sendall("\r\n".join([*head, "", content]).encode())
    return client


@pytest.mark.parametrize(("path", "model"), DIALECTS)
def test_a_client_that_leaves_is_billed_the_providers_own_counts(
    gateway: Any, calls: Any, customer: str, path: str, model: str
) -> None:
    body = ask("[[tokens=30]] [[chunk_ms=20]]", model, stream=True)
    with send_raw(gateway, path, body, key=calls.merchant_key, customer=customer) as client:
        assert b"200 OK" in client.recv(1000)
    calls.until(lambda: gateway.books.of(customer), "the call is settled")
    (booked,) = gateway.books.of(customer)
    assert booked.flags == []
    assert booked.quantities["output"] == 30
    assert json.loads(booked.raw_usage)["output_tokens" if path == MESSAGES else "completion_tokens"] == 30


def test_after_all_these_faults_no_credit_stays_held(gateway: Any, calls: Any) -> None:
    calls.until(lambda: gateway.books.held_nano() == 0, "nothing is held")
    assert gateway.books.unbalanced() == []


@pytest.fixture(scope="module")
def lonely_gateway(calls: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Run a gateway whose providers are down."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        nowhere = f"http://127.0.0.1:{closed.getsockname()[1]}"
    folder = tmp_path_factory.mktemp("lonely")
    calls.seed(folder, {"cus_1": 10**9})
    with calls.gateway_on(folder, calls.environment(nowhere)) as served:
        yield served


@pytest.mark.parametrize(("path", "model"), DIALECTS)
@pytest.mark.parametrize("stream", [False, True])
def test_a_provider_that_is_down_is_a_502_and_costs_nothing(
    lonely_gateway: Any, path: str, model: str, stream: bool
) -> None:
    answer = lonely_gateway.post(path, ask("hello", model, stream=stream), "cus_1")
    assert answer.status_code == 502
    assert answer.json()["error"]["code"] == "upstream_unreachable"
    assert_unbilled(lonely_gateway, "cus_1")


@pytest.mark.parametrize(("path", "model"), DIALECTS)
@pytest.mark.parametrize("status", [401, 403])
def test_our_own_rejected_key_is_a_502_that_does_not_tell_of_it(
    gateway: Any, customer: str, path: str, model: str, status: int
) -> None:
    answer = gateway.post(path, ask(f"[[error={status}]]", model), customer)
    assert answer.status_code == 502
    error = answer.json()["error"]
    assert (error["code"], error["type"]) == ("provider_credentials_rejected", "api_error")
    assert "sk-provider-secret" not in answer.text and "No API key" not in answer.text
    assert_unbilled(gateway, customer)
