"""Amazon's signature is what Amazon's own library makes of the same request, whatever is in it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from unittest import mock
from urllib.parse import quote

import botocore.auth
import pytest
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given
from hypothesis import strategies as st

from costplus.gateway.credentials.credential import AwsCredential
from costplus.gateway.credentials.sigv4 import canonical_path, signed_headers

AT = datetime(2026, 3, 1, 23, 59, 59, tzinfo=UTC)
HOST = "bedrock-runtime.eu-central-1.amazonaws.com"
ARN = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc123"


@contextmanager
def standing_still(at: datetime) -> Iterator[None]:
    with mock.patch.object(botocore.auth, "get_current_datetime", lambda: at.replace(tzinfo=None)):
        yield


def amazons(
    credential: AwsCredential, path: str, body: bytes, *, headers: list[tuple[str, str]], service: str
) -> str:
    """Return the authorization header that Amazon's library makes."""
    request = AWSRequest("POST", f"https://{HOST}{path}", headers=dict(headers), data=body)
    keys = Credentials(credential.access_key_id, credential.secret_access_key, credential.session_token)
    with standing_still(AT):
        botocore.auth.SigV4Auth(keys, service, credential.region).add_auth(request)
    return str(request.headers["Authorization"])


segments = st.one_of(
    st.text(st.characters(codec="utf-8"), max_size=20).map(lambda text: quote(text, safe="")),
    st.text("abcXYZ019-_.~!*'()%:@+,;=&$", max_size=20).filter(lambda text: "?" not in text),
    st.sampled_from([quote(ARN, safe=""), "..", ".", "", "anthropic.claude-3-haiku-20240307-v1%3A0"]),
)
paths = st.lists(segments, min_size=1, max_size=6).map(lambda parts: "/" + "/".join(parts))
encoded = st.text("abcXYZ019-_.~%", max_size=8)
queries = st.lists(st.tuples(encoded, encoded, st.booleans()), max_size=4).map(
    lambda pairs: "&".join(f"{name}={value}" if has else name for name, value, has in pairs if name or has)
)


@given(
    path=paths,
    query=queries,
    body=st.binary(max_size=200),
    token=st.sampled_from(["", "IQoJb3JpZ2lu/+="]),
    kind=st.sampled_from(["", "application/json", " application/json;  charset=utf-8 "]),
    secret=st.text("abcXYZ019/+", min_size=1, max_size=40),
)
def test_a_signature_is_amazons_own(
    path: str, query: str, body: bytes, token: str, kind: str, secret: str
) -> None:
    if path.startswith("//"):
        path = "/." + path[1:]  # Else the URL that the library is given has another host.
    whole = f"{path}?{query}" if query else path
    credential = AwsCredential(
        access_key_id="AKIDEXAMPLE", secret_access_key=secret, session_token=token, region="eu-central-1"
    )
    headers = [("content-type", kind)] if kind else []
    made = signed_headers(
        credential,
        method="POST",
        host=HOST,
        path=whole,
        headers=[*headers, ("traceparent", "00-1"), ("user-agent", "of the caller")],
        body=body,
        at=AT,
        service="bedrock",
    )
    assert dict(made)["authorization"] == amazons(credential, whole, body, headers=headers, service="bedrock")
    assert dict(made).get("x-amz-security-token", "") == token


def test_a_models_arn_is_encoded_once_more_than_it_is_sent() -> None:
    sent = f"/model/{quote(ARN, safe='')}/converse"
    assert "%253A" in canonical_path(sent)
    assert "%252F" in canonical_path(sent)


@pytest.mark.parametrize(
    ("path", "canonical"),
    [("", "/"), ("/", "/"), ("//a//b/", "/a/b/"), ("/a/../../b", "/b"), ("/a/./b", "/a/b"), ("/..", "/")],
)
def test_empty_and_dot_segments_are_not_signed(path: str, canonical: str) -> None:
    assert canonical_path(path) == canonical


def test_no_secret_is_in_a_representation() -> None:
    credential = AwsCredential(
        access_key_id="AKID", secret_access_key="very-secret", session_token="also-secret", region="r"
    )
    assert "secret" not in repr(credential).replace("secret_access_key", "")
