"""Amazon's signature, version 4: a request's proof that its sender has the secret key.

Rule 1: pure — the instant arrives as `at`; the same arguments make the same signature.
Rule 2: what is signed is what is sent: host, type, date and token, the path and query as they stand in the
request line, every byte of the body. A header that a proxy on the way may change is not signed.
Rule 3: the path is encoded once more than it is sent, as for every service but S3: the `%3A` of a model's
ARN is signed as `%253A`.
Source: "Create a signed AWS API request", AWS IAM user guide.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache
from urllib.parse import quote

from costplus.gateway.credentials.credential import AwsCredential

ALGORITHM = "AWS4-HMAC-SHA256"
_SIGNED_IF_SENT = ("content-type",)


def signed_headers(
    credential: AwsCredential,
    *,
    method: str,
    host: str,
    path: str,
    headers: Sequence[tuple[str, str]],
    body: bytes,
    at: datetime,
    service: str,
) -> list[tuple[str, str]]:
    """Return the headers that authorise a request; `path` is as it is sent, with its query.

    `headers` are the others that the request has, their names in lower case.
    """
    stamp = at.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")
    own = [("x-amz-date", stamp)]
    if credential.session_token:
        own.append(("x-amz-security-token", credential.session_token))
    signed = [("host", host), *own, *(pair for pair in headers if pair[0] in _SIGNED_IF_SENT)]
    signed = sorted((name, " ".join(value.split())) for name, value in signed)
    names = ";".join(name for name, _ in signed)
    sent_path, _, query = path.partition("?")
    canonical = "\n".join(
        (
            method,
            canonical_path(sent_path),
            canonical_query(query),
            *(f"{name}:{value}" for name, value in signed),
            "",
            names,
            hashlib.sha256(body).hexdigest(),
        )
    )
    scope = f"{stamp[:8]}/{credential.region}/{service}/aws4_request"
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    key = _signing_key(credential.secret_access_key, stamp[:8], credential.region, service)
    signature = _hmac(key, f"{ALGORITHM}\n{stamp}\n{scope}\n{digest}").hex()
    proof = f"Credential={credential.access_key_id}/{scope}, SignedHeaders={names}, Signature={signature}"
    return [("authorization", f"{ALGORITHM} {proof}"), *own]


def canonical_path(path: str) -> str:
    """Return a path as it is signed: without empty and dot segments, each byte encoded once more."""
    kept: list[str] = []
    for segment in path.split("/"):
        if segment == "..":
            del kept[-1:]
        elif segment not in ("", "."):
            kept.append(segment)
    ends = "/" if kept and path.endswith("/") else ""
    return quote(f"/{'/'.join(kept)}{ends}", safe="/~")


def canonical_query(query: str) -> str:
    """Return a query as it is signed: its encoded pairs in order, each with a value."""
    pairs = sorted(part.partition("=")[::2] for part in query.split("&") if part)
    return "&".join(f"{name}={value}" for name, value in pairs)


@lru_cache(maxsize=64)  # The same for a day.
def _signing_key(secret: str, day: str, region: str, service: str) -> bytes:
    key = f"AWS4{secret}".encode()
    for part in (day, region, service, "aws4_request"):
        key = _hmac(key, part)
    return key


def _hmac(key: bytes, message: str) -> bytes:
    return hmac.new(key, message.encode(), hashlib.sha256).digest()
