"""Vertex is called with tokens that a service account's signature is good for."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

pytestmark = pytest.mark.e2e

KEY = "sk_test_credentials"
ACCOUNT_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)


def vertex(url: str, folder: Path) -> dict[str, str]:
    pem = ACCOUNT_KEY.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    file = {"client_email": "a@b.iam", "private_key": pem, "project_id": "p", "token_uri": f"{url}/token"}
    path = folder / "account.json"
    path.write_text(json.dumps(file))
    return {
        "COSTPLUS_PROVIDERS__VERTEX__BASE_URL": f"{url}/v1/projects/p/locations/us-central1",
        "COSTPLUS_PROVIDERS__VERTEX__SERVICE_ACCOUNT": str(path),
    }


def unpadded(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def googles(asked: Any) -> tuple[int, dict[str, Any]] | None:
    """Give a token for an assertion that the account signed; let calls through that carry it."""
    if asked.path != "/token":
        right = asked.headers.get("authorization") == "Bearer ya29.given"
        return None if right else (401, {"error": {"code": 401, "message": "Invalid token."}})
    signed, _, signature = parse_qs(asked.body.decode())["assertion"][0].rpartition(".")
    try:
        public = ACCOUNT_KEY.public_key()
        public.verify(unpadded(signature), signed.encode(), padding.PKCS1v15(), hashes.SHA256())
    except InvalidSignature:
        return 400, {"error": "invalid_grant"}
    return 200, {"access_token": "ya29.given", "expires_in": 3599}


def test_vertex_is_called_with_one_token_for_many_calls(fronted: Any, calls: Any, tmp_path: Path) -> None:
    gateway, google = fronted(lambda url: vertex(url, tmp_path))
    google.judge = googles
    body = {"contents": [{"role": "user", "parts": [{"text": "Hello [[input=7]] [[tokens=20]]"}]}]}
    for path in ("/publishers/google/models/gemini-2.5-flash:generateContent",) * 2:
        answer = gateway.post(path, body, key=KEY)
        assert answer.status_code == 200, answer.text
    booked = calls.until(lambda: (b := gateway.books.of("cus_own")) and len(b) == 2 and b, "both are settled")
    assert {call.model for call in booked} == {"gemini-2.5-flash"}
    paths = [asked.path for asked in google.asked]
    assert paths.count("/token") == 1
    assert paths[1] == (
        "/v1/projects/p/locations/us-central1/publishers/google/models/gemini-2.5-flash:generateContent"
    )


def test_a_service_account_that_is_refused_is_the_operators_to_mend(
    fronted: Any, calls: Any, tmp_path: Path
) -> None:
    gateway, google = fronted(lambda url: vertex(url, tmp_path))
    google.judge = lambda asked: (400, {"error": "invalid_grant", "error_description": "account not found"})
    answer = gateway.post(
        "/publishers/google/models/gemini-2.5-flash:generateContent",
        {"contents": [{"role": "user", "parts": [{"text": "Hello"}]}]},
        key=KEY,
    )
    error = answer.json()["error"]
    assert answer.status_code == 503
    assert error["details"][0]["reason"] == "provider_token_refused"
    assert "account not found" in error["message"]
    assert [asked.path for asked in google.asked] == ["/token"]
    assert gateway.books.of("cus_own") == []
    assert gateway.books.open_intents() == []
