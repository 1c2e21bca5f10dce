"""A key's own limits, set over the API and kept by the gateway."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import openai
import pytest

pytestmark = pytest.mark.e2e

CHAT, MESSAGES = "/v1/chat/completions", "/v1/messages"


@pytest.fixture(scope="module")
def serving(calls: Any, provider: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Run API and gateway in one process."""
    folder = tmp_path_factory.mktemp("limits")
    calls.seed(folder, {"cus_keys": 10**10})
    arguments = ("serve", "--port", "0", "--data-dir", str(folder))
    environ = calls.environment(provider.url)
    with (
        calls.started(*arguments, folder=folder, environ=environ) as process,
        httpx2.Client(base_url=process.url, timeout=30, trust_env=False) as http,
    ):
        yield http


@pytest.fixture
def new_key(serving: Any, calls: Any) -> Callable[..., dict[str, Any]]:
    def make(**limits: Any) -> dict[str, Any]:
        answer = serving.post(
            "/v1/token_billing/keys",
            data={"customer": "cus_keys", **limits},
            headers={"authorization": f"Bearer {calls.merchant_key}"},
        )
        assert answer.status_code == 200, answer.text
        made: dict[str, Any] = answer.json()
        return made

    return make


def ask(serving: Any, key: dict[str, Any], text: str = "Hello", **more: Any) -> httpx2.Response:
    body = {"model": "gpt-4o-mini", "max_tokens": 20, "messages": [{"role": "user", "content": text}], **more}
    path = MESSAGES if str(body["model"]).startswith("claude") else CHAT
    answer: httpx2.Response = serving.post(
        path, json=body, headers={"authorization": f"Bearer {key['secret']}"}
    )
    return answer


def test_requests_in_a_minute(serving: Any, new_key: Any) -> None:
    key = new_key(requests_per_minute=2)
    assert [ask(serving, key).status_code for _ in range(3)] == [200, 200, 429]
    refused = ask(serving, key)
    assert refused.json()["error"]["code"] == "key_rate_limited"
    assert refused.json()["error"]["type"] == "rate_limit_error"
    assert 1 <= int(refused.headers["retry-after"]) <= 30
    other = new_key(requests_per_minute=2)
    assert ask(serving, other).status_code == 200


def test_tokens_in_a_minute_count_what_was_used(serving: Any, new_key: Any) -> None:
    key = new_key(tokens_per_minute=2000)
    for _ in range(8):  # Each may take 1,000 and takes some forty.
        assert ask(serving, key, "[[tokens=20]]", max_tokens=900).status_code == 200
    over = ask(serving, key, max_tokens=5000)
    assert (over.status_code, over.json()["error"]["code"]) == (400, "call_over_key_tokens_per_minute")


def test_calls_at_once(serving: Any, new_key: Any) -> None:
    key = new_key(parallel_requests=2)
    with ThreadPoolExecutor(6) as threads:
        slow = list(threads.map(lambda _: ask(serving, key, "[[latency=600]]").status_code, range(6)))
    assert sorted(slow) == [200, 200, 429, 429, 429, 429]
    assert ask(serving, key).status_code == 200


def test_the_dialects_sdk_sees_a_rate_limit(serving: Any, new_key: Any) -> None:
    key = new_key(requests_per_minute=1)
    with openai.OpenAI(base_url=f"{serving.base_url}/v1", api_key=key["secret"], max_retries=0) as client:
        say = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Hello"}]}
        client.chat.completions.create(**say)
        with pytest.raises(openai.RateLimitError):
            client.chat.completions.create(**say)


def test_models_of_a_key(serving: Any, new_key: Any) -> None:
    names = ["openai/gpt-4o-mini", "anthropic/*", "google/gemini-flash-latest"]
    key = new_key(**{f"models[{n}]": name for n, name in enumerate(names)})
    assert key["models"] == names
    assert ask(serving, key).status_code == 200
    assert ask(serving, key, model="claude-sonnet-4-5").status_code == 200
    refused = ask(serving, key, model="gpt-4o")
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "model_not_allowed_for_key")
    listed = serving.get("/v1/models", headers={"authorization": f"Bearer {key['secret']}"}).json()["data"]
    assert (
        {"openai", "anthropic"} <= {entry["author"] for entry in listed} <= {"openai", "anthropic", "google"}
    )
    assert [entry["model"] for entry in listed if entry["author"] == "openai"] == ["gpt-4o-mini"]


def test_a_key_ends(serving: Any, new_key: Any, calls: Any) -> None:
    key = new_key(expires_at=int(time.time()) + 2)
    assert ask(serving, key).status_code == 200
    calls.until(lambda: ask(serving, key).status_code == 401, "the key has expired")
    assert ask(serving, key).json()["error"]["code"] == "api_key_expired"


def test_limits_are_changed_and_lifted(serving: Any, new_key: Any, calls: Any) -> None:
    key = new_key(requests_per_minute=1)
    assert [ask(serving, key).status_code for _ in range(2)] == [200, 429]
    changed = serving.post(
        f"/v1/token_billing/keys/{key['id']}",
        data={"requests_per_minute": "", "tokens_per_minute": 100_000},
        headers={"authorization": f"Bearer {calls.merchant_key}"},
    ).json()
    assert (changed["requests_per_minute"], changed["tokens_per_minute"]) == (None, 100_000)
    assert [ask(serving, key).status_code for _ in range(3)] == [200, 200, 200]


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        ({"customer": "cus_keys", "requests_per_minute": -1}, "parameter_invalid_integer"),
        ({"customer": "cus_keys", "models[]": "gpt"}, "key_model_invalid"),
        ({"customer": "cus_keys", "expires_at": "soon"}, "parameter_invalid_time"),
        ({"requests_per_minute": 5}, "key_limits_of_seller"),
    ],
)
def test_what_is_no_limit(serving: Any, calls: Any, sent: dict[str, Any], code: str) -> None:
    answer = serving.post(
        "/v1/token_billing/keys", data=sent, headers={"authorization": f"Bearer {calls.merchant_key}"}
    )
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, code)
