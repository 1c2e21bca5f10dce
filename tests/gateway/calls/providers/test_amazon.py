"""Amazon's signatures: what arrives is signed again by Amazon's own library, and compared."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any
from unittest import mock
from urllib.parse import quote

import boto3
import botocore.auth
import botocore.config
import pytest
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

pytestmark = pytest.mark.e2e

KEY = "sk_test_credentials"
REGION = "eu-west-1"
AWS_SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
SESSION_TOKEN = "IQoJb3JpZ2luX2VjEXAMPLE//////////wEaCWV1LXdlc3QtMQ=="
HELLO = [{"role": "user", "content": [{"text": "Hello"}]}]


def amazons(asked: Any, *, secret: str = AWS_SECRET) -> tuple[int, dict[str, Any]] | None:
    """Judge a request as Amazon does: make its signature again, of what arrived, and compare."""
    scheme, _, proof = asked.headers.get("authorization", "").partition(" ")
    parts = dict(part.strip().split("=", 1) for part in proof.split(",") if "=" in part)
    refusal = 403, {"message": "The request signature we calculated does not match"}
    if scheme != "AWS4-HMAC-SHA256" or asked.headers.get("x-amz-security-token") != SESSION_TOKEN:
        return refusal
    assert parts["Credential"].split("/")[2:] == [REGION, "bedrock", "aws4_request"]
    names = parts["SignedHeaders"].split(";")
    assert {"host", "x-amz-date", "x-amz-security-token"} <= set(names)
    at = datetime.strptime(asked.headers["x-amz-date"], "%Y%m%dT%H%M%SZ")  # noqa: DTZ007 — as botocore has it.
    signed = {name: asked.headers[name] for name in names if not name.startswith("x-amz-")}
    request = AWSRequest("POST", f"http://{signed['host']}{asked.path}", headers=signed, data=asked.body)
    with mock.patch.object(botocore.auth, "get_current_datetime", lambda: at):
        keys = Credentials("AKIDEXAMPLE", secret, SESSION_TOKEN)
        botocore.auth.SigV4Auth(keys, "bedrock", REGION).add_auth(request)
    return None if request.headers["Authorization"] == asked.headers["authorization"] else refusal


def amazon(url: str) -> dict[str, str]:
    return {
        "COSTPLUS_PROVIDERS__BEDROCK__BASE_URL": url,
        "COSTPLUS_PROVIDERS__BEDROCK__REGION": REGION,
        "COSTPLUS_PROVIDERS__BEDROCK__ACCESS_KEY_ID": "AKIDEXAMPLE",
        "COSTPLUS_PROVIDERS__BEDROCK__SECRET_ACCESS_KEY": AWS_SECRET,
        "COSTPLUS_PROVIDERS__BEDROCK__SESSION_TOKEN": SESSION_TOKEN,
    }


@pytest.fixture(scope="module")
def recordings(shared_data: Path) -> dict[str, dict[str, Any]]:
    """Return one recording of each way to converse with Amazon's models."""
    file = shared_data / "captures.jsonl.gz"
    if not file.exists():
        pytest.skip("captures.jsonl.gz is absent")
    found: dict[str, dict[str, Any]] = {}
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        for row in map(json.loads, lines):
            kind = row["path"].rpartition("/")[2]
            if kind in ("converse", "converse-stream") and row["status"] == 200:
                found.setdefault(kind, row)
    return found


@pytest.fixture
def replaying(calls: Any, recordings: dict[str, dict[str, Any]], tmp_path: Path) -> Iterator[Any]:
    file = tmp_path / "captures.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in recordings.values()), "utf-8")
    arguments = ("dev-provider", "--port", "0", "--captures", str(file))
    with calls.started(*arguments, folder=tmp_path / "provider") as process:
        yield process


@contextmanager
def amazons_client(gateway: Any, capture: str) -> Iterator[Any]:
    client = boto3.client(
        "bedrock-runtime",
        aws_access_key_id=KEY,
        aws_secret_access_key="unused",
        region_name="us-east-1",
        endpoint_url=f"{gateway.url}/providers/bedrock",
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


@pytest.mark.parametrize("kind", ["converse", "converse-stream"])
def test_amazon_accepts_the_gateways_signature(
    fronted: Any, fronts: Any, calls: Any, replaying: Any, recordings: dict[str, dict[str, Any]], kind: str
) -> None:
    row = recordings[kind]
    gateway, bedrock = fronted(amazon, provider_url=replaying.url)
    bedrock.judge = amazons
    with amazons_client(gateway, row["id"]) as client:
        if kind == "converse":
            told = client.converse(modelId=row["model"], messages=HELLO)["usage"]
        else:
            events = list(client.converse_stream(modelId=row["model"], messages=HELLO)["stream"])
            (told,) = (event["metadata"]["usage"] for event in events if "metadata" in event)
    assert fronts.only(gateway, calls).quantities["output"] == told["outputTokens"]
    (asked,) = bedrock.asked
    assert asked.path == f"/model/{quote(row['model'], safe='')}/{kind}"
    assert KEY not in str(asked.headers)


def test_a_models_arn_is_signed_as_amazon_reads_it(fronted: Any) -> None:
    gateway, bedrock = fronted(amazon)
    bedrock.judge = lambda asked: amazons(asked) or (418, {"message": "the signature is right"})
    model = (
        "arn:aws:bedrock:eu-west-1:123456789012:inference-profile/eu.anthropic.claude-haiku-4-5-20251001-v1:0"
    )
    answer = gateway.post(
        f"/providers/bedrock/model/{quote(model, safe='')}/converse", {"messages": HELLO}, key=KEY
    )
    assert (answer.status_code, answer.json()["message"]) == (418, "the signature is right")
    assert bedrock.asked[0].path == f"/model/{quote(model, safe='')}/converse"


def test_a_wrong_secret_is_the_operators_to_mend_and_costs_nothing(fronted: Any) -> None:
    gateway, bedrock = fronted(amazon)
    bedrock.judge = lambda asked: amazons(asked, secret="another")
    answer = gateway.post(
        "/providers/bedrock/model/anthropic.claude-haiku-4-5-20251001-v1:0/converse",
        {"messages": HELLO},
        key=KEY,
    )
    assert answer.json()["code"] == "provider_credentials_rejected"
    assert gateway.books.of("cus_own") == []
    assert gateway.books.open_intents() == []
