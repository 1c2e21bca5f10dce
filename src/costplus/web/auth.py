"""Who calls: the seller's key, looked up by its hash and remembered until the configuration changes."""

from __future__ import annotations

import base64
import binascii
import hashlib
import threading

from costplus.billing.customer import ApiKey
from costplus.core.errors import Forbidden, Unauthenticated
from costplus.web.context import WebContext
from costplus.web.errors import SessionExpired
from costplus.web.sessions import PREFIX, session_of

REMEMBERED_MAX = 10_000


def digest_of(secret: str) -> str:
    """Return what is kept of a secret key: its SHA-256, in hex."""
    return hashlib.sha256(secret.encode()).hexdigest()


def secret_in(authorization: str | None) -> str:
    """Return the key of an Authorization header (Bearer, or Basic with the key as user name)."""
    scheme, _, credentials = (authorization or "").partition(" ")
    credentials = credentials.strip()
    if scheme.lower() == "bearer" and credentials:
        return credentials
    if scheme.lower() == "basic":
        try:
            user = base64.b64decode(credentials, validate=True).decode().partition(":")[0]
        except (binascii.Error, ValueError):
            user = ""
        if user:
            return user
    raise Unauthenticated(
        "You did not provide an API key.",
        remedy="Send it as a Bearer token (Authorization: Bearer sk_…) or as the user name of Basic auth.",
    )


class KeyRing:
    """Finds API keys. What it remembers is forgotten after every change of the configuration."""

    def __init__(self, context: WebContext) -> None:
        self._context = context
        self._remembered: dict[str, ApiKey] = {}
        self._generation = 0
        self._lock = threading.Lock()
        context.store.listen("config", self.forget)

    def forget(self) -> None:
        """Look everything up again; called from any thread."""
        with self._lock:
            self._generation += 1
            self._remembered.clear()

    async def merchant(self, authorization: str | None, *, takes_sessions: bool = False) -> ApiKey:
        """Return the seller's key, or raise `Unauthenticated`, `Forbidden` or `SessionExpired`."""
        secret = secret_in(authorization)
        if takes_sessions and secret.startswith(PREFIX):
            key = await self._by_session(secret)
        else:
            key = await self._by_digest(digest_of(secret))
        if key is None or key.revoked_at is not None:
            raise Unauthenticated(
                f"Invalid API key provided: {secret[:8]}****{secret[-4:] if len(secret) > 16 else ''}.",
                remedy="Use a key that exists and was not revoked.",
            )
        if key.customer:
            raise Forbidden(
                "This is a customer's key: it may call models, not the seller's API.",
                remedy="Use the seller's secret key (sk_test_… or sk_live_…).",
            )
        return key

    async def _by_digest(self, digest: str) -> ApiKey | None:
        known = self._remembered.get(digest)
        if known is not None:
            return known
        generation = self._generation
        found = await self._context.store.read(lambda tx: tx.find_by_lookup(ApiKey, digest))
        with self._lock:
            if found is not None and generation == self._generation:
                if len(self._remembered) >= REMEMBERED_MAX:
                    self._remembered.clear()
                self._remembered[digest] = found
        return found

    async def _by_session(self, token: str) -> ApiKey | None:
        session = session_of(token, secret=self._context.link_secret)
        if session is None:
            return None
        if session.expires_at <= self._context.now():
            raise SessionExpired("The meter event session has expired.")
        return await self._context.store.read(lambda tx: tx.find(ApiKey, session.key))
