"""Authorise one request: from a credential and what is about to be sent, the headers that say who calls."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from costplus.gateway.credentials.credential import (
    AwsCredential,
    Credential,
    KeyCredential,
    ServiceAccount,
)
from costplus.gateway.credentials.sigv4 import signed_headers
from costplus.gateway.credentials.token import TokenSource
from costplus.gateway.credentials.token_service import Route, entra_fetch, google_fetch

Headers = Sequence[tuple[str, str]]
BEDROCK = "bedrock"  # The service that its signatures are for; its host is `bedrock-runtime`.


@dataclass(frozen=True, slots=True, kw_only=True)
class Outgoing:
    """A request as it is about to be sent; `path` has its query, names of headers are in lower case."""

    method: str
    host: str
    path: str
    headers: Headers
    body: bytes


class Authorizer(Protocol):
    """What knows how to show one credential."""

    async def authorize(self, request: Outgoing) -> Headers:
        """Return the headers to add. Raises `TokenRefused`, `TokenUnavailable`."""


class KeyHeader:
    """A key in a header of its own, or as a bearer token where `name` is empty."""

    def __init__(self, secret: str, *, name: str = "") -> None:
        self._headers = ((name, secret),) if name else (("authorization", f"Bearer {secret}"),)

    async def authorize(self, request: Outgoing) -> Headers:
        """Return the key's header, the same for every request."""
        return self._headers


class Signer:
    """Amazon's signature of each request."""

    def __init__(self, credential: AwsCredential, *, now: Callable[[], datetime]) -> None:
        self._credential = credential
        self._now = now

    async def authorize(self, request: Outgoing) -> Headers:
        """Return the signature's headers."""
        return signed_headers(
            self._credential,
            method=request.method,
            host=request.host,
            path=request.path,
            headers=request.headers,
            body=request.body,
            at=self._now(),
            service=BEDROCK,
        )


class BearerToken:
    """A token that a token service gives for the credential."""

    def __init__(self, source: TokenSource) -> None:
        self._source = source

    async def authorize(self, request: Outgoing) -> Headers:
        """Return the token's header."""
        return (("authorization", f"Bearer {await self._source.token()}"),)


def authorizer_of(
    credential: Credential,
    *,
    key_header: str,
    provider: str,
    route: Route,
    now: Callable[[], datetime],
) -> Authorizer:
    """Return what shows a credential to a provider, which wants keys in `key_header` (empty: as a token).

    Raises `CredentialInvalid`.
    """
    if isinstance(credential, KeyCredential):
        return KeyHeader(credential.secret, name=key_header)
    if isinstance(credential, AwsCredential):
        return Signer(credential, now=now)
    if isinstance(credential, ServiceAccount):
        fetch = google_fetch(credential, route=route, now=now)
    else:
        fetch = entra_fetch(credential, route=route, now=now)
    return BearerToken(TokenSource(fetch, now=now, name=provider))
