"""Meter event session tokens: short-lived stand-ins for an API key, signed, kept nowhere.

Rule 1: pure; a token says which key it stands for and until when, and nothing can change that.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from dataclasses import dataclass
from datetime import datetime, timedelta

from costplus.core.ids import from_milliseconds, milliseconds

LIFETIME = timedelta(minutes=15)
PREFIX = "mesn_"
_DOMAIN = b"costplus meter event session\x00"


@dataclass(frozen=True, slots=True)
class Session:
    """Stands for the API key `key` until `expires_at`."""

    key: str
    expires_at: datetime


def token_of(session: Session, *, secret: bytes) -> str:
    """Return the session's token."""
    content = f"{session.key}.{milliseconds(session.expires_at)}".encode()
    signature = hmac.new(secret, _DOMAIN + content, hashlib.sha256).digest()
    return PREFIX + base64.urlsafe_b64encode(signature + content).decode().rstrip("=")


def session_of(token: str, *, secret: bytes) -> Session | None:
    """Return the session that a token was made for, or None where nobody here made it."""
    encoded = token.removeprefix(PREFIX)
    try:
        raw = base64.b64decode(encoded + "=" * (-len(encoded) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return None
    signature, content = raw[:32], raw[32:]
    if not hmac.compare_digest(signature, hmac.new(secret, _DOMAIN + content, hashlib.sha256).digest()):
        return None
    key, _, expires_ms = content.decode().rpartition(".")
    return Session(key, from_milliseconds(int(expires_ms)))
