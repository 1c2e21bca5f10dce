"""Ways to a provider through a whole gateway: fixed headers, a proxy, time-outs, lanes of other dialects."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest

pytestmark = pytest.mark.e2e

NOBODY = "http://127.0.0.1:9"  # Nothing listens there.
HELLO: list[Any] = [{"role": "user", "content": "Hello [[input=9]] [[tokens=20]]"}]
WEATHER = {"type": "object", "properties": {"city": {"type": "string"}}}
ASKED: list[Any] = [{"role": "user", "content": 'Rome? [[tool=weather {"city":"Rome"}]]'}]
Fronted = Callable[..., tuple[Any, Any]]


def openai_at(url: str, **more: str) -> dict[str, str]:
    named = {"BASE_URL": url, "API_KEY": "sk-ours", **more}
    return {f"COSTPLUS_PROVIDERS__OPENAI__{name}": value for name, value in named.items()}


def test_fixed_headers_and_the_proxy_are_used(fronted: Fronted, fronts: Any, calls: Any) -> None:
    def environ(proxy_url: str) -> dict[str, str]:
        proxy = proxy_url.replace("//", "//me:secret@")
        return openai_at("http://provider.invalid", PROXY=proxy, HEADERS='{"X-Team": "blue"}')

    gateway, told = fronted(environ)
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=fronts.key, max_retries=0) as sdk:
        answer = sdk.chat.completions.create(model="gpt-4o-mini", messages=HELLO)
    assert answer.usage is not None and answer.usage.completion_tokens == 20
    (asked,) = told.asked
    assert asked.path == "http://provider.invalid/v1/chat/completions"
    assert asked.headers["proxy-authorization"].startswith("Basic ")
    assert asked.headers["authorization"] == "Bearer sk-ours"
    assert asked.headers["x-team"] == "blue"
    assert fronts.only(gateway, calls).quantities == {"input": 9, "output": 20}


def test_a_provider_that_is_silent_for_too_long_is_given_up(fronted: Fronted, fronts: Any) -> None:
    gateway, _ = fronted(lambda url: openai_at(url, TIMEOUTS__FIRST_BYTE_S="1"))
    silent = [{"role": "user", "content": "Hello [[latency=5000]]"}]
    with (
        openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=fronts.key, max_retries=0) as sdk,
        pytest.raises(openai.APIStatusError) as raised,
    ):
        sdk.chat.completions.create(model="gpt-4o-mini", messages=silent)  # type: ignore[arg-type]  # It is one.
    assert (raised.value.status_code, raised.value.code) == (504, "upstream_timeout")


def routed(targets: list[tuple[str, str]], **providers: str) -> dict[str, str]:
    """Return settings by which `smart` is served by the first of the targets that can."""
    route = [{"provider": p, "model": m, "priority": place} for place, (p, m) in enumerate(targets)]
    urls = {f"COSTPLUS_PROVIDERS__{name.upper()}__BASE_URL": url for name, url in providers.items()}
    keys = {f"COSTPLUS_PROVIDERS__{name.upper()}__API_KEY": "sk-ours" for name in providers}
    return {**urls, **keys, "COSTPLUS_ROUTES": json.dumps({"smart": route})}


@pytest.mark.parametrize("streams", [False, True])
def test_chat_fails_over_to_a_model_of_another_dialect_at_that_models_price(
    fronted: Fronted, fronts: Any, calls: Any, provider: Any, streams: bool
) -> None:
    targets = [("openai", "gpt-4o-mini"), ("anthropic", "claude-sonnet-4-5")]
    gateway, _ = fronted(lambda _: routed(targets, openai=NOBODY, anthropic=provider.url))
    tools: list[Any] = [{"type": "function", "function": {"name": "weather", "parameters": WEATHER}}]
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=fronts.key, max_retries=0) as sdk:
        if streams:
            with sdk.chat.completions.stream(model="smart", messages=ASKED, tools=tools) as stream:
                answer: Any = stream.get_final_completion()
        else:
            answer = sdk.chat.completions.create(model="smart", messages=ASKED, tools=tools)
    (call,) = answer.choices[0].message.tool_calls
    assert (call.function.name, json.loads(call.function.arguments)) == ("weather", {"city": "Rome"})
    booked = fronts.only(gateway, calls)
    assert booked.model == "claude-sonnet-4-5" and booked.flags == []
    assert booked.price_nano == calls.price_nano("anthropic/claude-sonnet-4-5", booked.quantities)


def test_messages_fail_over_to_a_model_of_another_dialect(
    fronted: Fronted, fronts: Any, calls: Any, provider: Any
) -> None:
    targets = [("anthropic", "claude-sonnet-4-5"), ("google", "gemini-2.5-flash")]
    gateway, _ = fronted(lambda _: routed(targets, anthropic=NOBODY, google=provider.url))
    with (
        anthropic.Anthropic(base_url=gateway.url, api_key=fronts.key, max_retries=0) as sdk,
        sdk.messages.stream(model="smart", max_tokens=64, messages=HELLO) as stream,
    ):
        answer = stream.get_final_message()
    assert answer.stop_reason == "end_turn"
    booked = fronts.only(gateway, calls)
    assert booked.model == "gemini-2.5-flash"
    assert booked.quantities == {"input": 9, "output": 20}
    assert booked.price_nano == calls.price_nano("google/gemini-2.5-flash", booked.quantities)


def test_a_customers_own_wrong_key_is_told_and_keeps_no_other_customer_from_the_provider(
    fronts: Any, calls: Any, provider: Any, tmp_path: Path
) -> None:
    keys = {"sk_test_wrong": "cus_wrong", "sk_test_other": "cus_other"}
    calls.seed(tmp_path, dict.fromkeys(keys.values()), keys=keys)
    targets = [("openai", "gpt-4o-mini"), ("anthropic", "claude-sonnet-4-5")]
    merchant = {"authorization": f"Bearer {calls.merchant_key}"}
    with fronts.front(provider.url) as told:
        told.judge = lambda asked: None if "sk-ours" in asked.headers["authorization"] else (401, {})
        environ = routed(targets, openai=told.url, anthropic=provider.url)
        environ["COSTPLUS_SECRET_KEY"] = calls.merchant_key
        with calls.gateway_on(tmp_path, environ, role="all") as gateway:
            wrong = {"customer": "cus_wrong", "provider": "openai", "api_key": "sk-wrong"}
            path = "/v1/token_billing/provider_keys"
            assert gateway.http.post(path, data=wrong, headers=merchant).status_code == 200
            body = {"model": "smart", "messages": HELLO}
            for _ in range(4):
                answer = gateway.post("/v1/chat/completions", body, key="sk_test_wrong")
                assert (answer.status_code, answer.json()["error"]["code"]) == (401, "provider_key_rejected")
                answer = gateway.post("/v1/chat/completions", body, key="sk_test_other")
                booked = gateway.books.wait_for(answer.headers["costplus-request-id"])
                assert booked.model == "gpt-4o-mini"
            assert gateway.books.of("cus_wrong") == []
