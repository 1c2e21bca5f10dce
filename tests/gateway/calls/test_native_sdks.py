"""Released SDKs of Google, Mistral, Cohere and Amazon work with another base URL, and are billed.

Rule 1: Google's and Mistral's are answered by the simulated provider; Cohere's and Amazon's by recordings of
the real ones, because nobody but they knows how those answer.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
import botocore.config
import cohere
import pytest
from google import genai
from google.genai import errors, types
from mistralai.client import Mistral

pytestmark = pytest.mark.e2e

KEY = "sk_test_sdks"
POOR_KEY = "sk_test_poor"
HELLO = [{"role": "user", "content": [{"text": "Hello"}]}]


@pytest.fixture(scope="module")
def recorded(shared_data: Path) -> dict[str, dict[str, Any]]:
    """Return one recording of each kind that is asked for here, by kind."""
    file = shared_data / "captures.jsonl.gz"
    if not file.exists():
        pytest.skip("captures.jsonl.gz is absent")
    kinds = {"/converse": "converse", "/converse-stream": "converse_stream", "/v2/chat": "chat"}
    found: dict[str, dict[str, Any]] = {}
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        for row in map(json.loads, lines):
            kind = next((kind for end, kind in kinds.items() if row["path"].endswith(end)), None)
            if kind and row["status"] == 200 and row["provider"] in ("bedrock", "cohere"):
                found.setdefault(kind, row)
    return found


@pytest.fixture(scope="module")
def replaying(
    calls: Any, recorded: dict[str, dict[str, Any]], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Any]:
    """Run a gateway whose providers answer with recordings, else as simulated."""
    folder = tmp_path_factory.mktemp("sdks")
    file = folder / "captures.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in recorded.values()), "utf-8")
    calls.seed(folder / "data", {"cus_sdks": None}, keys={KEY: "cus_sdks"})
    arguments = ("dev-provider", "--port", "0", "--captures", str(file))
    with (
        calls.started(*arguments, folder=folder / "provider") as provider,
        calls.gateway_on(folder / "data", calls.environment(provider.url)) as gateway,
    ):
        yield gateway


@pytest.fixture(scope="module")
def gateway(calls: Any, provider: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Run a gateway with a customer who has credit and one who has none."""
    folder = tmp_path_factory.mktemp("native")
    keys = {KEY: "cus_rich", POOR_KEY: "cus_poor"}
    calls.seed(folder, {"cus_rich": 10**10, "cus_poor": 0}, keys=keys)
    with calls.gateway_on(folder, calls.environment(provider.url)) as served:
        yield served


def google(url: str, key: str = KEY) -> genai.Client:
    return genai.Client(api_key=key, http_options=types.HttpOptions(base_url=url, timeout=30_000))


def only_new(gateway: Any, calls: Any, before: set[str]) -> Any:
    """Return the one call that was booked since."""
    (id,) = calls.until(lambda: gateway.books.booked().keys() - before, "the call is settled")
    return gateway.books.booked()[id]


@pytest.mark.parametrize("path", ["", "/providers/google"])
def test_googles_sdk(gateway: Any, calls: Any, path: str) -> None:
    before = set(gateway.books.booked())
    with google(gateway.url + path) as client:
        answer = client.models.generate_content(
            model="gemini-2.5-flash", contents="Hello [[input=7]] [[tokens=20]]"
        )
    said = answer.usage_metadata
    assert said is not None
    booked = only_new(gateway, calls, before)
    assert booked.model == "gemini-2.5-flash"
    assert booked.quantities == {"input": said.prompt_token_count, "output": said.candidates_token_count}
    assert booked.price_nano == calls.price_nano("google/gemini-2.5-flash", booked.quantities)


@pytest.mark.parametrize("path", ["", "/providers/google"])
def test_googles_sdk_streams(gateway: Any, calls: Any, path: str) -> None:
    before = set(gateway.books.booked())
    with google(gateway.url + path) as client:
        stream = client.models.generate_content_stream(
            model="gemini-2.5-pro", contents="Hello [[input=7]] [[tokens=30]]"
        )
        pieces = list(stream)
    assert "".join(piece.text or "" for piece in pieces)
    booked = only_new(gateway, calls, before)
    assert booked.quantities["output"] == 30
    assert booked.flags == []


def test_googles_sdk_is_told_that_the_credit_is_out(gateway: Any) -> None:
    with google(gateway.url, POOR_KEY) as client, pytest.raises(errors.ClientError) as raised:
        client.models.generate_content(model="gemini-2.5-flash", contents="Hello")
    assert raised.value.code == 402
    assert raised.value.status == "FAILED_PRECONDITION"
    assert raised.value.details["error"]["details"][0]["reason"] == "customer_credit_exhausted"


def test_mistrals_sdk(gateway: Any, calls: Any) -> None:
    before = set(gateway.books.booked())
    with Mistral(api_key=KEY, server_url=gateway.url) as client:
        answer = client.chat.complete(
            model="mistral/mistral-small-latest",
            messages=[{"role": "user", "content": "Hello [[input=9]] [[tokens=12]]"}],
        )
    assert answer.choices[0].message.content
    assert only_new(gateway, calls, before).quantities == {"input": 9, "output": 12}


def test_mistrals_sdk_streams_through_its_own_api(gateway: Any, calls: Any) -> None:
    before = set(gateway.books.booked())
    with Mistral(api_key=KEY, server_url=f"{gateway.url}/providers/mistral") as client:
        events = client.chat.stream(
            model="mistral-small-latest",
            messages=[{"role": "user", "content": "Hello [[input=9]] [[tokens=12]]"}],
        )
        assert list(events)
    assert only_new(gateway, calls, before).quantities == {"input": 9, "output": 12}


def test_coheres_sdk(replaying: Any, calls: Any, recorded: dict[str, dict[str, Any]]) -> None:
    row, before = recorded["chat"], set(replaying.books.booked())
    with cohere.ClientV2(api_key=KEY, base_url=f"{replaying.url}/providers/cohere") as client:
        answer = client.chat(
            model=row["model"],
            messages=[{"role": "user", "content": "Hello"}],
            request_options={"additional_headers": {"x-capture-id": row["id"]}},
        )
    assert answer.id == row["response"]["id"]
    booked = only_new(replaying, calls, before)
    units = row["response"]["usage"]["billed_units"]
    assert booked.quantities == {"input": units["input_tokens"], "output": units["output_tokens"]}


@contextmanager
def bedrock(url: str, capture: str) -> Iterator[Any]:
    """Return Amazon's client; the id of its access key is our key."""
    client = boto3.client(
        "bedrock-runtime",
        aws_access_key_id=KEY,
        aws_secret_access_key="unused",
        region_name="us-east-1",
        endpoint_url=f"{url}/providers/bedrock",
        config=botocore.config.Config(retries={"total_max_attempts": 1}, proxies={}),
    )
    client.meta.events.register(
        "before-send.bedrock-runtime",
        lambda request, **_: request.headers.__setitem__("x-capture-id", capture),
    )
    try:
        yield client
    finally:
        client.close()


def test_amazons_sdk(replaying: Any, calls: Any, recorded: dict[str, dict[str, Any]]) -> None:
    row, before = recorded["converse"], set(replaying.books.booked())
    with bedrock(replaying.url, row["id"]) as client:
        answer = client.converse(modelId=row["model"], messages=HELLO)
    assert answer["usage"]["outputTokens"] == row["response"]["usage"]["outputTokens"]
    booked = only_new(replaying, calls, before)
    assert booked.quantities["output"] == row["response"]["usage"]["outputTokens"]


def test_amazons_sdk_reads_the_frames_of_a_stream(
    replaying: Any, calls: Any, recorded: dict[str, dict[str, Any]]
) -> None:
    row, before = recorded["converse_stream"], set(replaying.books.booked())
    with bedrock(replaying.url, row["id"]) as client:
        events = list(client.converse_stream(modelId=row["model"], messages=HELLO)["stream"])
    (told,) = (event["metadata"]["usage"] for event in events if "metadata" in event)
    assert only_new(replaying, calls, before).quantities["output"] == told["outputTokens"]


def test_amazons_sdk_names_the_refusal(replaying: Any) -> None:
    with (
        bedrock(replaying.url, "none") as client,
        pytest.raises(client.exceptions.ClientError) as raised,
    ):
        client.converse(modelId="no-such-model", messages=HELLO)
    assert raised.value.response["Error"]["Code"] == "ValidationException"
    assert "no-such-model" in raised.value.response["Error"]["Message"]
