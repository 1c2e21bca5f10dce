"""Ask a token service for a token: Google's for a signed assertion, Entra ID's for a client's secret.

Rule 1: what the service says about a refusal is passed on to the operator; what it was sent is not.
Rule 2: nothing is decided here about when a token is asked for: that is `token.TokenSource`'s.
"""

from __future__ import annotations

import base64
import ssl
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import httpx2
import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from costplus.gateway.credentials.credential import (
    ENTRA_SCOPE,
    GOOGLE_SCOPE,
    CredentialInvalid,
    EntraClient,
    ServiceAccount,
)
from costplus.gateway.credentials.errors import TokenRefused, TokenUnavailable
from costplus.gateway.credentials.token import Token

TIMEOUT_S = 10
ASSERTION_S = 3600  # How long Google lets an assertion be good.
_JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """How a token service is reached."""

    proxy: str = ""
    ssl_context: ssl.SSLContext | None = None


def google_fetch(
    account: ServiceAccount, *, route: Route, now: Callable[[], datetime]
) -> Callable[[], Awaitable[Token]]:
    """Return what fetches tokens for a service account. Raises `CredentialInvalid` where its key is none."""
    key = _private_key(account.private_key)

    async def fetch() -> Token:
        at = now()
        form = {"grant_type": _JWT_BEARER, "assertion": assertion(account, key, at=at)}
        return await _token(account.token_url, form, route=route, at=at)

    return fetch


def entra_fetch(
    client: EntraClient, *, route: Route, now: Callable[[], datetime]
) -> Callable[[], Awaitable[Token]]:
    """Return what fetches tokens for a client of Entra ID."""
    form = {
        "grant_type": "client_credentials",
        "client_id": client.client_id,
        "client_secret": client.client_secret,
        "scope": ENTRA_SCOPE,
    }

    async def fetch() -> Token:
        return await _token(client.token_url, form, route=route, at=now())

    return fetch


def assertion(account: ServiceAccount, key: rsa.RSAPrivateKey, *, at: datetime) -> str:
    """Return the signed statement by which a service account asks for a token (RFC 7523, RS256)."""
    issued = int(at.timestamp())
    header = {"alg": "RS256", "typ": "JWT"}
    if account.private_key_id:
        header["kid"] = account.private_key_id
    claims = {
        "iss": account.email,
        "scope": GOOGLE_SCOPE,
        "aud": account.token_url,
        "iat": issued,
        "exp": issued + ASSERTION_S,
    }
    signed = b".".join(_base64url(msgspec.json.encode(part)) for part in (header, claims))
    signature = key.sign(signed, padding.PKCS1v15(), hashes.SHA256())
    return (signed + b"." + _base64url(signature)).decode()


def _base64url(content: bytes) -> bytes:
    return base64.urlsafe_b64encode(content).rstrip(b"=")


def _private_key(pem: str) -> rsa.RSAPrivateKey:
    try:
        key = serialization.load_pem_private_key(pem.encode(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise CredentialInvalid("The service account's private_key is not a key.") from error
    if not isinstance(key, rsa.RSAPrivateKey):
        raise CredentialInvalid("The service account's private_key is not an RSA key.")
    return key


def check_private_key(account: ServiceAccount) -> None:
    """Raise `CredentialInvalid` where the account's key is none."""
    _private_key(account.private_key)


async def _token(url: str, form: Mapping[str, str], *, route: Route, at: datetime) -> Token:
    try:
        async with httpx2.AsyncClient(
            timeout=TIMEOUT_S, proxy=route.proxy or None, verify=route.ssl_context or True, trust_env=False
        ) as client:
            response = await client.post(url, data=dict(form))
    except (httpx2.HTTPError, httpx2.InvalidURL, OSError) as error:
        raise TokenUnavailable(f"The token service at {url} cannot be reached: {error}.") from error
    said = _said(response.content)
    if 400 <= response.status_code < 500 and response.status_code != 429:
        why = said.get("error_description") or said.get("error") or f"status {response.status_code}"
        raise TokenRefused(f"The token service at {url} refuses the credential: {why}.")
    token, life_s = said.get("access_token"), said.get("expires_in")
    if response.status_code != 200 or not isinstance(token, str) or not token:
        raise TokenUnavailable(f"The token service at {url} gave no token (status {response.status_code}).")
    text = str(life_s)  # Some say it as a text.
    seconds = int(text) if text.isdecimal() else ASSERTION_S
    return Token(token, at + timedelta(seconds=seconds))


def _said(body: bytes) -> Mapping[str, Any]:
    try:
        said: Any = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return {}
    return said if isinstance(said, dict) else {}
