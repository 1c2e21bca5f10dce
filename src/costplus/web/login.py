"""Login links: signed, short-lived, good for one use.

Rule 1: whoever can read the installation's secret can make a link; the server accepts each one once.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Callable
from datetime import datetime, timedelta

from costplus.core.ids import milliseconds

LIFETIME = timedelta(minutes=15)
_DOMAIN = b"costplus login link\x00"


def login_token(secret: bytes, *, at: datetime) -> str:
    """Return a token that logs in once until `LIFETIME` after `at`."""
    content = f"{milliseconds(at + LIFETIME)}.{secrets.token_hex(16)}"
    return f"{content}.{_sign(secret, content)}"


def _sign(secret: bytes, content: str) -> str:
    return hmac.new(secret, _DOMAIN + content.encode(), hashlib.sha256).hexdigest()


class LoginTokens:
    """Accepts each valid token once."""

    def __init__(self, secret: bytes, *, now: Callable[[], datetime]) -> None:
        self._secret = secret
        self._now = now
        self._used: dict[str, int] = {}  # Token → when it would have expired, in milliseconds.

    def consume(self, token: str) -> bool:
        """Return whether the token may log in; after that it may not."""
        content, _, signature = token.rpartition(".")
        if not hmac.compare_digest(signature.encode(), _sign(self._secret, content).encode()):
            return False
        expires_ms, now_ms = int(content.partition(".")[0]), milliseconds(self._now())
        self._used = {used: until for used, until in self._used.items() if until > now_ms}
        if expires_ms <= now_ms or token in self._used:
            return False
        self._used[token] = expires_ms
        return True
