"""Streams pass through as the provider sends them; what we asked for on the caller's behalf is taken out."""

from __future__ import annotations

import json
import re
from typing import Any

import anthropic
import httpx2
import openai
import pytest

pytestmark = pytest.mark.e2e

CHAT, MESSAGES = "/v1/chat/completions", "/v1/messages"
MADE_ANEW = re.compile(
    r'"(id|item_id|created|created_at|completed_at|request_id|system_fingerprint)":("[^"]*"|\d+)'
)
EMPTY_USAGE = ',"usage":null'  # Stands in every chunk but the last once usage was asked for; it stays.
USAGE = {"stream_options": {"include_usage": True}}
NO_USAGE = {"stream_options": {"include_usage": False}}
HELLO = [{"role": "user", "content": "hello [[tokens=30]]"}]
CHAT_BODY = {"model": "gpt-4o-mini", "messages": HELLO, "stream": True}
MESSAGES_BODY = {"model": "claude-sonnet-4-5", "max_tokens": 99, "messages": HELLO, "stream": True}
RESPONSES_BODY = {"model": "gpt-4o-mini", "input": "hello [[tokens=30]]", "stream": True}


def direct(provider: Any, path: str, body: dict[str, Any]) -> str:
    """Return what the provider says without a gateway."""
    headers = {"x-api-key": "any", "authorization": "Bearer any"}
    return httpx2.post(
        f"{provider.url}{path}", json=body, headers=headers, trust_env=False, verify=False
    ).text


def leveled(text: str) -> str:
    """Return the text without what differs from answer to answer."""
    return MADE_ANEW.sub(r'"\1":0', text)


SAME = [
    (CHAT, CHAT_BODY),
    (CHAT, CHAT_BODY | USAGE),
    (CHAT, CHAT_BODY | NO_USAGE),
    (CHAT, CHAT_BODY | {"stream_options": {}}),
    (CHAT, CHAT_BODY | {"stream_options": None}),
    (MESSAGES, MESSAGES_BODY),
    ("/v1/responses", RESPONSES_BODY),
    (CHAT, {**CHAT_BODY, "stream": False}),
    (MESSAGES, {**MESSAGES_BODY, "stream": False}),
    ("/v1/responses", {**RESPONSES_BODY, "stream": False}),
]


@pytest.mark.parametrize(("path", "body"), SAME, ids=lambda value: json.dumps(value)[-60:])
def test_an_answer_is_what_the_provider_would_have_said_itself(
    gateway: Any, provider: Any, customer: str, path: str, body: dict[str, Any]
) -> None:
    answer = gateway.post(path, body, customer)
    expected = leveled(direct(provider, path, body))
    assert leveled(answer.text).replace(EMPTY_USAGE, "") == expected.replace(EMPTY_USAGE, "")
    kind = "text/event-stream" if body["stream"] else "application/json"
    assert answer.headers["content-type"].startswith(kind)


@pytest.mark.parametrize("options", [{}, NO_USAGE])
def test_a_stream_that_did_not_ask_for_usage_shows_none_and_is_metered(
    gateway: Any, customer: str, options: dict[str, Any]
) -> None:
    answer = gateway.post(CHAT, CHAT_BODY | options, customer)
    assert '"usage"' not in answer.text.replace(EMPTY_USAGE, "")
    assert answer.text.endswith("data: [DONE]\n\n")
    booked = gateway.books.wait_for(answer.headers["costplus-request-id"])
    assert booked.flags == [] and booked.quantities["output"] == 30


def test_a_stream_that_asked_for_usage_shows_the_very_counts_that_are_metered(
    gateway: Any, customer: str
) -> None:
    answer = gateway.post(CHAT, CHAT_BODY | USAGE, customer)
    lines = [json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data: {")]
    (usage,) = [line["usage"] for line in lines if line.get("usage")]
    booked = gateway.books.wait_for(answer.headers["costplus-request-id"])
    assert booked.quantities == {"input": usage["prompt_tokens"], "output": usage["completion_tokens"]}


def test_the_first_bytes_of_a_stream_do_not_wait_for_the_last(
    gateway: Any, calls: Any, customer: str
) -> None:
    slow = [{"role": "user", "content": "[[tokens=10]] [[chunk_ms=40]]"}]
    headers = {"authorization": f"Bearer {calls.merchant_key}", "x-stripe-customer-id": customer}
    with gateway.http.stream("POST", CHAT, json=CHAT_BODY | {"messages": slow}, headers=headers) as answer:
        pieces = answer.iter_raw()
        assert b"[DONE]" not in next(pieces)
        assert gateway.books.of(customer) == []
        assert gateway.books.open_intents(customer) == [answer.headers["costplus-request-id"]]
        assert b"[DONE]" in b"".join(pieces)
    gateway.books.wait_for(answer.headers["costplus-request-id"])


def test_the_usage_is_journalled_before_the_answer_is_complete(gateway: Any, customer: str) -> None:
    for body in (CHAT_BODY, {**CHAT_BODY, "stream": False}):
        gateway.post(CHAT, body, customer)
        assert gateway.books.open_intents(customer) == []


def test_the_openai_sdk_streams_through_the_gateway(gateway: Any, calls: Any, customer: str) -> None:
    headers = {"X-Stripe-Customer-ID": customer}
    messages: Any = HELLO
    with openai.OpenAI(
        base_url=f"{gateway.url}/v1", api_key=calls.merchant_key, default_headers=headers
    ) as client:
        chunks = list(client.chat.completions.create(model="gpt-4o-mini", messages=messages, stream=True))
        assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks).count(" ") == 29
        whole = client.responses.create(model="gpt-4o-mini", input="[[tokens=5]]")
        assert whole.usage is not None and whole.usage.output_tokens == 5
        vectors = client.embeddings.create(model="text-embedding-3-small", input=["a", "b"])
        assert len(vectors.data) == 2
    calls.until(lambda: len(gateway.books.of(customer)) == 3, "three calls are settled")


def test_the_anthropic_sdk_streams_through_the_gateway(gateway: Any, calls: Any, customer: str) -> None:
    headers = {"X-Stripe-Customer-ID": customer}
    messages: Any = HELLO
    with (
        anthropic.Anthropic(
            base_url=gateway.url, api_key=calls.merchant_key, default_headers=headers
        ) as client,
        client.messages.stream(model="claude-sonnet-4-6", max_tokens=99, messages=messages) as stream,
    ):
        final = stream.get_final_message()
    assert final.usage.output_tokens == 30
    (booked,) = calls.until(lambda: gateway.books.of(customer), "the call is settled")
    assert booked.quantities["output"] == 30


def test_a_stream_that_breaks_is_an_error_to_the_openai_sdk(gateway: Any, calls: Any, customer: str) -> None:
    headers = {"X-Stripe-Customer-ID": customer}
    messages: Any = [{"role": "user", "content": "[[tokens=50]] [[truncate]]"}]
    with openai.OpenAI(
        base_url=f"{gateway.url}/v1", api_key=calls.merchant_key, default_headers=headers
    ) as client:
        stream = client.chat.completions.create(model="gpt-4o-mini", messages=messages, stream=True)
        with pytest.raises(openai.APIError) as broken:
            list(stream)
    assert broken.value.code == "upstream_broken"
