"""What a provider may be shown: a key, Amazon's key pair, Google's service account, a client of Entra ID.

Rule 1: a secret is in no representation, so that none gets into a log line or a traceback by accident.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import msgspec

from costplus.core.errors import InvalidRequest

GOOGLE_TOKEN_URL = "https://oauth2.googleapis.com/token"
GOOGLE_SCOPE = "https://www.googleapis.com/auth/cloud-platform"
ENTRA_SCOPE = "https://cognitiveservices.azure.com/.default"


class CredentialInvalid(InvalidRequest):
    """A provider's credential is not what its kind must look like."""

    code = "provider_credential_invalid"
    remedy = "Copy it again from the provider's console, whole."


@dataclass(frozen=True, slots=True)
class KeyCredential:
    """A key that is sent as it is."""

    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class AwsCredential:
    """A key pair that requests to Amazon are signed with, in one region."""

    access_key_id: str
    secret_access_key: str = field(repr=False)
    session_token: str = field(default="", repr=False)
    region: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceAccount:
    """A service account of Google's, which signs requests for tokens."""

    email: str
    private_key: str = field(repr=False)  # PEM.
    private_key_id: str = ""
    project: str = ""
    token_url: str = GOOGLE_TOKEN_URL


@dataclass(frozen=True, slots=True, kw_only=True)
class EntraClient:
    """An application in Microsoft's directory, which is given tokens for its secret."""

    client_id: str
    client_secret: str = field(repr=False)
    token_url: str


Credential = KeyCredential | AwsCredential | ServiceAccount | EntraClient


def service_account_of(text: str) -> ServiceAccount:
    """Return the service account that a JSON key file of Google's describes. Raises `CredentialInvalid`."""
    try:
        said: Any = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError):
        said = None
    if not isinstance(said, dict):
        raise CredentialInvalid("The service account is not the JSON of a key file.")
    for name in ("client_email", "private_key"):
        if not isinstance(said.get(name), str) or not said[name]:
            raise CredentialInvalid(f"The service account's JSON has no {name}.")
    others = {name: str(said.get(name) or "") for name in ("private_key_id", "project_id", "token_uri")}
    return ServiceAccount(
        email=said["client_email"],
        private_key=said["private_key"],
        private_key_id=others["private_key_id"],
        project=others["project_id"],
        token_url=others["token_uri"] or GOOGLE_TOKEN_URL,
    )


def entra_token_url(tenant: str) -> str:
    """Return where a tenant's applications get their tokens."""
    return f"https://login.microsoftonline.com/{tenant}/oauth2/v2.0/token"
