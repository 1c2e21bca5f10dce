"""A key of one customer never reads or spends another's anything."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest

pytestmark = pytest.mark.e2e

CHAT, MESSAGES, RESPONSES = "/v1/chat/completions", "/v1/messages", "/v1/responses"
GEMINI = "/v1beta/models/gemini-2.5-flash:generateContent"
HELLO = [{"role": "user", "content": "hello"}]
ANNA, BERT = "sk_test_anna", "sk_test_bert"
CREDIT_NANO = 10**10
GOOD: dict[str, dict[str, Any]] = {
    CHAT: {"model": "gpt-4o-mini", "messages": HELLO},
    RESPONSES: {"model": "gpt-4o-mini", "input": "hello"},
    "/v1/embeddings": {"model": "text-embedding-3-small", "input": "hello"},
    MESSAGES: {"model": "claude-sonnet-4-5", "max_tokens": 9, "messages": HELLO},
    "/v1/messages/count_tokens": {"model": "claude-sonnet-4-5", "messages": HELLO},
    GEMINI: {"contents": [{"role": "user", "parts": [{"text": "hello"}]}]},
    "/providers/openai/v1/chat/completions": {"model": "gpt-4o-mini", "messages": HELLO},
    "/providers/google" + GEMINI: {"contents": [{"role": "user", "parts": [{"text": "hello"}]}]},
}
FILE = {"type": "document", "source": {"type": "file", "file_id": "file_of_anna"}}
NAMING: list[tuple[str, dict[str, Any]]] = [
    (RESPONSES, {"previous_response_id": "resp_of_anna"}),
    (RESPONSES, {"conversation": "conv_of_anna"}),
    (RESPONSES, {"background": True}),
    (CHAT, {"messages": [{"role": "user", "content": [{"type": "file", "file": {"file_id": "file-anna"}}]}]}),
    (MESSAGES, {"messages": [{"role": "user", "content": [FILE]}]}),
    (MESSAGES, {"container": "container_of_anna"}),
    ("/v1/messages/count_tokens", {"messages": [{"role": "user", "content": [FILE]}]}),
    (GEMINI, {"cachedContent": "cachedContents/of_anna"}),
    ("/providers/google" + GEMINI, {"cached_content": "cachedContents/of_anna"}),
    ("/providers/openai/v1/chat/completions", {"messages": HELLO, "deferred": True}),
]
KEPT = [
    "/providers/openai/v1/files/file-anna/content",
    "/providers/openai/v1/responses/resp_anna/cancel",
    "/providers/openai/v1/conversations",
    "/providers/openai/v1/vector_stores/vs_anna/search",
    "/providers/openai/v1/batches",
    "/providers/openai/v1/threads/thread_anna/messages",
    "/providers/openai/v1/files?x=/chat/completions",
    "/providers/openai/v1/files%3Fx=/chat/completions",
    "/providers/anthropic/v1/messages/batches",
    "/providers/anthropic/v1/files",
    "/providers/google/v1beta/cachedContents",
    "/providers/google/v1beta/models/gemini-2.5-flash:batchGenerateContent",
]


def serving(calls: Any, provider: Any, folder: Path, **settings: object) -> Any:
    """Return a gateway with two customers of equal credit and a key each."""
    calls.seed(
        folder,
        {"cus_anna": CREDIT_NANO, "cus_bert": CREDIT_NANO},
        keys={ANNA: "cus_anna", BERT: "cus_bert"},
    )
    return calls.gateway_on(folder, calls.environment(provider.url, **settings))


@pytest.fixture(scope="module")
def apart(calls: Any, provider: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Run a gateway with its defaults."""
    with serving(calls, provider, tmp_path_factory.mktemp("apart")) as served:
        yield served


def code_of(answer: httpx2.Response) -> str:
    """Return the permanent code of a refusal, whichever dialect it is in."""
    error = answer.json()["error"]
    return str(error["details"][0]["reason"] if "details" in error else error["code"])


def post(gateway: Any, path: str, body: Any, *, key: str, **headers: str) -> httpx2.Response:
    named = {"authorization": f"Bearer {key}", "content-type": "application/json"}
    content = json.dumps(body).encode()
    answer: httpx2.Response = gateway.http.post(path, content=content, headers={**named, **headers})
    return answer


@pytest.mark.parametrize("path", GOOD)
def test_a_key_spends_its_own_customers_credit_only(apart: Any, calls: Any, path: str) -> None:
    before = {call.id for call in apart.books.of("cus_bert")}
    anna_nano = apart.books.credit_nano("cus_anna")
    answer = post(apart, path, GOOD[path], key=BERT)
    assert answer.status_code == 200, answer.text
    if not path.endswith("count_tokens"):
        booked = apart.books.wait_for(answer.headers["costplus-request-id"])
        assert booked.customer == "cus_bert" and booked.id not in before
    assert apart.books.of("cus_anna") == []
    assert apart.books.credit_nano("cus_anna") == anna_nano


@pytest.mark.parametrize("path", GOOD)
def test_a_key_cannot_name_another_customer(apart: Any, provider_calls: Callable[[], int], path: str) -> None:
    asked = provider_calls()
    for name in ("cus_anna", "cus_nobody", "cus_bert, cus_anna"):
        answer = post(apart, path, GOOD[path], key=BERT, **{"x-stripe-customer-id": name})
        assert (answer.status_code, code_of(answer)) == (403, "customer_mismatch")
    assert provider_calls() == asked
    assert apart.books.of("cus_anna") == []


@pytest.mark.parametrize(("path", "named"), NAMING)
def test_a_key_cannot_name_what_the_provider_keeps(
    apart: Any, calls: Any, provider_calls: Callable[[], int], path: str, named: dict[str, Any]
) -> None:
    body, asked = {**GOOD[path], **named}, provider_calls()
    answer = post(apart, path, body, key=BERT)
    assert (answer.status_code, code_of(answer)) == (400, "stored_state_refused")
    assert provider_calls() == asked
    assert apart.books.open_intents("cus_bert") == []
    merchant = {"x-stripe-customer-id": "cus_bert"}  # The seller's application knows whose it is.
    assert post(apart, path, body, key=calls.merchant_key, **merchant).status_code == 200


@pytest.mark.parametrize("path", KEPT)
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_nothing_kept_at_a_provider_can_be_asked_for(
    apart: Any, provider_calls: Callable[[], int], path: str, method: str
) -> None:
    asked = provider_calls()
    headers = {"authorization": f"Bearer {BERT}"}
    answer = apart.http.request(method, path, content=b"{}", headers=headers)
    assert answer.status_code in (404, 405), answer.text
    assert code_of(answer) in ("endpoint_unknown", "method_not_allowed")
    assert provider_calls() == asked


@pytest.mark.parametrize("policy", ["refuse", "allow"])
def test_the_seller_decides_who_may_name_it(calls: Any, provider: Any, tmp_path: Path, policy: str) -> None:
    body = {**GOOD[RESPONSES], "previous_response_id": "resp_1"}
    with serving(calls, provider, tmp_path, stored_state=policy) as served:
        own = post(served, RESPONSES, body, key=BERT)
        merchant = {"x-stripe-customer-id": "cus_bert"}
        sellers = post(served, RESPONSES, body, key=calls.merchant_key, **merchant)
    assert {own.status_code, sellers.status_code} == {200 if policy == "allow" else 400}


def test_openais_sdk_holds_a_conversation_without_the_providers_memory(apart: Any) -> None:
    with openai.OpenAI(base_url=f"{apart.url}/v1", api_key=BERT, max_retries=0) as client:
        first = client.responses.create(model="gpt-4o-mini", input="My name is Bert.")
        with pytest.raises(openai.BadRequestError) as refused:
            client.responses.create(model="gpt-4o-mini", input="Who am I?", previous_response_id=first.id)
        assert (refused.value.code, refused.value.param) == ("stored_state_refused", "previous_response_id")
        turns: list[Any] = [{"role": "user", "content": "My name is Bert."}]
        turns += [item.model_dump(exclude_none=True) for item in first.output]
        turns.append({"role": "user", "content": "Who am I?"})
        second = client.responses.create(model="gpt-4o-mini", input=turns, store=False)
    assert second.output_text
