"""Token services over real sockets, which check what they are sent: a signature, or a secret."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from costplus.gateway.credentials.credential import (
    CredentialInvalid,
    EntraClient,
    ServiceAccount,
    service_account_of,
)
from costplus.gateway.credentials.errors import TokenRefused, TokenUnavailable
from costplus.gateway.credentials.token_service import Route, entra_fetch, google_fetch

AT = datetime(2026, 3, 1, 12, tzinfo=UTC)
KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
OTHER_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)


def pem(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> str:
    kind, none = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, kind, none).decode()


def unpadded(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


@dataclass
class TokenServer:
    """What listens, and the forms that it was sent."""

    url: str = ""
    forms: list[dict[str, str]] = field(default_factory=list)
    answer: tuple[int, bytes] | None = None  # In place of the one that it would give.


@contextmanager
def serving(judge: Callable[[dict[str, str], str], tuple[int, dict[str, Any]]]) -> Iterator[TokenServer]:
    told = TokenServer()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"])).decode()
            form = {name: values[0] for name, values in parse_qs(body).items()}
            told.forms.append(form)
            status, said = told.answer or ((found := judge(form, told.url))[0], json.dumps(found[1]).encode())
            self.send_response(status)
            self.send_header("content-length", str(len(said)))
            self.end_headers()
            self.wfile.write(said)

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    told.url = f"http://127.0.0.1:{server.server_address[1]}/token"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield told
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def googles(form: dict[str, str], url: str) -> tuple[int, dict[str, Any]]:
    """Judge as Google does: by the account's public key, the audience and the times."""
    head, claims, signature = form["assertion"].split(".")
    try:
        KEY.public_key().verify(
            unpadded(signature), f"{head}.{claims}".encode(), padding.PKCS1v15(), hashes.SHA256()
        )
    except InvalidSignature:
        return 400, {"error": "invalid_grant", "error_description": "Invalid JWT Signature."}
    said = json.loads(unpadded(claims))
    assert form["grant_type"] == "urn:ietf:params:oauth:grant-type:jwt-bearer"
    assert json.loads(unpadded(head)) == {"alg": "RS256", "typ": "JWT", "kid": "k1"}
    assert said == {
        "iss": "gateway@project.iam",
        "scope": "https://www.googleapis.com/auth/cloud-platform",
        "aud": url,
        "iat": int(AT.timestamp()),
        "exp": int(AT.timestamp()) + 3600,
    }
    return 200, {"access_token": "ya29.given", "expires_in": 3599, "token_type": "Bearer"}


def account(server: TokenServer, key: rsa.RSAPrivateKey = KEY) -> ServiceAccount:
    return ServiceAccount(
        email="gateway@project.iam", private_key=pem(key), private_key_id="k1", token_url=server.url
    )


async def test_google_gives_a_token_for_a_signed_assertion() -> None:
    with serving(googles) as server:
        token = await google_fetch(account(server), route=Route(), now=lambda: AT)()
    assert token.text == "ya29.given"
    assert token.expires_at == AT + timedelta(seconds=3599)


async def test_google_refuses_another_accounts_key_and_says_why() -> None:
    with serving(googles) as server, pytest.raises(TokenRefused, match="Invalid JWT Signature") as raised:
        await google_fetch(account(server, OTHER_KEY), route=Route(), now=lambda: AT)()
    assert raised.value.code == "provider_token_refused"
    assert "operator" in raised.value.remedy


async def test_entra_gives_a_token_for_a_clients_secret() -> None:
    def microsofts(form: dict[str, str], url: str) -> tuple[int, dict[str, Any]]:
        if form["client_secret"] != "right":
            return 401, {"error": "invalid_client", "error_description": "AADSTS7000215: Invalid secret."}
        assert form["grant_type"] == "client_credentials"
        assert form["scope"] == "https://cognitiveservices.azure.com/.default"
        return 200, {"access_token": "eyJ.given", "expires_in": 3599}

    with serving(microsofts) as server:
        right = EntraClient(client_id="app", client_secret="right", token_url=server.url)
        assert (await entra_fetch(right, route=Route(), now=lambda: AT)()).text == "eyJ.given"
        wrong = EntraClient(client_id="app", client_secret="wrong-one", token_url=server.url)
        with pytest.raises(TokenRefused, match="AADSTS7000215") as raised:
            await entra_fetch(wrong, route=Route(), now=lambda: AT)()
    assert "wrong-one" not in raised.value.sentence


@pytest.mark.parametrize(
    ("status", "body"),
    [(500, b""), (429, b"{}"), (200, b"<html>"), (200, b"[]"), (200, b'{"access_token": ""}'), (302, b"{}")],
)
async def test_an_answer_without_a_token_is_no_refusal(status: int, body: bytes) -> None:
    with serving(googles) as server:
        server.answer = (status, body)
        with pytest.raises(TokenUnavailable):
            await google_fetch(account(server), route=Route(), now=lambda: AT)()


async def test_a_token_service_that_is_away_is_unavailable() -> None:
    with serving(googles) as server:
        gone = account(server)
    with pytest.raises(TokenUnavailable, match="cannot be reached"):
        await google_fetch(gone, route=Route(), now=lambda: AT)()


def test_a_key_file_of_googles_is_read() -> None:
    file = {"type": "service_account", "project_id": "p", "private_key_id": "k", "private_key": pem(KEY)}
    file |= {"client_email": "a@b", "token_uri": "https://oauth2.googleapis.com/token"}
    found = service_account_of(json.dumps(file))
    assert (found.email, found.project, found.private_key_id) == ("a@b", "p", "k")
    assert pem(KEY) not in repr(found)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"client_email": "a@b"}', '{"private_key": "x"}'])
def test_what_is_no_key_file_is_said_to_be_none(text: str) -> None:
    with pytest.raises(CredentialInvalid):
        service_account_of(text)


@pytest.mark.parametrize("key", ["", "not a key", pem(ec.generate_private_key(ec.SECP256R1()))])
def test_what_is_no_rsa_key_is_said_to_be_none(key: str) -> None:
    own = ServiceAccount(email="a@b", private_key=key)
    with pytest.raises(CredentialInvalid, match="private_key"):
        google_fetch(own, route=Route(), now=lambda: AT)
