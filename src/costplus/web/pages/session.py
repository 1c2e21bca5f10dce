"""The admin session: a signed cookie that lasts half a day, given for a login link.

Rule 1: it is signed by the link secret and kept nowhere, so every process of an installation takes it.
Rule 2: the cookie is HttpOnly and SameSite=Lax, and no page that it opens changes anything.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from datetime import datetime, timedelta
from typing import Protocol

from costplus.core.ids import from_milliseconds, milliseconds

COOKIE = "costplus_admin"
LIFETIME = timedelta(hours=12)
_DOMAIN = b"costplus admin session\x00"


class OneTimeTokens(Protocol):
    """Whatever can tell, once, that a token was given out as a login link."""

    def consume(self, token: str) -> bool:
        """Return whether the token is valid; from now on it is not."""


def _seal(content: str, *, secret: bytes) -> str:
    return hmac.new(secret, _DOMAIN + content.encode(), hashlib.sha256).hexdigest()


def new_session(*, secret: bytes, at: datetime) -> str:
    """Return a cookie's value that opens the admin pages for `LIFETIME` from `at` on."""
    content = f"{milliseconds(at + LIFETIME)}.{secrets.token_hex(16)}"
    return f"{content}.{_seal(content, secret=secret)}"


def session_is_open(cookie: str, *, secret: bytes, at: datetime) -> bool:
    """Return whether a cookie's value opens the admin pages at `at`."""
    content, _, seal = cookie.rpartition(".")
    if not hmac.compare_digest(seal.encode(), _seal(content, secret=secret).encode()):
        return False
    return at < from_milliseconds(int(content.partition(".")[0]))
